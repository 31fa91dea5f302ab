# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs that a camera stored turned or mirrored, as viewers and annotation programs show them."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

__all__ = ["EXIF_ORIENTATION", "as_stored", "upright"]

EXIF_ORIENTATION = "exif_orientation"
"""Key in the metadata of an image: how it is to be turned to stand upright, 1 to 8, where it is not 1 (EXIF 2.3)."""

TURNED_FROM = "turned_from_exif_orientation"
"""Key in the metadata of an image that was turned upright: the orientation that its file has."""

_COLUMNS, _ROWS = 1, 2
_MIRRORED = {2: (_COLUMNS,), 3: (_COLUMNS, _ROWS), 4: (_ROWS,), 6: (_ROWS,), 7: (_COLUMNS, _ROWS), 8: (_COLUMNS,)}
_TRANSPOSED = range(5, 9)
_BACK = {6: 8, 8: 6}  # quarter turns; any other orientation undoes itself


def upright(image: MetaTensor) -> MetaTensor:
    """Turn a photograph upright.

    Args:
        image: (C, columns, rows), as it is stored.

    Returns:
        The photograph as it is to be shown: (C, rows, columns) for orientations 5 to 8. The image itself where it is
        upright.
    """
    orientation = image.meta.get(EXIF_ORIENTATION, 1)
    if orientation not in range(2, 9):
        return image
    result = _turned(image, orientation)
    result.meta[TURNED_FROM] = result.meta.pop(EXIF_ORIENTATION)
    return result


def as_stored(image: MetaTensor) -> MetaTensor:
    """Turn a photograph back to the way in which its file holds it: the inverse of :func:`upright`.

    Args:
        image: (C, columns, rows), with the metadata that :func:`upright` gave it.

    Returns:
        The photograph as it is stored; the image itself where it was not turned.
    """
    orientation = image.meta.get(TURNED_FROM)
    if orientation is None:
        return image
    result = _turned(image, _BACK.get(orientation, orientation))
    result.meta[EXIF_ORIENTATION] = result.meta.pop(TURNED_FROM)
    return result


def _turned(image: MetaTensor, orientation: int) -> MetaTensor:
    values = torch.flip(image.as_tensor(), _MIRRORED.get(orientation, ()))
    if orientation in _TRANSPOSED:
        values = values.transpose(_COLUMNS, _ROWS)
    return MetaTensor(values).copy_meta_from(image)
