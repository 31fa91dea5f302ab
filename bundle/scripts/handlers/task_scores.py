# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How well the downstream network reads an image: Dice and surface distances, or accuracy and AUC.

One rule for empty masks: a class that the label of a case lacks does not count in that case (MONAI's rule for Dice);
one that the label has and the prediction lacks counts as the worst there is: Dice and surface Dice 0, Hausdorff
distance the diagonal of the image. MONAI's percentile of an empty prediction is NaN, which would drop out of the mean.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import (
    compute_dice,
    compute_hausdorff_distance,
    compute_roc_auc,
    compute_surface_dice,
)

from ..errors import InputError
from ..tensors import without_metadata

__all__ = [
    "accuracy",
    "auc_by_class",
    "class_pair",
    "dice_by_class",
    "grid_spacing",
    "hausdorff95_by_class",
    "one_hot_pair",
    "surface_dice_by_class",
    "surface_tolerances",
]


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
    tolerances = surface_tolerances(tolerance, len(label))
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


def surface_tolerances(tolerance: float | Sequence[float], num_classes: int) -> list[float]:
    """Return a tolerance for each foreground class, (K - 1), of one for all or one for each.

    Raises:
        InputError: when a tolerance is negative, or their number does not fit.
    """
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
    return without_metadata(tensor).detach()
