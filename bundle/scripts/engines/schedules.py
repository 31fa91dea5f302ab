# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates over the epochs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["cosine_decay"]


class _Schedule(LambdaLR):
    """A schedule that begins before its optimiser: S and the discriminator join after the warm-up.

    PyTorch warns that the first rate is skipped. Here the first rates are all the same.
    """

    def step(self, epoch: int | None = None) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            super().step(epoch)


def cosine_decay(
    optimizer: Optimizer,
    epochs: int,
    constant_epochs: int = 0,
    final: float = 0.1,
    constant_groups: Sequence[int] = (),
) -> LambdaLR:
    r"""Keep learning rates constant for some epochs, then lower them along a cosine.

    .. math:: \eta_e = \eta_0\,\Bigl(f + \frac{1-f}{2}\bigl(1+\cos\frac{\pi \max(0, e - c)}{E - c}\bigr)\Bigr)

    Each rate falls relative to its own beginning; PyTorch's ``CosineAnnealingLR`` has one absolute end for all groups.
    Call ``step`` after every epoch.

    Args:
        optimizer: the optimiser to schedule.
        epochs: E, the number of all epochs.
        constant_epochs: c, the number of epochs at the start in which no rate changes. Defaults to 0.
        final: f, the share of a rate that is left after E epochs. Defaults to 0.1.
        constant_groups: indices of the parameter groups with a constant rate. Defaults to none.
    """

    def falling(epoch: int) -> float:
        fallen = max(0, epoch - constant_epochs)
        return final + 0.5 * (1.0 - final) * (1.0 + math.cos(math.pi * fallen / max(1, epochs - constant_epochs)))

    def constant(epoch: int) -> float:
        return 1.0

    groups = range(len(optimizer.param_groups))
    schedule = _Schedule(optimizer, [constant if group in constant_groups else falling for group in groups])
    # In the state it tells that the epochs are counted from the start of training, see TrainingCheckpoint.
    schedule.constant_epochs = constant_epochs  # type: ignore[attr-defined]
    return schedule
