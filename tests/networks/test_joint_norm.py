# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from scripts.networks import AdaLIN, CuelessNorm, JointNorm


class Modulated(nn.Module):
    """Instance normalisation, with and without weights, and a layer that the cue modulates."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.InstanceNorm2d(3)
        self.weighted = nn.InstanceNorm2d(3, affine=True)
        nn.init.normal_(self.weighted.weight)
        self.adaptive = AdaLIN(2, 3, 4, rho=0.4)
        nn.init.normal_(self.adaptive.scale_and_shift.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.adaptive(self.weighted(self.plain(x) ** 2), torch.ones(len(x), 4))


@pytest.fixture
def network() -> Modulated:
    torch.manual_seed(0)
    return Modulated().eval()


def test_a_measured_image_is_normalised_as_ever(network: Modulated) -> None:
    image, norm = torch.rand(1, 3, 8, 8), JointNorm(network)
    expected = network(image)
    with norm.measure():
        measured = network(image)
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-5)


def test_parts_measured_together_are_normalised_as_the_whole_that_they_make(network: Modulated) -> None:
    image, norm = torch.rand(1, 3, 8, 8), JointNorm(network)
    halves = torch.cat(image.split(4, dim=2))
    with norm.measure():
        measured = torch.cat(network(halves).split(1), dim=2)
    torch.testing.assert_close(measured, network(image), atol=1e-5, rtol=1e-5)


def test_what_was_measured_is_applied_to_each_part(network: Modulated) -> None:
    image, norm = torch.rand(1, 3, 8, 8), JointNorm(network)
    with norm.measure():
        network(image)
    with norm.apply():
        halves = [network(half) for half in image.split(4, dim=2)]
    torch.testing.assert_close(torch.cat(halves, dim=2), network(image), atol=1e-5, rtol=1e-5)


def test_the_network_is_left_as_it_was(network: Modulated) -> None:
    image, norm = torch.rand(1, 3, 8, 8), JointNorm(network)
    expected = network(image)
    with norm.measure():
        network(torch.rand(2, 3, 8, 8))
    with pytest.raises(ZeroDivisionError), norm.apply():
        raise ZeroDivisionError
    assert torch.equal(network(image), expected)


def test_nothing_is_applied_before_it_was_measured(network: Modulated) -> None:
    with pytest.raises(RuntimeError, match="measure"), JointNorm(network).apply():
        network(torch.rand(1, 3, 8, 8))


def test_the_norm_that_takes_no_cue_is_measured_too() -> None:
    layer, image, cue = CuelessNorm(2, 3).eval(), torch.rand(1, 3, 8, 8), torch.zeros(1, 4)
    nn.init.normal_(layer.norm.weight)
    norm = JointNorm(layer)
    with norm.measure():
        layer(image, cue)
    with norm.apply():
        halves = [layer(half, cue) for half in image.split(4, dim=2)]
    torch.testing.assert_close(torch.cat(halves, dim=2), layer(image, cue), atol=1e-5, rtol=1e-5)
