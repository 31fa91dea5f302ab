# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.errors import InputError
from scripts.experiments.guidance import GuidanceReport, rank_correlation, tissue_means
from scripts.inferers import EnhancementInferer


class Follower(torch.nn.Module):
    """Its cue is the image's mean intensity, and its result has that mean (if it follows) under the input's pattern."""

    def __init__(self, follows: bool) -> None:
        super().__init__()
        self.follows = follows

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = guide.flatten(1).mean(dim=1, keepdim=True)
        return mean, torch.zeros_like(mean)

    def enhance_with_cue(self, image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        level = cue.view(-1, 1, 1, 1) if self.follows else image.mean()
        return image - image.mean() + level


def item(level: float, seed: int) -> dict[str, Any]:
    pattern = 0.1 * torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed))
    label = torch.zeros(1, 8, 8)
    label[:, 1:4], label[:, 4:7] = 1, 2
    return {"image": level + pattern, "label": label, "patient": f"p{seed}"}


def report(tmp_path: Path, follows: bool, **arguments: Any) -> dict[str, dict[str, float]]:
    defaults: dict[str, Any] = {
        "network": Follower(follows),
        "inferer": EnhancementInferer(spatial_dims=2),
        "inputs": [item(0.4, seed) for seed in range(3)],
        "guides": {"dark": [item(0.2, 10), item(0.2, 11)], "bright": [item(0.7, 12)]},
        "output_dir": tmp_path,
    }
    return GuidanceReport(**{**defaults, **arguments}).run()


def test_results_that_follow_are_nearer_to_their_own_style(tmp_path: Path) -> None:
    summary = report(tmp_path, follows=True)
    assert [summary[style]["follows"] for style in ("dark", "bright")] == [1.0, 1.0]
    assert summary["dark"]["own"] < 0.05 < 0.4 < summary["dark"]["other"]


def test_results_that_ignore_the_guide_are_found_out(tmp_path: Path) -> None:
    summary = report(tmp_path, follows=False)
    assert summary["dark"]["follows"] + summary["bright"]["follows"] == 1.0


def test_every_input_has_a_row_per_style_and_there_is_a_picture(tmp_path: Path) -> None:
    report(tmp_path, follows=True)
    with (tmp_path / "guidance.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["patient"], row["style"]) for row in rows[:2]] == [("p0", "dark"), ("p0", "bright")]
    assert len(rows) == 6
    assert (tmp_path / "guidance.png").is_file()


def test_tone_curves_keep_the_ranks_and_other_structure_does_not() -> None:
    image = torch.rand(1, 32, 32)
    assert rank_correlation(image, image**0.5) == pytest.approx(1.0)
    assert abs(rank_correlation(image, torch.rand(1, 32, 32))) < 0.2


def test_tissue_means_are_those_of_the_classes() -> None:
    means = tissue_means(torch.tensor([[[0.2, 0.4, 0.9]]]), torch.tensor([[[1, 1, 2]]]), [1, 2, 3])
    assert means[:2].tolist() == pytest.approx([0.3, 0.9])
    assert math.isnan(means[2])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"guides": {"dark": [item(0.2, 1)]}}, "two styles"),
        ({"guides": {"dark": [item(0.2, 1)], "bright": [{"image": torch.rand(1, 8, 8)}]}}, "labels"),
        ({"inputs": [{"image": torch.rand(1, 8, 8)}]}, "labels"),
        ({"inputs": []}, "empty"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        report(tmp_path, follows=True, **arguments)
