# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Variational information normalisation: where the joint cue of both domains enters the enhancer."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

from ..errors import InputError, require


class AdaLIN(nn.Module):
    r"""Adaptive layer-instance normalisation (Kim et al. 2020, U-GAT-IT, arXiv 1907.10830), conditioned on a vector.

    .. math::
        \mathrm{AdaLIN}(x; v) = \bigl(\rho\,\mathrm{IN}(x) + (1-\rho)\,\mathrm{LN}(x)\bigr)(1 + \gamma(v)) + \beta(v)

    IN normalises each channel over space, LN each image over channels and space together. The mixing weight
    :math:`\rho\in[0,1]` is learned per channel; call :meth:`clamp_` after each optimiser step. :math:`\gamma` and
    :math:`\beta` are linear in ``v`` and start at zero, so a new layer is a plain normalisation.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: channels of the input and of the output.
        cue_channels: length of the conditioning vector ``v``.
        rho: initial value of :math:`\rho`. Defaults to 0.9, mostly instance normalisation.
        eps: added to the variances. Defaults to 1e-5.

    Raises:
        InputError: when ``rho`` is outside [0, 1].
    """

    def __init__(
        self, spatial_dims: int, channels: int, cue_channels: int, rho: float = 0.9, eps: float = 1e-5
    ) -> None:
        super().__init__()
        if not 0.0 <= rho <= 1.0:
            raise InputError(f"AdaLIN mixes two norms: rho must lie in [0, 1], not {rho}.")
        self.spatial_dims = spatial_dims
        self.eps = eps
        self.rho = nn.Parameter(torch.full((channels,), float(rho)))
        self.scale_and_shift = nn.Linear(cue_channels, 2 * channels)
        nn.init.zeros_(self.scale_and_shift.weight)
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, x: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        """Normalise ``x``, then scale and shift each channel as the cue says.

        Args:
            x: features, (B, C, *spatial).
            cue: conditioning vectors, (B, cue_channels).

        Returns:
            Tensor of the shape of ``x``.
        """
        # Both norms from one pair of moments per channel: LN's variance is the mean of the channels' variances plus
        # the variance of their means, so the whole layer is one multiply-add over the image.
        variance, mean = self.moments(x)
        layer_mean = mean.mean(dim=1, keepdim=True)
        layer_variance = (variance + (mean - layer_mean) ** 2).mean(dim=1, keepdim=True)
        instance_scale = torch.rsqrt(variance + self.eps)
        layer_scale = torch.rsqrt(layer_variance + self.eps)

        scale = self.rho * instance_scale + (1.0 - self.rho) * layer_scale
        shift = -(self.rho * mean * instance_scale + (1.0 - self.rho) * layer_mean * layer_scale)
        gamma, beta = self.scale_and_shift(cue).chunk(2, dim=1)
        scale, shift = scale * (1.0 + gamma), shift * (1.0 + gamma) + beta
        flat = x.reshape(x.shape[0], x.shape[1], -1)
        return torch.addcmul(shift.unsqueeze(2), flat, scale.unsqueeze(2)).reshape(x.shape)

    def moments(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return variance and mean of each channel of ``x``, each (B, C)."""
        return torch.var_mean(x.reshape(x.shape[0], x.shape[1], -1), dim=2, correction=0)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring the mixing weights back into [0, 1]."""
        self.rho.clamp_(0.0, 1.0)


class CuelessNorm(nn.Module):
    """Instance normalisation with a learned scale and shift per channel, in the place of :class:`AdaLIN`.

    It takes no part in guidance: the conditioning vector is accepted and has no effect.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: channels of the input and of the output.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.norm = Norm[Norm.INSTANCE, spatial_dims](channels, affine=True)

    def forward(self, x: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        """Return ``x``, (B, C, *spatial), normalised, scaled and shifted, whatever ``cue`` is."""
        normalised: torch.Tensor = self.norm(x)
        return normalised


MODULATIONS = ("adalin", "instance")


class VariationalInformationNorm(nn.Module):
    r"""A residual block that modulates decoder features by the joint cue.

    .. math::
        \mathrm{out} = x + \mathrm{Conv}_3\bigl(\mathrm{LeakyReLU}_{0.2}(\mathrm{AdaLIN}(x; v_c))\bigr)

    Source: He et al. 2024 (HQG-Net, doi 10.1109/TNNLS.2023.3315307), with the normalisation of Kim et al. 2020.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        channels: channels of the input and of the output.
        cue_channels: length of the joint cue.
        modulation: ``"adalin"``, or ``"instance"`` for a :class:`CuelessNorm` in its place, by which no cue has any
            effect. Defaults to ``"adalin"``.

    Raises:
        InputError: for another ``modulation``.
    """

    def __init__(self, spatial_dims: int, channels: int, cue_channels: int, modulation: str = "adalin") -> None:
        super().__init__()
        require(
            modulation in MODULATIONS,
            f'Unknown modulation "{modulation}": use "adalin", or "instance" for instance norm without a cue.',
        )
        self.norm = (
            AdaLIN(spatial_dims, channels, cue_channels)
            if modulation == "adalin"
            else CuelessNorm(spatial_dims, channels)
        )
        self.activation = nn.LeakyReLU(0.2)
        self.conv = Conv[Conv.CONV, spatial_dims](channels, channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        """Modulate features.

        Args:
            x: features, (B, C, *spatial).
            cue: joint cue v_c, (B, cue_channels).

        Returns:
            Tensor of the shape of ``x``.
        """
        return x + self.conv(self.activation(self.norm(x, cue)))
