# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The multi-encoder loss: several encoders judge whether two images show the same content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F


class MultiEncoderLoss(nn.Module):
    r"""Distance between instance-normalised features of two images in several encoders.

    .. math::
        L = \frac{1}{|E|}\sum_{e\in E}\frac{1}{|L_e|}\sum_{l\in L_e}
            \bigl\lVert \mathrm{IN}(\phi_{e,l}(\hat x)) - \mathrm{IN}(\phi_{e,l}(y))\bigr\rVert_1

    with the mean over positions and channels as norm. Instance normalisation takes contrast and brightness out of the
    comparison: enhancement is to change these, and to keep what is where. The encoders serve as judges: call them
    through :func:`scripts.networks.with_frozen_weights`, so that the loss does not train their weights, and detach the
    features of y.

    Args:
        skip_levels: how many of the finest levels of each encoder to leave out (always keeping the coarsest): the
            finest features of a noisy image are mostly noise. Defaults to 1.
        eps: added to the features' variance. Defaults to 1e-5.
    """

    def __init__(self, skip_levels: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.skip_levels = skip_levels
        self.eps = eps

    def forward(
        self, pred: Mapping[str, Sequence[torch.Tensor]], target: Mapping[str, Sequence[torch.Tensor]]
    ) -> torch.Tensor:
        """Return the mean distance.

        Args:
            pred: by encoder, its features of the enhanced image, finest first, each (B, C, *spatial).
            target: the same of the input image; no gradient flows into them.

        Returns:
            Scalar tensor.
        """
        distances = []
        for name, features in pred.items():
            first = min(self.skip_levels, len(features) - 1)
            levels = [
                F.l1_loss(F.instance_norm(a, eps=self.eps), F.instance_norm(b.detach(), eps=self.eps))
                for a, b in zip(features[first:], target[name][first:], strict=True)
            ]
            distances.append(torch.stack(levels).mean())
        return torch.stack(distances).mean()
