# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["cosine_decay"]


def cosine_decay(
    optimizer: Optimizer,
    epochs: int,
    final: float = 0.1,
    constant_groups: Sequence[int] = (),
) -> LambdaLR:
    r"""Let learning rates fall along a cosine, each relative to its own beginning, and leave those of some groups.

    .. math:: \eta_e = \eta_0\,\Bigl(f + \frac{1-f}{2}\bigl(1+\cos\frac{\pi e}{E}\bigr)\Bigr)

    PyTorch's ``CosineAnnealingLR`` has one absolute end for all groups.

    Args:
        optimizer: whose rates fall.
        epochs: E, after which the end is reached.
        final: f, the share of a rate that is left at the end. Defaults to 0.1.
        constant_groups: numbers of the optimiser's parameter groups whose rate stays. Defaults to none.
    """

    def falling(epoch: int) -> float:
        return final + 0.5 * (1.0 - final) * (1.0 + math.cos(math.pi * epoch / epochs))

    def constant(epoch: int) -> float:
        return 1.0

    groups = range(len(optimizer.param_groups))
    return LambdaLR(optimizer, [constant if group in constant_groups else falling for group in groups])
