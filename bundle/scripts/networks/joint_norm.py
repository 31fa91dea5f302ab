# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""One normalisation for all parts of an image that is too large to go through the network at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from .variational_norm import AdaLIN

__all__ = ["JointNorm"]


class JointNorm:
    r"""Let instance and layer-instance normalisation use one mean and one variance per channel for every part.

    Instance normalisation of a tile alone depends on what else is in the tile, so that two tiles disagree about the
    pixels that they share: a seam. Within :meth:`measure` every layer normalises a batch of sample parts by the moments
    of the *whole batch*, as if it were one image, and keeps them; within :meth:`apply` every layer uses what it kept.
    A network without such layers stays as it is.

    Args:
        network: in evaluation mode; its weights and buffers are left alone.

    Example::

        norm = JointNorm(network)
        with norm.measure():
            network(samples)
        with norm.apply():
            left, right = network(tile_1), network(tile_2)
    """

    def __init__(self, network: nn.Module) -> None:
        self._layers = [
            module
            for module in network.modules()
            if isinstance(module, AdaLIN) or (isinstance(module, _InstanceNorm) and not module.track_running_stats)
        ]
        self._moments: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Normalise by the moments of the whole batch, and keep them."""
        with self._with_moments(self._measured):
            yield

    @contextlib.contextmanager
    def apply(self) -> Iterator[None]:
        """Normalise by the moments that :meth:`measure` kept.

        Raises:
            RuntimeError: when a layer has not been measured.
        """
        with self._with_moments(self._kept):
            yield

    def _measured(self, layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        variance, mean = torch.var_mean(x.detach().transpose(0, 1).flatten(1), dim=1, correction=0)
        self._moments[layer] = variance, mean
        return variance, mean

    def _kept(self, layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._moments:
            raise RuntimeError(f"{type(layer).__name__} has no moments yet: run the network within measure() first")
        return self._moments[layer]

    @contextlib.contextmanager
    def _with_moments(self, moments_of: Any) -> Iterator[None]:
        """Replace, for a while, the moments that every normalisation layer takes."""

        def instance_norm(layer: Any, x: torch.Tensor) -> torch.Tensor:
            variance, mean = moments_of(layer, x)
            return nn.functional.batch_norm(x, mean, variance, layer.weight, layer.bias, eps=layer.eps)

        def adaptive_moments(layer: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            variance, mean = moments_of(layer, x)
            return variance.expand(x.shape[0], -1), mean.expand(x.shape[0], -1)

        name_and_stand_in = [
            (layer, "moments", adaptive_moments) if isinstance(layer, AdaLIN) else (layer, "forward", instance_norm)
            for layer in self._layers
        ]
        try:
            for layer, name, stand_in in name_and_stand_in:
                setattr(layer, name, stand_in.__get__(layer))
            yield
        finally:
            for layer, name, _ in name_and_stand_in:
                layer.__dict__.pop(name, None)
