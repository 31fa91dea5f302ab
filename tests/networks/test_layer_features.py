# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from scripts.errors import InputError
from scripts.networks import LayerFeatures, with_frozen_weights


def network(norm: str = "instance") -> UNet:
    return UNet(2, 1, 3, (4, 6, 8), (2, 2), norm=norm)


LAYERS = ["model.0", "model.1.submodule.0"]


def test_features_come_in_the_order_of_the_layers() -> None:
    fine, coarse = LayerFeatures(network(), LAYERS)(torch.rand(2, 1, 16, 24))
    assert (fine.shape, coarse.shape) == ((2, 4, 8, 12), (2, 6, 4, 6))
    swapped = LayerFeatures(network(), LAYERS[::-1])(torch.rand(2, 1, 16, 24))
    assert [tuple(f.shape) for f in swapped] == [(2, 6, 4, 6), (2, 4, 8, 12)]


def test_features_are_what_the_layers_put_out() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(LayerFeatures(net, ["1"])(image)[0], net[1](net[0](image)))


def test_the_network_is_left_as_it_was() -> None:
    net = network(norm="batch").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    LayerFeatures(net, LAYERS)(torch.rand(1, 1, 16, 16))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_as_a_judge_it_passes_gradients_to_the_image_alone() -> None:
    features = LayerFeatures(network(), LAYERS)
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    torch.stack([f.square().mean() for f in with_frozen_weights(features, image)]).sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in features.parameters())


@pytest.mark.parametrize("name", ["model.9", ""])
def test_an_unknown_layer_is_refused_with_some_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match=f'UNet has no layer "{name}".*model'):
        LayerFeatures(network(), [name])
