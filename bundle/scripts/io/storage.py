# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The values that a file stores, and the real-world values that they mean."""

from __future__ import annotations

import numpy as np

__all__ = ["real_values", "stored_values", "values_cut", "widened_scaling"]

_MARGIN = 1e-6
"""Headers keep slopes in single precision."""


def real_values(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Real-world values, ``stored * slope + intercept``, computed in double precision.

    Args:
        stored: (C, *spatial), of any real type.
        slope: not 0.
        intercept: in real-world units.

    Returns:
        An array of the same shape in C order, float32.
    """
    values = np.empty(stored.shape, np.float32)
    with np.errstate(over="ignore"):
        for index in _parts(stored.shape):
            values[index] = _real(stored[index], slope, intercept)
    return values


def stored_values(values: np.ndarray, source: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Values to store, ``(values - intercept) / slope``: rounded and cut to the range of a type of whole numbers.

    A value that is still what the source says keeps what the source stores, to the last bit; so nothing that was left
    alone is lost to the precision of float32.

    Args:
        values: (C, *spatial), real-world values without NaN where the stored type has none.
        source: values that the source stores; their type is that of the result.
        slope: not 0.
        intercept: in real-world units.

    Returns:
        An array of the shape of ``values`` and of the type of ``source``.
    """
    if values.shape != source.shape:
        raise ValueError(f"the result is {values.shape} but its source {source.shape}")
    stored = np.empty(source.shape, source.dtype)
    whole = source.dtype.kind in "iu"
    least, most = _limits(source.dtype) if whole else (-np.inf, np.inf)
    with np.errstate(over="ignore"):
        for index in _parts(source.shape):
            part = (values[index].astype(np.float64) - intercept) / slope
            if whole:
                part = np.clip(np.rint(part), least, most)
            changed = values[index] != _real(source[index], slope, intercept)
            stored[index] = np.where(changed, part.astype(source.dtype), source[index])
    return stored


def values_cut(
    values: np.ndarray, source: np.ndarray, slope: float = 1.0, intercept: float = 0.0, bits: int = 0
) -> int:
    """Count the values that :func:`stored_values` cuts, save those whose source is at the end of the range already.

    Args:
        values: see :func:`stored_values`.
        source: likewise.
        slope: likewise.
        intercept: likewise.
        bits: of a stored value without a sign, where they are fewer than those of its type; 0 otherwise.
    """
    if source.dtype.kind not in "iu":
        return 0
    (least, most), count = _limits(source.dtype), 0
    most = (1 << bits) - 1 if bits else most
    for index in _parts(source.shape):
        wanted = np.rint((values[index].astype(np.float64) - intercept) / slope)
        cut = ((wanted > most) & (source[index] < most)) | ((wanted < least) & (source[index] > least))
        count += int(np.count_nonzero(cut))
    return count


def widened_scaling(values: np.ndarray, dtype: np.dtype, slope: float, intercept: float) -> tuple[float, float]:
    """Return slope and intercept by which all values fit a type of whole numbers: those given, where they do.

    The intercept stays, so that 0 stays what it is, unless there are values on its other side.

    Args:
        values: real-world values, finite.
        dtype: the stored type; floating point holds everything.
        slope: not 0.
        intercept: in real-world units.
    """
    if dtype.kind not in "iu" or not values.size:
        return slope, intercept
    least, most = _limits(dtype)
    low, high = float(values.min()), float(values.max())
    ends = sorted(np.rint((end - intercept) / slope) for end in (low, high))
    if ends[0] >= least and ends[1] <= most:
        return slope, intercept
    if ends[0] >= 0 or least < 0:
        factor = max(ends[1] / most, ends[0] / least if least < 0 else 0.0, 1.0)
        return slope * factor * (1 + _MARGIN), intercept
    wide = (high - low) / (most - least) * (1 + _MARGIN)
    return wide, low - least * wide


def _real(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _parts(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Indices of parts that are small beside the whole, so that double precision costs little memory."""
    return list(np.ndindex(shape[:2]))


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """The least and the largest double that a type of whole numbers can hold."""
    limits = np.iinfo(dtype)
    most = float(limits.max)
    return float(limits.min), most if int(most) <= limits.max else float(np.nextafter(most, 0))
