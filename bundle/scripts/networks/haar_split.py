# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Half the resolution in more channels: the Haar transform as the door of a network."""

from __future__ import annotations

import functools

import torch
from torch import nn


class HaarSplit(nn.Module):
    r"""One level of the decimated Haar transform, scaled so that the approximation is a mean.

    With D axes, every block of :math:`2^D` pixels becomes its mean and :math:`2^D-1` differences,

    .. math:: b_k = 2^{-D}\sum_p \sigma_k(p)\,x(p), \qquad x(p) = \sum_k \sigma_k(p)\,b_k, \qquad \sigma_k(p) = \pm 1

    Nothing is lost. A network behind it has a quarter (an eighth) of the pixels and as much information.

    Args:
        spatial_dims: D, 2 or 3.
    """

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        # Declared here, since TorchScript cannot read the string annotations of a class body.
        self.signs: torch.Tensor
        self.spatial_dims = spatial_dims
        self.bands = 2**spatial_dims
        haar = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        signs = functools.reduce(torch.kron, [haar] * spatial_dims)  # a row for each band, a column for each pixel
        self.register_buffer("signs", signs.reshape(-1, 1, *[2] * spatial_dims), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Split.

        Args:
            image: (B, C, *spatial), every size even.

        Returns:
            (B, C * 2**D, *spatial / 2): of each channel the mean first.
        """
        channels = image.shape[1]
        weight = torch.cat([self.signs.to(image.dtype) / self.bands] * channels)
        if self.spatial_dims == 2:
            return torch.conv2d(image, weight, stride=2, groups=channels)
        return torch.conv3d(image, weight, stride=2, groups=channels)
