# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Any

import pytest

from scripts import workflow
from scripts.errors import InputError
from scripts.tasks import ClassificationTask, SegmentationTask, Task

NUMBERS = [{"image": "a", "label": 0}, {"image": "b", "label": 2}, {"image": "c"}]
LISTS = [{"image": "a", "label": [0, 1, 1]}, {"image": "b"}]
LABELLED, UNLABELLED = {"validation": NUMBERS}, {"validation": [{"image": "a"}]}


def test_parts_that_are_switched_off_are_left_out() -> None:
    assert workflow.present({"a": 1, "b": None}, [2, None]) == [1, 2]


# ------------------------------------------------------------------------------ the metric to watch


@pytest.mark.parametrize(
    ("setting", "task", "datalists", "expected"),
    [
        ("auto", None, UNLABELLED, "ssim"),
        ("auto", SegmentationTask(2), LABELLED, "dice"),
        ("auto", ClassificationTask(2), LABELLED, "auc"),
        ("auto", SegmentationTask(2), UNLABELLED, "ssim"),
        ("newest", SegmentationTask(2), LABELLED, None),
        ("psnr", SegmentationTask(2), LABELLED, "psnr"),
        ("surface_dice", SegmentationTask(2), LABELLED, "surface_dice"),
    ],
)
def test_the_metric_that_chooses_the_network(
    setting: str, task: Task | None, datalists: dict[str, Any], expected: str | None
) -> None:
    assert workflow.choose_metric(setting, task, datalists) == expected


@pytest.mark.parametrize(
    ("setting", "task", "datalists"),
    [
        ("fid", None, UNLABELLED),
        ("dice", SegmentationTask(2), UNLABELLED),
        ("hausdorff95", SegmentationTask(2), LABELLED),
        ("auc", SegmentationTask(2), LABELLED),
    ],
)
def test_a_metric_that_is_not_measured_or_of_which_less_is_better_is_refused(
    setting: str, task: Task | None, datalists: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"model_metric must be.*not {setting}"):
        workflow.choose_metric(setting, task, datalists)


@pytest.mark.parametrize(
    ("entries", "task", "first", "others"),
    [
        ([{"image": "a"}, {"image": "b", "reference": "c"}], None, ["ssim"], ["psnr", "ms_ssim", "haarpsi"]),
        ([{"image": "a", "label": 1}], ClassificationTask(2), ["auc"], ["accuracy"]),
        ([{"image": "a", "label": 1}], None, [], []),
        ([{"image": "a"}], SegmentationTask(2), [], []),
    ],
)
def test_only_what_can_be_measured_is(
    entries: list[dict[str, Any]], task: Task | None, first: list[str], others: list[str]
) -> None:
    key, further = workflow.validation_metrics(entries, task, 2, 2)
    assert (list(key or {}), list(further)) == (first, others)


# ------------------------------------------------------------------------------ the first lines of a training


def described(
    entries: list[dict[str, Any]],
    guides: list[dict[str, Any]],
    task: str,
    mode: str,
    frozen_task_networks: int,
    restoration_epochs: int = 4,
) -> list[str]:
    settings = {"task": task, "hypergradient": mode, "restoration_epochs": restoration_epochs, "epochs": 12}
    datalists = {"training_lq": entries, "training_hq": guides}
    return workflow.describe_training(settings, datalists, frozen_task_networks).splitlines()


def test_a_training_that_restores_alone_is_told() -> None:
    first, second = described([], [], "none", "none", 0, restoration_epochs=12)
    assert first == "Training enhancement only: task is none."
    assert "leaves none of the epochs (12)" in second


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
    assert re.search(expected, described(entries, LISTS, task, "unrolled", 2)[0])


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
def test_it_says_whether_frozen_task_networks_can_learn(guides: list[dict[str, Any]], expected: str) -> None:
    entries = [{"image": "y", "label": "m", "patient": "a"}, {"image": "z", "patient": "b"}]
    lines = described(entries, guides, "segmentation", "first_order", 2)
    assert len(lines) == 2
    assert expected in lines[1]
    assert len(described(entries, guides, "segmentation", "none", 0)) == 1


# ------------------------------------------------------------------------------ other checks, parts


@pytest.mark.parametrize(
    ("settings", "datalists", "task", "message"),
    [
        ({"task": "none"}, {}, None, "a task"),
        ({"datalist": None}, {}, None, "a datalist"),
        ({}, {}, None, "no entry of training_lq"),
        ({}, {"testing": [{"image": "a"}]}, SegmentationTask(2), "no entry of testing"),
    ],
)
def test_the_downstream_experiment_is_refused_before_its_arms_are_trained(
    settings: dict[str, Any], datalists: dict[str, Any], task: Task | None, message: str
) -> None:
    usual = {"task": "segmentation", "datalist": "list.json", "dataset_dir": "/nowhere"}
    with pytest.raises(InputError, match=message):
        workflow.check_downstream_experiment({**usual, **settings}, datalists, task)


def test_a_model_of_few_validation_images_is_not_calibrated() -> None:
    workflow.calibrate_model("/nowhere/model.pt", [{"image": "a"}, {"image": "b"}], "cpu")
