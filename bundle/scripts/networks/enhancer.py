# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancer: a residual U-shaped generator that is told how good images look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.layers.factories import Conv, Pool
from torch import nn

from ..errors import InputError
from .guidance_encoder import ACTIVATION, pad_to_multiple
from .haar_split import HaarSplit
from .variational_norm import VariationalInformationNorm

FULL_RESOLUTION_WIDTH = 12
"""Channels at full resolution of a reduced network: each costs as much as four at half."""


class EnhancerEncoder(nn.Module):
    """The contracting half of the enhancer.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first; the last is the bottleneck.
        reduction: 2 lets the first level work at half the resolution, behind a :class:`HaarSplit`. Defaults to 1.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], reduction: int = 1) -> None:
        super().__init__()
        self.split = HaarSplit(spatial_dims) if reduction == 2 else nn.Identity()
        bands = in_channels * reduction**spatial_dims
        self.stem = Convolution(spatial_dims, bands, channels[0], kernel_size=3, norm=None, act=ACTIVATION)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ResidualUnit(spatial_dims, narrow, wide, subunits=2, norm="INSTANCE", act=ACTIVATION)
            for narrow, wide in zip(widths[:-1], widths[1:], strict=True)
        )
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of every level, finest first.

        Args:
            image: (B, C, *spatial), each spatial size a multiple of ``reduction * 2**(len(channels) - 1)``.

        Returns:
            One tensor per level, (B, channels[i], *spatial / (reduction * 2**i)).
        """
        x = self.stem(self.split(image))
        features: list[torch.Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(self.pool(x) if level > 0 else x)
            features.append(x)
        return features


class FullResolution(nn.Module):
    r"""Draw the result of a network that works at half the resolution at full resolution.

    .. math:: f = C_2(\mathrm{LeakyReLU}_{0.2}(C_1([\uparrow h;\, y])))

    The features h are upsampled linearly, and two 3x3 convolutions, C_1 and C_2, see them beside the image y. An
    inverse Haar transform would draw every block of pixels by itself, which shows as a pattern with a period of two
    pixels.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        width: channels of h, and between the two convolutions.
    """

    def __init__(self, spatial_dims: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.upsample = UpSample(spatial_dims, mode="nontrainable", interp_mode="linear", align_corners=False)
        self.first = Convolution(spatial_dims, width + in_channels, width, kernel_size=3, norm=None, act=ACTIVATION)
        self.second = Conv[Conv.CONV, spatial_dims](width, in_channels, kernel_size=3, padding=1)

    def forward(self, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return f, of the shape of ``image``, for features h, (B, width, *spatial / 2), and the image y."""
        drawn: torch.Tensor = self.second(self.first(torch.cat([self.upsample(features), image], dim=1)))
        return drawn


class Enhancer(nn.Module):
    r"""Enhance a low-quality image y under a cue v_z of a high-quality image.

    Encoder: stem, then residual block and pooling per level. The bottleneck's pooled features give the LQ code v_y.
    Decoder, per level: linear upsampling, the encoder's skip connection, a residual block (whose first convolution
    narrows already, a quarter of the cost), and a :class:`VariationalInformationNorm` under the joint cue
    :math:`v_c = [v_z; v_y]`. The last 1x1 convolution gives f, and the head turns it into intensities in [0, 1]:

    - ``"residual"``: :math:`\hat x = \mathrm{sigmoid}(\mathrm{logit}_\epsilon(y) + f)`; f starts at zero, so training
      starts from the identity (up to the clipping of y to :math:`[\epsilon, 1-\epsilon]`);
    - ``"plain"``: :math:`\hat x = \mathrm{sigmoid}(f)`, the head of the paper.

    With a ``reduction`` of 2 all of this works at half the resolution, between a :class:`HaarSplit` and
    :class:`FullResolution`, which draws f.

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
        reduction: 1 or 2. Defaults to 1.
        modulation: ``"adalin"`` or ``"instance"``, see :class:`VariationalInformationNorm`. Defaults to ``"adalin"``.

    Raises:
        InputError: for other ``spatial_dims``, fewer than two levels, an unknown head or modulation.
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
        reduction: int = 1,
        modulation: str = "adalin",
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims must be 2 (slices, photographs) or 3 (volumes), not {spatial_dims}.")
        if len(channels) < 2:
            raise InputError(f"The enhancer needs two levels or more: channels={list(channels)} names {len(channels)}.")
        if head not in ("residual", "plain"):
            raise InputError(f'Unknown head "{head}": use "plain" or "residual".')
        if reduction not in (1, 2):
            raise InputError(f"reduction must be 1, for full resolution, or 2, for half, not {reduction}.")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.head = head
        self.logit_eps = logit_eps
        self.stride = reduction * 2 ** (len(channels) - 1)
        # Instance normalisation needs more than one pixel at the bottleneck.
        self.minimum_size = 2 * self.stride

        self.encoder = EnhancerEncoder(spatial_dims, in_channels, channels, reduction)
        self.global_pool = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.code = nn.Linear(channels[-1], code_channels)
        self.upsample = UpSample(spatial_dims, mode="nontrainable", interp_mode="linear", align_corners=False)
        deep_to_fine = list(channels)[::-1]
        self.decoder = nn.ModuleList(
            ResidualUnit(spatial_dims, below + skip, skip, subunits=2, norm="INSTANCE", act=ACTIVATION)
            for below, skip in zip(deep_to_fine[:-1], deep_to_fine[1:], strict=True)
        )
        self.modulation = nn.ModuleList(
            VariationalInformationNorm(spatial_dims, skip, cue_channels + code_channels, modulation)
            for skip in deep_to_fine[1:]
        )
        drawn = in_channels if reduction == 1 else FULL_RESOLUTION_WIDTH
        self.final = Conv[Conv.CONV, spatial_dims](channels[0], drawn, kernel_size=1)
        self.full_resolution = FullResolution(spatial_dims, in_channels, drawn) if reduction == 2 else None
        if head == "residual":
            last = self.final if self.full_resolution is None else self.full_resolution.second
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

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
        """Turn encoder features and a cue into the correction f; in a reduced network, into what it is drawn from.

        Args:
            features: what ``encoder`` returned, finest first.
            cue: v_z, (B, cue_channels).
            code: v_y, (B, code_channels); that of the features where None.

        Returns:
            f, (B, C, *padded spatial), or h of :class:`FullResolution`, (B, width, *padded spatial / 2).
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
        if self.full_resolution is not None:
            logit = self.full_resolution(logit, padded)
        if self.head == "residual":
            logit = logit + torch.logit(padded, eps=self.logit_eps)
        pred = torch.sigmoid(logit)
        for axis in range(2, image.dim()):
            pred = pred.narrow(axis, 0, image.shape[axis])
        return pred, features

    def forward(self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None) -> torch.Tensor:
        """Enhance: see :meth:`forward_features`, of which this is the first result."""
        return self.forward_features(image, cue, code)[0]
