# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancement objective of a batch that several processes share."""

from __future__ import annotations

import torch

from .. import processes
from .enhancement import EnhancementLoss

__all__ = ["SharedEnhancementLoss"]


class SharedEnhancementLoss(EnhancementLoss):
    r""":class:`EnhancementLoss` of the whole batch, whose samples are spread over processes.

    Most terms are means over samples: the mean over the processes of their gradients is the gradient of the whole.
    Style and KL are not, since they compare the cues of a batch with each other. They are computed on the cues
    of all processes. Of that term, S, each process knows the gradient by its own cues alone, so its term is
    :math:`N S - (N-1)\,\mathrm{const}(S)`: of the value S, and of N times the gradient. The mean over the N processes
    is then the gradient of S.

    In one process it is :class:`EnhancementLoss`, whose arguments it has.
    """

    def style(self, cues: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the term of the cues of all processes, see :meth:`EnhancementLoss.style`."""
        if processes.count() == 1:
            return super().style(cues, others)
        return _of_all(super().style(processes.stacked(cues), processes.stacked(others)))

    def kl(self, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """Return the term of the cues of all processes, see :meth:`EnhancementLoss.kl`."""
        if processes.count() == 1:
            return super().kl(mean, log_variance)
        return _of_all(super().kl(processes.stacked(mean), processes.stacked(log_variance)))


def _of_all(term: torch.Tensor) -> torch.Tensor:
    number = processes.count()
    return number * term - (number - 1) * term.detach()
