# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The guidance encoder: what a high-quality image says, as a Gaussian cue."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.layers.factories import Pool
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from .haar_split import HaarSplit

INITIAL_LOG_VARIANCE = -2.0
ACTIVATION = ("LEAKYRELU", {"negative_slope": 0.2})


def pad_to_multiple(image: torch.Tensor, divisor: int) -> torch.Tensor:
    """Pad each spatial axis of (B, C, *spatial) at its end, with edge values, to the next multiple of ``divisor``."""
    padding: list[int] = []
    for axis in range(image.dim() - 1, 1, -1):
        padding += [0, (divisor - image.shape[axis] % divisor) % divisor]
    # An exporter sees one size alone: it must meet the padding, or it would leave it out for every size.
    if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript skips only what stands below this
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            return F.pad(image, padding, mode="replicate")
    return F.pad(image, padding, mode="replicate") if sum(padding) > 0 else image


class GuidanceFeatures(nn.Module):
    """The convolutional trunk of :class:`GuidanceEncoder`, which is also a judge of the multi-encoder loss.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first.
        reduction: 2 lets the convolutions begin at half the resolution, behind a :class:`HaarSplit`. Defaults to 1.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], reduction: int = 1) -> None:
        super().__init__()
        self.split = HaarSplit(spatial_dims) if reduction == 2 else nn.Identity()
        self.reduction = reduction
        bands = in_channels * reduction**spatial_dims
        self.stem = Convolution(spatial_dims, bands, channels[0], kernel_size=3, norm=None, act=ACTIVATION)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ResidualUnit(spatial_dims, narrow, wide, subunits=2, norm=None, act=ACTIVATION)
            for narrow, wide in zip(widths[:-1], widths[1:], strict=True)
        )
        # ceil_mode keeps at least one pixel however small the image is.
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=2, ceil_mode=True)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the pooled features of every level, finest first.

        The sizes are (B, channels[i], *spatial / (reduction * 2**(i + 1))), rounded up.
        """
        x = self.stem(self.split(pad_to_multiple(image, self.reduction)))
        features: list[torch.Tensor] = []
        for block in self.blocks:
            x = self.pool(block(x))
            features.append(x)
        return features


def foreground_weight(image: torch.Tensor, full: float = 0.1) -> torch.Tensor:
    """Return how far each pixel of ``image`` (B, C, *spatial) is foreground, (B, 1, *spatial) in [1e-3, 1].

    The weight rises linearly up to an intensity of ``full``. Air says how large the head is, which is no matter of
    style. A black image still has a weight, so that its statistics are defined.
    """
    return (image.mean(dim=1, keepdim=True) / full).clamp(1e-3, 1.0)


class GuidanceEncoder(nn.Module):
    r"""Encode a high-quality image z into the posterior of its cue, :math:`q(v_z|z)=N(\mu(z),\sigma^2(z))`.

    Stem convolution, then a residual block and average pooling per level. The cue is to say how the guide looks, and
    not whose head it shows: so the two linear heads see no position, only statistics over the foreground, the mean and
    the standard deviation of every channel of every level,

    .. math:: m_{l} = \frac{\sum_p w_p \phi_{l}(p)}{\sum_p w_p},\qquad
        s_{l}^2 = \frac{\sum_p w_p (\phi_{l}(p) - m_{l})^2}{\sum_p w_p}

    with the weight w of :func:`foreground_weight` (style as the statistics of features: Huang & Belongie 2017). There
    is no normalisation inside: it would take away the brightness and contrast which the cue is to carry. Any image size
    is accepted.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: channels of the image.
        channels: width of each level, finest first.
        cue_channels: length of the cue. Defaults to 16.
        reduction: see :class:`GuidanceFeatures`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        cue_channels: int = 16,
        reduction: int = 1,
    ) -> None:
        super().__init__()
        self.trunk = GuidanceFeatures(spatial_dims, in_channels, channels, reduction)
        self.mean = nn.Linear(2 * sum(channels), cue_channels)
        self.log_variance = nn.Linear(2 * sum(channels), cue_channels)
        # The noise starts small: under much of it the enhancer would learn to ignore the cue before there is one.
        nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the posterior of the cue.

        Args:
            image: high-quality image z, (B, C, *spatial), intensities in [0, 1].

        Returns:
            Mean and log-variance, each (B, cue_channels). The log-variance is bounded to [-10, 10].
        """
        statistics = self.statistics(image, self.trunk(image))
        return self.mean(statistics), self.log_variance(statistics).clamp(-10.0, 10.0)

    def statistics(self, image: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Return what the heads see of the trunk's features of ``image``: (B, 2 * sum(channels))."""
        weight = foreground_weight(image)
        if self.trunk.reduction == 2:
            weight = self.trunk.pool(weight)
        found: list[torch.Tensor] = []
        for level in features:
            weight = self.trunk.pool(weight)
            flat, share = level.flatten(2), weight.flatten(2)
            share = share / share.sum(dim=2, keepdim=True)
            mean = (share * flat).sum(dim=2)
            variance = (share * (flat - mean.unsqueeze(2)).square()).sum(dim=2)
            found += [mean, (variance + 1e-6).sqrt()]
        return torch.cat(found, dim=1)

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
