# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.errors import InputError
from scripts.transforms import ClassLabeld


def convert(label: Any, num_classes: int = 3, multi_label: bool = False, image: Any = "dir/a.png") -> torch.Tensor:
    result: torch.Tensor = ClassLabeld("label", num_classes, multi_label)({"image": image, "label": label})["label"]
    return result


@pytest.mark.parametrize("number", [0, 2, np.int64(1)])
def test_a_class_becomes_a_whole_number_without_axes(number: int) -> None:
    label = convert(number)
    assert (label.shape, label.dtype, label.item()) == ((), torch.int64, number)


@pytest.mark.parametrize("classes", [[0, 0, 0], [1, 0, 1]])
def test_a_list_becomes_a_float_for_each_class(classes: list[int]) -> None:
    label = convert(classes, multi_label=True)
    assert (label.dtype, label.tolist()) == (torch.float32, classes)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_losses_take_the_labels(multi_label: bool) -> None:
    label = convert([1, 0, 1] if multi_label else 2, multi_label=multi_label)
    loss = torch.nn.BCEWithLogitsLoss() if multi_label else torch.nn.CrossEntropyLoss()
    assert loss(torch.zeros(2, 3), torch.stack([label, label])).isfinite()


def test_the_rest_of_an_item_stays() -> None:
    item = {"image": "a.png", "label": 1, "patient": "P"}
    assert ClassLabeld("label", 2)(item) == item


def test_a_key_may_be_missing_if_allowed() -> None:
    item = {"image": "a.png"}
    assert ClassLabeld("label", 2, allow_missing_keys=True)(item) == item
    with pytest.raises(KeyError):
        ClassLabeld("label", 2)(item)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "is 3 but classes go from 0 to 2: mend it, or set --num_classes"),
        (-1, "is -1 but classes go from 0 to 2"),
        ([0, 1, 0], r"is the list \[0, 1, 0\]: set --task_def#multi_label True"),
        ("b.nii.gz", 'is the file "b.nii.gz": leave configs/classification.yaml out'),
        (Path("b.nii.gz"), 'is the file "b.nii.gz": leave configs/classification.yaml out'),
        (1.0, "is 1.0: give the number of its class"),
        (True, "is True: give the number"),
    ],
)
def test_what_is_no_class_is_refused(label: Any, message: str) -> None:
    with pytest.raises(InputError, match=f'^the label of "dir/a.png" {message}'):
        convert(label)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1], "lists 2 classes but there are 3: mend it, or set --num_classes"),
        ([0, 1, 2], r"is \[0, 1, 2\]: give a list of 3 numbers"),
        ([0, 1, 0.5], r"is \[0, 1, 0.5\]: give a list"),
        ([0, 1, True], r"is \[0, 1, True\]: give a list"),
        (1, "is the number 1: set --task_def#multi_label False"),
        ("b.nii.gz", 'is the file "b.nii.gz": leave configs/classification.yaml out'),
        (None, "is None: give a list of 3 numbers"),
    ],
)
def test_what_is_no_list_of_classes_is_refused(label: Any, message: str) -> None:
    with pytest.raises(InputError, match=f'^the label of "dir/a.png" {message}'):
        convert(label, multi_label=True)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (Path("dir/a.png"), '"dir/a.png"'),
        (MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": "dir/a.png"}), '"dir/a.png"'),
        (MetaTensor(torch.zeros(1, 2, 2)), "an image"),
        (torch.zeros(1, 2, 2), "an image"),
    ],
)
def test_the_image_is_named_by_its_file(image: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"^the label of {name} is 9 "):
        convert(9, image=image)


@pytest.mark.parametrize(("num_classes", "multi_label"), [(1, False), (0, True)])
def test_too_few_classes_are_refused(num_classes: int, multi_label: bool) -> None:
    with pytest.raises(InputError, match="--num_classes"):
        ClassLabeld("label", num_classes, multi_label)
