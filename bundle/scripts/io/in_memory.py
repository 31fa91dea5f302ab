# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that come from no file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.affines import voxel_sizes

from ..errors import InputError
from ..tensors import without_metadata
from .base import PATIENT_SPACE, PIXEL_SPACE, SPACE, CaseImage, Provenance, coarse_axis

__all__ = ["ArrayCase"]


class ArrayCase(CaseImage):
    """An array or a tensor as an image to enhance. It has no file format, so nothing can be written.

    Slices of a volume are taken to lie along the axis whose voxels are clearly longer than those of the other two,
    as for NIfTI files.

    Args:
        values: (C, *spatial) with two or three spatial axes, real numbers. Axes of pictures are (columns, rows). The
            affine of a ``MetaTensor`` maps voxels to RAS millimetres; other volumes are taken to lie in RAS order with
            equal voxel sizes.

    Raises:
        InputError: when that is not the shape or the type.
    """

    def __init__(self, values: np.ndarray | torch.Tensor) -> None:
        kind = values.dtype.is_complex if isinstance(values, torch.Tensor) else values.dtype.kind not in "biuf"
        if kind:
            raise InputError(f"an array of type {values.dtype} is no image: give real numbers")
        if values.ndim not in (3, 4) or 0 in values.shape:
            raise InputError(
                f"an array of shape {tuple(values.shape)} is no image: give (channels, columns, rows) or "
                "(channels, x, y, z), such as array[None] of a grey one"
            )
        given = values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values, np.float32))
        plain = without_metadata(given).detach().cpu().float()
        volume = plain.ndim == 4
        affine = torch.eye(4, dtype=torch.float64)
        space = PIXEL_SPACE
        if volume and isinstance(given, MetaTensor):
            space = PATIENT_SPACE
            affine = given.affine.detach().cpu().double()
            if not bool(torch.isfinite(affine).all()) or abs(float(torch.linalg.det(affine))) == 0.0:
                raise InputError("the affine matrix of the image cannot be inverted: mend it, or give a plain tensor")
        self.image = MetaTensor(plain, affine=affine, meta={SPACE: space})
        self.slice_axis = coarse_axis(voxel_sizes(affine.numpy())) if volume else None

    def write(self, result: torch.Tensor, target: Path, provenance: Provenance | None) -> NoReturn:
        """Refuse: an array has no file format.

        Raises:
            InputError: always.
        """
        raise InputError("an array has no file format to be saved in: take the image, and save it as you like")

    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> NoReturn:
        """Refuse, see :meth:`write`."""
        self.write(deviation, target, provenance)
