# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancer: a residual U-shaped generator that is told how good images look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.layers.factories import Conv, Pool
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from .guidance_encoder import ACTIVATION
from .variational_norm import VariationalInformationNorm


def pad_to_multiple(image: torch.Tensor, divisor: int) -> torch.Tensor:
    """Pad each spatial axis of (B, C, *spatial) at its end, with edge values, to the next multiple of ``divisor``."""
    padding: list[int] = []
    for axis in range(image.dim() - 1, 1, -1):
        padding += [0, (divisor - image.shape[axis] % divisor) % divisor]
    # A tracer (ONNX) sees one size alone: it must meet the padding, or it would leave it out for every size.
    if torch.jit.is_tracing() or sum(padding) > 0:  # type: ignore[attr-defined]
        return F.pad(image, padding, mode="replicate")
    return image


class EnhancerEncoder(nn.Module):
    """The contracting half of the enhancer.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first; the last is the bottleneck.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = Convolution(spatial_dims, in_channels, channels[0], kernel_size=3, norm=None, act=ACTIVATION)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ResidualUnit(spatial_dims, narrow, wide, subunits=2, norm="INSTANCE", act=ACTIVATION)
            for narrow, wide in zip(widths[:-1], widths[1:], strict=True)
        )
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of every level, finest first.

        Args:
            image: (B, C, *spatial), each spatial size a multiple of ``2**(len(channels) - 1)``.

        Returns:
            One tensor per level, (B, channels[i], *spatial / 2**i).
        """
        x = self.stem(image)
        features: list[torch.Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(self.pool(x) if level > 0 else x)
            features.append(x)
        return features


class Enhancer(nn.Module):
    r"""Enhance a low-quality image y under a cue v_z of a high-quality image.

    Encoder: stem, then residual block and pooling per level. The bottleneck's pooled features give the LQ code v_y.
    Decoder, per level: linear upsampling, the encoder's skip connection, a residual block (whose first convolution
    narrows already, a quarter of the cost), and a :class:`VariationalInformationNorm` under the joint cue
    :math:`v_c = [v_z; v_y]`. The last 1x1 convolution gives f, and the head turns it into intensities in [0, 1]:

    - ``"residual"``: :math:`\hat x = \mathrm{sigmoid}(\mathrm{logit}_\epsilon(y) + f)`; f starts at zero, so training
      starts from the identity (up to the clipping of y to :math:`[\epsilon, 1-\epsilon]`);
    - ``"plain"``: :math:`\hat x = \mathrm{sigmoid}(f)`, the head of the paper.

    Images of any size are padded (edge values) to a multiple of the network's stride inside, and cropped afterwards.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image, and of the result.
        channels: width of each level, finest first; at least two.
        cue_channels: length of v_z. Defaults to 16.
        code_channels: length of v_y. Defaults to 16.
        head: ``"plain"`` or ``"residual"``. Defaults to ``"plain"``.
        logit_eps: :math:`\epsilon` of the residual head: how far black and white are from the ends that no finite f
            could move. Defaults to 0.05.

    Raises:
        InputError: for other ``spatial_dims``, fewer than two levels, an unknown head.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        cue_channels: int = 16,
        code_channels: int = 16,
        head: str = "plain",
        logit_eps: float = 0.05,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims must be 2 (slices, photographs) or 3 (volumes), not {spatial_dims}.")
        if len(channels) < 2:
            raise InputError(f"The enhancer needs two levels or more: channels={list(channels)} names {len(channels)}.")
        if head not in ("residual", "plain"):
            raise InputError(f'Unknown head "{head}": use "plain" or "residual".')
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.head = head
        self.logit_eps = logit_eps
        self.stride = 2 ** (len(channels) - 1)
        # Instance normalisation needs more than one pixel at the bottleneck.
        self.minimum_size = 2 * self.stride

        self.encoder = EnhancerEncoder(spatial_dims, in_channels, channels)
        self.global_pool = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.code = nn.Linear(channels[-1], code_channels)
        self.upsample = UpSample(spatial_dims, mode="nontrainable", interp_mode="linear", align_corners=False)
        deep_to_fine = list(channels)[::-1]
        self.decoder = nn.ModuleList(
            ResidualUnit(spatial_dims, below + skip, skip, subunits=2, norm="INSTANCE", act=ACTIVATION)
            for below, skip in zip(deep_to_fine[:-1], deep_to_fine[1:], strict=True)
        )
        self.modulation = nn.ModuleList(
            VariationalInformationNorm(spatial_dims, skip, cue_channels + code_channels) for skip in deep_to_fine[1:]
        )
        self.final = Conv[Conv.CONV, spatial_dims](channels[0], in_channels, kernel_size=1)
        if head == "residual":
            nn.init.zeros_(self.final.weight)
            nn.init.zeros_(self.final.bias)

    def pad(self, image: torch.Tensor) -> torch.Tensor:
        """Pad each spatial axis at its end, with edge values, to the next multiple of the stride."""
        return pad_to_multiple(image, self.stride)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return the LQ code v_y of ``image`` (B, C, *spatial), (B, code_channels)."""
        return self.pooled_code(self.encoder(self.pad(image))[-1])

    def pooled_code(self, bottleneck: torch.Tensor) -> torch.Tensor:
        """Return the LQ code v_y, (B, code_channels), of the encoder's coarsest features."""
        return self.code(self.global_pool(bottleneck).flatten(1))

    def decode(self, features: list[torch.Tensor], cue: torch.Tensor, code: torch.Tensor | None = None) -> torch.Tensor:
        """Turn encoder features and a cue into the correction f.

        Args:
            features: what ``encoder`` returned, finest first.
            cue: v_z, (B, cue_channels).
            code: v_y, (B, code_channels); that of the features where None.

        Returns:
            f before the head's sigmoid, (B, C, *padded spatial).
        """
        x = features[-1]
        if code is None:
            code = self.pooled_code(x)
        joint_cue = torch.cat([cue, code], dim=1)
        level = len(features) - 1
        for block, modulate in zip(self.decoder, self.modulation):  # noqa: B905 - TorchScript knows no strict=
            level -= 1
            x = modulate(block(torch.cat([self.upsample(x), features[level]], dim=1)), joint_cue)
        return self.final(x)

    def forward_features(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Enhance, and return the encoder's features of ``image`` as well (the multi-encoder loss needs both).

        Args:
            image: low-quality image y, (B, C, *spatial), intensities in [0, 1].
            cue: v_z, (B, cue_channels).
            code: v_y, (B, code_channels), for parts of one larger image that have to agree; the image's own where None.

        Returns:
            The enhanced image, (B, C, *spatial) in [0, 1], and the list of features, finest first.
        """
        padded = self.pad(image)
        features = self.encoder(padded)
        logit = self.decode(features, cue, code)
        if self.head == "residual":
            logit = logit + torch.logit(padded, eps=self.logit_eps)
        pred = torch.sigmoid(logit)
        for axis in range(2, image.dim()):
            pred = pred.narrow(axis, 0, image.shape[axis])
        return pred, features

    def forward(self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None) -> torch.Tensor:
        """Enhance: see :meth:`forward_features`, of which this is the first result."""
        return self.forward_features(image, cue, code)[0]
