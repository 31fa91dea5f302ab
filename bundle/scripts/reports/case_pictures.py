# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of one case of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from PIL import Image

from ..tensors import without_metadata
from ..visualize import display_plane, enlarged, grey_or_colour
from .case_record import PLACES
from .safety import robust_range
from .safety_limits import Verdict

__all__ = ["PICTURES", "UNCERTAINTY_OF_FULL_COLOUR", "CasePictures", "Picture", "report_pictures", "report_plane"]

PICTURES = ("before", "after", "uncertainty")
"""Pictures that a case may have."""

PICTURE_SIZE = 512
"""Longest side, in pixels, of a picture in the report."""

UNCERTAINTY_OF_FULL_COLOUR = 0.05
"""Standard deviation, as a share of the input's intensity range, that is shown in the strongest colour."""

# Black adds nothing where pictures are laid over one another by "screen".
_HEAT = np.array([[0, 0, 0], [120, 20, 0], [225, 90, 0], [255, 215, 60]], dtype=np.float64)

Picture = npt.NDArray[np.uint8]


class CasePictures(NamedTuple):
    """Pictures of one case in the report.

    Attributes:
        pictures: colours, (rows, columns, 3), by name of :data:`PICTURES`.
        plane: the slice they show; None of a plane image.
        marks: see :class:`CaseRecord`.
    """

    pictures: dict[str, Picture]
    plane: int | None
    marks: dict[str, tuple[float, float]]


def report_plane(
    image: torch.Tensor,
    low: float,
    high: float,
    slice_axis: int | None = None,
    plane: int | None = None,
    size: int = PICTURE_SIZE,
) -> Picture:
    """Return a picture of a case for the report, turned as readers expect it, in the proportions of the patient.

    Args:
        image: case, (C, *spatial); see :func:`scripts.visualize.display_plane`.
        low: intensity that is black.
        high: intensity that is white.
        slice_axis: spatial axis along which a volume's slices are stacked; None: the last.
        plane: slice of a volume to show; None: the middle one.
        size: longest side of the picture. Larger images are made smaller; pixels of smaller ones are repeated.

    Returns:
        Colours, (rows, columns, 3).
    """
    values, spacing = _oriented(image, slice_axis, plane)
    return _sized(grey_or_colour((values - low) / max(high - low, 1e-12)), spacing, size)


def report_pictures(
    before: torch.Tensor,
    after: torch.Tensor,
    padding: torch.Tensor | None = None,
    deviation: torch.Tensor | None = None,
    slice_axis: int | None = None,
    places: Mapping[str, Sequence[int]] | None = None,
    verdict: Verdict | None = None,
    size: int = PICTURE_SIZE,
) -> CasePictures:
    """Return the pictures of a case: input and result in the same window, and the uncertainty.

    The window is the robust range of the input. A volume is shown by its middle slice or, when it is to be checked, by
    that of its strongest new or lost structure, whichever is beyond its limit (new structure, if both or none are).
    Uncertainty is to be laid over the result. It runs from black over red to yellow with the square root, so that small
    values show, up to :data:`UNCERTAINTY_OF_FULL_COLOUR` of the window.

    Args:
        before: the input, (C, *spatial); its metadata, where there are any, hold for all.
        after: the result, of the same shape.
        padding: (1, *spatial), bool, true where the input holds no image.
        deviation: (1, *spatial) or (C, *spatial), standard deviation of the result.
        slice_axis: spatial axis along which a volume's slices are stacked; None: the last.
        places: see :class:`CaseRecord`.
        verdict: on the case; one that asks for a check shows the slice that is to be checked.
        size: longest side of a picture.
    """
    places = places or {}
    is_volume = before.ndim == 4
    axis = 2 if slice_axis is None else slice_axis
    plane = None
    if is_volume:
        plane = before.shape[axis + 1] // 2
        if verdict is not None and verdict.label == "check":
            suspects = [name for name in PLACES if name in places]
            suspects.sort(key=lambda name: name not in verdict.exceeded)
            plane = places[suspects[0]][axis] if suspects else plane
    low, high = robust_range(before, padding)

    def shown(values: torch.Tensor) -> torch.Tensor:
        plain = without_metadata(values)
        return MetaTensor(plain, meta=before.meta) if isinstance(before, MetaTensor) else plain

    pictures = {
        "before": report_plane(before, low, high, axis, plane, size),
        "after": report_plane(shown(after), low, high, axis, plane, size),
    }
    if deviation is not None:
        values, spacing = _oriented(shown(deviation.float().mean(0, keepdim=True)), axis, plane)
        share = np.nan_to_num(values / max((high - low) * UNCERTAINTY_OF_FULL_COLOUR, 1e-12)).clip(0, 1) ** 0.5
        stops = np.linspace(0, 1, len(_HEAT))
        heat = np.stack([np.interp(share, stops, _HEAT[:, channel]) for channel in range(3)], axis=-1)
        pictures["uncertainty"] = _sized(heat.round().astype(np.uint8), spacing, size)
    marks = {}
    for name in PLACES:
        place = places.get(name)
        if place is not None and (not is_volume or place[axis] == plane):
            marks[name] = _mark(before, tuple(place), axis, plane)
    return CasePictures(pictures, plane, marks)


def _oriented(
    image: torch.Tensor, slice_axis: int | None, plane: int | None
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    axis = 2 if slice_axis is None else slice_axis
    if image.ndim == 4:
        index = image.shape[axis + 1] // 2 if plane is None else plane
        image = image.narrow(axis + 1, index, 1)
    return display_plane(image, axis)


def _sized(pixels: Picture, spacing: tuple[float, float], size: int) -> Picture:
    stretch = np.asarray(spacing) / min(spacing)
    height, width = (float(length) for length in np.asarray(pixels.shape[:2]) * stretch)
    longest = max(height, width)
    if longest <= size:
        return np.asarray(enlarged(pixels, spacing, int(size // longest * longest)))
    shape = max(1, round(width * size / longest)), max(1, round(height * size / longest))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))


def _mark(image: torch.Tensor, place: tuple[int, ...], axis: int, plane: int | None) -> tuple[float, float]:
    """Return where the picture shows a voxel, as shares of width and height."""
    sides = list(image.shape[1:])
    index = [0, *place]
    if plane is not None:
        # One slice suffices, and is turned in the same way.
        sides[axis], index[axis + 1] = 1, 0
    flag: torch.Tensor = torch.zeros(1, *sides)
    flag[tuple(index)] = 1
    if isinstance(image, MetaTensor):
        flag = MetaTensor(flag, meta=image.meta)
    values, _ = display_plane(flag, axis)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (int(column) + 0.5) / values.shape[1], (int(row) + 0.5) / values.shape[0]
