# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from scripts.transforms import Polarity, RandPoorScanner, RandToneCurve, estimate_polarity, fit_falling, polarity_of


def head(seed: int = 0, folds: float = 0.2, tissue: float = 0.6, size: int = 96, noise: float = 0.02) -> torch.Tensor:
    """A disc of tissue with thin folds of another intensity, (1, size, size)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    inside = np.hypot(x, y) < 0.42 * size
    texture = ndimage.gaussian_filter(generator.normal(size=(size, size)), size / 24)
    thin = np.abs(texture) < np.quantile(np.abs(texture), 0.12)
    image = np.where(inside, np.where(thin, folds, tissue), 0.0)
    noisy = ndimage.gaussian_filter(image, 0.7) + noise * generator.normal(size=(size, size))
    return torch.from_numpy(noisy.clip(0, 1).astype(np.float32))[None]


def bright(seed: int = 0, **more: float) -> torch.Tensor:
    return head(seed, folds=0.9, tissue=0.4, **more)  # type: ignore[arg-type]


def volume(*planes: torch.Tensor) -> torch.Tensor:
    return torch.stack(planes, dim=-1)


def items(*images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"image": image} for image in images]


@pytest.mark.parametrize("seed", range(4))
def test_dark_folds_are_below_zero_and_bright_ones_above(seed: int) -> None:
    dark, light = estimate_polarity(head(seed)), estimate_polarity(bright(seed))
    assert dark is not None
    assert light is not None
    assert dark < -0.3
    assert light > 0.3


@pytest.mark.parametrize("make", [head, bright])
def test_polarity_survives_noise_bias_size_and_a_mirror(make: object) -> None:
    wanted = np.sign(estimate_polarity(make(1)))  # type: ignore[operator]
    bias = torch.linspace(0.5, 1.0, 96)[:, None]
    for image in (make(1, noise=0.1), bias * make(1), make(1, size=300), make(1).flip(-1)):  # type: ignore[operator]
        assert np.sign(estimate_polarity(image)) == wanted


@pytest.mark.parametrize("image", [torch.zeros(1, 64, 64), torch.full((1, 64, 64), 0.5), torch.rand(1, 8, 8)])
def test_a_plane_that_shows_too_little_has_none(image: torch.Tensor) -> None:
    assert estimate_polarity(image) is None


def test_a_set_has_the_mean_of_its_planes_and_its_error() -> None:
    planes = [head(seed) for seed in range(4)]
    values = [estimate_polarity(plane) for plane in planes]
    found = polarity_of(planes)
    assert found.mean == pytest.approx(np.mean(values))  # type: ignore[arg-type]
    assert found.error == pytest.approx(np.std(values, ddof=1) / 2)  # type: ignore[arg-type]
    assert found.sign == -1
    assert polarity_of([volume(*planes)]) == found
    turned = volume(*planes).permute(0, 3, 1, 2)
    assert polarity_of([turned], slice_axis=0) == found


@pytest.mark.parametrize(
    ("polarity", "sign"),
    [
        (Polarity(-0.5, 0.1), -1),
        (Polarity(0.5, 0.1), 1),
        (Polarity(0.5, 0.3), 0),
        (Polarity(0.05, 0.001), 0),
        (Polarity(0.5, math.inf), 0),
    ],
)
def test_only_a_clear_polarity_counts(polarity: Polarity, sign: int) -> None:
    assert polarity.sign == sign


def test_one_plane_alone_is_not_clear() -> None:
    assert polarity_of([head()]).sign == 0
    assert polarity_of([]).sign == 0


LQ = items(*(head(seed, noise=0.08) for seed in range(4)))


def shares(guides: list[dict[str, torch.Tensor]], styles: list[str | None], **arguments: float) -> list[float]:
    fitted = fit_falling(RandPoorScanner(**arguments), LQ, guides, styles)  # type: ignore[arg-type]
    for degradation in fitted:
        curve = degradation.transforms[0]
        assert isinstance(curve, RandToneCurve)
        assert curve.falling == degradation.falling
        assert curve.rising == pytest.approx(0.9 - curve.falling)
    return [degradation.falling for degradation in fitted]


def test_images_of_the_other_polarity_get_falling_curves(caplog: pytest.LogCaptureFixture) -> None:
    guides = items(*(head(10 + seed) for seed in range(3)), *(bright(10 + seed) for seed in range(3)))
    with caplog.at_level(logging.INFO):
        assert shares(guides, ["a"] * 3 + ["b"] * 3) == [0.05] * 3 + [0.8] * 3
    assert "are dark" in caplog.text
    assert "3 show them alike, 3 inverted, and 0 are unclear" in caplog.text


def test_volumes_without_a_style_are_judged_one_by_one() -> None:
    guides = items(volume(*(head(20 + i) for i in range(4))), volume(*(bright(20 + i) for i in range(4))))
    assert shares(guides, [None, None]) == [0.05, 0.8]


def test_planes_without_a_style_are_judged_together() -> None:
    assert shares(items(*(bright(30 + seed) for seed in range(4))), [None] * 4) == [0.8] * 4


def test_what_is_unclear_keeps_the_share_of_before() -> None:
    mixed = items(head(40), bright(40), head(41), bright(41))
    assert shares(mixed, ["mixed"] * 4) == [0.4] * 4


def test_a_share_that_was_given_stays() -> None:
    guides = items(*(bright(50 + seed) for seed in range(3)))
    assert shares(guides, ["a"] * 3, falling=0.3) == [0.3] * 3


@pytest.mark.parametrize("degradation", [None, RandToneCurve()])
def test_another_degradation_stays(degradation: object) -> None:
    assert fit_falling(degradation, LQ, LQ, [None] * 4) == [degradation] * 4
