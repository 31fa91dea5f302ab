# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from scripts.errors import InputError
from scripts.networks import AdaLIN, CuelessNorm, VariationalInformationNorm

IMAGES = [torch.rand(2, 4, 5, 7), torch.rand(2, 4, 3, 5, 4)]


@pytest.mark.parametrize("x", IMAGES, ids=["2d", "3d"])
def test_rho_one_is_instance_norm(x: torch.Tensor) -> None:
    layer = AdaLIN(x.dim() - 2, 4, 6, rho=1.0)
    torch.testing.assert_close(layer(x, torch.rand(2, 6)), F.instance_norm(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("x", IMAGES, ids=["2d", "3d"])
def test_rho_zero_is_layer_norm(x: torch.Tensor) -> None:
    layer = AdaLIN(x.dim() - 2, 4, 6, rho=0.0)
    torch.testing.assert_close(layer(x, torch.rand(2, 6)), F.layer_norm(x, x.shape[1:]), atol=1e-5, rtol=1e-5)


def test_rho_mixes_the_two_norms_per_channel() -> None:
    x, rho = IMAGES[0], torch.tensor([0.0, 0.25, 0.5, 1.0])
    layer = AdaLIN(2, 4, 6)
    layer.rho.data = rho
    weight = rho.view(1, 4, 1, 1)
    expected = weight * F.instance_norm(x) + (1 - weight) * F.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(layer(x, torch.rand(2, 6)), expected, atol=1e-5, rtol=1e-5)


def test_cue_scales_and_shifts_each_channel() -> None:
    x, cue = IMAGES[0], torch.rand(2, 6)
    layer = AdaLIN(2, 4, 6, rho=1.0)
    torch.nn.init.normal_(layer.scale_and_shift.weight)
    gamma, beta = (part.view(2, 4, 1, 1) for part in layer.scale_and_shift(cue).chunk(2, dim=1))
    torch.testing.assert_close(layer(x, cue), F.instance_norm(x) * (1 + gamma) + beta, atol=1e-5, rtol=1e-5)


def test_gradients_agree_with_finite_differences() -> None:
    layer = AdaLIN(2, 2, 3, rho=0.4).double()
    torch.nn.init.normal_(layer.scale_and_shift.weight)
    x = torch.rand(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    cue = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x, cue))


def test_clamp_brings_rho_back_between_zero_and_one() -> None:
    layer = AdaLIN(2, 2, 3)
    layer.rho.data = torch.tensor([-0.3, 1.7])
    layer.clamp_()
    assert layer.rho.tolist() == [0.0, 1.0]


def test_rho_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(InputError, match="rho"):
        AdaLIN(2, 2, 3, rho=1.5)


def test_block_adds_the_modulated_features_to_its_input() -> None:
    block = VariationalInformationNorm(2, 4, 6)
    torch.nn.init.zeros_(block.conv.weight)
    torch.nn.init.zeros_(block.conv.bias)
    torch.testing.assert_close(block(IMAGES[0], torch.rand(2, 6)), IMAGES[0])


def test_the_activation_is_a_leaky_relu_of_slope_a_fifth() -> None:
    block = VariationalInformationNorm(2, 1, 1)
    torch.nn.init.zeros_(block.conv.weight)
    block.conv.weight.data[..., 1, 1] = 1.0  # the block adds the activated features themselves
    torch.nn.init.zeros_(block.conv.bias)
    features = block.norm(IMAGES[0][:1, :1], torch.zeros(1, 1))
    expected = torch.where(features > 0, features, 0.2 * features)
    torch.testing.assert_close(block(IMAGES[0][:1, :1], torch.zeros(1, 1)) - IMAGES[0][:1, :1], expected)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 4, 5, 6)])
def test_without_a_cue_each_channel_has_the_learned_mean_and_deviation(shape: tuple[int, ...]) -> None:
    layer = CuelessNorm(len(shape) - 2, 3)
    layer.norm.weight.data, layer.norm.bias.data = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, -1.0, 5.0])
    deviation, mean = torch.std_mean(layer(5 * torch.rand(shape) + 2, torch.randn(2, 4)).flatten(2), dim=2)
    torch.testing.assert_close(mean, torch.tensor([[0.0, -1.0, 5.0]]).expand(2, -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, torch.tensor([[1.0, 2.0, 3.0]]).expand(2, -1), atol=0.05, rtol=0.05)
