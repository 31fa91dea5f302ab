# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The pixel size of training images, which later images are brought to: a network knows structures of one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.affines import voxel_sizes
from torch.nn import functional as F

from .io import PATIENT_SPACE, SPACE

__all__ = ["PIXEL_SIZE", "axes_of_planes", "pixel_size_of_set", "resized", "voxel_size", "zoom_to"]

PIXEL_SIZE = "pixel_size"
"""Key of the voxel size in a prepared training item, where the file names one."""

TOLERANCE = 1.5
"""Factor that a pixel may be smaller or larger by: training varies the size as much (``train#zoom``)."""

LOOKED_AT = 200
"""Images of a set: one that is not kept in memory would be read for this alone."""

Range = Sequence[Sequence[float]]


def voxel_size(image: torch.Tensor) -> list[float] | None:
    """Return the sides of a voxel in millimetres, one per axis of space; None where the image does not know.

    Args:
        image: a ``MetaTensor`` (C, *spatial), or a batch of one, as :class:`scripts.transforms.ReadImaged` read it.
            Photographs, and arrays without metadata, have no size.
    """
    if not isinstance(image, MetaTensor):
        return None
    space = image.meta.get(SPACE)
    if (space[0] if isinstance(space, (list, tuple)) else space) != PATIENT_SPACE:
        return None
    affine = torch.as_tensor(image.affine)
    return [float(size) for size in voxel_sizes(np.asarray(affine[0] if affine.ndim == 3 else affine))]


def axes_of_planes(dims: int, spatial_dims: int, slice_axis: int) -> list[int]:
    """Return the spatial axes of an image of so many dimensions that a network takes at once."""
    return [axis for axis in range(dims) if dims == spatial_dims or axis != slice_axis]


def pixel_size_of_set(items: Iterable[Mapping[str, Any]], spatial_dims: int, slice_axis: int) -> Range | None:
    """Return the smallest and largest pixel of a training set, in millimetres, per axis of the network.

    Both axes of planes have one range, since a patient may lie either way.

    Args:
        items: prepared items with an ``"image"`` (C, *spatial) and, where it is known, its :data:`PIXEL_SIZE`.
        spatial_dims: of the network.
        slice_axis: spatial axis along which a 2-D network takes the slices of a volume.

    Returns:
        As many pairs as the network has axes; None where no image knows its size.
    """
    sizes = [
        [item[PIXEL_SIZE][axis] for axis in axes_of_planes(item["image"].ndim - 1, spatial_dims, slice_axis)]
        for item in islice(items, LOOKED_AT)
        if PIXEL_SIZE in item
    ]
    if not sizes:
        return None
    columns = [np.ravel(sizes)] * 2 if spatial_dims == 2 else list(np.transpose(sizes))
    return [[round(float(column.min()), 4), round(float(column.max()), 4)] for column in columns]


def zoom_to(sizes: Sequence[float], wanted: Range) -> list[float]:
    """Return the factors that planes are to be resized by: 1 along axes whose pixels are nearly those of training.

    Args:
        sizes: of an image's pixels, in millimetres, per axis of the network.
        wanted: of the training set, see :func:`pixel_size_of_set`.
    """
    return [
        size / low if size < low / TOLERANCE else size / high if size > high * TOLERANCE else 1.0
        for size, (low, high) in zip(sizes, wanted, strict=True)
    ]


def resized(images: torch.Tensor, size: Sequence[int], slice_axis: int) -> torch.Tensor:
    """Resample images (B, C, *spatial) in [0, 1] to another size; slices of a volume each by itself if they can be.

    Planes are smoothed before they lose pixels, so that noise does not fold back.
    """
    if list(size) == list(images.shape[2:]):
        return images
    if images.ndim == 4:
        return F.interpolate(images, size=list(size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    if size[slice_axis] == images.shape[slice_axis + 2]:
        planes = images[0].movedim(slice_axis + 1, 0)
        plane = [length for axis, length in enumerate(size) if axis != slice_axis]
        return resized(planes, plane, slice_axis).movedim(0, slice_axis + 1)[None]
    smaller = any(wanted < length for wanted, length in zip(size, images.shape[2:], strict=True))
    if smaller:
        return F.interpolate(images, size=list(size), mode="area")
    return F.interpolate(images, size=list(size), mode="trilinear", align_corners=False)
