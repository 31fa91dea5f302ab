# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Stored values of DICOM pictures and the real-world values that they mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from ..errors import InputError
from .dicom_frames import Frame, PixelFormat

__all__ = ["is_padding", "keep_padding", "set_rescaling", "to_stored", "to_units", "values_cut", "widened"]

_MARGIN = 1e-6  # a slope is cut to 16 characters


def to_units(stored: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> np.ndarray:
    """Stored values in real-world units, float32, the right way round."""
    if pixel_format.colour:
        return stored.astype(np.float32)
    upright = stored.astype(np.float64)
    if pixel_format.inverted:
        upright = pixel_format.minimum + pixel_format.maximum - upright
    values = upright * frame.slope + frame.intercept
    # A result is rounded to whole stored values, which 32-bit floats must tell apart.
    if np.abs(values).max() * 2.0**-24 > abs(frame.slope) / 4:
        raise InputError(f'cannot read "{frame.file}": its values need more digits than 32-bit floating point has')
    return values.astype(np.float32)


def to_stored(values: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> np.ndarray:
    """The inverse of :func:`to_units`, for (rows, columns, channels), rounded and cut to the range of the type."""
    stored = np.clip(_upright(values, frame, pixel_format), pixel_format.minimum, pixel_format.maximum)
    if pixel_format.colour:
        return stored.astype(pixel_format.dtype)
    if pixel_format.inverted:
        stored = pixel_format.minimum + pixel_format.maximum - stored
    return stored[..., 0].astype(pixel_format.dtype)


def _upright(values: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> np.ndarray:
    """Whole stored values, as if the smallest were black, that need not fit the type."""
    exact = values.astype(np.float64)
    return np.rint(exact if pixel_format.colour else (exact - frame.intercept) / frame.slope)


def widened(values: np.ndarray, frames: Sequence[Frame], pixel_format: PixelFormat) -> list[Frame]:
    """Give frames a larger slope where their values would not fit the stored type, as far as their headers allow it.

    The intercept stays, so that 0 stays what it is. Frames that have one slope together keep one.

    Args:
        values: frames × rows × columns × channels.
        frames: the frames.
        pixel_format: of all of them.

    Returns:
        The frames, whose slopes may be larger in magnitude.
    """
    factors = [_factor(v, f, pixel_format) if f.scalable else 1.0 for v, f in zip(values, frames, strict=True)]
    if len({frame.slope for frame in frames}) == 1 and all(frame.scalable for frame in frames):
        factors = [max(factors)] * len(frames)
    return [
        frame if factor == 1 else frame._replace(slope=float(DSfloat(frame.slope * factor, auto_format=True)))
        for frame, factor in zip(frames, factors, strict=True)
    ]


def _factor(values: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> float:
    upright = _upright(values, frame, pixel_format)
    factor = max(1.0, float(upright.max()) / pixel_format.maximum)
    if pixel_format.minimum < 0:
        factor = max(factor, float(upright.min()) / pixel_format.minimum)
    return factor if factor == 1 else factor * (1 + _MARGIN)


def values_cut(values: np.ndarray, source: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> int:
    """Count the values that :func:`to_stored` cuts, save those whose source was at the end of the range already.

    Args:
        values: (rows, columns, channels).
        source: of the same shape and units.
        frame: with the slope of the source and of the result.
        pixel_format: its format.
    """
    wanted, before = (_upright(array, frame, pixel_format) for array in (values, source))
    above = (wanted > pixel_format.maximum) & (before < pixel_format.maximum)
    below = (wanted < pixel_format.minimum) & (before > pixel_format.minimum)
    return int(np.count_nonzero(above | below))


def set_rescaling(dataset: Dataset, frames: Sequence[Frame]) -> None:
    """Write the slopes of frames into the dataset of their file."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        dataset.RescaleSlope = DSfloat(frames[0].slope, auto_format=True)
        return
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for group, frame in zip(per_frame, frames, strict=True):
        (own,) = (group.get("PixelValueTransformationSequence") or shared.PixelValueTransformationSequence)[:1]
        item = Dataset()
        item.update(own)
        item.RescaleSlope = DSfloat(frame.slope, auto_format=True)
        group.PixelValueTransformationSequence = [item]
    if "PixelValueTransformationSequence" in shared:
        del shared.PixelValueTransformationSequence


def is_padding(stored: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """Tell which stored values mean "nothing recorded here"."""
    return (stored >= limits[0]) & (stored <= limits[1])


def keep_padding(stored: np.ndarray, original: np.ndarray, frame: Frame, pixel_format: PixelFormat) -> None:
    """Give padding back its value, and move every other value out of padding's range."""
    if frame.padding is None:
        return
    smallest, largest = frame.padding
    nearest = largest + 1 if largest < pixel_format.maximum else smallest - 1
    stored[is_padding(stored, frame.padding)] = nearest
    padding = is_padding(original, frame.padding)
    stored[padding] = original[padding]
