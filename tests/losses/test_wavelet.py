# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The wavelet transform against PyWavelets, and what the wavelet loss sees and overlooks."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from scripts.errors import InputError
from scripts.losses import WaveletLoss
from scripts.networks import WaveletTransform

WAVELETS = ["haar", "db2", "sym4", "coif1", "db7", "dmey"]
SIZES_2D = [(8, 16), (24, 40)]
SIZES_3D = [(16, 8, 24)]


def image(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def smooth_image(*size: int, seed: int = 0) -> torch.Tensor:
    """Blobs in [0.2, 0.9] that fill the frame."""
    coarse = image(1, 1, *[s // 8 for s in size], seed=seed)
    return 0.2 + 0.7 * torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def close(actual: torch.Tensor, expected: np.ndarray, dtype: torch.dtype = torch.float64) -> None:
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(actual.double(), torch.from_numpy(expected).double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES_2D)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_stationary_2d_equals_swt2(wavelet: str, levels: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    x = image(2, 3, *size, dtype=dtype)
    approximation, details = WaveletTransform(2, wavelet, levels)(x)
    expected = pywt.swt2(x.double().numpy(), wavelet, levels, axes=(2, 3), norm=False, trim_approx=False)
    assert approximation.dtype == dtype
    close(approximation, expected[0][0], dtype)
    for detail, (_, bands) in zip(details, reversed(expected), strict=True):
        close(detail, np.stack(bands, axis=2), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [*SIZES_2D, (17, 22)])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.filterwarnings("ignore:Level value:UserWarning")
def test_decimated_2d_equals_wavedec2(wavelet: str, levels: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    x = image(2, 3, *size, dtype=dtype)
    approximation, details = WaveletTransform(2, wavelet, levels, stationary=False)(x)
    expected = pywt.wavedec2(x.double().numpy(), wavelet, mode="periodization", level=levels, axes=(2, 3))
    close(approximation, expected[0], dtype)
    for detail, bands in zip(details, reversed(expected[1:]), strict=True):
        close(detail, np.stack(bands, axis=2), dtype)


@pytest.mark.parametrize("size", SIZES_3D)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("wavelet", ["haar", "sym4", "coif1"])
def test_stationary_3d_equals_swtn(wavelet: str, levels: int, size: tuple[int, int, int]) -> None:
    x = image(1, 2, *size)
    transform = WaveletTransform(3, wavelet, levels)
    approximation, details = transform(x)
    expected = pywt.swtn(x.numpy(), wavelet, levels, axes=(2, 3, 4), norm=False, trim_approx=False)
    close(approximation, expected[0]["aaa"])
    for detail, bands in zip(details, reversed(expected), strict=True):
        close(detail, np.stack([bands[name] for name in transform.band_names], axis=2))


@pytest.mark.parametrize("size", [*SIZES_3D, (9, 11, 14)])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("wavelet", ["haar", "sym4", "coif1"])
@pytest.mark.filterwarnings("ignore:Level value:UserWarning")
def test_decimated_3d_equals_wavedecn(wavelet: str, levels: int, size: tuple[int, int, int]) -> None:
    x = image(1, 2, *size)
    transform = WaveletTransform(3, wavelet, levels, stationary=False)
    approximation, details = transform(x)
    expected = pywt.wavedecn(x.numpy(), wavelet, mode="periodization", level=levels, axes=(2, 3, 4))
    close(approximation, expected[0])
    for detail, bands in zip(details, reversed(expected[1:]), strict=True):
        close(detail, np.stack([bands[name] for name in transform.band_names], axis=2))


@pytest.mark.parametrize("size", [(17, 23), (9, 30)])
@pytest.mark.parametrize("wavelet", ["haar", "sym4"])
def test_stationary_transform_of_odd_size_is_that_of_the_tiled_image(wavelet: str, size: tuple[int, int]) -> None:
    x = image(1, 1, *size)
    _, details = WaveletTransform(2, wavelet, levels=3)(x)
    tiled = np.tile(x.numpy(), (1, 1, 8, 8))
    expected = pywt.swt2(tiled, wavelet, 3, axes=(2, 3), norm=False, trim_approx=False)
    for detail, (_, bands) in zip(details, reversed(expected), strict=True):
        close(detail, np.stack(bands, axis=2)[..., : size[0], : size[1]])


@pytest.mark.parametrize("stationary", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (9, 30), (5, 7)])
@pytest.mark.parametrize("wavelet", ["haar", "sym4", "coif1"])
def test_symmetric_boundary_is_that_of_the_mirrored_image(
    wavelet: str, size: tuple[int, int], stationary: bool
) -> None:
    x = image(1, 1, *size)
    _, details = WaveletTransform(2, wavelet, 1, stationary, boundary="symmetric")(x)
    mirrored = np.pad(x.numpy(), [(0, 0), (0, 0), (16, 16 + size[0] % 2), (16, 16 + size[1] % 2)], mode="symmetric")
    ((_, bands),) = pywt.swt2(mirrored, wavelet, 1, axes=(2, 3), norm=False, trim_approx=False)
    step = 1 if stationary else 2
    close(details[0], np.stack(bands, axis=2)[..., 16 : 16 + size[0] : step, 16 : 16 + size[1] : step])


@pytest.mark.parametrize("stationary", [True, False])
def test_finest_details_come_first_with_three_bands(stationary: bool) -> None:
    _, details = WaveletTransform(2, levels=2, stationary=stationary)(image(2, 3, 17, 24))
    sizes = [(17, 24), (17, 24)] if stationary else [(9, 12), (5, 6)]
    assert [tuple(d.shape) for d in details] == [(2, 3, 3, *size) for size in sizes]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_transform_keeps_the_floating_type(dtype: torch.dtype) -> None:
    approximation, details = WaveletTransform(2, "db2", 1)(image(1, 1, 8, 8, dtype=dtype))
    assert (approximation.dtype, details[0].dtype) == (dtype, dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_transform_follows_the_device() -> None:
    approximation, _ = WaveletTransform(2, "db2", 1).cuda()(image(1, 1, 8, 8).cuda())
    assert approximation.is_cuda


def test_autocast_does_not_round_the_coefficients() -> None:
    x = image(1, 1, 16, 16, dtype=torch.float32)
    transform = WaveletTransform(2)
    expected, _ = transform(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual, _ = transform(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_filters_rounded_by_half_are_not_used() -> None:
    x = image(1, 1, 16, 16, dtype=torch.float32)
    torch.testing.assert_close(WaveletTransform(2).half()(x)[0], WaveletTransform(2)(x)[0])


def test_filters_are_buffers_that_are_neither_saved_nor_trained() -> None:
    loss = WaveletLoss(2)
    assert [name for name, _ in loss.named_buffers()] == ["transform.filters"]
    assert not loss.state_dict()
    assert not list(loss.parameters())


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("stationary", [True, False])
@pytest.mark.parametrize("boundary", ["periodic", "symmetric"])
@pytest.mark.parametrize("size", [(5, 6), (4, 4, 5)])
def test_loss_gradient_is_exact(size: tuple[int, ...], boundary: str, stationary: bool, relative: bool) -> None:
    loss = WaveletLoss(len(size), "db2", (0.5, 1.0), 0.2, stationary, relative, boundary=boundary)
    x = image(1, 1, *size).requires_grad_()
    y = image(1, 1, *size, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (x, y), fast_mode=True)


def test_relative_gradient_flows_through_the_approximation_too() -> None:
    x = image(1, 1, 16, 16).requires_grad_()
    WaveletLoss(2)(x, 0.5 * x.detach()).backward()
    # Details ignore a constant: along it, only the approximation's gradient is left.
    assert x.grad is not None
    assert abs(x.grad.sum()) > 1e-3


@pytest.mark.parametrize("wavelet", ["haar", "sym4"])
def test_absolute_loss_is_the_weighted_l1_of_pywavelets_bands(wavelet: str) -> None:
    x, y = image(2, 1, 16, 24), image(2, 1, 16, 24, seed=1)
    weights, approximation_weight = (0.2, 1.0), 0.5

    # norm=True divides the filters by sqrt(2): a constant keeps its value on every level.
    def bands(z: torch.Tensor) -> list[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
        return pywt.swt2(z.numpy(), wavelet, 2, axes=(2, 3), norm=True, trim_approx=False)[::-1]

    expected = (
        sum(
            weight * np.abs(np.stack(dx) - np.stack(dy)).mean()
            for weight, (_, dx), (_, dy) in zip(weights, bands(x), bands(y), strict=True)
        )
        + approximation_weight * np.abs(bands(x)[-1][0] - bands(y)[-1][0]).mean()
    )
    loss = WaveletLoss(2, wavelet, weights, approximation_weight, relative=False, boundary="periodic")
    assert loss(x, y).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_relative_loss_divides_by_the_normalised_approximation_of_its_level(level: int) -> None:
    x, y, eps = image(1, 1, 16, 24) - 0.4, image(1, 1, 16, 24, seed=1), 0.07

    def ratios(z: torch.Tensor) -> np.ndarray:
        coefficients = pywt.swt2(z.numpy(), "db2", 3, axes=(2, 3), norm=True, trim_approx=False)[::-1]
        approximation, details = coefficients[level]
        return np.stack(details) / (np.maximum(approximation, 0) + eps)

    loss = WaveletLoss(2, "db2", [float(j == level) for j in range(3)], eps=eps, boundary="periodic")
    assert loss(x, y).item() == pytest.approx(np.abs(ratios(x) - ratios(y)).mean(), rel=1e-10)


@pytest.mark.parametrize("stationary", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (8, 8, 16)])
@pytest.mark.parametrize("levels", [1, 3])
def test_approximation_weight_is_in_intensity_units(levels: int, size: tuple[int, ...], stationary: bool) -> None:
    loss = WaveletLoss(len(size), "sym4", [0.0] * levels, 1.0, stationary)
    x = torch.full((1, 1, *size), 0.75, dtype=torch.float64)
    assert loss(x, x - 0.5).item() == pytest.approx(0.5)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("size", [(17, 23), (8, 9), (9, 10, 11)])
def test_identical_images_cost_nothing_at_any_size(size: tuple[int, ...], relative: bool) -> None:
    x = image(2, 2, *size, dtype=torch.float32)
    assert WaveletLoss(len(size), approximation_weight=1.0, relative=relative)(x, x.clone()).item() == 0


def test_adding_a_constant_costs_nothing_in_the_absolute_form() -> None:
    x = image(1, 1, 17, 23)
    assert WaveletLoss(2, relative=False)(x + 0.3, x).item() < 1e-10


@pytest.mark.parametrize(("relative", "cheap"), [(True, True), (False, False)])
def test_only_the_relative_form_lets_a_dark_region_be_brightened(relative: bool, cheap: bool) -> None:
    dark = smooth_image(64, 64) / 3
    brightening = torch.linspace(1.5, 2.5, 64, dtype=torch.float64)
    loss = WaveletLoss(2, relative=relative)
    erasing_all_structure = loss(torch.full_like(dark, 0.2), dark)
    assert (loss(brightening * dark, dark) < 0.4 * erasing_all_structure) == cheap


def test_mirrored_boundary_lets_a_bias_field_be_undone_at_the_frame() -> None:
    x = smooth_image(40, 48)
    bias = torch.linspace(0.5, 1.5, 48, dtype=torch.float64)
    assert WaveletLoss(2)(bias * x, x) < 0.5 * WaveletLoss(2, boundary="periodic")(bias * x, x)


def test_finest_pattern_weighs_little_against_a_wave_of_anatomy_size() -> None:
    flat, column = torch.full((1, 1, 64, 64), 0.5), torch.arange(64)
    noise, wave = (0.05 * torch.cos(2 * torch.pi * column / period).expand(1, 1, 64, 64) for period in (2, 12))
    loss = WaveletLoss(2)
    assert loss(flat + noise, flat) < 0.2 * loss(flat + wave, flat)


def test_level_of_weight_zero_is_not_compared() -> None:
    finest = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 1, 32, 32)
    loss = WaveletLoss(2, "haar", (0.0, 1.0), stationary=False, relative=False)
    assert loss(0.1 * finest, torch.zeros_like(finest)).item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(("stationary", "seen"), [(True, True), (False, False)])
def test_only_the_stationary_transform_sees_a_block_change_its_intensity(stationary: bool, seen: bool) -> None:
    y = torch.full((1, 1, 32, 32), 0.5)
    x = y.clone()
    x[..., 8:16, 16:24] += 0.1
    cost = WaveletLoss(2, "haar", (1.0, 1.0, 1.0), stationary=stationary, relative=False)(x, y).item()
    assert (cost > 1e-3) if seen else (cost == pytest.approx(0, abs=1e-7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_keeps_the_floating_type(dtype: torch.dtype) -> None:
    x = image(1, 1, 8, 8, dtype=dtype)
    assert WaveletLoss(2)(x, x).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_of_half_precision_images_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y = image(1, 1, 16, 16, dtype=dtype), image(1, 1, 16, 16, dtype=dtype, seed=1)
    loss = WaveletLoss(2)(x, y)
    torch.testing.assert_close(loss, WaveletLoss(2)(x.float(), y.float()))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced_loss_gives_the_same_value() -> None:
    loss, x, y = WaveletLoss(2), image(1, 1, 17, 24), image(1, 1, 17, 24, seed=1)
    traced = torch.jit.trace(loss, (x, x))
    torch.testing.assert_close(traced(x, y), loss(x, y))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims"),
        ({"wavelet": "sym99"}, "sym2 to sym20"),
        ({"wavelet": "bior2.2"}, "not orthogonal"),
        ({"level_weights": (0.1, -1.0)}, "0 or more"),
        ({"level_weights": (float("nan"),)}, "0 or more"),
        ({"level_weights": (float("inf"),)}, "0 or more"),
        ({"approximation_weight": -0.1}, "0 or more"),
        ({"level_weights": (0.0, 0.0)}, "compare nothing"),
        ({"level_weights": (), "approximation_weight": 1.0}, "compare nothing"),
        ({"eps": 0.0}, "eps"),
        ({"boundary": "zero"}, "boundary"),
    ],
)
def test_wrong_argument_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WaveletLoss(**{"spatial_dims": 2, **arguments})


def test_transform_of_no_levels_is_refused() -> None:
    with pytest.raises(InputError, match="levels"):
        WaveletTransform(2, levels=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(1, 1, 7, 16), r"\(7, 16\) is too small.* at least 8"),
        (torch.rand(1, 16, 16), "2 spatial axes"),
        (torch.ones(1, 1, 16, 16, dtype=torch.int64), "floating"),
    ],
)
def test_unsuitable_image_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WaveletTransform(2, levels=3)(x)


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        WaveletLoss(2)(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))
