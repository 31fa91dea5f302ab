# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The guidance encoder: what a high-quality image says, as a Gaussian cue."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.layers.factories import Pool
from torch import nn

from ..errors import InputError

INITIAL_LOG_VARIANCE = -2.0
ACTIVATION = ("LEAKYRELU", {"negative_slope": 0.2})


class GuidanceFeatures(nn.Module):
    """The convolutional trunk of :class:`GuidanceEncoder`, which is also a judge of the multi-encoder loss.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = Convolution(spatial_dims, in_channels, channels[0], kernel_size=3, norm=None, act=ACTIVATION)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ResidualUnit(spatial_dims, narrow, wide, subunits=2, norm=None, act=ACTIVATION)
            for narrow, wide in zip(widths[:-1], widths[1:], strict=True)
        )
        # ceil_mode keeps at least one pixel however small the image is.
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=2, ceil_mode=True)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the pooled features of every level, finest first, (B, channels[i], *spatial / 2**(i + 1))."""
        x = self.stem(image)
        features: list[torch.Tensor] = []
        for block in self.blocks:
            x = self.pool(block(x))
            features.append(x)
        return features


class GuidanceEncoder(nn.Module):
    r"""Encode a high-quality image z into the posterior of its cue, :math:`q(v_z|z)=N(\mu(z),\sigma^2(z))`.

    Stem convolution, then a residual block and average pooling per level, global average pooling, two linear heads.
    There is no normalisation inside: it would take away the brightness and contrast which the cue is to carry
    (as in the style encoders of Huang et al. 2018, MUNIT). Any image size is accepted.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first.
        cue_channels: length of the cue. Defaults to 64.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], cue_channels: int = 64) -> None:
        super().__init__()
        self.trunk = GuidanceFeatures(spatial_dims, in_channels, channels)
        self.global_pool = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.mean = nn.Linear(channels[-1], cue_channels)
        self.log_variance = nn.Linear(channels[-1], cue_channels)
        # The noise starts small: under much of it the enhancer would learn to ignore the cue before there is one.
        nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the posterior of the cue.

        Args:
            image: high-quality image z, (B, C, *spatial), intensities in [0, 1].

        Returns:
            Mean and log-variance, each (B, cue_channels). The log-variance is bounded to [-10, 10].
        """
        pooled = self.pooled(self.trunk(image))
        return self.mean(pooled), self.log_variance(pooled).clamp(-10.0, 10.0)

    def pooled(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Return what the heads see of the trunk's features: (B, channels[-1]), the coarsest averaged over space."""
        return self.global_pool(features[-1]).flatten(1)

    @torch.jit.unused
    @torch.no_grad()
    def standardize_(self, means: torch.Tensor) -> None:
        """Scale and shift the mean's head so that given cues get mean 0 and deviation 1 in every component.

        Images differ little in the features of a new encoder: the deviation of its cues is a thousandth of the prior's,
        and training loses them in the noise. With the cues of the high-quality set this is the data-dependent
        initialisation of Salimans & Kingma 2016 (arXiv 1602.07868). Call it before training, once.

        Args:
            means: posterior means of some images, (N, cue_channels), N at least 2.

        Raises:
            InputError: when there are fewer than 2.
        """
        if means.shape[0] < 2:
            raise InputError("Guidance needs at least two high-quality images (or slices): add some to training_hq.")
        deviation, mean = torch.std_mean(means, dim=0)
        scale = 1.0 / deviation.clamp_min(1e-6)
        self.mean.weight.mul_(scale[:, None])
        self.mean.bias.sub_(mean).mul_(scale)
