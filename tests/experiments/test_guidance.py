# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.errors import InputError
from scripts.experiments.guidance import GuidanceReport, check_guidance_data
from scripts.inferers import EnhancementInferer


class Follower(torch.nn.Module):
    """Its cue is the image's mean intensity, and its result has that mean (if it follows) under the input's pattern."""

    def __init__(self, follows: bool) -> None:
        super().__init__()
        self.follows = follows
        self.prototype_mean = torch.tensor([0.5])

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
    assert [summary[style]["nearer"] for style in ("dark", "bright")] == [1.0, 1.0]
    assert summary["dark"]["to_own"] < 0.05 < 0.4 < summary["dark"]["to_other"]


def test_results_that_ignore_the_guide_are_found_out(tmp_path: Path) -> None:
    summary = report(tmp_path, follows=False)
    assert summary["dark"]["nearer"] + summary["bright"]["nearer"] == 1.0


def test_every_input_has_a_row_per_style_and_there_is_a_picture(tmp_path: Path) -> None:
    report(tmp_path, follows=True)
    with (tmp_path / "guidance.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["patient"], row["style"]) for row in rows[:2]] == [("p0", "dark"), ("p0", "bright")]
    assert len(rows) == 6
    assert (tmp_path / "guidance.png").is_file()


def with_references(seed: int) -> dict[str, Any]:
    made = item(0.4, seed)
    pattern = made["image"] - made["image"].mean()
    return {**made, "references": {"dark": 0.25 + pattern, "bright": 0.75 + pattern}}


def test_with_references_a_follower_is_nearest_to_that_of_its_guide(tmp_path: Path) -> None:
    summary = report(tmp_path, follows=True, inputs=[with_references(seed) for seed in range(2)])
    for row in summary.values():
        assert row["own"] > row["prototype"] + 3
        assert row["own"] > row["other"] + 6
        assert row["follow"] == pytest.approx(1.0, abs=0.1)
        assert {"matched", "ssim", "haarpsi", "detail_energy", "new_structure", "lost_structure"} <= set(row)


def test_with_references_one_that_ignores_its_guide_gains_nothing_by_it(tmp_path: Path) -> None:
    summary = report(tmp_path, follows=False, inputs=[with_references(seed) for seed in range(2)])
    for row in summary.values():
        assert row["own"] == pytest.approx(row["prototype"])
        assert row["follow"] == pytest.approx(0.0, abs=1e-6)


def test_the_table_has_a_line_for_every_style_and_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(tmp_path, follows=True, inputs=[with_references(0)])
    printed = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("|")][2:] == [
        "dark",
        "bright",
        "mean",
    ]
    assert "follow: " in printed
    assert "own above prototype: +" in printed


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


def test_the_share_of_style_stands_in_every_row(tmp_path: Path) -> None:
    report(tmp_path, follows=True)
    with (tmp_path / "guidance.csv").open() as file:
        (share,) = {float(row["style_share"]) for row in csv.DictReader(file)}
    assert 0.9 < share <= 1.0


STYLED = [{"image": "a.png", "label": "a.png", "style": style} for style in ("dark", "bright")]
TEST = [{"image": "b.png", "label": "b.png"}]


def test_a_datalist_that_can_be_measured_is_accepted() -> None:
    check_guidance_data([*STYLED, {"image": "without a style.png"}], TEST)


@pytest.mark.parametrize(
    ("guides", "inputs", "word"),
    [
        (STYLED[:1], TEST, "two styles"),
        (STYLED, [], "empty"),
        ([*STYLED, {"image": "c.png", "style": "dark"}], TEST, "labels"),
        (STYLED, [{"image": "b.png"}], "labels"),
    ],
)
def test_a_datalist_that_cannot_be_measured_is_refused(guides: list[Any], inputs: list[Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        check_guidance_data(guides, inputs)
