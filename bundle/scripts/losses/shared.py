# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancement objective of a batch that several processes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import processes
from ..data import CLEAN, GUIDE
from ..networks import HQGNet
from .enhancement import EnhancementLoss, kl_to_prior, style_disagreement

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

    def guidance_terms(self, network: HQGNet, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weighted terms that need no low-quality image, see :meth:`EnhancementLoss.guidance_terms`."""
        if processes.count() == 1:
            return super().guidance_terms(network, batch)
        listening: Any = _Listening(network)
        terms = super().guidance_terms(listening, batch)
        if "style" in terms:
            cues, _ = listening.heard[id(batch[GUIDE])]
            others, _ = listening.heard[id(batch[CLEAN])]
            whole = style_disagreement(processes.stacked(cues), processes.stacked(others))
            terms["style"] = self.weights["style"] * _of_all(whole)
        if "kl" in terms:
            mean, log_variance = listening.heard[id(batch[GUIDE])]
            whole = kl_to_prior(processes.stacked(mean), processes.stacked(log_variance), self.kl_free_nats)
            terms["kl"] = self.weights["kl"] * _of_all(whole)
        return terms


class _Listening:
    """A network that remembers the cues of the images that it encoded, which are not encoded twice then."""

    def __init__(self, network: HQGNet) -> None:
        self._network = network
        self.heard: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.heard[id(guide)] = self._network.encode_guide(guide)
        return self.heard[id(guide)]


def _of_all(term: torch.Tensor) -> torch.Tensor:
    number = processes.count()
    return number * term - (number - 1) * term.detach()
