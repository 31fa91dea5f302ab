# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from scripts.errors import InputError
from scripts.io import PATIENT_SPACE, PIXEL_SPACE, SPACE
from scripts.reports.task import TaskScores
from scripts.tasks import ClassificationTask, SegmentationTask

LABEL = [[1, 1, 2, 2, 0, 0]]
WORSE = [[1, 0, 2, 0, 0, 0]]  # Dice 2/3 of either class
MISSED = [[1, 1, 0, 0, 0, 0]]  # Dice 1 and 0


def segmented(image: Any = None, pred: Any = None, reference: Any = None, **entries: Any) -> dict[str, Any]:
    logits = {
        f"task_{key}": torch.nn.functional.one_hot(torch.tensor(numbers), 3).movedim(-1, 0).float()
        for key, numbers in (("image", image), ("pred", pred), ("reference", reference))
        if numbers is not None
    }
    return {"label": torch.tensor([LABEL]), **logits, **entries}


def classified(image: list[float], pred: list[float], label: Any) -> dict[str, Any]:
    return {"label": label, "task_image": torch.tensor(image), "task_pred": torch.tensor(pred)}


def measured(scores: TaskScores, *cases: dict[str, Any]) -> list[dict[str, float]]:
    return [scores.measure(case) for case in cases]


def test_case_has_a_score_for_input_enhanced_and_reference() -> None:
    (row,) = measured(TaskScores(SegmentationTask(3)), segmented(MISSED, WORSE, LABEL))
    assert [row[f"{state}_dice"] for state in ("input", "enhanced", "reference")] == pytest.approx([1 / 2, 2 / 3, 1])
    assert [row[f"input_dice_class{number}"] for number in (1, 2)] == [1.0, 0.0]
    assert row["input_hd95"] == pytest.approx((1 + 36) ** 0.5 / 2)
    assert row["reference_surface_dice"] == 1.0


def test_case_without_a_label_has_no_score() -> None:
    assert TaskScores(SegmentationTask(3)).measure(segmented(pred=WORSE, label=None)) == {}
    assert TaskScores(SegmentationTask(3)).measure({"task_pred": segmented(pred=WORSE)["task_pred"]}) == {}


def test_segmentation_is_summed_up_over_patients() -> None:
    scores = TaskScores(SegmentationTask(3))
    rows = measured(scores, segmented(WORSE, LABEL), segmented(LABEL, LABEL), {})
    summary = scores.summarize(rows)
    assert summary["patients"] == {"input": 2, "enhanced": 2}
    assert summary["metrics"]["dice"]["input"] == pytest.approx({"mean": 5 / 6, "std": 2**0.5 / 6})
    assert summary["metrics"]["dice_class2"]["enhanced"] == {"mean": 1.0, "std": 0.0}


def test_table_has_a_row_per_metric_and_a_column_per_state() -> None:
    scores = TaskScores(SegmentationTask(3), class_names=["background", "grey", "white"])
    rows = measured(scores, segmented(WORSE, LABEL, LABEL))
    cells = scores.table(scores.summarize(rows))
    assert cells[:4] == [
        ("Metric", "LQ input", "Enhanced", "Reference"),
        ("Dice", "0.667 ± 0.000", "1.000 ± 0.000", "1.000 ± 0.000"),
        ("Dice, grey", "0.667 ± 0.000", "1.000 ± 0.000", "1.000 ± 0.000"),
        ("Dice, white", "0.667 ± 0.000", "1.000 ± 0.000", "1.000 ± 0.000"),
    ]
    assert [row[0] for row in cells[4:]] == ["HD95 (pixels)", "Surface Dice at 2 pixels"]


def test_two_classes_have_no_row_of_their_own_beside_the_mean() -> None:
    scores = TaskScores(SegmentationTask(2))
    case = {"label": torch.ones(1, 2, 2), "task_pred": torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])}
    assert list(measured(scores, case)[0]) == ["enhanced_dice", "enhanced_hd95", "enhanced_surface_dice"]


@pytest.mark.parametrize(("space", "unit"), [(PATIENT_SPACE, "mm"), (PIXEL_SPACE, "pixels")])
def test_distances_are_in_millimetres_unless_the_label_is_a_picture(space: str, unit: str) -> None:
    scores = TaskScores(SegmentationTask(3))
    label = MetaTensor(torch.tensor([LABEL]), meta={SPACE: space})
    rows = measured(scores, segmented(pred=LABEL, label=label))
    assert f"HD95 ({unit})" in [row[0] for row in scores.table(scores.summarize(rows))]


def test_reference_that_only_some_patients_have_is_told() -> None:
    scores = TaskScores(SegmentationTask(3))
    rows = measured(scores, segmented(WORSE, WORSE, LABEL), segmented(WORSE, WORSE))
    assert scores.remarks(scores.summarize(rows)) == [
        "Mean ± standard deviation over 2 patients with a label.",
        "Reference: only 1 patient.",
    ]


def test_classes_that_were_not_found_are_counted() -> None:
    scores = TaskScores(SegmentationTask(3))
    summary = scores.summarize(measured(scores, segmented(MISSED, LABEL), segmented(MISSED, MISSED)))
    assert summary["missed_classes"] == {"input": 2, "enhanced": 1}
    assert scores.remarks(summary)[-1].endswith("LQ input 2, Enhanced 1.")


def test_columns_are_those_that_were_measured() -> None:
    scores = TaskScores(SegmentationTask(3))
    assert scores.columns([]) == []
    assert scores.columns(measured(scores, segmented(WORSE, LABEL)))[:4] == [
        "input_dice",
        "enhanced_dice",
        "input_dice_class1",
        "enhanced_dice_class1",
    ]


def test_auc_is_over_all_cases_and_accuracy_is_in_the_row() -> None:
    scores = TaskScores(ClassificationTask(2))
    cases = (
        classified([0.0, 1.0], [0.0, 4.0], 1),
        classified([0.0, 2.0], [0.0, -1.0], 0),
        classified([0.0, 3.0], [0.0, 3.0], torch.tensor([1])),
        classified([0.0, -1.0], [0.0, -1.0], 0),
    )
    rows = measured(scores, *cases)
    assert [row["input_accuracy"] for row in rows] == [1.0, 0.0, 1.0, 1.0]
    summary = scores.summarize(rows)
    assert summary["metrics"] == {
        "accuracy": {"input": 0.75, "enhanced": 1.0},
        "auc": {"input": 0.75, "enhanced": 1.0},
    }
    assert summary["images"] == {"input": 4, "enhanced": 4}


def test_auc_of_every_class_is_told_where_there_are_several() -> None:
    scores = TaskScores(ClassificationTask(2, multi_label=True), class_names=["oedema", "nodule"])
    cases = (
        classified([1.0, 0.0], [1.0, 0.0], torch.tensor([1.0, 0.0])),
        classified([0.0, 0.0], [0.0, 0.0], torch.tensor([0.0, 0.0])),
    )
    summary = scores.summarize(measured(scores, *cases))
    assert summary["metrics"]["auc_oedema"] == {"input": 1.0, "enhanced": 1.0}
    assert summary["metrics"]["auc_nodule"] == {"input": None, "enhanced": None}
    assert scores.table(summary)[-1] == ("AUC, nodule", "–", "–")


def test_absence_of_labels_is_told() -> None:
    for task in (SegmentationTask(3), ClassificationTask(3)):
        scores = TaskScores(task)
        summary = scores.summarize([{}])
        assert summary["metrics"] == {}
        assert scores.remarks(summary) == ["No patient has a label that the downstream network could be compared with."]


def test_second_evaluation_starts_anew() -> None:
    scores = TaskScores(ClassificationTask(2))
    measured(scores, classified([0.0, 1.0], [0.0, 1.0], 1))
    scores.reset()
    rows = measured(scores, classified([0.0, 1.0], [0.0, 1.0], 0))
    assert scores.summarize(rows)["images"] == {"input": 1, "enhanced": 1}


@pytest.mark.parametrize("names", [["lesion"], ["a", "a"]])
def test_names_that_do_not_fit_the_classes_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="2 different names"):
        TaskScores(SegmentationTask(2), class_names=names)
