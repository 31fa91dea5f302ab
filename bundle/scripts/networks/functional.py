# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks with other weights than their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call


def call_with(network: nn.Module, replace: Callable[[nn.Parameter], torch.Tensor], *inputs: torch.Tensor) -> Any:
    """Call a network with other weights, and leave its own and its buffers as they are.

    Args:
        network: any module, also one that holds a sub-module under two names, as MONAI's DynUNet does: for those
            :func:`torch.func.functional_call` would, by default, put the given weights back instead of the network's.
        replace: from each of the network's weights to the tensor to use in its place.
        inputs: the network's inputs.

    Returns:
        What the network returns.
    """
    tensors: dict[str, torch.Tensor] = {}
    for prefix, module in network.named_modules():
        path = f"{prefix}." if prefix else ""
        tensors |= {path + name: replace(weight) for name, weight in module.named_parameters(recurse=False)}
        # Batch normalisation moves its running statistics in training mode: those of a copy.
        tensors |= {path + name: buffer.clone() for name, buffer in module.named_buffers(recurse=False)}
    return functional_call(network, tensors, inputs, tie_weights=False)


def with_frozen_weights(encoder: nn.Module, *inputs: torch.Tensor) -> Any:
    """Call ``encoder`` with its weights held constant: gradients reach the inputs, never the weights.

    Args:
        encoder: any module.
        inputs: its inputs.

    Returns:
        What the module returns.
    """
    return call_with(encoder, torch.Tensor.detach, *inputs)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in its own type, half-precision types in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def reinitialized(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network whose layers have drawn their initial weights anew.

    Layers draw as PyTorch's do by themselves (``reset_parameters``), also where the architecture once chose otherwise.
    The global random state stays as it was.

    Args:
        network: any network made of PyTorch's layers.
        seed: of the draw; equal seeds give equal weights.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    # On the CPU, whose random numbers are the same on every machine.
    fresh = copy.deepcopy(network).cpu()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh.to(device)
