# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The values that a file stores, and the real-world values that they mean."""

from __future__ import annotations

import numpy as np

__all__ = ["real_values", "stored_values"]


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
