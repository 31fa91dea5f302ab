# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""HaarPSI: a similarity of images that agrees with human observers better than SSIM does."""

from __future__ import annotations

import torch
from torch.nn import functional as F

__all__ = ["haarpsi"]

_C = 30.0
_ALPHA = 4.2
_SCALES = 3


def haarpsi(pred: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    r"""Return the Haar wavelet-based perceptual similarity index of two-dimensional images.

    With :math:`g_k(x)`, the Haar details of scale k (1 to 3, not decimated) in one of the two directions, of images in
    [0, 255] that were halved by averaging:

    .. math::
        S = \frac12\sum_{k=1}^{2}\frac{2|g_k(x)||g_k(y)| + C}{|g_k(x)|^2 + |g_k(y)|^2 + C}, \quad
        W = \max(|g_3(x)|, |g_3(y)|), \quad
        \mathrm{HaarPSI} = \Bigl(l^{-1}\Bigl(\frac{\sum W\,l(S)}{\sum W}\Bigr)\Bigr)^2, \quad
        l(s) = \frac{1}{1 + e^{-\alpha s}}

    with C = 30, :math:`\alpha` = 4.2, sums over positions and both directions. The channels of a colour image count as
    images of their own, over which the index is averaged; the original's weighting of chroma is left out.

    Source: Reisenhofer et al. 2018, "A Haar wavelet-based perceptual similarity index for image quality assessment",
    Signal Processing: Image Communication 61, 33-43.

    Args:
        pred: (B, C, H, W) in [0, 1], 16 pixels or more on each side.
        reference: of the same shape.

    Returns:
        (B,), from 0 to 1, which equal images have.
    """
    size = pred.shape[:2]
    images = torch.stack([pred, reference]).float().flatten(0, 2)[:, None] * 255.0
    halved = F.avg_pool2d(F.pad(images, (0, 1, 0, 1)), kernel_size=2, stride=2)
    details = torch.stack([_haar_details(halved, scale) for scale in range(1, _SCALES + 1)], dim=1).abs()
    a, b = details.unflatten(0, (2, -1))  # each (B * C, scales, directions, H / 2, W / 2)
    similarity = ((2 * a * b + _C) / (a.square() + b.square() + _C))[:, :2].mean(dim=1)
    weight = torch.maximum(a[:, 2], b[:, 2])
    pooled = (weight * torch.sigmoid(_ALPHA * similarity)).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)
    # Where neither image has any detail there is nothing to weigh: they are alike.
    pooled = torch.where(weight.flatten(1).sum(1) > 0, pooled, torch.sigmoid(torch.tensor(_ALPHA)).to(pooled))
    index = (torch.logit(pooled) / _ALPHA).square()
    return index.reshape(size).mean(dim=1)


def _haar_details(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the details of (N, 1, H, W) in both directions, (N, 2, H, W)."""
    side = 2**scale
    kernel = torch.full((side, side), 2.0**-scale, device=image.device)
    kernel[: side // 2] *= -1
    both = torch.stack([kernel, kernel.T])[:, None]
    # As MATLAB's conv2(image, kernel, "same"), with which the index was published.
    padded = F.pad(image, (side // 2 - 1, side // 2, side // 2 - 1, side // 2))
    return F.conv2d(padded, both)
