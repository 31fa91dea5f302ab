# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite metrics of the downstream network: how well it reads an image; see :mod:`scripts.handlers.task_scores`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from monai.metrics import (
    CumulativeIterationMetric,
)

from ..data import LABEL
from ..engines import TASK_PRED
from ..errors import InputError
from .metrics import output_cases
from .task_scores import (
    accuracy,
    auc_by_class,
    class_pair,
    dice_by_class,
    hausdorff95_by_class,
    one_hot_pair,
    surface_dice_by_class,
    surface_tolerances,
)

Pairs = tuple[list[torch.Tensor], list[torch.Tensor]]
ClassScores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

logger = logging.getLogger(__name__)


def segmentation_pairs(num_classes: int, pred_key: str = TASK_PRED) -> Callable[[Any], Pairs]:
    """Return the ``output_transform`` of a segmentation metric, this module's or MONAI's.

    It makes lists of masks, predicted and true, see :func:`one_hot_pair`, of an evaluator's output: a decollated list
    or a dictionary of batches. Cases without a label or a prediction are left out.

    Args:
        num_classes: number of classes, background included.
        pred_key: key of the logits, (K, *spatial).
    """
    return _pairs(lambda logits, label: one_hot_pair(logits, label, num_classes), pred_key)


def classification_pairs(
    num_classes: int, multi_label: bool = False, pred_key: str = TASK_PRED
) -> Callable[[Any], Pairs]:
    """Return the ``output_transform`` of a classification metric: lists of logits and targets, see :func:`class_pair`.

    Args:
        num_classes: number of classes.
        multi_label: whether a case may be of several classes, or of none.
        pred_key: key of the logits, (K,).
    """
    return _pairs(lambda logits, label: class_pair(logits, label, num_classes, multi_label), pred_key)


class _GatheredMetric(CumulativeIterationMetric):
    """A metric whose buffers are never missing: a process without labelled cases takes part in the gathering too."""

    def __init__(self, *blanks: torch.Tensor) -> None:
        super().__init__()
        self.blanks = blanks

    def get_buffer(self) -> Any:
        """Return what all processes have gathered; a row of NaN where that is nothing."""
        if self._buffers is None:
            self.extend(*self.blanks)
        return super().get_buffer()


class SegmentationMetric(_GatheredMetric):
    """Gather the scores of every case and foreground class, (N, K - 1).

    Args:
        scores: from the predicted and true masks of one case, (K, *spatial), to a score per foreground class.
        num_classes: K, background included.
    """

    def __init__(self, scores: ClassScores, num_classes: int) -> None:
        super().__init__(torch.full((1, num_classes - 1), math.nan))
        self.scores = scores

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        # Indexing keeps the geometry of a MetaTensor, which iterating over it would not.
        cases = [self.scores(y_pred[index], y[index]) for index in range(len(y))]
        return torch.stack(cases).to(y_pred.device, torch.float32)

    def aggregate(self) -> torch.Tensor:
        """Return the mean over cases of the mean over their classes, (); NaN when there is none."""
        return self.get_buffer().nanmean(dim=1).nanmean()

    def class_means(self) -> torch.Tensor:
        """Return the mean over cases of each foreground class, (K - 1,)."""
        return self.get_buffer().nanmean(dim=0)


class ClassificationMetric(_GatheredMetric):
    """Gather logits and targets, (N, K) each, for a score that takes all cases together.

    Args:
        score: from logits and targets to a number.
        num_classes: K.
    """

    def __init__(self, score: Callable[[torch.Tensor, torch.Tensor], float], num_classes: int) -> None:
        blank = torch.full((1, num_classes), math.nan)
        super().__init__(blank, blank)
        self.score = score

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return y_pred, y

    def cases(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and targets of the labelled cases."""
        logits, targets = self.get_buffer()
        labelled = ~targets.isnan().any(dim=1)
        return logits[labelled], targets[labelled]

    def aggregate(self) -> float:
        """Return the score of all labelled cases, NaN when there is none."""
        logits, targets = self.cases()
        return self.score(logits, targets) if len(targets) else math.nan


class _TaskMetric(IgniteMetricHandler):
    """A metric that is NaN, and says once why, where there is nothing to measure."""

    _absence_told = False

    def compute(self) -> Any:
        """Return the metric over all labelled cases, NaN when there is nothing to measure."""
        result = super().compute()
        if math.isnan(result) and not self._absence_told:
            self._absence_told = True
            logger.info("%s: %s is not computed.", self._absence(), self._name)
        return result

    def _absence(self) -> str:
        return "No case has a label that the downstream network could be compared with"


class _SegmentationHandler(_TaskMetric):
    def __init__(self, scores: ClassScores, num_classes: int, pred_key: str) -> None:
        if num_classes < 2:
            raise InputError(f"Segmentation needs 2 classes or more, background included, not {num_classes}.")
        self._segmentation = SegmentationMetric(scores, num_classes)
        super().__init__(metric_fn=self._segmentation, output_transform=segmentation_pairs(num_classes, pred_key))

    def completed(self, engine: Engine, name: str) -> None:
        """Write the mean, and that of each class beside it, into ``engine.state.metrics``."""
        super().completed(engine, name)
        for number, mean in enumerate(self._segmentation.class_means().tolist(), start=1):
            engine.state.metrics[f"{name}_class{number}"] = mean


class TaskDice(_SegmentationHandler):
    """Ignite metric of an evaluator: Dice of the downstream network's segmentation of whole cases.

    ``engine.state.metrics[name]`` is the mean over cases of the mean over the foreground classes that the label has;
    ``{name}_class1``, ``{name}_class2`` … are the means over cases of each class. ``engine.state.metric_details[name]``
    holds one row per labelled case, (N, K - 1). NaN, which is logged once, when no case has a label.

    Args:
        num_classes: number of classes, background included.
        pred_key: key of the logits, (K, *spatial). Defaults to those on enhanced images, ``"task_pred"``.

    Raises:
        InputError: for fewer than two classes.
    """

    def __init__(self, num_classes: int, pred_key: str = TASK_PRED) -> None:
        super().__init__(dice_by_class, num_classes, pred_key)


class Hausdorff95(_SegmentationHandler):
    """Ignite metric of an evaluator: 95th percentile of the Hausdorff distance; the less the better.

    In mm where labels are ``MetaTensor`` with geometry, else in pixels. A class that the downstream network does not
    find at all counts as the diagonal of the image. Names, details and NaN as in :class:`TaskDice`.

    Args:
        num_classes: number of classes, background included.
        pred_key: key of the logits, (K, *spatial). Defaults to those on enhanced images, ``"task_pred"``.

    Raises:
        InputError: for fewer than two classes.
    """

    def __init__(self, num_classes: int, pred_key: str = TASK_PRED) -> None:
        super().__init__(hausdorff95_by_class, num_classes, pred_key)


class SurfaceDice(_SegmentationHandler):
    """Ignite metric of an evaluator: share of the surfaces that lie within a tolerance of each other.

    A class that the downstream network does not find at all counts as 0. Names, details and NaN as in
    :class:`TaskDice`.

    Args:
        num_classes: number of classes, background included.
        tolerance: largest distance that counts as none, in mm where labels are ``MetaTensor`` with geometry, else in
            pixels; one number, or one per foreground class. Defaults to 2.
        pred_key: key of the logits, (K, *spatial). Defaults to those on enhanced images, ``"task_pred"``.

    Raises:
        InputError: for fewer than two classes, a negative tolerance, or another number of them than of classes.
    """

    def __init__(self, num_classes: int, tolerance: float | Sequence[float] = 2.0, pred_key: str = TASK_PRED) -> None:
        tolerances = surface_tolerances(tolerance, num_classes)
        super().__init__(lambda pred, label: surface_dice_by_class(pred, label, tolerances), num_classes, pred_key)


class TaskAccuracy(_TaskMetric):
    """Ignite metric of an evaluator: share of the cases that the downstream network classifies right.

    NaN, which is logged once, when no case has a label.

    Args:
        num_classes: number of classes.
        multi_label: whether a case may be of several classes, or of none; it is then right when every answer is.
            Defaults to False.
        pred_key: key of the logits, (K,). Defaults to those on enhanced images, ``"task_pred"``.
    """

    def __init__(self, num_classes: int, multi_label: bool = False, pred_key: str = TASK_PRED) -> None:
        super().__init__(
            metric_fn=ClassificationMetric(lambda logits, targets: accuracy(logits, targets, multi_label), num_classes),
            output_transform=classification_pairs(num_classes, multi_label, pred_key),
            save_details=False,
        )


class TaskAUC(_TaskMetric):
    """Ignite metric of an evaluator: area under the ROC curve of the downstream network, over all cases.

    Of several classes the mean of each against the rest, over those that some cases are of and some are not. NaN,
    which is logged once, when there is no such class or no label.

    Args:
        num_classes: number of classes.
        multi_label: whether a case may be of several classes, or of none. Defaults to False.
        pred_key: key of the logits, (K,). Defaults to those on enhanced images, ``"task_pred"``.
    """

    def __init__(self, num_classes: int, multi_label: bool = False, pred_key: str = TASK_PRED) -> None:
        self._classification = ClassificationMetric(
            lambda logits, targets: float(auc_by_class(logits, targets, multi_label).nanmean()), num_classes
        )
        super().__init__(
            metric_fn=self._classification,
            output_transform=classification_pairs(num_classes, multi_label, pred_key),
            save_details=False,
        )

    def _absence(self) -> str:
        if len(self._classification.cases()[1]):
            return "Every labelled case is of the same class"
        return super()._absence()


def _pairs(
    pair: Callable[[torch.Tensor, Any], tuple[torch.Tensor, torch.Tensor]], pred_key: str
) -> Callable[[Any], Pairs]:
    def transform(output: Any) -> Pairs:
        pairs = [
            pair(case[pred_key], case[LABEL])
            for case in output_cases(output)
            if case.get(pred_key) is not None and case.get(LABEL) is not None
        ]
        return [pred for pred, _ in pairs], [label for _, label in pairs]

    return transform
