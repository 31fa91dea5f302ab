# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How well the downstream network reads an image: Dice and surface distances, or accuracy and AUC, as ignite metrics.

One rule for empty masks: a class that the label of a case lacks does not count in that case (MONAI's rule for Dice);
one that the label has and the prediction lacks counts as the worst there is: Dice and surface Dice 0, Hausdorff
distance the diagonal of the image. MONAI's percentile of an empty prediction is NaN, which would drop out of the mean.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler
from monai.metrics import (
    CumulativeIterationMetric,
    compute_dice,
    compute_hausdorff_distance,
    compute_roc_auc,
    compute_surface_dice,
)

from ..data import LABEL
from ..engines import TASK_PRED
from ..errors import InputError
from .metrics import output_cases

Pairs = tuple[list[torch.Tensor], list[torch.Tensor]]
ClassScores = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

logger = logging.getLogger(__name__)


def one_hot_pair(logits: torch.Tensor, label: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a segmentation network says, and its label, as masks.

    Args:
        logits: of one case, (K, *spatial); the largest says the class.
        label: class numbers, (1, *spatial). Where it is a ``MetaTensor`` its mask is one too, with the same affine.
        num_classes: K, background included.

    Returns:
        Two boolean tensors, (K, *spatial), on the device of the logits.

    Raises:
        InputError: when the logits have another number of channels, the label another shape, or a class too high.
    """
    _require_channels(logits, num_classes)
    if label.shape != (1, *logits.shape[1:]):
        raise InputError(
            f"A label of shape {tuple(label.shape)} cannot be compared with a segmentation of shape "
            f"{(1, *logits.shape[1:])}: both must come from the same grid."
        )
    numbers = _class_numbers(label, num_classes).to(logits.device)
    classes = torch.arange(num_classes, device=logits.device).reshape(-1, *(1,) * (logits.ndim - 1))
    masks = numbers == classes
    if isinstance(label, MetaTensor):
        masks = MetaTensor(masks, affine=label.affine)
    return _plain(logits).argmax(dim=0, keepdim=True) == classes, masks


def class_pair(
    logits: torch.Tensor, label: Any, num_classes: int, multi_label: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a classification network says, and its label, as two vectors.

    Args:
        logits: of one case, (K,).
        label: the class number, a number or a tensor of one; with ``multi_label`` K numbers, 0 or 1.
        num_classes: K.
        multi_label: whether a case may be of several classes, or of none.

    Returns:
        The logits and 1 for the classes that the case is of, 0 for the others: (K,), float32.

    Raises:
        InputError: when there are not K logits, or the label does not fit.
    """
    _require_channels(logits, num_classes)
    label = torch.as_tensor(label)
    expected = num_classes if multi_label else 1
    if label.numel() != expected:
        raise InputError(
            f"A label of {label.numel()} numbers does not fit: {'multi-label' if multi_label else 'single-label'} "
            f"classification with num_classes {num_classes} needs {expected}."
        )
    if multi_label:
        if not bool(((label == 0) | (label == 1)).all()):
            raise InputError(f"A multi-label label holds 0 and 1 only, not {label.flatten().tolist()}: correct it.")
        targets = _plain(label).flatten()
    else:
        targets = torch.arange(num_classes) == _class_numbers(label, num_classes).flatten().cpu()
    return _plain(logits).float(), targets.to(logits.device, torch.float32)


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


def dice_by_class(pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return Dice of each foreground class of one case, (K - 1,); NaN where the label lacks the class.

    Args:
        pred: predicted masks, (K, *spatial), background first.
        label: true masks, of the same shape.
    """
    return compute_dice(_plain(pred)[None], _plain(label)[None], include_background=False)[0]


def hausdorff95_by_class(pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the 95th percentile of the Hausdorff distance of each foreground class of one case, (K - 1,).

    The greater of the two directed percentiles, in mm where the label is a ``MetaTensor`` with geometry, else in
    pixels. NaN where the label lacks the class, the diagonal of the image where only the prediction does.

    Args:
        pred: predicted masks, (K, *spatial), background first.
        label: true masks, of the same shape.
    """
    spacing = grid_spacing(label)
    diagonal = math.hypot(*(size * step for size, step in zip(label.shape[1:], spacing, strict=True)))
    return _surface_scores(
        pred,
        label,
        diagonal,
        lambda found, true, _: compute_hausdorff_distance(
            found, true, include_background=True, percentile=95, spacing=spacing
        ),
    )


def surface_dice_by_class(
    pred: torch.Tensor, label: torch.Tensor, tolerance: float | Sequence[float] = 2.0
) -> torch.Tensor:
    """Return the surface Dice of each foreground class of one case, (K - 1,).

    The share of both surfaces' pixels that are not farther than the tolerance from the other surface. NaN where the
    label lacks the class, 0 where only the prediction does.

    Args:
        pred: predicted masks, (K, *spatial), background first.
        label: true masks, of the same shape.
        tolerance: largest distance that counts as none, in mm where the label is a ``MetaTensor`` with geometry, else
            in pixels; one number, or one per foreground class.

    Raises:
        InputError: when a tolerance is negative, or their number does not fit.
    """
    spacing = grid_spacing(label)
    tolerances = _tolerances(tolerance, len(label))
    return _surface_scores(
        pred,
        label,
        0.0,
        lambda found, true, number: compute_surface_dice(
            found, true, [tolerances[number]], include_background=True, spacing=spacing
        ),
    )


def grid_spacing(label: torch.Tensor) -> list[float]:
    """Return the distance between neighbours along each spatial axis of (C, *spatial): 1 without geometry."""
    dims = label.ndim - 1
    if not isinstance(label, MetaTensor):
        return [1.0] * dims
    # Not MetaTensor.pixdim: of a plane it looks at the patient's first two axes, and a sagittal one has the third.
    steps = torch.linalg.vector_norm(label.affine[:-1, :-1].double(), dim=0)[:dims]
    return [float(step) or 1.0 for step in steps]


def accuracy(logits: torch.Tensor, targets: torch.Tensor, multi_label: bool = False) -> float:
    """Return the share of cases that are classified right, NaN of none.

    Args:
        logits: (N, K). The largest says the class; with ``multi_label`` those above 0 (a probability of 0.5) do.
        targets: 1 for the classes that a case is of, 0 for the others, (N, K).
        multi_label: whether a case may be of several classes. It is then right when all K answers are.
    """
    says = logits > 0 if multi_label else logits.argmax(1, keepdim=True) == torch.arange(logits.shape[1]).to(logits)
    return float((says == (targets > 0)).all(dim=1).double().mean())


def auc_by_class(logits: torch.Tensor, targets: torch.Tensor, multi_label: bool = False) -> torch.Tensor:
    """Return the area under each class's ROC curve, class against the rest, (K,).

    NaN for a class that all cases are of, or none.

    Args:
        logits: (N, K). Their softmax ranks the cases; with ``multi_label`` each logit does.
        targets: 1 for the classes that a case is of, 0 for the others, (N, K).
        multi_label: whether a case may be of several classes.
    """
    # In double precision, since two confident answers must not become equal.
    scores = logits.cpu().double() if multi_label else logits.cpu().double().softmax(dim=1)
    areas = [
        float(compute_roc_auc(score, target)) if 0 < target.sum() < len(target) else math.nan  # type: ignore[arg-type]
        for score, target in zip(scores.T, targets.cpu().T, strict=True)
    ]
    return torch.tensor(areas, dtype=torch.float64)


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
        tolerances = _tolerances(tolerance, num_classes)
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


def _surface_scores(
    pred: torch.Tensor,
    label: torch.Tensor,
    if_missed: float,
    score: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    """Return ``score`` of each foreground class that both have; surfaces are found on the CPU in any case."""
    values = []
    for number, (found, true) in enumerate(zip(_plain(pred).cpu()[1:], _plain(label).cpu()[1:], strict=True)):
        if not true.any():
            values.append(math.nan)
        elif not found.any():
            values.append(if_missed)
        else:
            with warnings.catch_warnings():
                # MONAI warns of a deprecated argument that it passes to itself.
                warnings.simplefilter("ignore", FutureWarning)
                values.append(float(score(found[None, None], true[None, None], number)))
    return torch.tensor(values)


def _tolerances(tolerance: float | Sequence[float], num_classes: int) -> list[float]:
    tolerances = [float(tolerance)] * (num_classes - 1) if isinstance(tolerance, (int, float)) else list(tolerance)
    if len(tolerances) != num_classes - 1 or not all(0 <= value < math.inf for value in tolerances):
        raise InputError(
            f"Surface Dice needs one tolerance of 0 or more, or one for each of the {num_classes - 1} foreground "
            f"classes, not {tolerance}."
        )
    return tolerances


def _require_channels(logits: torch.Tensor, num_classes: int) -> None:
    if len(logits) != num_classes:
        raise InputError(
            f"The downstream network gives {len(logits)} channels but num_classes is {num_classes}: make them agree."
        )


def _class_numbers(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return a label as a plain tensor of class numbers, which it is checked to be."""
    numbers = _plain(label).long()
    if bool((numbers != _plain(label)).any()) or int(numbers.min()) < 0 or int(numbers.max()) >= num_classes:
        raise InputError(
            f"A label holds values from {float(label.min()):g} to {float(label.max()):g}, but classes are whole "
            f"numbers from 0 to {num_classes - 1}: renumber the label, or set num_classes."
        )
    return numbers


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor).detach()
