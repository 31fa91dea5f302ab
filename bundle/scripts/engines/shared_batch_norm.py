# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation of a batch that several processes share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import processes

__all__ = ["SharedBatchNorm", "share_batch_statistics"]


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    r"""Batch normalisation by the statistics of all processes' images, which are as many in each.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\,\gamma + \beta,\qquad
        \mu = \frac1N\sum_r \operatorname{mean} x_r,\qquad \sigma^2 = \frac1N\sum_r \operatorname{mean}(x_r - \mu)^2

    The gradient by :math:`x_r` is that of the sum of the losses of all processes, so every process must go backward as
    often as the others. PyTorch's ``SyncBatchNorm`` does this on GPUs alone. In evaluation mode, and in a single
    process, it is PyTorch's batch normalisation, whose weights, buffers and names it has.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Take images of any dimensions."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, *spatial)."""
        by_batch = self.training or self.running_mean is None
        if processes.count() == 1 or not by_batch:
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        mean: Any = _MeanOfAll.apply(input.mean(axes))
        centred = input - mean.view(shape)
        variance: Any = _MeanOfAll.apply(centred.square().mean(axes))
        self._remember(mean, variance, processes.count() * input.numel() // input.shape[1])
        result = centred * (variance + self.eps).rsqrt().view(shape)
        return torch.addcmul(self.bias.view(shape), result, self.weight.view(shape)) if self.affine else result

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, number: int) -> None:
        """Move the running statistics; the variance, of so many values, is the unbiased one, as PyTorch has it."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var) * (number / (number - 1)), share)


class _MeanOfAll(torch.autograd.Function):
    """The mean over the processes, which are one function of the tensors of all."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return processes.mean_(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return processes.mean_(gradient.clone(memory_format=torch.contiguous_format))


def share_batch_statistics(network: nn.Module) -> None:
    """Let the batch normalisations of a network see the images of all processes; nothing happens in a single one.

    Args:
        network: is changed in place; its weights stay the same objects, which an optimiser may have.
    """
    if processes.count() == 1:
        return
    # A module may have two names, and keeps them.
    shared: dict[nn.Module, SharedBatchNorm] = {}
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SharedBatchNorm):
                setattr(parent, name, shared.setdefault(child, _shared(child)))


def _shared(norm: nn.modules.batchnorm._BatchNorm) -> SharedBatchNorm:
    shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared.weight, shared.bias = norm.weight, norm.bias
    shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
    shared.num_batches_tracked = norm.num_batches_tracked
    return shared.train(norm.training)
