# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import UNet

from scripts.errors import InputError
from scripts.experiments.methods import MethodsReport
from scripts.experiments.readers import CleanReader, Readers
from scripts.experiments.style_guides import StyleGuides
from scripts.inferers import EnhancementInferer
from scripts.tasks import SegmentationTask

LEVELS = {"dark": 0.4, "bright": 0.8}
SIZE = 32


class ToTheLevel(torch.nn.Module):
    """Scales an image to the highest intensity of its guide: the simulated truth, save for noise."""

    def __init__(self) -> None:
        super().__init__()
        self.prototype_mean = torch.tensor([0.6])
        self.spatial_dims = 2

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        highest = guide.flatten(1).amax(dim=1, keepdim=True)
        return highest, torch.zeros_like(highest)

    def enhance_with_cue(self, image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        return 2 * cue.view(-1, 1, 1, 1) * image


def item(seed: int, channels: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(1, SIZE, SIZE)
    label[:, 6:26, 6:16], label[:, 6:26, 16:26] = 1, 2
    structure = (label / 2).repeat(channels, 1, 1)
    noise = 0.03 * torch.rand(channels, SIZE, SIZE, generator=generator)
    return {
        "image": MetaTensor(0.5 * structure + noise, meta={"filename_or_obj": f"/lq/p{seed}.png"}),
        "label": label,
        "patient": f"p{seed}",
        "references": {style: level * structure for style, level in LEVELS.items()},
    }


def guides(channels: int = 1) -> dict[str, list[dict[str, Any]]]:
    return {style: [{"image": level * torch.ones(channels, 16, 16).tril()}] for style, level in LEVELS.items()}


def read(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"image": torch.from_numpy(np.load(found["image"]))}


def compared(folder: Path, channels: int = 1, **arguments: Any) -> list[dict[str, Any]]:
    items = [item(seed, channels) for seed in range(2)]
    defaults: dict[str, Any] = {
        "styled": StyleGuides(ToTheLevel(), EnhancementInferer(spatial_dims=2), guides(channels)),
        "testing": items,
        "validation": [item(5, channels)],
        "preprocessing": read,
        "output_dir": folder,
    }
    return MethodsReport(**{**defaults, **arguments}).run()


@pytest.fixture
def results(tmp_path: Path) -> str:
    folder = tmp_path / "others"
    folder.mkdir()
    for seed in range(2):
        np.save(folder / f"p{seed}.png", np.asarray(item(seed)["image"]))
        (folder / f"p{seed}.png.npy").rename(folder / f"p{seed}.png")
    return str(folder)


def by_method(rows: list[dict[str, Any]], style: str) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in rows if row["style"] == style}


def test_every_method_stands_in_the_table_of_every_style(
    tmp_path: Path, results: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = compared(tmp_path, others={"Copy": results})
    for style in LEVELS:
        found = by_method(rows, style)
        assert list(found) == ["input", "Copy", "N4", "N4, non-local means", "HQG-Net", "reference"]
        assert found["Copy"]["psnr"] == found["input"]["psnr"]
        assert found["HQG-Net"]["psnr"] > found["input"]["psnr"] + 3
        assert found["N4"]["psnr_toned"] >= found["N4"]["psnr"] - 1e-3
    table = (tmp_path / "methods.md").read_text()
    assert table in capsys.readouterr().out
    assert "- N4, dark: N4 of " in table
    with (tmp_path / "methods.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 6
    assert (tmp_path / "methods.png").is_file()


def test_a_method_for_one_style_is_left_out_of_the_other_and_colours_have_no_chain(tmp_path: Path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    for seed in range(2):
        with (folder / f"p{seed}.png").open("wb") as file:
            np.save(file, np.asarray(item(seed, 3)["image"]))
    rows = compared(tmp_path, channels=3, others={"Copy": {"dark": str(folder)}})
    assert list(by_method(rows, "dark")) == ["input", "Copy", "HQG-Net", "reference"]
    assert list(by_method(rows, "bright")) == ["input", "HQG-Net", "reference"]


def test_a_reader_of_clean_images_reads_the_results(tmp_path: Path) -> None:
    task = SegmentationTask(3)
    network = UNet(2, 1, 3, channels=(4, 6), strides=(2,), norm="instance")
    readers = Readers(network, task, task.inferer(2, 2), 2, 2, 30, 2, 0.02, None, torch.device("cpu"))
    clean = [{"image": 0.6 * item(9)["label"] / 2, "label": item(9)["label"]}]
    rows = compared(tmp_path, reader=CleanReader(readers, clean, 0), classical=False)
    found = by_method(rows, "dark")
    assert list(found) == ["input", "HQG-Net", "reference"]
    assert found["reference"]["dice_mean"] > 0.5
    assert {"deviation_1", "deviation_2"} <= set(found["input"])
    assert found["reference"]["deviation_1"] == pytest.approx(0.0, abs=1e-6)
    assert found["input"]["deviation_1"] > 0.005
    table = (tmp_path / "methods.md").read_text()
    assert "deviation, class 2" in table
    assert "One S (UNet): 30 steps of 2 images" in table


def test_results_are_looked_for_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    with pytest.raises(InputError, match='Copy should have one file for "p0"'):
        compared(tmp_path, others={"Copy": {"bright": str(tmp_path / "others")}}, reader=None)
    twins = [item(0), item(0)]
    with pytest.raises(InputError, match="several are called p0"):
        compared(tmp_path, testing=twins, others={"Copy": str(tmp_path / "others")})


def test_a_reader_needs_labels(tmp_path: Path) -> None:
    task = SegmentationTask(3)
    readers = Readers(torch.nn.Identity(), task, task.inferer(2, 2), 2, 2, 1, 1, 0.02, None, torch.device("cpu"))
    unlabelled = [{name: value for name, value in item(0).items() if name != "label"}]
    with pytest.raises(InputError, match="downstream_steps to 0"):
        compared(tmp_path, testing=unlabelled, reader=CleanReader(readers, [], 0))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"testing": []}, '"testing" is empty'),
        ({"testing": [{"image": torch.rand(1, SIZE, SIZE)}]}, 'entry of "testing" "references" of dark, bright'),
        ({"validation": []}, '"validation" is empty'),
        ({"validation": [{**item(5), "references": {"dark": torch.rand(1, SIZE, SIZE)}}]}, "of bright"),
        ({"testing": [{**item(5), "references": dict.fromkeys(LEVELS, torch.rand(1, 16, 16))}]}, "on the grid of"),
        ({"others": {"Copy": "/nowhere"}}, "nowhere"),
        ({"others": {"Copy": ""}}, "results of Copy are missing"),
        ({"others": "/nowhere"}, "--others"),
        ({"others": {"N4": "/"}}, "N4 stands in the table already"),
        ({"others": {"Copy": {"drak": "/"}}}, "style drak; the styles are dark, bright"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        compared(tmp_path, **arguments)
