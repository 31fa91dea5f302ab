# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.data import count_classes, describe_training, is_multi_label, labelled_entries
from scripts.errors import InputError

NUMBERS = [{"image": "a", "label": 0}, {"image": "b", "label": 2}, {"image": "c"}]
LISTS = [{"image": "a", "label": [0, 1, 1]}, {"image": "b"}]


def mask(path: Path, highest: int) -> dict[str, Any]:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, 0] = highest
    Image.fromarray(pixels).save(path)
    return {"image": "x", "label": str(path)}


def test_masks_of_0_and_255_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="values 0, 255 but never 1"):
        count_classes([mask(tmp_path / "a.png", 255)], "segmentation")


def test_labelled_entries_are_those_with_a_label() -> None:
    assert labelled_entries(NUMBERS) == NUMBERS[:2]


@pytest.mark.parametrize(("entries", "expected"), [(NUMBERS, False), (LISTS, True)])
def test_lists_are_multi_label(entries: list[dict[str, Any]], expected: bool) -> None:
    assert is_multi_label(entries) is expected


def test_classes_of_masks_are_counted_over_all_of_them(tmp_path: Path) -> None:
    assert count_classes([mask(tmp_path / f"{n}.png", n) for n in (1, 3, 2)], "segmentation") == 4


@pytest.mark.parametrize(("entries", "expected"), [(NUMBERS, 3), (LISTS, 3), ([{"image": "a", "label": [1]}], 1)])
def test_classes_of_numbers_and_lists_are_counted(entries: list[dict[str, Any]], expected: int) -> None:
    assert count_classes(entries, "classification") == expected


def test_a_given_number_is_taken_without_reading_labels() -> None:
    assert count_classes([{"image": "a", "label": "/nowhere.nii"}], "segmentation", 5) == 5


def test_one_class_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 classes or more"):
        count_classes([mask(tmp_path / "a.png", 0)], "segmentation")


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match='Unknown task "detection": use segmentation or classification'):
        count_classes(NUMBERS, "detection")


@pytest.mark.parametrize(
    ("entries", "task", "expected"),
    [
        (
            NUMBERS,
            "classification",
            "Bi-level training .hypergradient unrolled.*labels of 2 of 3 low-quality and 1 of 2 high-quality",
        ),
        (NUMBERS, "none", "enhancement only: task is none"),
        ([{"image": "a"}], "segmentation", "enhancement only: no low-quality training image has a label"),
    ],
)
def test_the_first_line_says_how_training_goes(entries: list[dict[str, Any]], task: str, expected: str) -> None:
    first = describe_training(entries, LISTS, task, "unrolled", frozen_task_networks=2).splitlines()[0]
    assert re.search(expected, first)


@pytest.mark.parametrize(
    ("guides", "expected"),
    [
        ([{"image": "x", "label": "l", "patient": "a"}], "all of patients with labelled low-quality images"),
        ([{"image": "x", "patient": "b"}], "no high-quality training image has a label"),
        (
            [{"image": "x", "label": "l", "patient": who} for who in "abc"],
            "2 frozen task networks will learn from 2 labelled high-quality images",
        ),
    ],
)
def test_it_says_whether_clean_readers_can_learn(guides: list[dict[str, Any]], expected: str) -> None:
    entries = [{"image": "y", "label": "m", "patient": "a"}, {"image": "z", "patient": "b"}]
    described = describe_training(entries, guides, "segmentation", "first_order", frozen_task_networks=2).splitlines()
    assert len(described) == 2
    assert expected in described[1]
    assert len(describe_training(entries, guides, "segmentation", "none", frozen_task_networks=0).splitlines()) == 1
