# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Features of any network, by the names of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import InputError


class LayerFeatures(nn.Module):
    """Run a network and return what some of its layers put out: so any network is a judge of the multi-encoder loss.

    The network runs in evaluation mode, and is left as it was.

    Args:
        network: any network.
        layers: names of its sub-modules as in ``named_modules()``, finest first.

    Raises:
        InputError: when the network has no such layer.

    Example::

        features = LayerFeatures(UNet(2, 1, 4, (16, 32), (2,)), ["model.0", "model.1.submodule"])
        fine, coarse = features(torch.rand(1, 1, 64, 64))
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        known = dict(network.named_modules())
        for name in layers:
            if name not in known or not name:
                near = ", ".join(sorted((other for other in known if other), key=len)[:5])
                raise InputError(
                    f'{type(network).__name__} has no layer "{name}": bilevel#feature_layers are names of '
                    f"named_modules() such as {near}."
                )
        self.network = network
        self.layers = tuple(layers)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the layers' features of ``image`` (B, C, *spatial), in the order of ``layers``."""
        features: dict[str, torch.Tensor] = {}

        def keep(name: str) -> None:
            def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
                features[name] = output

            handles.append(modules[name].register_forward_hook(hook))

        modules = dict(self.network.named_modules())
        handles: list[torch.utils.hooks.RemovableHandle] = []
        training = self.network.training
        self.network.eval()
        try:
            for name in self.layers:
                keep(name)
            self.network(image)
        finally:
            for handle in handles:
                handle.remove()
            self.network.train(training)
        unused = [name for name in self.layers if name not in features]
        if unused:
            raise InputError(
                f'{type(self.network).__name__} makes no use of its layer "{unused[0]}": leave it out of '
                "bilevel#feature_layers."
            )
        return [features[name] for name in self.layers]
