# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs that a camera stored turned or mirrored, as viewers and annotation programs show them."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

__all__ = ["EXIF_ORIENTATION", "upright"]

EXIF_ORIENTATION = "exif_orientation"
"""Key in the metadata of an image: how it is to be turned to stand upright, 1 to 8, where it is not 1 (EXIF 2.3)."""

_COLUMNS, _ROWS = 1, 2


def upright(image: MetaTensor) -> MetaTensor:
    """Turn a photograph upright.

    Args:
        image: (C, columns, rows), as it is stored.

    Returns:
        The photograph as it is to be shown: (C, rows, columns) for orientations 5 to 8. The image itself where it is
        upright.
    """
    orientation = image.meta.get(EXIF_ORIENTATION, 1)
    mirrored = {2: (_COLUMNS,), 3: (_COLUMNS, _ROWS), 4: (_ROWS,), 6: (_ROWS,), 7: (_COLUMNS, _ROWS), 8: (_COLUMNS,)}
    if orientation not in range(2, 9):
        return image
    values = torch.flip(image.as_tensor(), mirrored.get(orientation, ()))
    result = MetaTensor(values.transpose(_COLUMNS, _ROWS) if orientation > 4 else values).copy_meta_from(image)
    del result.meta[EXIF_ORIENTATION]
    return result
