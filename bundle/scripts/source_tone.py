# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A result with the tone of its source, for images whose intensities are to stay what they are."""

from __future__ import annotations

import torch

__all__ = ["TONES", "with_tone_of"]

TONES = ("guide", "source")
"""Whose brightness and contrast results have."""


def with_tone_of(source: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    r"""Give a result the gain and the offset that bring it nearest to its source.

    .. math:: x \leftarrow a x + b, \qquad (a, b) = \arg\min \lVert a x + b - y\rVert_2

    for the result x and the source y. Noise of mean 0 moves neither. Where the contrast is turned round,
    :math:`a \le 0`, only the mean is that of the source. A curve instead of a line would amplify what noise is left in
    even places.

    Args:
        source: y, (B, C, *spatial) in [0, 1].
        result: x, of the same shape.

    Returns:
        The result, each channel with a line of its own, in [0, 1].
    """
    axes = tuple(range(2, result.ndim))
    x, y = result.double(), source.to(result).double()
    x_mean, y_mean = (values.mean(dim=axes, keepdim=True) for values in (x, y))
    variance = (x - x_mean).square().mean(dim=axes, keepdim=True)
    covariance = ((x - x_mean) * (y - y_mean)).mean(dim=axes, keepdim=True)
    gain = torch.where((variance > 0) & (covariance > 0), covariance / variance.clamp_min(1e-12), 1.0)
    return (y_mean + gain * (x - x_mean)).clamp(0, 1).to(result.dtype)
