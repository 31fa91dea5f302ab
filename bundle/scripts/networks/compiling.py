# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks whose parts PyTorch compiles, which pays on GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from .hqgnet import HQGNet

__all__ = ["compiled"]

Network = TypeVar("Network", bound=nn.Module)


def compiled(network: Network, arguments: Mapping[str, Any] | None) -> Network:
    """Let PyTorch compile a network, in place, at its first pass.

    Of :class:`HQGNet` the guidance encoder and each part of the enhancer are compiled by themselves, since training
    calls the enhancer in several ways. Weights, their names and what is saved stay as they are. A copy, such as that of
    averaged weights, is not compiled.

    Args:
        network: any network.
        arguments: of :func:`torch.compile`: ``{"mode": "reduce-overhead"}`` for CUDA graphs. None: nothing is compiled.

    Returns:
        The network.
    """
    if arguments is not None:
        for part in _parts(network):
            part.compile(**arguments)
    return network


def _parts(network: nn.Module) -> list[nn.Module]:
    if not isinstance(network, HQGNet):
        return [network]
    enhancer = network.enhancer
    parts = [enhancer.encoder, *enhancer.decoder, *enhancer.modulation, enhancer.final, enhancer.full_resolution]
    return [part for part in [*parts, network.guidance] if isinstance(part, nn.Module)]
