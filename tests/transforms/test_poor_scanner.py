# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from scripts.errors import InputError
from scripts.transforms import RandPoorScanner, estimate_noise, fit_noise
from scripts.transforms.correlated_noise import RandCorrelatedNoise
from scripts.transforms.degradation import RandScannerDegradation


def smooth_image(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = 0.3 + 0.6 * torch.rand(1, 1, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0.2, 1)[0]


def test_a_degraded_image_fills_the_range_and_the_same_seed_degrades_alike() -> None:
    image = smooth_image()
    one, two, other = (RandPoorScanner().set_random_state(seed)(image) for seed in (1, 1, 2))
    assert one.shape == image.shape
    assert (float(one.min()), float(one.max())) == (0.0, 1.0)
    torch.testing.assert_close(one, two)
    assert not torch.equal(one, other)


def test_a_tone_of_its_own_turns_the_contrast_round_at_times() -> None:
    image = smooth_image()
    clean = {"tone_prob": 1.0, "bias_strength_range": (0, 0), "noise_std_range": (0, 0), "smooth_sigma_range": (0, 0)}
    scanner = RandPoorScanner(**clean, zoom_range=(1, 1), gamma_range=(1, 1), falling=0.5).set_random_state(0)
    signs = {
        bool(torch.corrcoef(torch.stack([scanner(image).flatten(), image.flatten()]))[0, 1] > 0) for _ in range(20)
    }
    assert signs == {True, False}


def test_another_share_of_falling_curves_leaves_the_rest_as_it_is() -> None:
    scanner = RandPoorScanner(bias_strength_range=(0, 0.1))
    fit_noise(scanner, [{"image": smooth_image()}])
    falling = scanner.with_falling(0.9)
    assert (scanner.falling, scanner.fits_falling, falling.falling, falling.fits_falling) == (0.4, True, 0.9, False)
    before, after = scanner.transforms[1], falling.transforms[1]
    assert isinstance(before, RandScannerDegradation)
    assert isinstance(after, RandScannerDegradation)
    assert after is not before
    assert after.ranges == before.ranges


@pytest.mark.parametrize("std", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("shape", [(), (4,)])
def test_the_noise_that_was_added_is_found(std: float, shape: tuple[int, ...]) -> None:
    image = smooth_image()
    image = image if not shape else image[..., None].repeat(1, 1, 1, *shape)
    noisy = image + std * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    finest, second = estimate_noise(noisy)
    assert finest == pytest.approx(std, rel=0.15)
    assert std * 0.75 < second < std * 1.2 + 0.015  # anatomy adds to it
    assert max(estimate_noise(image)) < 0.02


def test_an_image_of_air_has_no_noise_to_speak_of() -> None:
    assert estimate_noise(torch.zeros(1, 8, 8)) == (0.0, 0.0)


def test_noise_of_a_volume_is_that_within_its_slices() -> None:
    random = torch.Generator().manual_seed(0)
    # Anatomy changes from slice to slice, along the first axis, and not within them.
    slices = 0.3 + 0.5 * torch.rand(24, 1, 1, generator=random).expand(24, 64, 64)
    volume = (slices + 0.02 * torch.randn(24, 64, 64, generator=random)).clamp(0, 1)[None]
    assert max(estimate_noise(volume, slice_axis=0)) == pytest.approx(0.02, rel=0.1)


def test_noise_that_a_scanner_interpolated_is_found_at_the_second_scale() -> None:
    noisy = RandCorrelatedNoise(0.05, (1.0, 1.0), magnitude=False).set_random_state(0)(smooth_image())
    finest, second = estimate_noise(noisy)
    assert finest < 0.02
    assert 0.03 < second < 0.08
    scanner = RandPoorScanner()
    fit_noise(scanner, [{"image": noisy}])
    low, high = next(p for p in scanner.transforms if isinstance(p, RandScannerDegradation)).ranges["noise_std"]
    assert low < 0.01
    assert high > 0.05


def test_images_get_noise_that_neighbours_share_and_noise_that_they_do_not() -> None:
    nothing = {"tone_prob": 0.0, "bias_strength_range": (0, 0), "smooth_sigma_range": (0, 0), "zoom_range": (1, 1)}
    scanner = RandPoorScanner(**nothing, gamma_range=(1, 1), noise_std_range=(0.05, 0.05), percentiles=None)
    scanner.set_random_state(0)
    flat = torch.full((1, 64, 64), 0.5)
    noises = torch.stack([scanner(flat)[0] - 0.5 for _ in range(40)])
    assert noises.std(dim=(1, 2)).numpy() == pytest.approx(0.05, rel=0.1)
    neighbours = (noises[:, 1:] * noises[:, :-1]).mean(dim=(1, 2)) / noises.var(dim=(1, 2))
    assert 0.3 < (neighbours < 0.1).float().mean() < 0.8
    assert neighbours.max() > 0.6


def test_the_noise_of_a_set_sets_the_range_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    generator = torch.Generator().manual_seed(0)
    items = [{"image": smooth_image() + std * torch.randn(1, 64, 64, generator=generator)} for std in (0.04, 0.06)]
    scanner = RandPoorScanner()
    with caplog.at_level(logging.INFO):
        fit_noise(scanner, items)
    low, high = next(p for p in scanner.transforms if isinstance(p, RandScannerDegradation)).ranges["noise_std"]
    assert low < 0.03
    assert 0.07 < high < 0.1
    assert "2 low-quality images" in caplog.text


def test_the_overlay_for_denoising_adds_noise_alone() -> None:
    configs = Path(__file__).parents[2] / "bundle" / "configs"
    files = [str(configs / name) for name in ("train.yaml", "denoising.yaml")]
    parser = ConfigParser({**ConfigParser.load_config_files(files), "window": [0, 255]})
    scanner = parser.get_parsed_content("train#degradation").set_random_state(0)
    ramp = torch.linspace(0.3, 0.7, 128).expand(1, 128, 128).clone()
    restored = torch.stack([scanner(ramp) for _ in range(60)]).mean(dim=0)
    torch.testing.assert_close(restored, ramp, atol=0.05, rtol=0)
    assert not torch.allclose(scanner(ramp), ramp, atol=0.05)


def test_a_wrong_range_is_refused() -> None:
    with pytest.raises(InputError, match="zoom_range"):
        RandPoorScanner(zoom_range=(1.0, 0.5))


def test_a_range_of_ones_own_is_kept() -> None:
    scanner = RandPoorScanner(noise_std_range=(0.01, 0.02))
    fit_noise(scanner, [{"image": smooth_image()}])
    assert next(p for p in scanner.transforms if isinstance(p, RandScannerDegradation)).ranges["noise_std"] == (
        0.01,
        0.02,
    )
