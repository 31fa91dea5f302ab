# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from scripts.transforms.correlated_noise import RandCorrelatedNoise
from scripts.transforms.degradation import RandScannerDegradation, ScannerDegradation


def correlation(noise: torch.Tensor, axis: int) -> float:
    """Of neighbours along a spatial axis of (C, *spatial)."""
    size = noise.shape[axis]
    first, second = noise.narrow(axis, 0, size - 1), noise.narrow(axis, 1, size - 1)
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


@pytest.mark.parametrize("sigma", [(0.8, 0.5), (0.5, 0.0), (0.0, 1.0, 0.6), (-0.3, 0.7)])
def test_neighbours_correlate_as_the_formula_says(sigma: tuple[float, ...]) -> None:
    shape = (128, 128) if len(sigma) == 2 else (40, 40, 40)
    image = torch.full((2, *shape), 0.5)
    noise = RandCorrelatedNoise(0.1, sigma, magnitude=False).set_random_state(0)(image) - 0.5
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    for axis, width in enumerate(sigma, 1):
        wanted = math.exp(-1 / (4 * width**2)) if width > 0 else 0.0
        assert correlation(noise, axis) == pytest.approx(wanted, abs=0.06)


def test_magnitude_images_have_rician_noise() -> None:
    noisy = RandCorrelatedNoise(0.1, (0.7, 0.7)).set_random_state(0)(torch.zeros(1, 256, 256))
    assert float(noisy.min()) >= 0
    assert float(noisy.mean()) == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.03)


def test_channels_and_seeds_have_noise_of_their_own() -> None:
    image = torch.zeros(2, 64, 64)
    one, two, other = (
        RandCorrelatedNoise(0.1, (0.7, 0.7), magnitude=False).set_random_state(seed)(image) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(one, two)
    assert not torch.equal(one, other)
    assert abs(float(torch.corrcoef(torch.stack([one[0].flatten(), one[1].flatten()]))[0, 1])) < 0.15


def test_a_degradation_passes_it_on_and_stays_what_it_was_without() -> None:
    flat = torch.full((1, 96, 96), 0.5)
    nothing = {"gamma": 1.0, "bias_strength": 0.0, "smooth_sigma": 0.0, "zoom": 1.0, "noise_std": 0.05}
    shared = ScannerDegradation(**nothing, noise_sigma=(0.8, 0.0, 0.0), magnitude=False)(flat) - 0.5
    assert correlation(shared, 1) == pytest.approx(math.exp(-1 / (4 * 0.64)), abs=0.06)
    independent = RandScannerDegradation().set_random_state(0)
    independent.randomize()
    assert independent.degradation.noise_sigma is None
