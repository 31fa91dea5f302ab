# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Guide studies by style, and results under them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from monai.inferers import Inferer
from monai.networks import eval_mode

from ..cues import collect_cues
from ..errors import require
from ..networks import HQGNet
from ..tensors import without_metadata

__all__ = ["StyleGuides", "require_two_styles"]


def require_two_styles(styles: Collection[str]) -> None:
    """Refuse guides of fewer than two styles.

    Raises:
        InputError: saying what the datalist lacks.
    """
    require(
        len(styles) >= 2,
        "Whether results follow their guide takes guides of two styles: give the high-quality entries of the datalist "
        'a "style".',
    )


class StyleGuides:
    """Enhance images under guide studies of several styles, the n-th image under the n-th study of each, in turn.

    Args:
        network: the trained network.
        inferer: how it is called.
        guides: by style, its high-quality items with ``image``, (C, *spatial).
        device: where the network is.
        spatial_dims: number of spatial dimensions of the network.
        slice_axis: spatial axis of a volume along which its slices are stacked.

    Raises:
        InputError: when there are fewer than two styles.
    """

    def __init__(
        self,
        network: HQGNet,
        inferer: Inferer,
        guides: Mapping[str, Sequence[Mapping[str, Any]]],
        device: torch.device | str = "cpu",
        spatial_dims: int = 2,
        slice_axis: int = 2,
    ) -> None:
        require_two_styles(guides)
        self.network = network
        self.inferer = inferer
        self.guides = guides
        self.device = device
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis

    @property
    def styles(self) -> list[str]:
        """Their names."""
        return list(self.guides)

    @cached_property
    def cues(self) -> dict[str, list[torch.Tensor]]:
        """By style, the cues of every study's slices, (n, cue_channels)."""
        return {style: [self._slice_cues(item["image"]) for item in items] for style, items in self.guides.items()}

    def guide(self, style: str, number: int) -> Mapping[str, Any]:
        """Return the guide study of the input of that number."""
        studies = self.guides[style]
        return studies[number % len(studies)]

    def enhance(self, image: torch.Tensor, style: str, number: int) -> torch.Tensor:
        """Return the result of the input of that number, (C, *spatial), under its guide study of a style."""
        studies = self.cues[style]
        return self._enhance(image, studies[number % len(studies)].mean(dim=0, keepdim=True))

    def enhance_unguided(self, image: torch.Tensor) -> torch.Tensor:
        """Return the result of an input, (C, *spatial), under the prototype."""
        return self._enhance(image, self.network.prototype_mean[None])

    def _slice_cues(self, image: torch.Tensor) -> torch.Tensor:
        batches = [without_metadata(image)[None]]
        return collect_cues(
            self.network, batches, self.device, spatial_dims=self.spatial_dims, slice_axis=self.slice_axis
        )

    def _enhance(self, image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        with eval_mode(self.network):
            batch = without_metadata(image)[None].to(self.device)
            result: torch.Tensor = self.inferer(batch, self.network.enhance_with_cue, cue)[0]
        return result.cpu()
