# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Slices of volumes, for two-dimensional networks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from torch.utils.weak import WeakIdKeyDictionary

from ..tensors import without_metadata

__all__ = ["ACQUISITION_AXIS", "SLICE_AXIS", "RandSliced", "SliceAxisd", "places_in_ras", "through_plane_axis"]

ACQUISITION_AXIS = "acquisition_axis"
"""Key in the metadata of an image that is as it was read: the axis along which its slices were acquired."""

SLICE_AXIS = "slice_axis"
"""Key in an item, and in the metadata of its image: the axis of a volume in RAS orientation that slices lie along."""


def places_in_ras(image: MetaTensor) -> list[int]:
    """Return which axis each axis of a volume becomes when it is turned to RAS."""
    return [int(place) for place in nib.orientations.io_orientation(image.affine.numpy())[:, 0]]


def through_plane_axis(spatial_shape: Sequence[int], slice_axis: int = 2) -> int:
    """Spatial axis across which a volume is cut into slices.

    Args:
        spatial_shape: shape of a volume, without the channels.
        slice_axis: the axis that is meant.

    Returns:
        ``slice_axis``, or the only axis of length 1, where there is one: a single slice that was stored as a volume.
    """
    single = [axis for axis, length in enumerate(spatial_shape) if length == 1]
    return single[0] if len(single) == 1 else slice_axis


class SliceAxisd(MapTransform):
    """Find the axis along which a 2-D network is to take the slices of a volume, before the volume is turned to RAS.

    It is the axis of acquisition where the file names one, else the axis of training. It is written into the item, as
    ``"slice_axis"``, and into the metadata of the image, where :class:`scripts.inferers.ConsistentInferer` finds it.

    Args:
        keys: key of the image, a ``MetaTensor`` (C, *spatial) as :class:`scripts.transforms.ReadImaged` read it.
        slice_axis: axis of training, of volumes in RAS orientation. Defaults to 2, axial slices.
    """

    def __init__(self, keys: KeysCollection, slice_axis: int = 2) -> None:
        super().__init__(keys)
        self.slice_axis = slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Find the axis of one item's image; the image keeps its values."""
        item = dict(data)
        for key in self.key_iterator(item):
            image, axis = item[key], self.slice_axis
            if image.ndim == 4:
                places = places_in_ras(image)
                if ACQUISITION_AXIS in image.meta:
                    axis = places[image.meta[ACQUISITION_AXIS]]
                axis = through_plane_axis([image.shape[places.index(place) + 1] for place in range(3)], axis)
            item[SLICE_AXIS] = image.meta[SLICE_AXIS] = axis
        return item


def slices_with_content(image: torch.Tensor, axis: int, min_foreground: float) -> np.ndarray:
    """Indices of those slices of a volume that show something.

    Foreground is what exceeds the volume's minimum by more than a twentieth of its range. A slice shows something when
    it is not constant and at least ``min_foreground`` of it is foreground; where no slice does, those with the most
    foreground count.

    Args:
        image: a volume, shape (C, *spatial).
        axis: spatial axis across which it is cut.
        min_foreground: least fraction of foreground, 0 to 1.

    Returns:
        Ascending indices, at least one.
    """
    slices = image.movedim(axis + 1, 0).flatten(1)
    minimum, maximum = slices.min(dim=1).values, slices.max(dim=1).values
    threshold = minimum.min() + 0.05 * (maximum.max() - minimum.min())
    fraction = (slices > threshold).float().mean(dim=1)
    fraction[minimum == maximum] = -1.0
    usable = fraction >= min_foreground
    if not bool(usable.any()):
        usable = fraction == fraction.max()
    return torch.nonzero(usable).flatten().cpu().numpy()


class RandSliced(RandomizableTransform, MapTransform):
    """Take the same random slice from all arrays of an item, where these are volumes and the network is flat.

    Every slice that shows something (see ``min_foreground``) of the first key's volume is equally likely. Arrays that
    already have ``spatial_dims`` dimensions pass as they are.

    The result is a plain tensor and a view of the volume: geometry is of no use in training, and a copy of the whole
    slice would cost more than the crop that usually follows.

    Args:
        keys: keys of the arrays, shape (C, *spatial); the first that is present decides which slices show something.
        spatial_dims: number of spatial dimensions of the network.
        slice_axis: spatial axis across which volumes are cut; a volume of a single slice is cut there.
        min_foreground: least fraction of foreground in a slice, where the volume has such slices.
        allow_missing_keys: whether a key that an item lacks is skipped.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_dims: int,
        slice_axis: int = 2,
        min_foreground: float = 0.05,
        allow_missing_keys: bool = False,
    ) -> None:
        RandomizableTransform.__init__(self, 1.0)
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.min_foreground = min_foreground
        self._index = 0
        self._usable = WeakIdKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory of volumes behind: it holds for the arrays of this process only."""
        return {**self.__dict__, "_usable": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with an empty memory of volumes."""
        self.__dict__.update(state, _usable=WeakIdKeyDictionary())

    def randomize(self, data: np.ndarray) -> None:
        """Draw one of the given slice indices."""
        self._index = int(data[self.R.randint(len(data))])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Take a slice of one item's volumes: (C, H, W, D) becomes (C, H, W) for ``slice_axis`` 2."""
        item = dict(data)
        first = item[self.first_key(item)]
        if first.ndim - 1 == self.spatial_dims:
            return item
        if first.ndim - 1 != self.spatial_dims + 1:
            raise ValueError(f"cannot take a {self.spatial_dims}-D slice from an array of shape {tuple(first.shape)}")
        axis = through_plane_axis(first.shape[1:], self.slice_axis)
        self.randomize(self._slices_with_content(first, axis))
        for key in self.key_iterator(item):
            item[key] = without_metadata(item[key]).select(axis + 1, self._index)
        return item

    def _slices_with_content(self, image: torch.Tensor, axis: int) -> np.ndarray:
        # A cached volume is drawn from again and again: looking through it once is enough.
        usable = self._usable.get(image)
        if usable is None:
            usable = slices_with_content(image, axis, self.min_foreground)
            self._usable[image] = usable
        return usable
