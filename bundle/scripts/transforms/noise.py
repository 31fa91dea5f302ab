# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How noisy images are, so that the images to be restored can be made as noisy."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from ..tensors import without_metadata
from .degradation import RandScannerDegradation
from .slices import through_plane_axis

__all__ = ["estimate_noise", "fit_noise"]

_SCALE_OF_MAD = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation."""

FOREGROUND = 0.1
WIDENED = (0.4, 1.4)
"""Factors of the ends of what was found: a training that meets more finds what is to come easier."""

logger = logging.getLogger(__name__)


def estimate_noise(image: torch.Tensor, slice_axis: int = 2) -> tuple[float, float]:
    """Return the standard deviation of noise in an image, from its diagonal Haar details at two scales.

    The median absolute deviation over the foreground counts (Donoho & Johnstone 1994); edges hardly move a median.
    White noise gives both scales one deviation. Noise that a scanner has interpolated is nearly absent from the finest
    details, and the second scale finds it, with some of the anatomy.

    Args:
        image: (C, H, W) or (C, H, W, D) in [0, 1].
        slice_axis: spatial axis along which the slices of a volume are stacked; the details are those within slices.
            Defaults to 2.

    Returns:
        The deviations of the finest details and of those twice as large; 0 where there is no foreground.
    """
    planes = image.movedim(through_plane_axis(image.shape[1:], slice_axis) + 1, -1) if image.ndim == 4 else image
    coarse, finest = _haar(planes.float())
    coarsest, second = _haar(coarse)
    return _deviation(finest[coarse / 2 > FOREGROUND]), _deviation(second[coarsest / 4 > FOREGROUND])


def _haar(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the orthonormal Haar transform's coarse part and its diagonal details along the first two axes."""
    height, width = (size // 2 * 2 for size in image.shape[1:3])
    even = image[:, :height, :width]
    a, b, c, d = (even[:, row::2, column::2] for row in (0, 1) for column in (0, 1))
    return (a + b + c + d) / 2, (a - b - c + d) / 2


def _deviation(details: torch.Tensor) -> float:
    return float(details.abs().median()) * _SCALE_OF_MAD if details.numel() else 0.0


def fit_noise(degradation: Compose, items: Iterable[Any], slice_axis: int = 2, key: str = "image") -> None:
    """Set the noise of a degradation to what the low-quality images have, widened, and log both.

    The lower end comes from the finest details, the upper end from the scale that shows more noise.

    Args:
        degradation: its :class:`RandScannerDegradation` is changed, unless it is a :class:`RandPoorScanner` with a
            range of its own; without one nothing happens.
        items: prepared low-quality items, in [0, 1].
        slice_axis: see :func:`estimate_noise`.
        key: of the image in an item.
    """
    if not getattr(degradation, "fits_noise", True):
        return
    parts = [part for part in degradation.flatten().transforms if isinstance(part, RandScannerDegradation)]
    found = np.array([estimate_noise(without_metadata(item[key]), slice_axis) for item in items])
    low, high = float(np.quantile(found[:, 0], 0.05)), float(np.quantile(found.max(axis=1), 0.95))
    for part in parts:
        part.ranges["noise_std"] = (WIDENED[0] * low, WIDENED[1] * high)
        logger.info(
            "The noise of the %d low-quality images is %.3f to %.3f of their range: images to be restored get %.3f to "
            "%.3f.",
            len(found),
            low,
            high,
            *part.ranges["noise_std"],
        )
