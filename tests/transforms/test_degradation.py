# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.errors import InputError
from scripts.transforms.degradation import RandScannerDegradation, RandScannerDegradationd, ScannerDegradation

NOTHING = {"gamma": 1.0, "bias_strength": 0.0, "smooth_sigma": 0.0, "zoom": 1.0, "noise_std": 0.0}


def disc(*size: int, channels: int = 1) -> np.ndarray:
    """A bright ellipsoid in air, brightest in its middle."""
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in size], indexing="ij")
    return np.repeat(np.clip(1 - sum(a**2 for a in axes), 0, 0.8)[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 40, 32), (3, 33, 47), (1, 35, 50, 35), (1, 24, 28, 3)])
def test_keeps_shape_and_stays_within_0_and_1(shape: tuple[int, ...]) -> None:
    degraded = RandScannerDegradation().set_random_state(0)(disc(*shape[1:], channels=shape[0]))
    assert degraded.shape == shape
    assert degraded.dtype == np.float32
    assert degraded.min() >= 0
    assert degraded.max() <= 1


def test_without_any_degradation_the_image_stays() -> None:
    image = disc(20, 24)
    np.testing.assert_allclose(ScannerDegradation(**NOTHING)(image), image, atol=1e-5)


@pytest.mark.parametrize(
    "part",
    [{"gamma": 0.7}, {"bias_strength": 0.3}, {"smooth_sigma": 0.8}, {"zoom": 0.6}, {"noise_std": 0.1}],
    ids=lambda part: next(iter(part)),
)
def test_every_part_alone_changes_the_image(part: dict[str, float]) -> None:
    image = disc(20, 24)
    assert np.abs(ScannerDegradation(**{**NOTHING, **part})(image) - image).max() > 0.02


def test_contrast_between_tissues_falls_with_gamma() -> None:
    image = np.full((1, 8, 8), 0.8, np.float32)
    image[:, :4] = 0.6
    image[:, 0, :2] = 0, 1
    degraded = ScannerDegradation(**{**NOTHING, "gamma": 0.5})(image)
    assert degraded[0, 2, 2] / degraded[0, 6, 6] == pytest.approx((0.6 / 0.8) ** 0.5, rel=1e-4)


def test_noise_in_air_has_the_mean_of_a_rayleigh_distribution() -> None:
    degraded = ScannerDegradation(**{**NOTHING, "noise_std": 0.1})(np.zeros((1, 200, 200), np.float32))
    assert degraded.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_is_independent_from_voxel_to_voxel() -> None:
    noise = ScannerDegradation(**{**NOTHING, "noise_std": 0.05})(np.full((1, 128, 128), 0.5, np.float32))[0] - 0.5
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.05


def test_bias_field_keeps_the_mean_and_is_the_same_in_all_channels() -> None:
    degraded = ScannerDegradation(**{**NOTHING, "bias_strength": 0.1})(np.full((3, 32, 32), 0.5, np.float32))
    assert degraded.mean() == pytest.approx(0.5, abs=1e-4)
    assert degraded.std() > 0.02
    np.testing.assert_allclose(degraded[0], degraded[2])


def test_blur_spares_axes_that_are_not_named() -> None:
    image = np.zeros((1, 24, 24, 6), np.float32)
    image[:, 8:16, 8:16, 3] = 1
    degraded = ScannerDegradation(**{**NOTHING, "smooth_sigma": 1.0, "zoom": 0.5}, blur_dims=(0, 1))(image)
    assert degraded[..., [0, 1, 2, 4, 5]].max() < 1e-6
    assert 0.01 < degraded[0, 12, 7, 3] < 0.99


def test_the_same_seed_gives_the_same_images_and_the_next_image_differs() -> None:
    image = disc(16, 16)
    first, second = (RandScannerDegradation().set_random_state(3) for _ in range(2))
    np.testing.assert_array_equal(first(image), second(image))
    assert not np.array_equal(first(image), second(image, randomize=False))


def test_without_randomize_the_last_draw_is_repeated() -> None:
    degrade = RandScannerDegradation().set_random_state(0)
    image = disc(16, 16)
    np.testing.assert_array_equal(degrade(image), degrade(image, randomize=False))


def test_parameters_are_drawn_from_their_ranges() -> None:
    degrade = RandScannerDegradation(noise_std_range=(0.01, 0.02), zoom_range=(0.5, 0.5)).set_random_state(0)
    drawn = []
    for _ in range(20):
        degrade.randomize()
        drawn.append(degrade.degradation.noise_std)
        assert degrade.degradation.zoom == 0.5
    assert 0.01 <= min(drawn) < max(drawn) <= 0.02


def test_probability_zero_leaves_the_image_alone() -> None:
    image = disc(16, 16)
    np.testing.assert_array_equal(RandScannerDegradation(prob=0.0)(image), image)


def test_the_input_is_not_changed() -> None:
    image = disc(16, 16)
    before = image.copy()
    RandScannerDegradation().set_random_state(0)(image)
    np.testing.assert_array_equal(image, before)


def test_a_metatensor_keeps_its_affine() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 4.0, 1.0], dtype=torch.float64))
    degraded = RandScannerDegradation().set_random_state(0)(MetaTensor(disc(16, 16, 8), affine=affine))
    assert isinstance(degraded, MetaTensor)
    torch.testing.assert_close(degraded.affine, affine)


def test_dictionary_version_degrades_its_keys_alike_and_nothing_else() -> None:
    image, degrade = disc(16, 16), RandScannerDegradationd(keys=["a", "b", "absent"], allow_missing_keys=True)
    degrade.set_random_state(5)
    item = degrade({"a": image, "b": image.copy(), "label": image})
    np.testing.assert_array_equal(item["a"], item["b"])
    np.testing.assert_array_equal(item["label"], image)
    degrade.set_random_state(5)
    np.testing.assert_array_equal(degrade({"a": image})["a"], item["a"])


def test_dictionary_version_has_the_defaults_of_the_array_version() -> None:
    array, dictionary = (inspect.signature(cls).parameters for cls in (RandScannerDegradation, RandScannerDegradationd))
    assert {name: p.default for name, p in array.items()}.items() <= {
        name: p.default for name, p in dictionary.items()
    }.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma_range": (0.0, 1.0)}, "gamma"),
        ({"zoom_range": (0.5, 1.5)}, "zoom"),
        ({"noise_std_range": (-0.1, 0.1)}, "noise_std"),
        ({"bias_strength_range": (0.3, 0.1)}, "bias_strength_range"),
        ({"smooth_sigma_range": "ab"}, "smooth_sigma_range"),
        ({"smooth_sigma_range": 0.5}, "smooth_sigma_range"),
    ],
)
def test_a_forbidden_range_is_named(arguments: dict[str, tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RandScannerDegradation(**arguments)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((1, 8, 8), 300.0, np.float32), "outside"),
        (np.full((1, 8, 8), np.nan, np.float32), "outside"),
        (np.zeros((8, 8), np.float32), "shape"),
    ],
)
def test_an_image_that_cannot_be_degraded_is_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScannerDegradation()(image)


def test_blur_dims_beyond_the_image_are_refused() -> None:
    with pytest.raises(InputError, match="blur_dims"):
        ScannerDegradation(blur_dims=(0, 2))(disc(8, 8))


def test_images_on_a_fixed_scale_have_normal_noise_and_are_cut_off() -> None:
    dark, grey, bright = (np.full((1, 128, 128), value, np.float32) for value in (0.0, 0.5, 1.0))
    degrade = ScannerDegradation(**{**NOTHING, "noise_std": 0.05}, magnitude=False)
    assert abs(degrade(grey).mean() - 0.5) < 1e-3
    assert abs(degrade(grey).std() - 0.05) < 2e-3
    # Half of the noise is cut off, and the rest keeps its scale.
    assert abs((degrade(dark) == 0).mean() - 0.5) < 0.02
    assert abs((degrade(bright) == 1).mean() - 0.5) < 0.02
    assert degrade(bright).max() == 1
