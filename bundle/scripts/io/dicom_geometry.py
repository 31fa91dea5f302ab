# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""From pictures with positions to a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError, named
from .dicom_frames import Frame

__all__ = ["Arrangement", "arrange"]

ORIENTATION_TOLERANCE = 1e-3  # of a direction cosine: a twentieth of a degree
SPACING_TOLERANCE = 1e-3  # of the pixel spacing
EVEN_TOLERANCE = 0.05  # of the slice spacing
MOST_NAMES = 10


class Arrangement(NamedTuple):
    """The pictures of a case in the order of the volume.

    Attributes:
        frames: in the order of the slices.
        affine: maps (column, row, slice) to RAS millimetres, 4×4; the identity where positions are unknown.
        is_volume: whether the pictures are slices, or the times of a film; one picture without a position is neither.
        evenly_spaced: whether ``affine`` is true of every slice.
        is_placed: whether the pictures have positions in the patient.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray
    is_volume: bool
    evenly_spaced: bool
    is_placed: bool


def arrange(frames: Sequence[Frame]) -> Arrangement:
    """Sort pictures along the normal of their plane.

    The slice direction of the affine runs from the first slice to the last, so that a tilted gantry gives a sheared
    matrix. A slice on its own has its thickness for a step. Pictures of one file without positions (a film, such as
    ultrasound) keep the file's order and have no affine.

    Args:
        frames: of one series, in any order.

    Raises:
        InputError: when the pictures are no stack of parallel slices at different places.
    """
    placed = [frame for frame in frames if frame.position is not None and frame.orientation is not None]
    if not placed:
        if len({frame.file for frame in frames}) > 1:
            raise InputError(
                f'the {len(frames)} images in "{frames[0].file.parent}" have no position in the patient and so make no '
                "volume: give them one by one"
            )
        return Arrangement(tuple(frames), np.eye(4), len(frames) > 1, len(frames) == 1, False)
    if len(placed) < len(frames):
        lost = [frame for frame in frames if frame.position is None or frame.orientation is None]
        have, its, it = ("has", "its", "it") if len(lost) == 1 else ("have", "their", "them")
        raise InputError(
            f"{_names(lost, frames)} {have} no position in the patient, unlike {its} series: leave {it} out"
        )
    row, column, spacing = _common_plane(frames)
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step, even = _step(frames, positions, normal, min(spacing))
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * spacing[1], column * spacing[0], step, positions[0]])
    affine[:2] *= -1  # LPS to RAS
    return Arrangement(tuple(frames[i] for i in order), affine, True, even, True)


def _names(some: Sequence[Frame], frames: Sequence[Frame]) -> str:
    """Name some of all frames, by their files or, where all are in one, by their numbers."""
    if len(frames) > 1 and len({other.file for other in frames}) == 1:
        numbers = ", ".join(str(frame.number + 1) for frame in some[:MOST_NAMES])
        more = f" and {len(some) - MOST_NAMES} more" if len(some) > MOST_NAMES else ""
        return f'{"frames" if len(some) > 1 else "frame"} {numbers}{more} of "{some[0].file}"'
    return named([frame.file for frame in some], MOST_NAMES)


def _where(marked: np.ndarray, frames: Sequence[Frame]) -> list[Frame]:
    return [frame for frame, is_marked in zip(frames, marked, strict=True) if is_marked]


def _common_plane(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Directions of a row and of a column, and the spacing of rows and of columns, if all frames agree on them."""
    orientations = np.array([frame.orientation for frame in frames])
    row, column = orientations[0, :3], orientations[0, 3:]
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > 0.01 or abs(row @ column) > 0.01:
        raise InputError(
            f"the orientation of {_names(frames[:1], frames)} is not two directions at right angles: mend it"
        )
    apart = np.abs(orientations - orientations[0]).max(axis=1) > ORIENTATION_TOLERANCE
    if apart.any():
        raise InputError(
            f"{_names(frames[:1], frames)} and {_names(_where(apart, frames), frames)} lie in different planes, as "
            "localisers do: put the images of each plane into a series of their own"
        )
    bare = [frame for frame in frames if frame.spacing is None or min(frame.spacing) <= 0]
    if bare:
        lies, gives, its = ("lies", "gives", "its header") if len(bare) == 1 else ("lie", "give", "their headers")
        raise InputError(f"{_names(bare, frames)} {lies} in the patient but {gives} no pixel spacing: mend {its}")
    spacings = np.array([frame.spacing for frame in frames])
    apart = np.abs(spacings - spacings[0]).max(axis=1) > SPACING_TOLERANCE * spacings[0].min()
    if apart.any():
        raise InputError(
            f"{_names(frames[:1], frames)} and {_names(_where(apart, frames), frames)} differ in pixel spacing: "
            "put them into series of their own"
        )
    return row, column, (float(spacings[0, 0]), float(spacings[0, 1]))


def _step(
    frames: Sequence[Frame], positions: np.ndarray, normal: np.ndarray, spacing: float
) -> tuple[np.ndarray, bool]:
    """From a slice to the next, for slices in order; and whether it is the same all the way."""
    if len(positions) == 1:
        thickness = frames[0].thickness
        return normal * (thickness if thickness is not None and 0 < thickness < np.inf else 1.0), True
    distances = np.diff(positions @ normal)
    together = int(np.sum(distances <= SPACING_TOLERANCE * spacing))
    if together:
        place = f'"{frames[0].file.parent if frames[0].file != frames[-1].file else frames[0].file}"'
        raise InputError(
            f"{place} holds {len(positions)} images at {len(positions) - together} positions (several echoes or times, "
            "or duplicates): split it into one series for each"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    deviation = np.linalg.norm(positions - expected, axis=1).max()
    return step, bool(deviation <= EVEN_TOLERANCE * np.linalg.norm(step))
