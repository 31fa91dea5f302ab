# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet121, DynUNet, UNet
from torch import nn

from scripts.networks import call_with, reinitialized


class Shared(nn.Module):
    """One layer under two names, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.again = self.first
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.tied(self.again(self.first(x)))
        return result


NETWORKS = [
    (Shared(), torch.rand(1, 2)),
    (UNet(2, 1, 2, (4, 8), (2,)), torch.rand(1, 1, 8, 8)),
    (DynUNet(2, 1, 2, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 6, 8], norm_name="instance"), torch.rand(1, 1, 16, 16)),
]


@pytest.mark.parametrize(("network", "x"), NETWORKS)
def test_the_given_weights_are_used_everywhere(network: nn.Module, x: torch.Tensor) -> None:
    zeros = call_with(network, torch.zeros_like, x)
    assert torch.equal(zeros, torch.zeros_like(zeros))


@pytest.mark.parametrize(("network", "x"), NETWORKS)
def test_the_networks_own_weights_stay(network: nn.Module, x: torch.Tensor) -> None:
    before = list(network.parameters())
    call_with(network, torch.zeros_like, x)
    assert all(weight is was for weight, was in zip(network.parameters(), before, strict=True))


def test_the_networks_own_running_statistics_stay() -> None:
    shared = nn.BatchNorm2d(1)
    network = nn.Sequential(shared, shared)
    call_with(network, torch.zeros_like, torch.rand(2, 1, 4, 4))
    assert float(shared.running_mean) == 0  # type: ignore[arg-type]
    assert int(shared.num_batches_tracked) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("network", "x"), NETWORKS)
def test_with_its_own_weights_it_is_the_network(network: nn.Module, x: torch.Tensor) -> None:
    assert torch.equal(call_with(network, lambda weight: weight, x), network(x))


@pytest.mark.parametrize(
    "network",
    [NETWORKS[1][0], NETWORKS[2][0], DenseNet121(2, 1, 2, init_features=4, growth_rate=2, block_config=(1, 1))],
    ids=["UNet", "DynUNet", "DenseNet121"],
)
def test_weights_are_drawn_anew_by_the_seed_alone(network: nn.Module) -> None:
    first = dict(reinitialized(network, 1).named_parameters())
    again, other = (dict(reinitialized(network, seed).named_parameters()) for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name, weight in first.items() if weight.ndim > 1]
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)
