# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from monai.networks import eval_mode

from scripts.errors import InputError
from scripts.networks import FullResolution, HaarSplit, HQGNet


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 10)])
def test_bands_are_those_of_pywavelets(shape: tuple[int, ...]) -> None:
    image = torch.rand(2, 3, *shape, dtype=torch.float64)
    bands = HaarSplit(len(shape))(image)
    assert bands.shape == (2, 3 * 2 ** len(shape), *(size // 2 for size in shape))
    # Sub-bands of unit energy over means: 2^(D/2).
    names = ["".join(letters) for letters in np.array(list(np.ndindex(*[2] * len(shape)))).astype(str)]
    for number, name in enumerate(names):
        key = name.replace("0", "a").replace("1", "d")
        expected = pywt.dwtn(image[1, 2].numpy(), "haar")[key] / 2 ** (len(shape) / 2)
        np.testing.assert_allclose(bands[1, 2 * 2 ** len(shape) + number], expected, atol=1e-12)


def test_full_resolution_draws_no_pattern_of_blocks() -> None:
    """Constant features and a constant image give a constant result, but for the zeros beyond the edge."""
    drawn = FullResolution(2, 1, 6)(torch.ones(1, 6, 8, 8), torch.ones(1, 1, 16, 16))
    inside = drawn[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 16), (19, 33), (17, 9, 13)])
def test_a_reduced_network_takes_any_size(shape: tuple[int, ...], in_channels: int) -> None:
    network = HQGNet(len(shape), in_channels, (4, 6), (4,), reduction=2)
    pred = network(torch.rand(2, in_channels, *shape), torch.rand(2, in_channels, *(size - 2 for size in shape)))
    assert pred.shape == (2, in_channels, *shape)
    assert (network.stride, network.minimum_size) == (4, 8)


def test_a_reduced_network_with_the_residual_head_starts_from_the_identity() -> None:
    image = 0.1 + 0.8 * torch.rand(1, 1, 18, 16)
    torch.testing.assert_close(HQGNet(2, 1, (4, 6), (4,), head="residual", reduction=2)(image), image)


def test_every_weight_of_a_reduced_network_learns() -> None:
    network = HQGNet(2, 1, (4, 6), (4,), reduction=2)
    for modulation in network.enhancer.modulation:
        torch.nn.init.normal_(modulation.norm.scale_and_shift.weight)
    network(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)).square().mean().backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


def test_a_reduced_network_can_be_scripted() -> None:
    network = HQGNet(2, 1, (4, 6), (4,), reduction=2)
    with eval_mode(network):
        scripted = torch.jit.script(network)
        for size in ((16, 16), (19, 33)):
            image = torch.rand(1, 1, *size)
            torch.testing.assert_close(scripted(image), network(image))


def test_another_reduction_is_refused() -> None:
    with pytest.raises(InputError, match="reduction must be 1"):
        HQGNet(reduction=4)
