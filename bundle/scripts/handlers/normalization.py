# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The running statistics of batch normalisation that go with averaged weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from monai.networks import eval_mode
from torch import nn
from torch.optim.swa_utils import update_bn

from ..rng_state import preserve_rng_state
from .periodic_update import PeriodicUpdate

__all__ = ["BatchNormUpdate"]


class BatchNormUpdate(PeriodicUpdate):
    r"""Ignite handler: renew the running statistics of a network whose weights are averaged.

    .. math:: \mu_l \leftarrow \operatorname{mean}\, a_l(\hat x;\bar\omega),\qquad
        \sigma_l^2 \leftarrow \operatorname{var}\, a_l(\hat x;\bar\omega)

    for the input :math:`a_l` of every batch normalisation l; mean and variance are the means of those of the batches,
    which is what the network has learnt with. Those of the network that learns belong to the weights that it has had
    of late, and stay as they are; averaged weights :math:`\bar\omega` give other activations, and normalised by
    statistics that are not theirs the scores are shifted together: all images fall into one class. Nothing happens, and
    no image is enhanced, where the network has no batch normalisation.

    Args:
        network: from enhanced images to logits, with averaged weights.
        enhancer: from images to enhanced images :math:`\hat x`, as they will be when ``network`` is used.
        batches: batches of one size of images, (B, C, *spatial), in dictionaries under ``key``; a data loader, say.
        device: where the networks are.
        interval: epochs between two renewals. Defaults to 1.
        amp: whether to enhance in mixed precision. Defaults to False.
        key: key of the image in a batch. Defaults to ``"image"``.

    Raises:
        InputError: when ``interval`` is below 1.

    References:
        Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018, section 3.2.
    """

    def __init__(
        self,
        network: nn.Module,
        enhancer: nn.Module,
        batches: Iterable[Mapping[str, Any]],
        device: torch.device | str = "cpu",
        interval: int = 1,
        amp: bool = False,
        key: str = "image",
    ) -> None:
        super().__init__(interval)
        self.network = network
        self.enhancer = enhancer
        self.batches = batches
        self.device = torch.device(device)
        self.amp = amp
        self.key = key

    def update(self) -> None:
        """Estimate the statistics anew, from all of the batches."""
        # Ignite's averages share the buffers of the network that learns, which must not change.
        for buffer in self.network.buffers():
            buffer.data = buffer.data.clone()
        with preserve_rng_state(self.device):
            update_bn(self._enhanced(), self.network)

    def _enhanced(self) -> Iterator[torch.Tensor]:
        with eval_mode(self.enhancer):
            for batch in self.batches:
                with torch.autocast(self.device.type, enabled=self.amp):
                    enhanced: torch.Tensor = self.enhancer(batch[self.key].to(self.device))
                yield enhanced.float()
