# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet121, UNet
from PIL import Image
from torch import nn

from scripts.errors import InputError
from scripts.tasks import (
    ClassificationTask,
    SegmentationTask,
    Task,
    is_multi_label,
    labelled_entries,
    make_task,
    without_labels,
)
from scripts.transforms import ReadImaged

NUMBERS = [{"image": "a", "label": 0}, {"image": "b", "label": 2}, {"image": "c"}]
LISTS = [{"image": "a", "label": [0, 1, 1]}, {"image": "b"}]


def mask(path: Path, highest: int) -> dict[str, Any]:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, 0] = highest
    Image.fromarray(pixels).save(path)
    return {"image": "x", "label": str(path)}


def made(name: str, entries: list[dict[str, Any]], **arguments: Any) -> Task:
    task = make_task(name, entries, **arguments)
    assert task is not None
    return task


# ------------------------------------------------------------------------------ from the labels


@pytest.mark.parametrize("inside", [255, 128, 2])
def test_masks_of_0_and_another_number_are_two_classes(
    tmp_path: Path, inside: int, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [mask(tmp_path / f"{name}.png", inside) for name in "ab"]
    task = made("segmentation", entries)
    assert task.num_classes == 2
    (transform,) = task.label_transforms()
    read = ReadImaged("label")
    for entry in entries:
        label = transform(read({"label": entry["label"]}))["label"]
        assert (label.sum(), label[0, 0, 0], label.dtype) == (1, 1, torch.uint8)
    assert caplog.text.count(f'a.png" holds 0 and {inside}: here and in labels like it, {inside} is class 1') == 1
    assert "b.png" not in caplog.text


def test_values_with_a_gap_are_named_with_a_file(tmp_path: Path) -> None:
    entries = [mask(tmp_path / "a.png", 1), mask(tmp_path / "b.png", 255), mask(tmp_path / "c.png", 128)]
    with pytest.raises(InputError, match='values 0, 1, 128, 255 .the last in ".*b.png". but never 2'):
        make_task("segmentation", entries)


def test_labelled_entries_are_those_with_a_label() -> None:
    assert labelled_entries(NUMBERS) == NUMBERS[:2]


def test_labels_can_be_left_out() -> None:
    assert without_labels({"testing": LISTS}) == {"testing": [{"image": "a"}, {"image": "b"}]}


@pytest.mark.parametrize(("entries", "expected"), [(NUMBERS, False), (LISTS, True)])
def test_lists_are_multi_label(entries: list[dict[str, Any]], expected: bool) -> None:
    assert is_multi_label(entries) is expected
    assert made("classification", entries).multi_label is expected


def test_classes_of_masks_are_counted_over_all_of_them(tmp_path: Path) -> None:
    assert made("segmentation", [mask(tmp_path / f"{n}.png", n) for n in (1, 3, 2)]).num_classes == 4


@pytest.mark.parametrize(("entries", "expected"), [(NUMBERS, 3), (LISTS, 3), ([{"image": "a", "label": [1]}], 1)])
def test_classes_of_numbers_and_lists_are_counted(entries: list[dict[str, Any]], expected: int) -> None:
    assert made("classification", entries).num_classes == expected


def test_a_given_number_is_taken_without_reading_labels() -> None:
    assert made("segmentation", [{"image": "a", "label": "/nowhere.nii"}], num_classes=5).num_classes == 5


def test_one_class_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 classes or more"):
        make_task("segmentation", [mask(tmp_path / "a.png", 0)])


@pytest.mark.parametrize(("name", "entries"), [("none", NUMBERS), ("segmentation", [{"image": "a"}])])
def test_there_is_no_task_without_labels_or_where_none_is_wanted(name: str, entries: list[dict[str, Any]]) -> None:
    assert make_task(name, entries) is None


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match='Unknown task "detection": use segmentation or classification'):
        make_task("detection", NUMBERS)


# ------------------------------------------------------------------------------ what it knows


def test_masks_are_read_checked_and_varied_with_the_image_and_classes_are_not() -> None:
    masks, classes = SegmentationTask(2), ClassificationTask(2)
    assert (masks.spatial_keys, classes.spatial_keys) == (
        ["image", "label", "reference", "guide"],
        ["image", "reference", "guide"],
    )
    assert (masks.varied_keys, classes.varied_keys) == (["image", "label"], ["image"])
    assert (masks.mask_key, classes.mask_key) == ("label", None)


@pytest.mark.parametrize("task", [SegmentationTask(2), ClassificationTask(2), ClassificationTask(2, multi_label=True)])
def test_the_metrics_that_choose_a_network_are_among_the_measured(task: Task) -> None:
    assert {task.key_metric, *task.rising_metrics} <= set(task.metrics())


@pytest.mark.parametrize(
    ("task", "logits", "labels"),
    [
        (SegmentationTask(3), (2, 3, 8, 8), torch.zeros(2, 1, 8, 8)),
        (ClassificationTask(3), (2, 3), torch.tensor([0, 2])),
        (ClassificationTask(3, multi_label=True), (2, 3), torch.ones(2, 3)),
    ],
)
def test_the_loss_takes_logits_and_labels(task: Task, logits: tuple[int, ...], labels: torch.Tensor) -> None:
    assert task.loss_function(torch.zeros(logits), labels).shape == ()


def test_a_loss_can_be_given() -> None:
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert made("classification", NUMBERS, loss_function=loss).loss_function is loss


def test_labels_of_a_classification_become_tensors() -> None:
    (transform,) = ClassificationTask(3).label_transforms()
    assert transform({"image": "a", "label": 2})["label"] == torch.tensor(2)
    assert SegmentationTask(3).label_transforms() == []  # a class 255 of many is a class


@pytest.mark.parametrize(("task", "shape"), [(SegmentationTask(2), (1, 2, 12, 20)), (ClassificationTask(2), (1, 2))])
def test_the_inferer_gives_one_answer_for_an_image_of_any_size(task: Task, shape: tuple[int, ...]) -> None:
    network = unet() if task.name == "segmentation" else DenseNet121(2, 1, 2)
    assert task.inferer(2, divisor=2)(torch.rand(1, 1, *shape[2:] or (33, 35)), network.eval()).shape == shape


# ------------------------------------------------------------------------------ its network S


def unet(out_channels: int = 2) -> UNet:
    return UNet(2, 1, out_channels, channels=(4, 6), strides=(2,), norm="instance")


def test_a_fitting_network_passes() -> None:
    SegmentationTask(2).check_network(unet(), 1, (32, 32))
    ClassificationTask(3).check_network(DenseNet121(2, 1, 3), 1, (64, 64))


@pytest.mark.parametrize(
    ("task", "network", "size", "message"),
    [
        (SegmentationTask(3), unet(2), (32, 32), r"gives \(2, 32, 32\).*needs \(3, 32, 32\)"),
        (ClassificationTask(2), unet(2), (32, 32), r"gives \(2, 32, 32\).*needs \(2,\)"),
        (SegmentationTask(2), UNet(2, 1, 2, (4, 8, 8), (2, 2)), (30, 32), r"does not take a patch of \[30, 32\]"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    task: Task, network: nn.Module, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        task.check_network(network, 1, size)


def test_model_json_gets_the_network_and_the_classes() -> None:
    def definition() -> nn.Module:
        return unet()

    described = ClassificationTask(3, multi_label=True).describe(definition)
    assert described == {"network": None, "task": "classification", "num_classes": 3, "multi_label": True}
