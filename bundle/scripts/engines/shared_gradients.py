# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Gradients and weights that are the same in every process of a training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from .. import processes

__all__ = ["average_gradients", "share_weights"]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    r"""Replace every gradient by its mean over the processes, :math:`\frac1N\sum_r g_r`; one process leaves them.

    The losses are means over a batch, so N processes with batches of B step as one with a batch of N B does.

    This stands in place of ``DistributedDataParallel``, which prepares its reduction in the ``forward`` of its module
    and waits for each parameter once per pass. Here a step calls parts of the network several times, by other methods,
    through ``functional_call`` with weights that are held constant, leaves out parts of it in some epochs, and takes
    gradients by ``torch.autograd.grad``, which passes its hooks by. The price is that the exchange does not overlap
    with the backward pass: one message per optimiser and step, as large as the weights.

    Args:
        parameters: with gradients, in the same order in every process. One without a gradient in this process counts
            as 0; one without a gradient in any process is left without.
    """
    if processes.count() == 1:
        return
    groups: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(parameter.dtype, []).append(parameter)
    for group in groups.values():
        found = group[0].new_tensor([float(parameter.grad is not None) for parameter in group])
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in group]
        found, *means = processes.means_of([found, *gradients])
        for weight, mean, exists in zip(group, means, found.tolist(), strict=True):
            if exists:
                weight.grad = mean


def share_weights(*networks: nn.Module) -> None:
    """Give networks, buffers included, the weights that they have in the first process."""
    for network in networks:
        processes.same_(network.state_dict().values())
