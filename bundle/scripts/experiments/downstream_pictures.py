# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of the downstream experiment: images of each arm, and how a downstream network reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ..visualize import compose_grid, display_plane, enlarged, grey_or_colour
from .downstream_data import Case

__all__ = ["Column", "draw_arms"]

_COLOURS = np.array([[86, 180, 233], [230, 159, 0], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]])
_SIZE = 200

Column = Sequence[tuple[torch.Tensor, torch.Tensor | None]]
"""Of one arm: each case's image, and the class numbers that S sees in it."""


def draw_arms(columns: Mapping[str, Column], cases: Sequence[Case], slice_axis: int, title: str, path: Path) -> None:
    """Write a picture: a row of images per patient, and below each the classes that S sees.

    Args:
        columns: by arm.
        cases: the patients of the rows.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        title: stands at the top.
        path: of the file.
    """
    headings = list(columns)
    segmented = any(prediction is not None for column in columns.values() for _, prediction in column)
    grid: list[tuple[str, list[Image.Image | None]]] = []
    for number, case in enumerate(cases):
        shown = [(_plane(case, image, slice_axis), seen) for image, seen in (columns[arm][number] for arm in columns)]
        _, spacing = display_plane(case.shown, slice_axis)
        row: list[Image.Image | None] = [enlarged(grey_or_colour(plane), spacing, _SIZE) for plane, _ in shown]
        grid.append((case.patient, [*row, *([None] if segmented else [])]))
        if segmented:
            overlays = [
                None if seen is None else enlarged(_overlaid(plane, _plane(case, seen, slice_axis)), spacing, _SIZE)
                for plane, seen in shown
            ]
            truth = _overlaid(shown[-1][0], _plane(case, case.label, slice_axis))
            grid.append(("", [*overlays, enlarged(truth, spacing, _SIZE)]))
    if segmented:
        headings.append("label")
        title += ": below, S trained on clean images"
    path.parent.mkdir(parents=True, exist_ok=True)
    compose_grid(headings, grid, title).save(path)


def _plane(case: Case, image: torch.Tensor, slice_axis: int) -> npt.NDArray[np.float64]:
    """Return the plane that is shown, turned as the case's geometry says."""
    turned = case.shown[: image.shape[0]].clone().float()
    turned[...] = image
    return display_plane(turned, slice_axis)[0]


def _overlaid(plane: npt.NDArray[np.float64], classes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return the colours of a plane, with those of the classes from 1 on over them."""
    pixels = grey_or_colour(plane)
    numbers = classes.round().astype(np.int64)
    colours = _COLOURS[(numbers - 1) % len(_COLOURS)]
    blended: npt.NDArray[np.uint8] = (0.5 * pixels + 0.5 * colours).round().astype(np.uint8)
    return np.where(numbers[..., None] > 0, blended, pixels)
