# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The stored high-quality prototype, kept up to date during training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..cues import collect_cues_by_image
from ..model_spec import ModelSpec
from .periodic_update import PeriodicUpdate

__all__ = ["PrototypeUpdate", "prototypes_by_style", "within_styles"]


class PrototypeUpdate(PeriodicUpdate):
    """Ignite handler: renew the network's stored prototype and those of the styles, see :class:`PeriodicUpdate`.

    Args:
        network: has ``encode_guide`` and ``set_prototype``; the network that is validated and saved, so the averaged
            one where weights are averaged.
        batches: batches of the high-quality set, see :func:`scripts.cues.collect_cues`.
        device: where the network is.
        interval: epochs between two updates. Defaults to 1.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        styles: of every image of the set, None for one without a style. Defaults to none at all.
        description: specification of the model, which keeps the prototypes of the styles. Defaults to none.

    Raises:
        InputError: when ``interval`` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Iterable[Any],
        device: torch.device | str = "cpu",
        interval: int = 1,
        spatial_dims: int = 2,
        slice_axis: int = 2,
        styles: Sequence[str | None] = (),
        description: ModelSpec | None = None,
    ) -> None:
        super().__init__(interval)
        self.network = network
        self.batches = batches
        self.device = device
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.styles = styles
        self.description = description

    def update(self) -> None:
        """Renew the prototypes."""
        by_image = collect_cues_by_image(
            self.network, self.batches, self.device, spatial_dims=self.spatial_dims, slice_axis=self.slice_axis
        )
        prototypes = prototypes_by_style(by_image, self.styles) if any(self.styles) else {}
        set_prototype: Any = self.network.set_prototype
        set_prototype(torch.cat(by_image), std=within_styles(prototypes) if prototypes else None)
        if self.description is not None and prototypes:
            self.description.styles = prototypes


def within_styles(prototypes: Mapping[str, Any]) -> torch.Tensor:
    r"""Return the deviation of cues within a style, :math:`(\frac1S \sum_s \sigma_s^2)^{1/2}`, (cue_channels).

    Args:
        prototypes: of :func:`prototypes_by_style`.
    """
    return torch.tensor([own["std"] for own in prototypes.values()]).square().mean(dim=0).sqrt()


def prototypes_by_style(by_image: Sequence[torch.Tensor], styles: Sequence[str | None]) -> dict[str, Any]:
    """Return mean and standard deviation of the cues of each style, lists of floats under "mean" and "std".

    Args:
        by_image: cues of every image, (n, cue_channels) each.
        styles: of every image, None for one without a style.
    """
    found: dict[str, Any] = {}
    for style in sorted({str(style) for style in styles if style is not None}):
        own = [cues for cues, name in zip(by_image, styles, strict=True) if name is not None and str(name) == style]
        cues = torch.cat(own)
        if len(cues):
            std, mean = torch.std_mean(cues, dim=0, correction=0)
            found[style] = {"mean": mean.tolist(), "std": std.tolist()}
    return found
