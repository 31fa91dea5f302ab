# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.errors import InputError
from scripts.transforms import RandToneCurve

RAMP = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 101)


def tones(seed: int, **arguments: float) -> np.ndarray:
    return np.asarray(RandToneCurve(**arguments).set_random_state(seed)(RAMP))[0, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_a_rising_curve_rises_and_a_falling_one_falls_from_the_first_knot_on(seed: int) -> None:
    assert (np.diff(tones(seed, rising=1.0, falling=0.0)[17:]) >= -1e-6).all()
    assert (np.diff(tones(seed, rising=0.0, falling=1.0, no_signal=0.0)[17:]) <= 1e-6).all()
    # The first of six straight parts ends at 0.3 + 0.7 / 6.
    assert (np.diff(tones(seed, rising=0.0, falling=1.0)[42:]) <= 1e-6).all()


def test_bone_stays_dark_under_a_falling_curve_and_under_a_rising_one_it_keeps_its_detail() -> None:
    falling = np.stack([tones(seed, rising=0.0, falling=1.0) for seed in range(40)])
    assert (falling[:, 0] == 0).all()
    assert np.median(falling[:, 8]) < 0.1  # half of the curves begin above 0.15
    assert (falling.max(1) > 0.5).mean() > 0.9
    for seed in range(5):
        rising = {"rising": 1.0, "falling": 0.0}
        np.testing.assert_array_equal(tones(seed, **rising), tones(seed, no_signal=0.0, **rising))


@pytest.mark.parametrize("seed", range(5))
def test_air_stays_dark_and_intensities_in_range(seed: int) -> None:
    found = tones(seed)
    assert 0 <= found[0] <= RandToneCurve.DARKEST
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_rest_neither_rises_nor_falls() -> None:
    steps = np.stack([np.diff(tones(seed, rising=0.0, falling=0.0)) for seed in range(20)])
    assert ((steps > 1e-6).any(1) & (steps < -1e-6).any(1)).mean() > 0.9


def test_a_seed_makes_a_curve_and_tensors_stay_tensors() -> None:
    np.testing.assert_array_equal(tones(3), tones(3))
    assert (tones(3) != tones(4)).any()
    image = torch.rand(2, 8, 8)
    changed = RandToneCurve().set_random_state(0)(image)
    assert isinstance(changed, torch.Tensor)
    assert (changed.shape, changed.dtype) == (image.shape, image.dtype)


def test_without_a_draw_the_image_stays() -> None:
    image = torch.rand(1, 8, 8)
    torch.testing.assert_close(RandToneCurve(prob=0.0)(image), image)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"knots": 0}, "knots"),
        ({"rising": 1.2}, "rising"),
        ({"rising": 0.7, "falling": 0.6}, "rising"),
        ({"prob": -1}, "prob"),
        ({"no_signal": 1.0}, "no_signal"),
    ],
)
def test_what_makes_no_curve_is_refused(arguments: dict[str, float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        RandToneCurve(**arguments)  # type: ignore[arg-type]
