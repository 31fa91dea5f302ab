# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from scripts.errors import InputError
from scripts.experiments.classical import ClassicalChain, correct_bias, denoise, head_mask, noise_level


def disc(size: int = 48, radius: float = 18.0) -> np.ndarray:
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    return (rows**2 + columns**2 < radius**2).astype(np.float32)


def rician(signal: np.ndarray, sigma: float) -> np.ndarray:
    noise = sigma * np.random.RandomState(0).randn(2, *signal.shape)
    magnitude: np.ndarray = np.hypot(signal + noise[0], noise[1]).astype(np.float32)
    return magnitude


def test_the_field_lies_where_it_was_sampled() -> None:
    rows = np.linspace(-1, 1, 97, dtype=np.float32)
    field = np.exp(0.5 * rows)[:, None] * np.ones(90, np.float32)
    corrected = correct_bias(field, np.ones(field.shape, bool), levels=2, shrink=4)[4:-4, 4:-4]
    assert corrected.std() / corrected.mean() < 0.02


@pytest.mark.parametrize("volume", [False, True])
def test_n4_flattens_a_field_and_keeps_fractions(volume: bool) -> None:
    field = np.linspace(0.5, 1.0, 48, dtype=np.float32)[:, None] * np.ones(48, np.float32)
    image = np.stack([field] * 6) if volume else field
    corrected = correct_bias(image, np.ones(image.shape, bool), levels=2, shrink=2)
    assert corrected.shape == image.shape
    assert corrected.std() / corrected.mean() < 0.3 * field.std() / field.mean()
    assert 0.1 < corrected.mean() < 2.0


def test_noise_is_measured_and_its_offset_taken_away() -> None:
    planes = rician(np.full((2, 48, 48), 0.15, np.float32), sigma=0.1)
    assert planes.mean() > 0.18
    cleaned = denoise(planes, sigma=0.1, strength=1.0)
    assert cleaned.mean() == pytest.approx(0.15, abs=0.02)
    assert cleaned.std() < 0.6 * planes.std()
    assert noise_level(0.5 + 0.05 * np.random.RandomState(1).randn(3, 48, 48)) == pytest.approx(0.05, rel=0.1)


def test_empty_planes_say_nothing_about_noise() -> None:
    planes = rician(np.full((3, 48, 48), 0.5, np.float32), sigma=0.05)
    planes[0] = 0
    assert noise_level(planes) == pytest.approx(0.05, rel=0.2)
    assert noise_level(np.zeros((2, 16, 16), np.float32)) == 0.0


def test_no_strength_leaves_the_planes_as_they_are() -> None:
    planes = rician(np.zeros((1, 16, 16), np.float32), sigma=0.1)
    assert denoise(planes, sigma=0.1, strength=0.0) is planes


def test_a_head_keeps_its_dark_inside_and_loses_what_lies_beside_it() -> None:
    head = 0.8 * disc() - 0.75 * disc(radius=6.0)
    planes = np.stack([head, head])
    planes[:, :4, :4] = 0.8
    mask = head_mask(planes)
    assert mask[0, 24, 24]
    assert not mask[0, 1, 1]


def test_an_empty_image_is_all_head() -> None:
    assert head_mask(np.zeros((1, 16, 16), np.float32)).all()


@pytest.mark.parametrize("denoises", [False, True])
def test_the_chain_finds_tone_and_strength(denoises: bool) -> None:
    structure = 0.9 * disc() - 0.4 * disc(radius=9.0)
    noisy = rician(np.stack([structure] * 3), sigma=0.08)
    wanted = torch.from_numpy(np.moveaxis(0.9 * (structure / structure.max()) ** 2 * np.ones((3, 1, 1)), 0, 2))[None]
    chain = ClassicalChain(slice_axis=2, denoises=denoises)
    chain.fit({1: [noisy]}, [wanted])
    result = chain.apply(noisy, wanted)
    assert result.shape == wanted.shape
    assert chain.gamma == pytest.approx(2.0, abs=0.6)
    assert (chain.strength > 0) is denoises
    untouched = torch.from_numpy(np.moveaxis(noisy, 0, 2))[None]
    assert (result - wanted).square().mean() < 0.5 * (untouched - wanted).square().mean()


def test_an_image_of_a_single_plane_keeps_its_shape() -> None:
    image = torch.from_numpy(rician(0.8 * disc(), 0.05))[None]
    chain = ClassicalChain()
    corrected = chain.correct(image, levels=1)
    assert corrected.shape == (1, 48, 48)
    assert chain.apply(corrected, image).shape == image.shape


def test_without_scikit_image_its_name_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *rest: Any) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match="pip install scikit-image"):
        ClassicalChain()
