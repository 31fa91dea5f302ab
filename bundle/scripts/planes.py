# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Planes, which a network takes at once: the pixels that they have, and whether crops show it enough of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.affines import voxel_sizes
from torch.nn import functional as F

from .io import PATIENT_SPACE, SPACE
from .io.base import coarse_axis
from .transforms.slices import through_plane_axis

__all__ = [
    "PIXEL_SIZE",
    "Plane",
    "Range",
    "axes_of_planes",
    "pixel_size_of_set",
    "planes_of",
    "resized",
    "voxel_size",
    "warn_of_other_axis",
    "warn_of_small_patches",
    "zoom_to",
]

PIXEL_SIZE = "pixel_size"
"""Key of the voxel size in a prepared training item, where the file names one."""

TOLERANCE = 1.5
"""Factor that a pixel may be smaller or larger by: training varies the size as much (``train#zoom``)."""

SMALLEST_SHARE = 0.2
"""Of a crop in a plane. Crops of 4 % of the OCT scans in docs/results.md cost 4 dB, crops of a quarter none."""

LOOKED_AT = 200
"""Images of a set: one that is not kept in memory is read for this alone."""

Range = Sequence[Sequence[float]]
"""Smallest and largest pixel of a training set in millimetres, per axis of the network."""

logger = logging.getLogger(__name__)


class Plane(NamedTuple):
    """A plane of an image, or a whole volume where the network takes volumes.

    Attributes:
        shape: its sides in pixels.
        pixels: the sides of a pixel in millimetres; None where the image does not know.
        acquired: spatial axis of a volume along which its voxels are clearly the longest, the axis of acquisition;
            None where there is no such axis, or the network takes volumes.
    """

    shape: list[int]
    pixels: list[float] | None
    acquired: int | None = None


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


def planes_of(items: Iterable[Mapping[str, Any]], spatial_dims: int, slice_axis: int) -> list[Plane]:
    """Return a plane of each of the first images of a training set.

    Args:
        items: prepared items with an ``"image"`` (C, *spatial) and, where it is known, its :data:`PIXEL_SIZE`.
        spatial_dims: of the network.
        slice_axis: spatial axis along which a 2-D network takes the slices of a volume, see
            :func:`scripts.transforms.slices.through_plane_axis`.
    """
    planes = []
    for item in islice(items, LOOKED_AT):
        shape, sizes = list(item["image"].shape[1:]), item.get(PIXEL_SIZE)
        axes = axes_of_planes(len(shape), spatial_dims, through_plane_axis(shape, slice_axis))
        acquired = None
        if sizes is not None and len(axes) < len(shape) and min(shape) > 1:
            acquired = coarse_axis(np.array(sizes))
        pixels = None if sizes is None else [sizes[axis] for axis in axes]
        planes.append(Plane([shape[axis] for axis in axes], pixels, acquired))
    return planes


def pixel_size_of_set(planes: Sequence[Plane]) -> Range | None:
    """Return the smallest and largest pixel of a training set, in millimetres, per axis of the network.

    Both axes of planes have one range, since a patient may lie either way.

    Args:
        planes: of the set, see :func:`planes_of`.

    Returns:
        As many pairs as the network has axes; None where no image knows its size.
    """
    sizes = [plane.pixels for plane in planes if plane.pixels is not None]
    if not sizes:
        return None
    columns = [np.ravel(sizes)] * 2 if len(sizes[0]) == 2 else list(np.transpose(sizes))
    return [[round(float(column.min()), 4), round(float(column.max()), 4)] for column in columns]


def warn_of_small_patches(planes: Sequence[Plane], patch_size: Sequence[int]) -> None:
    """Warn where training crops are small parts of the planes.

    A trained network takes whole planes, and its layers normalise over them. Where a crop is a small part of a plane,
    mean and deviation in training are others than afterwards, and the results get another contrast.

    Args:
        planes: of the training set, see :func:`planes_of`.
        patch_size: of the crops, one number per axis of the network.
    """
    shares = [
        math.prod(min(1.0, patch / size) for patch, size in zip(patch_size, plane.shape, strict=True))
        for plane in planes
    ]
    middle = int(np.argsort(shares)[len(shares) // 2])
    if np.median(shares) < SMALLEST_SHARE:
        logger.warning(
            "Training crops of %s are %.0f %% of an image of %s. The network takes whole images afterwards and "
            "normalises over them: contrast will differ from that in training. Set patch_size near the size of the "
            "images, with a smaller batch_size.",
            " x ".join(map(str, patch_size)),
            100 * float(np.median(shares)),
            " x ".join(map(str, planes[middle].shape)),
        )


def warn_of_other_axis(planes: Sequence[Plane], slice_axis: int) -> None:
    """Warn where training cuts volumes across another axis than that of their acquisition, which inference takes.

    Args:
        planes: of the training set, see :func:`planes_of`.
        slice_axis: of the training.
    """
    acquired = [plane.acquired for plane in planes if plane.acquired is not None]
    if not acquired:
        return
    usual = max(set(acquired), key=acquired.count)
    if usual != slice_axis:
        logger.warning(
            "%d of the first %d low-quality volumes were acquired in slices along axis %d (of RAS axes), and training "
            "cuts them along axis %d. Inference cuts volumes as they were acquired: it would show the network planes "
            "of another kind. Set --slice_axis %d.",
            acquired.count(usual),
            len(planes),
            usual,
            slice_axis,
            usual,
        )


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
    """Resample an image (1, C, *spatial) in [0, 1] to another size; slices of a volume each by itself if they can be.

    Planes are smoothed before they lose pixels, so that noise does not fold back.
    """
    if list(size) == list(images.shape[2:]):
        return images
    if images.ndim == 4:
        return F.interpolate(images, size=list(size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    if size[slice_axis] == images.shape[slice_axis + 2]:
        planes = images[0].movedim(slice_axis + 1, 0)
        plane = [size[axis] for axis in axes_of_planes(3, 2, slice_axis)]
        return resized(planes, plane, slice_axis).movedim(0, slice_axis + 1)[None]
    smaller = [min(wanted, length) for wanted, length in zip(size, images.shape[2:], strict=True)]
    if smaller != list(images.shape[2:]):
        images = F.interpolate(images, size=smaller, mode="area")
    return F.interpolate(images, size=list(size), mode="trilinear", align_corners=False)
