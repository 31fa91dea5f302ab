# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The network as other programs run it: one forward pass, with the prototype and the styles inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from .hqgnet import HQGNet

__all__ = ["OnnxSignature", "StandAlone"]


class StandAlone(nn.Module):
    """A trained network together with its styles, for TorchScript.

    A style is an argument of the call, so that one file serves all of them and a program may choose for every image.

    Args:
        network: the trained network. The style of number 0 is its prototype.
        styles: mean cue of each further style by name, (cue_channels); they have the numbers from 1 on.

    Attributes:
        names: of the styles, in the order of their numbers.
    """

    def __init__(self, network: HQGNet, styles: Mapping[str, Sequence[float]] | None = None) -> None:
        super().__init__()
        styles = styles or {}
        self.names = ["prototype", *styles]
        self.network = network
        # Declared here, since TorchScript cannot read the string annotations of a class body.
        self.cues: torch.Tensor
        means = [
            network.prototype_mean.detach(),
            *(network.prototype_mean.new_tensor(mean) for mean in styles.values()),
        ]
        self.register_buffer("cues", torch.stack(means))

    def forward(self, image: torch.Tensor, guide: torch.Tensor | None = None, style: int = 0) -> torch.Tensor:
        """Enhance.

        Args:
            image: low-quality image, (B, C, *spatial), intensities in [0, 1].
            guide: high-quality image, (B or 1, C, *any spatial), which counts instead of the style.
            style: number of the style.

        Returns:
            Enhanced image, of the shape of ``image``, in [0, 1].
        """
        cue = self.cues[style].unsqueeze(0) if guide is None else self.network.encode_guide(guide)[0]
        return self.network.enhancer(image, cue.expand(image.shape[0], -1))


class OnnxSignature(nn.Module):
    """The same with tensors alone, as ONNX needs it; NaN stands for what the network finds by itself.

    Args:
        stand_alone: the network with its styles.
    """

    def __init__(self, stand_alone: StandAlone) -> None:
        super().__init__()
        self.cues = stand_alone.cues
        self.enhancer = stand_alone.network.enhancer

    def forward(
        self, image: torch.Tensor, style: torch.Tensor, cue: torch.Tensor, code: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance.

        Args:
            image: low-quality image, (B, C, *spatial), intensities in [0, 1].
            style: number of the style, (1), int64.
            cue: v_z, (1, cue_channels), of a guide; NaN: that of the style.
            code: v_y, (1, code_channels), for parts of a larger image that have to agree; NaN: each image's own.

        Returns:
            Enhanced image, of the shape of ``image``, and the LQ codes of the images, (B, code_channels).
        """
        size = image.shape[0]
        # In the exported graph the encoder runs once: the exporter merges this pass with that of the last line.
        own = self.enhancer.encode(image)
        cue = torch.where(torch.isnan(cue), self.cues[style], cue).expand(size, -1)
        return self.enhancer(image, cue, torch.where(torch.isnan(code), own, code)), own
