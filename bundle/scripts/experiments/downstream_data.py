# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Cases of the downstream experiment, and the slices that a downstream network is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import convert_to_tensor

from ..data import IMAGE, LABEL
from ..engines import REFERENCE
from ..errors import InputError
from ..handlers.panels import case_name
from ..tasks import Task
from ..transforms.slices import slices_with_content, through_plane_axis

__all__ = ["Case", "Data", "Item", "Slicing", "prepare_cases", "within_budget"]

_BUDGET = 2

Item = dict[str, Any]


class Case(NamedTuple):
    """A prepared item: plain tensors to compute with, and the image with its geometry to be shown."""

    image: torch.Tensor
    label: torch.Tensor
    reference: torch.Tensor | None
    patient: str
    shown: torch.Tensor


class Data(NamedTuple):
    """The prepared items of a run."""

    labelled: list[Case]
    clean: list[Case]
    testing: list[Case]


class Slicing(NamedTuple):
    """How volumes are cut for a network.

    Attributes:
        spatial_dims: number of spatial dimensions of the network.
        axis: spatial axis along which a volume's slices are stacked.
    """

    spatial_dims: int
    axis: int

    def indices(self, case: Case) -> list[int | None]:
        """Return the slices of a case that show something; ``[None]`` for an image of the network's own dimensions.

        They are those of the image as it came, never of an enhanced one, so that every arm has the same.
        """
        if case.image.ndim - 1 == self.spatial_dims:
            return [None]
        axis = through_plane_axis(case.image.shape[1:], self.axis)
        return [int(index) for index in slices_with_content(case.image, axis, min_foreground=0.05)]

    def items(self, images: Sequence[torch.Tensor], cases: Sequence[Case], image_labels: bool) -> list[Item]:
        """Return the slices (or whole images) that S is trained on, with their labels.

        Args:
            images: of the cases, perhaps enhanced.
            cases: with the labels.
            image_labels: whether labels are images, which are cut as well.
        """
        items = []
        for image, case in zip(images, cases, strict=True):
            axis = through_plane_axis(image.shape[1:], self.axis) + 1
            for index in self.indices(case):
                if index is None:
                    items.append({IMAGE: image, LABEL: case.label})
                else:
                    label = case.label.select(axis, index) if image_labels else case.label
                    items.append({IMAGE: image.select(axis, index), LABEL: label})
        return items


def prepare_cases(items: Iterable[Mapping[str, Any]], task: Task) -> list[Case]:
    """Return the items that have a label.

    Raises:
        InputError: for a label with a class that the task does not have.
    """
    cases = []
    for number, item in enumerate(items):
        if item.get(LABEL) is None:
            continue
        patient = case_name(item, default=f"case {number + 1}")
        reference = item.get(REFERENCE)
        cases.append(
            Case(
                convert_to_tensor(item[IMAGE]).float(),
                _label(convert_to_tensor(torch.as_tensor(item[LABEL])), task, patient),
                None if reference is None else convert_to_tensor(reference).float(),
                patient,
                item[IMAGE],
            )
        )
    return cases


def _label(label: torch.Tensor, task: Task, patient: str) -> torch.Tensor:
    if task.image_labels:
        highest = int(label.max())
        if highest >= task.num_classes:
            raise InputError(
                f'The label of "{patient}" holds class {highest}, but num_classes is {task.num_classes}: mend the '
                "label, or set num_classes."
            )
        return label
    if label.is_floating_point() or label.numel() > 1:
        return label.float().flatten()
    return label.long().reshape(())


def within_budget(items: Sequence[Item], budget: int | None, seed: int) -> list[Item]:
    """Return ``budget`` of the items, drawn by the seed; a small budget is part of a larger one. None: all."""
    if budget is None:
        return list(items)
    order = np.random.default_rng([seed, _BUDGET]).permutation(len(items))
    return [items[index] for index in sorted(order[:budget])]
