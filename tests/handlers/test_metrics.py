# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.metrics import MultiScaleSSIMMetric, PSNRMetric, SSIMMetric

from scripts.errors import InputError
from scripts.handlers.metrics import (
    PSNR_CEILING,
    ImageQuality,
    SlicewiseMetric,
    image_quality,
    ms_ssim_weights,
    output_cases,
    ssim_window,
)


def noisy_pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, generator=generator)
    return (reference + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1), reference


def run(metric: ImageQuality, outputs: list[Any]) -> Engine:
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "quality")
    engine.run(outputs)
    return engine


def test_image_has_the_metrics_of_monai() -> None:
    pred, reference = noisy_pair(1, 48, 48)
    quality = image_quality(pred, reference)
    batch = pred[None], reference[None]
    assert quality["psnr"] == pytest.approx(float(PSNRMetric(1.0)(*batch)))
    assert quality["ssim"] == pytest.approx(float(SSIMMetric(2)(*batch)))
    weights = ms_ssim_weights((48, 48))
    assert quality["ms_ssim"] == pytest.approx(float(MultiScaleSSIMMetric(2, weights=weights)(*batch)))


@pytest.mark.parametrize("metric", ["psnr", "ssim", "ms_ssim"])
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_volume_of_a_2d_network_is_the_mean_over_its_slices(metric: str, slice_axis: int) -> None:
    pred, reference = noisy_pair(1, *(3 if axis == slice_axis else 12 + axis for axis in range(3)))
    slices = zip(pred.unbind(slice_axis + 1), reference.unbind(slice_axis + 1), strict=True)
    expected = [float(SlicewiseMetric(metric)(p[None], r[None])) for p, r in slices]
    assert image_quality(pred, reference, 2, slice_axis)[metric] == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_volume_of_a_3d_network_is_compared_whole() -> None:
    pred, reference = noisy_pair(1, 12, 12, 12)
    expected = float(SSIMMetric(3)(pred[None], reference[None]))
    assert image_quality(pred, reference, spatial_dims=3)["ssim"] == pytest.approx(expected)


def test_slices_with_a_constant_reference_are_skipped() -> None:
    pred, reference = noisy_pair(1, 12, 12, 3)
    with_air = torch.cat([reference, torch.zeros(1, 12, 12, 2)], dim=-1)
    pred_with_air = torch.cat([pred, torch.rand(1, 12, 12, 2)], dim=-1)
    assert image_quality(pred_with_air, with_air) == pytest.approx(image_quality(pred, reference))


def test_equal_images_have_a_finite_psnr() -> None:
    _, reference = noisy_pair(1, 12, 12)
    assert image_quality(reference, reference) == pytest.approx(
        {"psnr": PSNR_CEILING, "ssim": 1.0, "ms_ssim": 1.0, "haarpsi": 1.0}, rel=1e-5
    )


@pytest.mark.parametrize(("size", "scales"), [(176, 5), (175, 4), (99, 4), (98, 3), (44, 3), (43, 2), (22, 2), (21, 1)])
def test_image_size_limits_the_scales_of_ms_ssim(size: int, scales: int) -> None:
    assert len(ms_ssim_weights((size, 300))) == scales


@pytest.mark.parametrize("size", [4, 11, 21, 22, 43, 44, 98, 99, 175, 176])
def test_every_image_size_has_a_finite_ms_ssim(size: int) -> None:
    assert math.isfinite(image_quality(*noisy_pair(1, size, size))["ms_ssim"])


@pytest.mark.parametrize("size", [8, 60, 200])
def test_weights_of_ms_ssim_sum_to_one(size: int) -> None:
    assert sum(ms_ssim_weights((size, size))) == pytest.approx(1.0)


@pytest.mark.parametrize(("size", "window"), [(35, 11), (11, 11), (10, 9), (4, 3)])
def test_window_of_ssim_fits_a_small_image(size: int, window: int) -> None:
    assert ssim_window((size, 50)) == window


def test_metric_of_an_evaluation_is_the_mean_over_patients_not_slices() -> None:
    thin, thick = noisy_pair(1, 12, 12, 2), noisy_pair(1, 12, 12, 8, seed=1)
    outputs = [[{"pred": pred, "reference": reference}] for pred, reference in (thin, thick)]
    engine = run(ImageQuality("psnr"), outputs)
    expected = (image_quality(*thin)["psnr"] + image_quality(*thick)["psnr"]) / 2
    assert engine.state.metrics["quality"] == pytest.approx(expected)


def test_details_hold_a_row_per_case_and_nan_without_reference() -> None:
    pred, reference = noisy_pair(1, 12, 12)
    engine = run(ImageQuality("ssim"), [[{"pred": pred}, {"pred": pred, "reference": reference}]])
    details = engine.state.metric_details["quality"]
    assert details.shape == (2, 1)
    assert torch.isnan(details[:, 0]).tolist() == [True, False]
    assert engine.state.metrics["quality"] == pytest.approx(image_quality(pred, reference)["ssim"])


def test_absence_of_references_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    metric = ImageQuality("psnr")
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "psnr")
    with caplog.at_level(logging.INFO, logger="scripts.handlers.metrics"):
        engine.run([[{"pred": torch.rand(1, 12, 12)}]], max_epochs=2)
    assert math.isnan(engine.state.metrics["psnr"])
    assert [record.message for record in caplog.records] == [
        "No case has a reference image to compare with: psnr is not computed."
    ]


def test_dictionary_of_batches_is_understood() -> None:
    pred, reference = noisy_pair(3, 1, 12, 12)
    engine = run(ImageQuality("psnr"), [{"pred": pred, "reference": reference, "losses": {"total": 1.0}}])
    assert engine.state.metric_details["quality"].shape == (3, 1)


def test_output_cases_leave_out_what_is_not_of_the_batch() -> None:
    output = {
        "pred": torch.zeros(2, 1, 4, 4),
        "patient": ["a", "b"],
        "losses": {"total": 1.0},
        "scale": torch.tensor(1.0),
    }
    cases = output_cases(output)
    assert [case["patient"] for case in cases] == ["a", "b"]
    assert all(set(case) == {"pred", "patient"} for case in cases)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of psnr, ssim, ms_ssim"):
        SlicewiseMetric("mse")


def test_reference_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="same grid"):
        image_quality(torch.rand(1, 12, 12), torch.rand(1, 12, 13))
