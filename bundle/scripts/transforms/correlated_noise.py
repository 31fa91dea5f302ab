# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Noise as it looks once a scanner has interpolated its image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import GaussianFilter
from monai.transforms import RandomizableTransform

__all__ = ["VANISHING_SIGMA", "RandCorrelatedNoise"]

VANISHING_SIGMA = 1e-4
"""A filter so narrow is the identity; one of exactly 0 would divide by zero."""


class RandCorrelatedNoise(RandomizableTransform):
    r"""Add noise that neighbouring voxels share, normal or Rician.

    Scanners interpolate: a matrix of 128 is shown as 256. That makes worms of noise that was white. With white noise n
    and a Gaussian filter g of standard deviation :math:`\sigma` per axis,

    .. math:: n_\sigma = \mathrm{std}\;\frac{g * n}{\operatorname{std}(g * n)}, \qquad
        x \leftarrow x + n_\sigma \quad\text{or}\quad \sqrt{(x + n_\sigma)^2 + n_\sigma'^2} .

    Neighbours along an axis then correlate by :math:`\exp(-1/(4\sigma^2))`.

    Args:
        std: standard deviation of each noise part, where 1 is the image's full scale.
        sigma: of the filter, in voxels, a number per spatial axis; further numbers are ignored.
        magnitude: Rician noise, as in a magnitude image; normal noise otherwise.
    """

    def __init__(self, std: float, sigma: Sequence[float], magnitude: bool = True) -> None:
        RandomizableTransform.__init__(self, prob=1.0)
        self.std = std
        self.sigma = tuple(sigma)
        self.magnitude = magnitude

    def _noise(self, image: torch.Tensor) -> torch.Tensor:
        spatial_dims = image.ndim - 1
        smooth = GaussianFilter(spatial_dims, [max(s, VANISHING_SIGMA) for s in self.sigma[:spatial_dims]])
        noise = smooth(torch.from_numpy(self.R.normal(size=tuple(image.shape))).float()[None])[0]
        return noise * (self.std / noise.std().clamp_min(1e-6))

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Return an image (C, H, W[, D]) with noise, which is not cut off at 0 or 1."""
        noisy = img + self._noise(img)
        return torch.hypot(noisy, self._noise(img)) if self.magnitude else noisy
