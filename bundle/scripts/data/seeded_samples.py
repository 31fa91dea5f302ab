# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Labelled images in a random order that the seed fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch.utils.data import Dataset, Subset

from .unpaired import IMAGE, LABEL

__all__ = ["SeededSamples"]

# Which random numbers a draw is for; none must follow from another.
_ORDER, _TRANSFORM = range(2)

Item = dict[str, Any]


class SeededSamples(Dataset[Item]):
    """A stream of labelled images whose order and augmentation follow from the seed and the place in it alone.

    So two sets of images of the same length, a raw and an enhanced one, are visited in the same order, and meet the
    same crops and flips. With N items, places cN to cN + N - 1 visit every item once, in an order of their own.

    Args:
        items: with ``image``, (C, *spatial), and ``label``.
        length: number of draws.
        seed: of everything random.
        random_transforms: applied to a dictionary with the image and, if ``vary_label``, the label.
        vary_label: whether the label is an image too, which the same transforms change.

    Returns of ``draws[place]``: ``{"image", "label"}`` without metadata.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]] | Subset[Item],
        length: int,
        seed: int,
        random_transforms: Compose | None = None,
        vary_label: bool = True,
    ) -> None:
        self.items = items
        self.length = length
        self.seed = seed
        self.random_transforms = random_transforms
        self.varied = (IMAGE, LABEL) if vary_label else (IMAGE,)

    def __len__(self) -> int:
        """Return the number of draws."""
        return self.length

    def __getitem__(self, place: int) -> Item:
        """Draw the item at a place of the stream."""
        if not 0 <= place < self.length:
            raise IndexError(f"the stream has the places 0 to {self.length - 1}, not {place}")
        cycle, index = divmod(place, len(self.items))
        order = np.random.default_rng([self.seed, _ORDER, cycle]).permutation(len(self.items))
        chosen = self.items[int(order[index])]
        item = {key: chosen[key] for key in (IMAGE, LABEL)}
        if self.random_transforms is not None:
            sequence = np.random.SeedSequence((self.seed, _TRANSFORM, place))
            self.random_transforms.set_random_state(seed=int(sequence.generate_state(1)[0]))
            item |= self.random_transforms({key: item[key] for key in self.varied})
        return {key: convert_to_tensor(value) for key, value in item.items()}
