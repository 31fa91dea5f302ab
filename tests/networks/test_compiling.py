# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from scripts.networks import HQGNet, compiled

EAGER = {"backend": "eager"}  # traces as the other backends do, and leaves out the minutes of generating code


@pytest.fixture
def network() -> Iterator[HQGNet]:
    torch.manual_seed(0)
    yield HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), reduction=2).eval()
    torch._dynamo.reset()


def is_compiled(network: nn.Module) -> bool:
    return any(module._compiled_call_impl is not None for module in network.modules())


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_and_learns_the_same(network: HQGNet) -> None:
    plain = copy.deepcopy(network)
    image, guide = torch.rand(2, 2, 1, 32, 48)
    traced = []
    compiled(network, {"backend": lambda graph, inputs: traced.append(1) or graph.forward})
    results = []
    for one in (plain, network):
        torch.manual_seed(1)
        result = one.enhance_guided(image, guide).pred
        result.square().mean().backward()
        results.append(result)
    assert traced
    torch.testing.assert_close(results[1], results[0])
    for found, expected in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_weights_keep_their_names_and_a_copy_is_not_compiled(network: HQGNet) -> None:
    names = list(network.state_dict())
    assert compiled(network, EAGER) is network
    assert is_compiled(network)
    assert list(network.state_dict()) == names
    assert not is_compiled(copy.deepcopy(network))


def test_without_arguments_nothing_is_compiled(network: HQGNet) -> None:
    assert not is_compiled(compiled(network, None))


def test_any_other_network_is_compiled_as_a_whole() -> None:
    layer = compiled(nn.Linear(2, 2), EAGER)
    torch.testing.assert_close(
        layer(torch.ones(1, 2)), nn.functional.linear(torch.ones(1, 2), layer.weight, layer.bias)
    )
    assert is_compiled(layer)
