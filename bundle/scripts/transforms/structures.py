# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Structures that no patient of a training set has: what restores them does not know the anatomy by heart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from ..errors import require

__all__ = ["RandStructuresd"]

_INTERPOLATION = {2: "bicubic", 3: "trilinear"}


class RandStructuresd(RandomizableTransform, MapTransform):
    r"""Draw random structures into an image, at random: round, branched or in pieces, dark or bright, soft or sharp.

    A structure is the region in which a smooth random field f exceeds the level that leaves it a drawn share of the
    image. With the mask :math:`m=\operatorname{clip}((f-\text{level})/w,0,1)`, the value v and the mix a,

    .. math:: x \leftarrow x + a\,m\,(v - x).

    Where training patients resemble each other, a network that restores learns their anatomy, and writes it over a
    cavity or a tumour that it never saw. Here it is asked to restore what it cannot know.

    Args:
        keys: images (C, *spatial) in [0, 1], which must have one shape; all get the same structures.
        prob: probability that an image gets any. Defaults to 0.4.
        number: fewest and most structures. Defaults to 1 to 4.
        share: smallest and largest share of the image that one covers. Defaults to 0.003 to 0.12.
        grid: fewest and most points per axis of the field: more make smaller and more pieces. Defaults to 4 to 10.
        width: smallest and largest w, where the field is within about 0 to 1: sharp and soft rims. Defaults to 0.01 to
            0.05.
        mix: smallest and largest a. Defaults to 0.5 to 1.

    Raises:
        InputError: for a range that makes no sense.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.4,
        number: Sequence[int] = (1, 4),
        share: Sequence[float] = (0.003, 0.12),
        grid: Sequence[int] = (4, 10),
        width: Sequence[float] = (0.01, 0.05),
        mix: Sequence[float] = (0.5, 1.0),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.ranges: dict[str, Sequence[float]] = {
            "number": number,
            "share": share,
            "grid": grid,
            "width": width,
            "mix": mix,
        }
        least = {"number": 1, "share": 0.0, "grid": 2, "width": 1e-6, "mix": 0.0}
        for name, (low, high) in self.ranges.items():
            require(
                least[name] <= low <= high,
                f"{name} of the random structures is {low} to {high}: give a range from {least[name]:g} on.",
            )
        require(share[1] < 1 and mix[1] <= 1, "share and mix of the random structures must be parts of 1.")

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the images with structures drawn into them; the input is not changed."""
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        keys = [key for key in self.keys if key in item]
        for _ in range(self._whole("number")):
            amount = self._amount(tuple(item[keys[0]].shape[1:])) * self._drawn("mix")
            value = self.R.rand()
            for key in keys:
                item[key] = item[key] + amount.to(item[key]) * (value - item[key])
        return item

    def _amount(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a mask of one structure, (1, *shape) in [0, 1]."""
        points = self._whole("grid")
        coarse = torch.from_numpy(self.R.rand(1, 1, *[points] * len(shape))).float()
        field = F.interpolate(coarse, size=shape, mode=_INTERPOLATION[len(shape)], align_corners=False)[0]
        rank = round((1 - self._drawn("share")) * field.numel())
        level = field.flatten().kthvalue(max(rank, 1)).values
        return ((field - level) / self._drawn("width")).clamp(0, 1)

    def _drawn(self, name: str) -> float:
        low, high = self.ranges[name]
        return float(self.R.uniform(low, high))

    def _whole(self, name: str) -> int:
        low, high = self.ranges[name]
        return int(self.R.randint(int(low), int(high) + 1))
