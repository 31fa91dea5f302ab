# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.handlers import MeanDice
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from scripts.errors import InputError
from scripts.handlers.task_metrics import (
    Hausdorff95,
    SurfaceDice,
    TaskAccuracy,
    TaskAUC,
    TaskDice,
    segmentation_pairs,
)
from scripts.handlers.task_scores import (
    auc_by_class,
    grid_spacing,
    hausdorff95_by_class,
    one_hot_pair,
    surface_dice_by_class,
)

SPACING = (0.5, 2.0, 3.0)
PLANE = torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0]))


def logits_of(numbers: torch.Tensor, num_classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(numbers[0].long(), num_classes).movedim(-1, 0).float()


def segmented(label: Any, pred: Any, num_classes: int = 3) -> dict[str, torch.Tensor]:
    label, pred = (torch.as_tensor([numbers]) for numbers in (label, pred))
    return {"label": label, "task_pred": logits_of(pred, num_classes)}


def shifted(*shape: int, spacing: tuple[float, ...] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted and true masks of a random blob and of the same one moved and noisy."""
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(1, *shape, generator=generator) > 0.7).long()
    affine = None if spacing is None else torch.diag(torch.tensor([*spacing, *[1.0] * (4 - len(spacing))]))
    pred = label.roll(1, dims=-1)
    return one_hot_pair(logits_of(pred, 2), label if affine is None else MetaTensor(label, affine=affine), 2)


def run(metric: Any, outputs: list[Any], epochs: int = 1) -> Engine:
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "score")
    engine.run(outputs, max_epochs=epochs)
    return engine


def classified(*cases: tuple[list[float], Any]) -> list[list[dict[str, Any]]]:
    return [[{"task_pred": torch.tensor(logits), "label": label}] for logits, label in cases]


# Dice of the classes 1 and 2: 2·1/(1+2) and 2·2/(4+2)
FIRST = segmented([[1, 0, 2, 2, 2, 2]], [[1, 1, 2, 2, 0, 0]])
PERFECT = segmented([[1, 1, 2, 0, 0, 0]], [[1, 1, 2, 0, 0, 0]])
WITHOUT_CLASS_2 = segmented([[1, 1, 0, 0, 0, 0]], [[1, 1, 2, 0, 0, 0]])


def test_dice_is_the_mean_over_cases_with_every_class_beside_it() -> None:
    metrics = run(TaskDice(3), [[FIRST], [PERFECT]]).state.metrics
    assert metrics == pytest.approx({"score": 5 / 6, "score_class1": 5 / 6, "score_class2": 5 / 6})


def test_class_that_a_label_lacks_does_not_count() -> None:
    metrics = run(TaskDice(3), [[FIRST], [WITHOUT_CLASS_2]]).state.metrics
    assert metrics == pytest.approx({"score": (2 / 3 + 1) / 2, "score_class1": 5 / 6, "score_class2": 2 / 3})


def test_class_that_no_label_has_is_nan_and_the_mean_is_not() -> None:
    metrics = run(TaskDice(3), [[WITHOUT_CLASS_2]]).state.metrics
    assert metrics["score"] == 1.0
    assert math.isnan(metrics["score_class2"])


def test_dice_of_a_missed_class_is_zero() -> None:
    assert run(TaskDice(2), [[segmented([[0, 1]], [[0, 0]], 2)]]).state.metrics["score"] == 0.0


def test_dice_is_that_of_monai() -> None:
    outputs = [[FIRST], [PERFECT], [WITHOUT_CLASS_2]]
    oracle = MeanDice(include_background=False, output_transform=segmentation_pairs(3))
    assert run(TaskDice(3), outputs).state.metrics["score"] == pytest.approx(
        run(oracle, outputs).state.metrics["score"]
    )


def test_dictionary_of_batches_counts_as_its_cases() -> None:
    batch = {key: torch.stack([FIRST[key], PERFECT[key]]) for key in FIRST}
    engine = run(TaskDice(3), [batch])
    assert engine.state.metric_details["score"].tolist() == [pytest.approx([2 / 3, 2 / 3]), [1.0, 1.0]]


@pytest.mark.parametrize("unlabelled", [{"task_pred": FIRST["task_pred"]}, {**FIRST, "label": None}])
def test_case_without_a_label_is_left_out(unlabelled: dict[str, Any]) -> None:
    assert run(TaskDice(3), [[unlabelled, FIRST], [unlabelled]]).state.metrics["score"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [TaskDice(3), Hausdorff95(3), SurfaceDice(3), TaskAccuracy(3), TaskAUC(3)])
def test_absence_of_labels_gives_nan_and_is_told_once(metric: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="scripts.handlers.task_metrics"):
        engine = run(metric, [[{"task_pred": torch.zeros(3)}]], epochs=2)
    assert math.isnan(engine.state.metrics["score"])
    assert [record.message for record in caplog.records] == [
        "No case has a label that the downstream network could be compared with: score is not computed."
    ]


@pytest.mark.parametrize("shape", [(12, 11), (8, 9, 7)])
@pytest.mark.parametrize("with_geometry", [True, False])
def test_surface_metrics_are_those_of_monai_in_the_unit_of_the_geometry(
    shape: tuple[int, ...], with_geometry: bool
) -> None:
    spacing = SPACING[: len(shape)] if with_geometry else None
    pred, label = shifted(*shape, spacing=spacing)
    batch = pred[None], torch.as_tensor(label)[None]
    expected = compute_hausdorff_distance(*batch, percentile=95, spacing=spacing)[0]
    assert hausdorff95_by_class(pred, label) == pytest.approx(expected)
    expected = compute_surface_dice(*batch, class_thresholds=[0.6], spacing=spacing)[0]
    assert surface_dice_by_class(pred, label, 0.6) == pytest.approx(expected)


def test_distance_between_two_points_is_in_millimetres_or_pixels() -> None:
    label, pred = torch.zeros(2, 1, 6, 6)
    label[0, 2, 1] = pred[0, 2, 4] = 1
    case = {"label": label, "task_pred": logits_of(pred, 2)}
    assert run(Hausdorff95(2), [[case]]).state.metrics["score"] == 3
    case["label"] = MetaTensor(label, affine=PLANE)
    assert run(Hausdorff95(2), [[case]]).state.metrics["score"] == 6


@pytest.mark.parametrize(("tolerance", "expected"), [(5.9, 0.0), (6.0, 1.0), ([6.0], 1.0)])
def test_tolerance_of_surface_dice_is_in_millimetres(tolerance: Any, expected: float) -> None:
    label, pred = torch.zeros(2, 1, 6, 6)
    label[0, 2, 1] = pred[0, 2, 4] = 1
    geometry = MetaTensor(label, affine=PLANE)
    case = {"label": geometry, "task_pred": logits_of(pred, 2)}
    assert run(SurfaceDice(2, tolerance), [[case]]).state.metrics["score"] == expected


def test_geometry_survives_the_way_through_a_batch() -> None:
    label, pred = torch.zeros(2, 1, 6, 6)
    label[0, 2, 1] = pred[0, 2, 4] = 1
    item = {"label": MetaTensor(label, affine=PLANE), "task_pred": logits_of(pred, 2)}
    batch = list_data_collate([item, item])
    for output in (batch, decollate_batch(batch)):
        assert run(Hausdorff95(2), [output]).state.metrics["score"] == 6


def test_missed_class_is_as_far_as_the_image_is_large_and_on_no_surface() -> None:
    case = segmented([[1, 0, 0, 0]] * 3, [[0, 0, 0, 0]] * 3, 2)
    case["label"] = MetaTensor(case["label"], affine=torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])))
    assert run(Hausdorff95(2), [[case]]).state.metrics["score"] == 10
    assert run(SurfaceDice(2), [[case]]).state.metrics["score"] == 0


@pytest.mark.parametrize("metric", [Hausdorff95(3), SurfaceDice(3)])
def test_class_that_only_the_prediction_has_is_on_no_surface_either(metric: Any) -> None:
    assert math.isnan(run(metric, [[WITHOUT_CLASS_2]]).state.metrics["score_class2"])


def test_spacing_of_a_sagittal_plane_is_that_of_its_own_axes() -> None:
    affine = torch.tensor([[0.0, 0, 1, 0], [2, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1]])
    assert grid_spacing(MetaTensor(torch.zeros(1, 4, 4), affine=affine)) == [2.0, 3.0]


@pytest.mark.parametrize(("label", "expected"), [(1, 1.0), (torch.tensor(1), 1.0), (torch.tensor([0]), 0.0)])
def test_class_number_comes_as_number_or_tensor(label: Any, expected: float) -> None:
    assert run(TaskAccuracy(2), classified(([0.0, 1.0], label))).state.metrics["score"] == expected


def test_accuracy_is_the_share_of_right_cases() -> None:
    cases = classified(([2.0, 0.0, 1.0], 0), ([0.0, 0.0, 1.0], 2), ([0.0, 3.0, 1.0], 2), ([0.0, 3.0, 1.0], 1))
    assert run(TaskAccuracy(3), cases).state.metrics["score"] == 0.75


def test_multi_label_case_is_right_when_every_answer_is() -> None:
    labels = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    cases = classified(*(([0.1, -0.1], label) for label in labels))
    assert run(TaskAccuracy(2, multi_label=True), cases).state.metrics["score"] == pytest.approx(1 / 3)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    # Positives score 3 and 1, negatives 2, 1 and 0: of six pairs four are in order and one is equal.
    cases = classified(([0.0, 3.0], 1), ([0.0, 1.0], 1), ([0.0, 2.0], 0), ([0.0, 1.0], 0), ([0.0, 0.0], 0))
    assert run(TaskAUC(2), cases).state.metrics["score"] == pytest.approx(4.5 / 6)


def test_auc_of_several_classes_is_the_mean_of_each_against_the_rest() -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = [number % 3 for number in range(20)]
    scores = logits.softmax(1)
    areas = []
    for number in range(3):
        own = [float(score[number]) for score, label in zip(scores, labels, strict=True) if label == number]
        rest = [float(score[number]) for score, label in zip(scores, labels, strict=True) if label != number]
        areas.append(sum(a > b for a in own for b in rest) / len(own) / len(rest))
    cases = classified(*zip(logits.tolist(), labels, strict=True))
    assert run(TaskAUC(3), cases).state.metrics["score"] == pytest.approx(sum(areas) / 3)


def test_multi_label_auc_ranks_by_each_logit_alone() -> None:
    cases = classified(
        ([2.0, 0.0], torch.tensor([1.0, 1.0])),
        ([1.0, -5.0], torch.tensor([0.0, 1.0])),
        ([0.0, 1.0], torch.tensor([0.0, 0.0])),
    )
    assert run(TaskAUC(2, multi_label=True), cases).state.metrics["score"] == pytest.approx((1 + 0) / 2)


def test_class_without_both_answers_does_not_count_in_auc() -> None:
    cases = classified(([2.0, 0.0, 9.0], 0), ([0.0, 1.0, 0.0], 1))
    assert run(TaskAUC(3), cases).state.metrics["score"] == 0.5 * (0.0 + 1.0)


def test_auc_tells_confident_answers_apart() -> None:
    logits = torch.tensor([[0.0, 20.0], [0.0, 25.0]])
    assert auc_by_class(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [1.0, 1.0]


def test_auc_of_a_single_class_is_nan_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="scripts.handlers.task_metrics"):
        engine = run(TaskAUC(2), classified(([0.0, 1.0], 1), ([0.0, 2.0], 1)), epochs=2)
    assert math.isnan(engine.state.metrics["score"])
    assert [record.message for record in caplog.records] == [
        "Every labelled case is of the same class: score is not computed."
    ]


def test_predictions_of_another_key_can_be_judged() -> None:
    case = {"label": FIRST["label"], "task_image": FIRST["task_pred"], "task_pred": PERFECT["task_pred"]}
    assert run(TaskDice(3, pred_key="task_image"), [[case]]).state.metrics["score"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [TaskDice(3).metric_fn, TaskAUC(3).metric_fn])
def test_process_without_labelled_cases_has_something_to_gather(metric: Any) -> None:
    buffer = metric.get_buffer()
    assert all(part.isnan().all() for part in (buffer if isinstance(buffer, list) else [buffer]))


@pytest.mark.parametrize(
    ("metric", "case", "message"),
    [
        (TaskDice(4), FIRST, "gives 3 channels but num_classes is 4"),
        (TaskDice(3), {**FIRST, "label": torch.zeros(1, 1, 5)}, "same grid"),
        (TaskDice(3), {**FIRST, "label": FIRST["label"] + 1}, "from 1 to 3, but classes are whole numbers from 0 to 2"),
        (TaskAccuracy(2), {"task_pred": torch.zeros(2), "label": 0.5}, "whole numbers from 0 to 1"),
        (TaskAccuracy(2), {"task_pred": torch.zeros(2), "label": torch.zeros(2)}, "single-label .* needs 1"),
        (TaskAUC(2, True), {"task_pred": torch.zeros(2), "label": 1}, "multi-label .* needs 2"),
        (TaskAUC(2, True), {"task_pred": torch.zeros(2), "label": torch.tensor([0.0, 0.5])}, "0 and 1 only"),
    ],
)
def test_label_that_does_not_fit_is_refused(metric: Any, case: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric._output_transform([case])


def test_segmentation_needs_two_classes() -> None:
    with pytest.raises(InputError, match="2 classes or more"):
        TaskDice(1)


@pytest.mark.parametrize("tolerance", [-1.0, [1.0], [1.0, math.nan]])
def test_impossible_tolerance_is_refused(tolerance: Any) -> None:
    with pytest.raises(InputError, match="one for each of the 2 foreground classes"):
        SurfaceDice(3, tolerance)
