# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The restoration loss: how far a restored image is from the clean one."""

from __future__ import annotations

import torch
from monai.losses import SSIMLoss
from torch import nn
from torch.nn import functional as F


class RestorationLoss(nn.Module):
    r"""Distance of a restored high-quality image to the clean one.

    .. math:: L = \lVert \hat z - z\rVert_1 + \lambda\,(1 - \mathrm{SSIM}(\hat z, z))

    L1 alone leaves fine structure to the last: SSIM (Wang et al. 2004) compares it relative to its local contrast, so
    that it counts in dark regions as well (Zhao et al. 2017 on the sum of both).

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        ssim_weight: :math:`\lambda`; 0 leaves the second part out. Defaults to 0.3.
        window: side of SSIM's window in pixels. Defaults to 7.
    """

    def __init__(self, spatial_dims: int, ssim_weight: float = 0.3, window: int = 7) -> None:
        super().__init__()
        self.ssim_weight = ssim_weight
        self.ssim = SSIMLoss(spatial_dims, win_size=window)

    def forward(self, restored: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Return the mean distance.

        Args:
            restored: (B, C, *spatial) in [0, 1].
            clean: of the same shape.

        Returns:
            Scalar tensor.
        """
        loss = F.l1_loss(restored, clean)
        if self.ssim_weight > 0:
            loss = loss + self.ssim_weight * self.ssim(restored, clean)
        return loss
