# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The other side of the evaluation: what the downstream network makes of input, enhanced image and reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from .. import processes
from ..data import LABEL
from ..engines import TASK_IMAGE, TASK_PRED, TASK_REFERENCE
from ..errors import InputError
from ..handlers.task_scores import (
    accuracy,
    auc_by_class,
    class_pair,
    dice_by_class,
    hausdorff95_by_class,
    one_hot_pair,
    surface_dice_by_class,
)
from ..io import PIXEL_SPACE, SPACE
from ..tasks import Task

STATES = {"input": TASK_IMAGE, "enhanced": TASK_PRED, "reference": TASK_REFERENCE}

_HEADINGS = {"input": "LQ input", "enhanced": "Enhanced", "reference": "Reference"}

Row = Mapping[str, Any]


class TaskScores:
    """Measure the downstream network on what it made of input, enhanced image and reference of every case.

    Segmentation: Dice, per class and mean, 95th percentile of the Hausdorff distance and surface Dice, of each case as
    a whole. Classification: accuracy, and AUC over all cases together. Empty masks: see
    :mod:`scripts.handlers.task_metrics`.

    Args:
        task: with the number of classes, the background of a segmentation included.
        class_names: what the classes are called, background included. Defaults to class0, class1 …
        surface_tolerance: of surface Dice, in mm, or in pixels of images without geometry. Defaults to 2.

    Raises:
        InputError: for names that do not fit the classes.
    """

    def __init__(
        self,
        task: Task,
        class_names: Sequence[str] | None = None,
        surface_tolerance: float = 2.0,
    ) -> None:
        num_classes = task.num_classes
        names = [f"class{number}" for number in range(num_classes)] if class_names is None else list(class_names)
        if len(set(names)) != num_classes or len(names) != num_classes:
            raise InputError(f"class_names needs {num_classes} different names, one per class, not {names}.")
        self.task = task
        self.num_classes = num_classes
        self.multi_label = task.multi_label
        self.class_names = names
        self.surface_tolerance = surface_tolerance
        self.reset()

    def reset(self) -> None:
        """Forget the evaluation before."""
        self._units: set[str] = set()
        self._missed = dict.fromkeys(STATES, 0)
        self._pairs: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {state: [] for state in STATES}

    def measure(self, case: Mapping[str, Any]) -> dict[str, float]:
        """Return the scores of one case as ``{state}_{metric}``; none without a label.

        Args:
            case: of an evaluator's output, with ``label`` and the logits ``task_image`` (state ``"input"``),
                ``task_pred`` (``"enhanced"``) and ``task_reference`` (``"reference"``), as far as they are there.
        """
        values: dict[str, float] = {}
        label = case.get(LABEL)
        if label is None:
            return values
        for state, key in STATES.items():
            if case.get(key) is not None:
                score = self._segmentation if self.task.image_labels else self._classification
                values |= {f"{state}_{metric}": value for metric, value in score(state, case[key], label).items()}
        return values

    def gather(self) -> None:
        """Take over what the other processes have measured of cases of their own."""
        shares = processes.gathered((self._units, self._missed, self._pairs))
        self._units = {unit for units, _, _ in shares for unit in units}
        self._missed = {state: sum(missed[state] for _, missed, _ in shares) for state in STATES}
        self._pairs = {state: [pair for _, _, pairs in shares for pair in pairs[state]] for state in STATES}

    def columns(self, rows: Sequence[Row]) -> list[str]:
        """Return the names of the scores in ``rows``, in the order in which they should stand."""
        metrics = self._titles() if self.task.image_labels else ["accuracy"]
        names = [f"{state}_{metric}" for metric in metrics for state in STATES]
        return [name for name in names if any(name in row for row in rows)]

    def summarize(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the scores over all patients.

        Args:
            rows: one mapping per patient with what :meth:`measure` returned, of several cases the mean.

        Returns:
            ``"task"``; ``"patients"``, the number measured by state (input, enhanced, reference); and ``"metrics"``,
            by metric and state. Of a segmentation a score is its ``"mean"`` and ``"std"`` over patients, and
            ``"missed_classes"`` counts, by state, how often the network found nothing of a class that a label has. Of
            a classification it is one number over all ``"images"``, None where it is not defined.
        """
        metrics: dict[str, Any] = {}
        first = "dice" if self.task.image_labels else "accuracy"
        counts = {state: len(_found(rows, f"{state}_{first}")) for state in STATES}
        states = [state for state in STATES if counts[state]]
        summary: dict[str, Any] = {"task": self.task.name, "patients": {state: counts[state] for state in states}}
        if self.task.image_labels:
            for metric in self._titles():
                found = {state: _found(rows, f"{state}_{metric}") for state in states}
                metrics[metric] = {state: spread(values) for state, values in found.items() if values}
            summary["missed_classes"] = {state: self._missed[state] for state in states}
        else:
            summary["images"] = {state: len(self._pairs[state]) for state in states}
            scores = {state: self._scores_of_all(state) for state in states}
            metrics = {metric: {state: scores[state][metric] for state in states} for metric in self._titles()}
        summary["metrics"] = {metric: values for metric, values in metrics.items() if values}
        return summary

    def table(self, summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """Return the cells of a table, the first row the heading: metric, LQ input, enhanced, reference."""
        titles = self._titles()
        states = list(summary["patients"])
        cells: list[tuple[str, ...]] = [("Metric", *(_HEADINGS[state] for state in states))]
        for metric, values in summary["metrics"].items():
            digits = 2 if metric == "hd95" else 3
            cells.append((titles[metric], *(_cell(values.get(state), digits) for state in states)))
        return cells

    def remarks(self, summary: Mapping[str, Any]) -> list[str]:
        """Return the sentences that belong below the table."""
        patients = summary["patients"]
        if not patients:
            return ["No patient has a label that the downstream network could be compared with."]
        most = max(patients.values())
        if self.task.image_labels:
            remarks = [f"Mean ± standard deviation over {count_patients(most)} with a label."]
        else:
            remarks = [f"Over all {max(summary['images'].values())} images of {count_patients(most)} with a label."]
        remarks += [
            f"{_HEADINGS[state]}: only {count_patients(number)}." for state, number in patients.items() if number < most
        ]
        missed = {state: number for state, number in summary.get("missed_classes", {}).items() if number}
        if missed:
            counted = ", ".join(f"{_HEADINGS[state]} {number}" for state, number in missed.items())
            remarks.append(f"Classes of which nothing was found, where HD95 is the image's diagonal: {counted}.")
        return remarks

    def _titles(self) -> dict[str, str]:
        """Return the metrics and what they are called in the table."""
        if not self.task.image_labels:
            titles = {"accuracy": "Accuracy", "auc": "AUC"}
            if self.num_classes > 2 or self.multi_label:
                titles |= {f"auc_{name}": f"AUC, {name}" for name in self.class_names}
            return titles
        unit = " or ".join(sorted(self._units))
        return {
            "dice": "Dice",
            **{f"dice_{name}": f"Dice, {name}" for name in self.class_names[1:]},
            "hd95": f"HD95 ({unit})",
            "surface_dice": f"Surface Dice at {self.surface_tolerance:g} {unit}",
        }

    def _segmentation(self, state: str, logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
        self._units.add(_distance_unit(label))
        pred, true = one_hot_pair(logits, label, self.num_classes)
        self._missed[state] += int((true.flatten(1).any(1) & ~pred.flatten(1).any(1))[1:].sum())
        dice = dice_by_class(pred, true)
        values = {"dice": float(dice.nanmean())}
        if self.num_classes > 2:
            values |= {f"dice_{name}": float(value) for name, value in zip(self.class_names[1:], dice, strict=True)}
        values["hd95"] = float(hausdorff95_by_class(pred, true).nanmean())
        values["surface_dice"] = float(surface_dice_by_class(pred, true, self.surface_tolerance).nanmean())
        return values

    def _classification(self, state: str, logits: torch.Tensor, label: Any) -> dict[str, float]:
        pair = class_pair(logits.cpu(), label, self.num_classes, self.multi_label)
        self._pairs[state].append(pair)
        return {"accuracy": accuracy(pair[0][None], pair[1][None], self.multi_label)}

    def _scores_of_all(self, state: str) -> dict[str, float | None]:
        logits, targets = (torch.stack(part) for part in zip(*self._pairs[state], strict=True))
        areas = auc_by_class(logits, targets, self.multi_label)
        scores = {"accuracy": accuracy(logits, targets, self.multi_label), "auc": float(areas.nanmean())}
        scores |= {f"auc_{name}": float(area) for name, area in zip(self.class_names, areas, strict=True)}
        return {metric: value if is_finite(value) else None for metric, value in scores.items()}


def count_patients(number: int) -> str:
    """Return ``"1 patient"`` or ``"{number} patients"``."""
    return f"{number} patient" if number == 1 else f"{number} patients"


def is_finite(value: Any) -> bool:
    """Tell whether a value is a number, and neither NaN nor infinite."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return ``"mean"`` and ``"std"``, the sample standard deviation, 0 of a single value."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def _found(rows: Sequence[Row], key: str) -> list[float]:
    return [float(row[key]) for row in rows if is_finite(row.get(key))]


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"{value['mean']:.{digits}f} ± {value['std']:.{digits}f}"
    return f"{value:.{digits}f}"


def _distance_unit(label: torch.Tensor) -> str:
    """Return the unit of distances in a label: pixels where its file, a picture, or it itself has no geometry."""
    if not isinstance(label, MetaTensor):
        return "pixels"
    return "pixels" if label.meta.get(SPACE) == PIXEL_SPACE else "mm"
