# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""From the network's intensities back to the units and the grid of the source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from monai.utils import CommonKeys

from ..errors import InputError
from ..tensors import without_metadata
from .loading import PADDING
from .slices import SLICE_AXIS, places_in_ras

__all__ = ["RestoreSourced"]


class RestoreSourced(MapTransform):
    r"""Bring a prediction back to the units and the orientation of the image that was read.

    The preprocessing is undone. Intensities that the scaling had cut off are put back,
    :math:`\hat x = s^{-1}(E(s(y))) + (y - s^{-1}(s(y)))`, so that the brightest voxels are not levelled. Pixels that
    the scanner marked as padding stay as they are, and so do slices of a volume that are all one value, where a 2-D
    network took the slices: they show nothing, and a network would draw something into them.

    Args:
        keys: key of the prediction, (C, *spatial) in the network's intensities.
        transform: the preprocessing, with :class:`ReadImaged` (``source_key``) and :class:`SliceAxisd` in it.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        orig_key: key of the image as the network saw it. Defaults to ``"image"``.
        source_key: key of the image as it was read. Defaults to ``"source"``.
        deviation_key: key of standard deviations of the prediction, (C, *spatial), where an item has them; they become
            (1, *spatial), in the units of the source. Defaults to ``"deviation"``.

    Raises:
        InputError: when the prediction is not finite.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: Compose,
        spatial_dims: int,
        orig_key: str = CommonKeys.IMAGE.value,
        source_key: str = "source",
        deviation_key: str = "deviation",
    ) -> None:
        super().__init__(keys)
        self.transform = transform
        self.spatial_dims = spatial_dims
        self.orig_key = orig_key
        self.source_key = source_key
        self.deviation_key = deviation_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore the prediction of one item: a ``MetaTensor`` with the geometry of the source."""
        item = dict(data)
        scaled, source = item[self.orig_key], item[self.source_key].as_tensor()
        left_alone = self._left_alone(item)
        for key in self.key_iterator(item):
            pred = without_metadata(item[key]).float().to(source.device)
            if not bool(torch.isfinite(pred).all()):
                raise InputError(
                    "the network gave values that are not finite: train it anew, or without mixed precision"
                )
            undone = self._undone(pred, scaled)
            result = undone + (source - self._undone(without_metadata(scaled).to(source.device), scaled))
            if self.deviation_key in item:
                deviation = without_metadata(item[self.deviation_key]).to(source.device)
                deviation = (self._undone(pred + deviation, scaled) - undone).clamp_min(0).mean(0, keepdim=True)
                for mask in left_alone:
                    deviation = deviation.masked_fill(mask, 0)
                item[self.deviation_key] = deviation
            for mask in left_alone:
                result = torch.where(mask, source, result)
            item[key] = MetaTensor(result).copy_meta_from(item[self.source_key])
        return item

    def _undone(self, values: torch.Tensor, scaled: MetaTensor) -> torch.Tensor:
        """Undo the preprocessing, as the image that went through it remembers it."""
        image = MetaTensor(values).copy_meta_from(scaled)
        undone: MetaTensor = self.transform.inverse({self.orig_key: image})[self.orig_key]
        return undone.as_tensor()

    def _left_alone(self, item: Mapping[Hashable, Any]) -> list[torch.Tensor]:
        """Return where the result is the source: masks, each broadcast to (1, *spatial)."""
        source = item[self.source_key]
        masks = []
        if source.ndim == 4 and self.spatial_dims == 2:
            masks.append(_is_constant_along(source.as_tensor(), places_in_ras(source).index(int(item[SLICE_AXIS]))))
        if f"{self.source_key}{PADDING}" in item:
            masks.append(without_metadata(item[f"{self.source_key}{PADDING}"]))
        return masks


def _is_constant_along(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """Which slices along an axis are constant: bool, with 1 in place of every size but that of the axis."""
    slices = volume.movedim(axis + 1, 0).flatten(1)
    shape = [1] * volume.ndim
    shape[axis + 1] = -1
    return (slices.amax(1) == slices.amin(1)).reshape(shape)
