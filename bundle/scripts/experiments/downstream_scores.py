# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores of the downstream experiment: of the downstream network, and of the images that it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from ..handlers.metrics import image_quality
from ..handlers.task_scores import accuracy, auc_by_class, class_pair, dice_by_class, one_hot_pair
from ..tasks import Task
from .downstream_data import Case, Slicing

__all__ = ["measure_quality", "measure_task", "score_names"]


def score_names(task: Task) -> list[str]:
    """Return the names of the scores of S; the summary is the last of segmentation and the first of classification."""
    if not task.image_labels:
        return ["auc", "accuracy"]
    return [*(f"dice_{number}" for number in range(1, task.num_classes)), "dice_mean"]


def measure_task(logits: Sequence[torch.Tensor], cases: Sequence[Case], task: Task) -> dict[str, float]:
    """Return the scores of S by name, of the logits of each case, (K, *spatial) or (K,)."""
    pairs = zip(logits, (case.label for case in cases), strict=True)
    if task.image_labels:
        dice = [dice_by_class(*one_hot_pair(output, label, task.num_classes)) for output, label in pairs]
        means = _over_patients(torch.stack(dice), cases)
        found = {f"dice_{number}": value for number, value in enumerate(means.tolist(), start=1)}
        found["dice_mean"] = float(means.nanmean())
    else:
        multi_label = cases[0].label.is_floating_point()
        vectors = [class_pair(output, label, task.num_classes, multi_label) for output, label in pairs]
        outputs, targets = (torch.stack(column) for column in zip(*vectors, strict=True))
        found = {
            "auc": float(auc_by_class(outputs, targets, multi_label).nanmean()),
            "accuracy": accuracy(outputs, targets, multi_label),
        }
    return _known(found)


def measure_quality(images: Sequence[torch.Tensor], cases: Sequence[Case], slicing: Slicing) -> dict[str, float]:
    """Return PSNR and SSIM over the patients with a reference; nothing where there is none."""
    values, compared = [], []
    for image, case in zip(images, cases, strict=True):
        if case.reference is not None:
            quality = image_quality(image, case.reference, slicing.spatial_dims, slicing.axis)
            values.append([quality["psnr"], quality["ssim"]])
            compared.append(case)
    if not compared:
        return {}
    means = _over_patients(torch.tensor(values), compared).tolist()
    return _known(dict(zip(("psnr", "ssim"), means, strict=True)))


def _over_patients(values: torch.Tensor, cases: Sequence[Case]) -> torch.Tensor:
    """Return the mean, (M,), over patients of the mean over each one's cases, (N, M), leaving NaN out."""
    groups: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(case.patient, []).append(index)
    return torch.stack([values[indices].nanmean(dim=0) for indices in groups.values()]).nanmean(dim=0)


def _known(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out scores that could not be measured: of a class that no patient has, say."""
    return {name: value for name, value in values.items() if not math.isnan(value)}
