# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The pixel-level content loss, which compares wavelet sub-bands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.modules.loss import _Loss

from ..errors import InputError
from ..networks.wavelet_transform import WaveletTransform

__all__ = ["WaveletLoss"]


class WaveletLoss(_Loss):
    r"""Weighted L1 distance between the wavelet sub-bands of two images: keeps structure, lets contrast change.

    .. math::
        L(x, y) = \sum_{j=1}^{J} w_j \operatorname{mean} |r_j(x) - r_j(y)| + w_a \operatorname{mean} |a_J(x) - a_J(y)|,
        \qquad r_j = \begin{cases} d_j / (\max(a_j, 0) + \epsilon) & \text{relative} \\
        d_j & \text{absolute} \end{cases}

    Here :math:`d_j` are the details and :math:`a_j` the approximation of level :math:`j` (see `WaveletTransform`),
    both divided by :math:`2^{jD/2}` in :math:`D` dimensions. So a constant image :math:`c` has :math:`a_j = c` on every
    level: weights and :math:`\epsilon` mean the same on every level and are in the image's intensity units. The means
    run over batch, channels, sub-bands and space.

    The finest details of a low-quality image are mostly noise, the approximation is its illumination; both are what
    enhancement must change, hence their small weights. Contrast is multiplicative (bias field, uneven light): details
    grow with the local intensity when a dark region is brightened, so the relative form leaves the network free to
    brighten where the absolute one forbids it. A decimated transform cannot see the image move by whole blocks
    of ``2 ** levels`` in intensity; the stationary one sees the edges of every such block.

    Images are mirrored at their ends by default. A periodic transform would compare opposite edges: on images that fill
    the frame, undoing a smooth bias field then costs three to four times as much, because the step from one edge to
    the other changes with it.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        wavelet: name of an orthogonal wavelet of PyWavelets, for example haar, db2, sym4, coif1.
        level_weights: :math:`w_j`, from the finest to the coarsest level; as many levels are computed. A level of
            weight 0 is not compared.
        approximation_weight: :math:`w_a`, for the coarsest approximation.
        stationary: undecimated transform, see `WaveletTransform`.
        relative: compare details relative to their local approximation.
        eps: :math:`\epsilon`, in intensity units: below about this intensity, details are compared absolutely.
        boundary: ``"symmetric"`` or ``"periodic"`` continuation of the images, see `WaveletTransform`.

    Raises:
        InputError: for a negative weight, no weight above 0, ``eps`` not above 0, or what `WaveletTransform` refuses.

    Example:
        >>> loss = WaveletLoss(spatial_dims=2, level_weights=(0.03, 0.3, 1.0))
        >>> image = torch.rand(4, 1, 96, 112)
        >>> loss(image, image).item()
        0.0

    References:
        C. He et al., "HQG-Net: Unpaired medical image enhancement with high-quality guidance", IEEE TNNLS 35(12),
        2024 (the wavelet-based content loss; relative details are this bundle's). For the transform see
        `WaveletTransform`.
    """

    def __init__(
        self,
        spatial_dims: int,
        wavelet: str = "sym4",
        level_weights: Sequence[float] = (0.03, 0.3, 1.0),
        approximation_weight: float = 0.0,
        stationary: bool = True,
        relative: bool = True,
        eps: float = 0.1,
        boundary: str = "symmetric",
    ) -> None:
        super().__init__()
        weights = [*level_weights, approximation_weight]
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise InputError(f"Wavelet weights {weights} must be 0 or more: correct the negative or infinite one.")
        if not level_weights or not any(weights):
            raise InputError(f"Wavelet weights {weights} compare nothing: set at least one level's weight above 0.")
        if relative and not (math.isfinite(eps) and eps > 0):
            raise InputError(f"eps is {eps}: relative details need a value above 0, for example 0.1.")
        self.transform = WaveletTransform(spatial_dims, wavelet, len(level_weights), stationary, boundary)
        self.level_weights = tuple(float(w) for w in level_weights)
        self.approximation_weight = float(approximation_weight)
        self.relative = relative
        self.eps = float(eps)

    def extra_repr(self) -> str:
        """Arguments, as ``print`` shows them."""
        return (
            f"level_weights={self.level_weights}, approximation_weight={self.approximation_weight}, "
            f"relative={self.relative}, eps={self.eps}"
        )

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare two images.

        Args:
            input: image (B, C, *spatial), intensities in [0, 1]; the gradient flows through its details and, in the
                relative form, through its approximations.
            target: image of the same shape.

        Returns:
            The loss, a scalar of the images' type, or float32 for half-precision images (a scaled half-precision loss
            overflows).

        Raises:
            InputError: when shapes differ, or as `WaveletTransform.forward` does.
        """
        if input.shape != target.shape:
            raise InputError(
                f"The wavelet loss compares images of one shape, but input has {tuple(input.shape)} and target "
                f"{tuple(target.shape)}."
            )
        input_approximations, input_details = self.transform.pyramid(input)
        target_approximations, target_details = self.transform.pyramid(target)
        loss = input_details[0].new_zeros(())
        for level, weight in enumerate(self.level_weights):
            if weight:
                input_detail = self._compared(input_details[level], input_approximations[level], level)
                target_detail = self._compared(target_details[level], target_approximations[level], level)
                loss = loss + weight * (input_detail - target_detail).abs().mean()
        if self.approximation_weight:
            difference = input_approximations[-1] - target_approximations[-1]
            loss = loss + self.approximation_weight / self._gain(len(self.level_weights) - 1) * difference.abs().mean()
        return loss

    def _gain(self, level: int) -> float:
        """The approximation that a constant image of 1 has on a level (0 is the finest)."""
        return float(2 ** (self.transform.spatial_dims * (level + 1) / 2))

    def _compared(self, detail: torch.Tensor, approximation: torch.Tensor, level: int) -> torch.Tensor:
        # Numerator and denominator carry the same gain, so that in the relative form only eps needs it.
        if self.relative:
            return detail / (approximation.clamp(min=0).unsqueeze(2) + self.eps * self._gain(level))
        return detail / self._gain(level)
