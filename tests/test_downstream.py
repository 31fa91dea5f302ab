# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from scripts.downstream import EnhanceImaged, check_downstream_training, describe_downstream
from scripts.errors import InputError
from scripts.inferers import EnhancementInferer
from scripts.model_spec import ModelSpec
from scripts.tasks import SegmentationTask

SETTINGS = {"task": "segmentation", "spatial_dims": 2, "channels": 1, "slice_axis": 2, "percentiles": [0.5, 99.5]}


class Inverting(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1 - images


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.pt"
    file.write_bytes(b"")
    ModelSpec({"spatial_dims": 2, "in_channels": 1}, percentiles=(0.5, 99.5)).save(file)
    return file


def test_the_image_of_an_item_is_replaced_by_the_enhanced_one_and_keeps_its_place() -> None:
    image = MetaTensor(torch.rand(1, 6, 5, 3), affine=torch.diag(torch.tensor([2.0, 2, 3, 1])))
    label = torch.ones(1, 6, 5, 3)
    item = EnhanceImaged("image", Inverting(), EnhancementInferer(2))({"image": image, "label": label})
    assert torch.equal(item["image"].as_tensor(), 1 - image.as_tensor())
    assert torch.equal(item["image"].affine, image.affine)
    assert item["label"] is label


def test_settings_of_the_trained_enhancement_are_accepted(model_file: Path) -> None:
    check_downstream_training(SETTINGS, SegmentationTask(3), model_file)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"task": "none"}, "needs a task"),
        ({"pause_after": 2}, "--pause_after is of the run training"),
        ({"channels": 3}, "was trained with channels 1, not 3"),
        ({"window": [0, 255]}, r"was trained with window None, not \[0, 255\]"),
        ({"percentiles": [0, 100]}, r"was trained with percentiles \[0.5, 99.5\]"),
    ],
)
def test_other_settings_are_refused(changed: dict[str, Any], sentence: str, model_file: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        check_downstream_training({**SETTINGS, **changed}, SegmentationTask(3), model_file)


def test_labels_are_needed(model_file: Path) -> None:
    with pytest.raises(InputError, match="no entry of training_lq has one"):
        check_downstream_training(SETTINGS, None, model_file)


def test_the_description_tells_of_the_downstream_network(model_file: Path) -> None:
    describe_downstream(model_file, SegmentationTask(3), nn.Identity)
    downstream = ModelSpec.load(model_file).downstream
    assert downstream is not None
    assert (downstream["task"], downstream["num_classes"]) == ("segmentation", 3)
