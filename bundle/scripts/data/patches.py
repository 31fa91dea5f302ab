# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether training crops show the network what it will see afterwards."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

__all__ = ["warn_of_small_patches"]

SMALLEST_SHARE = 0.2
"""Of an image. Crops of 4 % of the OCT scans in docs/results.md cost 4 dB, crops of a quarter none."""

LOOKED_AT = 50
"""Images: a data set that is not kept in memory would be read for this alone."""

logger = logging.getLogger(__name__)


def warn_of_small_patches(
    items: Iterable[Mapping[str, Any]], patch_size: Sequence[int], slice_axis: int = 2, key: str = "image"
) -> None:
    """Warn where training crops are small parts of the images.

    A trained network takes whole planes, and its layers normalise over them. Where a crop is a small part of a plane,
    mean and deviation in training are others than afterwards, and the results get another contrast.

    Args:
        items: prepared items with an image (C, *spatial) each.
        patch_size: of the crops, one number per axis of the network.
        slice_axis: spatial axis along which a 2-D network takes the slices of a volume.
        key: of the image in an item.
    """
    shapes = [list(item[key].shape[1:]) for item in islice(items, LOOKED_AT)]
    planes = [
        [size for axis, size in enumerate(shape) if len(shape) == len(patch_size) or axis != slice_axis]
        for shape in shapes
    ]
    shares = [
        math.prod(min(1.0, patch / size) for patch, size in zip(patch_size, plane, strict=True)) for plane in planes
    ]
    if np.median(shares) < SMALLEST_SHARE:
        middle = planes[int(np.argsort(shares)[len(shares) // 2])]
        logger.warning(
            "Training crops of %s are %.0f %% of an image of %s. The network takes whole images afterwards and "
            "normalises over them: contrast will differ from that in training. Set patch_size near the size of the "
            "images, with a smaller batch_size.",
            _by(patch_size),
            100 * float(np.median(shares)),
            _by(middle),
        )


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
