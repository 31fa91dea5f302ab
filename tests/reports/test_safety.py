# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import pywt
import torch
from monai.data import MetaTensor

from scripts.errors import InputError
from scripts.reports import (
    MEASURES,
    Limit,
    SafetyMeasures,
    SafetyThresholds,
    Verdict,
    judge_cut,
    judge_safety,
    measure_safety,
)
from scripts.reports.safety import robust_range

SIZE = 96


def grid(height: int = SIZE, width: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return rows.float(), columns.float()


def disc(row: float, column: float, radius: float) -> torch.Tensor:
    """A disc with a soft edge."""
    rows, columns = grid()
    return torch.sigmoid(1.5 * (radius - ((rows - row) ** 2 + (columns - column) ** 2).sqrt()))


def phantom() -> torch.Tensor:
    """A head with a few organs and some texture, (1, 96, 96), from 0 to about 1000."""
    rows, columns = grid()
    texture = 0.05 * torch.sin(rows / 2.3) * torch.cos(columns / 3.1)
    organs = 0.3 * disc(36, 40, 9) - 0.35 * disc(58, 34, 7) + 0.25 * disc(50, 64, 5) - 0.3 * disc(30, 62, 4)
    return 1000 * (disc(48, 48, 38) * (0.6 + texture + organs))[None]


def noise(image: torch.Tensor, deviation: float, seed: int = 0) -> torch.Tensor:
    return deviation * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def values(before: torch.Tensor, after: torch.Tensor, **options: Any) -> dict[str, float]:
    return measure_safety(before, after, **options).values


def bias() -> torch.Tensor:
    rows, columns = grid()
    return 1 + 0.5 * torch.sin(math.pi * rows / SIZE) * torch.cos(math.pi * columns / SIZE)


def test_unchanged_image_has_nothing_to_report() -> None:
    image = phantom() + noise(phantom(), 20)
    found = values(image, image.clone())
    assert found["structure"] > 0.99
    assert max(found["new_structure"], found["lost_structure"]) < 0.015
    assert [found[f"energy_added_{level}"] for level in (1, 2, 3)] == [0, 0, 0]
    assert found["intensity_drift"] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image * bias(),
        lambda image: 0.5 * image + 300,
        lambda image: 1000 * (image.clamp(min=0) / 1000) ** 0.7,
        lambda image: image * bias() * 1.4 - 50,
    ],
    ids=["bias", "linear", "gamma", "both"],
)
def test_structure_ignores_illumination_and_contrast(change: Any) -> None:
    assert values(phantom(), change(phantom()))["structure"] >= 0.98


def test_structure_ignores_noise_that_was_taken_away() -> None:
    assert values(phantom() + noise(phantom(), 120), phantom())["structure"] > 0.98


def test_noise_in_both_images_is_no_agreement() -> None:
    before = phantom() + noise(phantom(), 120)
    erased = before + 300 * disc(30, 62, 4)
    assert values(before, erased)["structure"] < values(before, before)["structure"] - 0.01


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image + 300 * disc(66, 62, 5),
        lambda image: image + 1000 * 0.3 * disc(30, 62, 4),
        lambda image: image.roll(2, 2),
    ],
    ids=["inserted", "removed", "moved"],
)
def test_structure_falls_when_structure_changes(change: Any) -> None:
    assert values(phantom(), change(phantom()))["structure"] < values(phantom(), phantom())["structure"] - 0.01


def test_structure_of_a_blank_result_is_none() -> None:
    assert values(phantom(), torch.zeros_like(phantom()))["structure"] == 0


def test_scale_of_intensities_does_not_matter() -> None:
    after = phantom() + 300 * disc(66, 62, 5)
    raw, shifted = values(phantom(), after), values(phantom() / 50 - 1000, after / 50 - 1000)
    assert shifted == pytest.approx(raw, abs=2e-3)


def test_inserted_blob_is_new_structure_at_its_place() -> None:
    found = measure_safety(phantom(), phantom() + 300 * disc(66, 62, 4))
    assert found.values["new_structure"] > 0.05 > 3 * found.values["lost_structure"]
    row, column = found.places["new_structure"]
    assert math.dist((row, column), (66, 62)) <= 8


def test_removed_organ_is_lost_structure_at_its_place() -> None:
    found = measure_safety(phantom(), phantom() + 300 * disc(30, 62, 4))
    assert found.values["lost_structure"] > 0.05 > 3 * found.values["new_structure"]
    row, column = found.places["lost_structure"]
    assert math.dist((row, column), (30, 62)) <= 8


def test_noise_that_was_taken_away_is_neither_new_nor_lost_structure() -> None:
    found = values(phantom() + noise(phantom(), 120), phantom())
    assert found["new_structure"] < 0.0127
    assert found["lost_structure"] < 0.02


def test_sharper_edges_are_less_new_than_a_blob() -> None:
    sharpened = phantom() + 0.8 * (phantom() - torch.nn.functional.avg_pool2d(phantom(), 3, 1, 1))
    assert (
        3 * values(phantom(), sharpened)["new_structure"]
        < values(phantom(), phantom() + 300 * disc(66, 62, 4))["new_structure"]
    )


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_place_in_a_volume_is_a_voxel(slice_axis: int) -> None:
    volume = phantom()[..., None].repeat(1, 1, 1, 5)
    volume[..., 3] += 300 * disc(66, 62, 4)
    before, after = (image.movedim(3, slice_axis + 1) for image in (phantom()[..., None].repeat(1, 1, 1, 5), volume))
    place = measure_safety(before, after, slice_axis=slice_axis).places["new_structure"]
    assert place[slice_axis] == 3
    rest = [index for axis, index in enumerate(place) if axis != slice_axis]
    assert math.dist(rest, (66, 62)) <= 8


def test_volume_is_measured_alike_in_one_piece_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = phantom()[..., None] + noise(torch.zeros(1, SIZE, SIZE, 4), 20)
    after = before + 100 * disc(66, 62, 4)[..., None] * torch.tensor([0.0, 1, 3, 2])
    whole = measure_safety(before, after)
    monkeypatch.setattr("scripts.reports.safety_bands._CHUNK", 1)
    pieces = measure_safety(before, after)
    assert pieces.values == pytest.approx(whole.values)
    assert pieces.places == whole.places
    assert whole.places["new_structure"][2] == 2


@pytest.mark.parametrize("deviation", [1, 30])
def test_energy_added_is_that_of_wavelet_details(deviation: float) -> None:
    # Without any detail, so that the least energy of a coefficient counts.
    before = torch.zeros(1, SIZE, SIZE)
    before[..., 48:] = 1000
    after = before + noise(before, deviation)
    found = values(before, after)
    _, *details = pywt.wavedec2(after[0].double().numpy() / 1000, "haar", level=3)
    for level, bands in enumerate(reversed(details)):
        energy = sum((band**2).sum() for band in bands)
        floor = 1e-6 * 3 * SIZE**2 / 4 ** (level + 1)
        assert found[f"energy_added_{level + 1}"] == pytest.approx(math.log2(energy / floor + 1), abs=1e-3)


def test_energy_added_by_noise_is_in_the_finest_band() -> None:
    found = values(phantom(), phantom() + noise(phantom(), 30))
    assert found["energy_added_1"] > found["energy_added_2"] > found["energy_added_3"] > 0


def test_drift_is_the_move_of_the_median_in_shares_of_the_range() -> None:
    low, high = robust_range(phantom())
    assert values(phantom(), phantom() - 0.2 * (high - low))["intensity_drift"] == pytest.approx(-0.2)


def test_drift_looks_at_the_foreground() -> None:
    image = torch.zeros(1, SIZE, SIZE)
    image[:, 30:60, 30:60] = torch.rand(30, 30, generator=torch.Generator().manual_seed(0)) + 1
    brighter = torch.where(image > 0, image + 0.5, image)
    low, high = robust_range(image)
    assert values(image, brighter)["intensity_drift"] == pytest.approx(0.5 / (high - low), rel=1e-3)


def test_colour_drift_is_the_change_of_a_share() -> None:
    colour = torch.cat([phantom() * 0.5, phantom() * 0.3, phantom() * 0.2])
    redder = colour * torch.tensor([1.2, 1.0, 1.0])[:, None, None]
    assert values(colour, colour * 1.3)["colour_drift"] == pytest.approx(0, abs=1e-6)
    assert values(colour, redder)["colour_drift"] == pytest.approx(0.6 / 1.1 - 0.5, abs=1e-4)


def test_grey_image_has_no_colour_drift() -> None:
    assert "colour_drift" not in values(phantom(), phantom())


def test_channels_are_looked_at_one_by_one() -> None:
    colour = phantom().repeat(3, 1, 1)
    after = colour.clone()
    after[1] += 300 * disc(66, 62, 4)
    after[2] -= 300 * disc(66, 62, 4)
    assert values(colour, after)["new_structure"] > 0.05


def test_uncertainty_is_the_deviation_in_shares_of_the_range() -> None:
    low, high = robust_range(phantom())
    deviation = torch.full_like(phantom(), 0.01 * (high - low))
    deviation[:, 40:60, 40:60] = 0.1 * (high - low)
    found = values(phantom(), phantom(), deviation=deviation)
    assert 0.01 < found["uncertainty"] < 0.1
    assert found["uncertainty_max"] == pytest.approx(0.1)
    assert "uncertainty" not in values(phantom(), phantom())


def test_padding_does_not_count() -> None:
    padding = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    padding[..., -24:] = True
    before, after = phantom(), 0.9 * phantom()
    expected = values(before.masked_fill(padding, 0), after.masked_fill(padding, 0), padding=padding)
    before[padding], after[padding] = 3000.0, 5000.0
    assert values(before, after, padding=padding) == expected
    assert expected["structure"] > 0.99


def test_metadata_do_not_matter() -> None:
    after = phantom() + 100 * disc(66, 62, 4)
    assert measure_safety(MetaTensor(phantom()), MetaTensor(after)) == measure_safety(phantom(), after)


@pytest.mark.parametrize(
    "image",
    [torch.full((1, 32, 32), 7.0), torch.zeros(1, 1, 1), torch.rand(1, 8, 64), torch.full((1, 32, 32), math.nan)],
    ids=["constant", "pixel", "narrow", "not a number"],
)
def test_image_that_allows_no_measure_gives_nan(image: torch.Tensor) -> None:
    assert math.isnan(values(image, image)["structure"])


def test_single_voxels_that_are_not_finite_do_no_harm() -> None:
    before = phantom()
    before[0, 50, 50], before[0, 2, 2] = math.nan, math.inf
    found = values(before, phantom())
    assert all(math.isfinite(value) for value in found.values())


def test_shapes_must_fit() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        measure_safety(phantom(), phantom()[:, 1:])
    with pytest.raises(InputError, match="padding of shape"):
        measure_safety(phantom(), phantom(), padding=torch.zeros(1, 4, 4, dtype=torch.bool))


def test_every_measure_is_described() -> None:
    colour = phantom().repeat(3, 1, 1)
    assert list(values(colour, colour, deviation=torch.ones_like(phantom()))) == list(MEASURES)


def test_robust_range_leaves_out_padding_and_spikes() -> None:
    image = torch.linspace(0, 1000, 10_001)[None, None]
    image[..., 0], image[..., -1] = -1e6, 1e6
    padding = image > 500
    assert robust_range(image) == pytest.approx((5, 995), abs=0.2)
    assert robust_range(image, padding) == pytest.approx((2.5, 497.5), abs=0.2)


CASES = [
    {"structure": 0.9 + offset, "new_structure": 0.05 + offset, "intensity_drift": 10 * offset, "uncertainty": 0.01}
    for offset in (-0.02, -0.01, 0.0, 0.01, 0.02)
]


def test_limit_is_some_deviations_from_the_median() -> None:
    cases = [{"structure": 0.7 + 0.01 * index} for index in range(21)]
    lower = SafetyThresholds.calibrate(cases, slack=1.5).limits["structure"].lower
    assert lower == pytest.approx(0.8 - 1.5 * 1.4826 * 0.05)


def test_limit_ends_as_far_beyond_the_worst_case_as_that_is_from_the_median() -> None:
    limits = SafetyThresholds.calibrate(CASES, slack=100).limits
    assert limits["structure"] == pytest.approx(Limit(0.9 - 2 * 0.02, None))
    assert limits["new_structure"].upper == pytest.approx(0.05 + 2 * 0.02)


def test_drift_has_a_limit_on_both_sides() -> None:
    assert SafetyThresholds.calibrate(CASES, slack=100).limits["intensity_drift"] == pytest.approx(Limit(-0.4, 0.4))


def test_limit_keeps_its_least_distance() -> None:
    limits = SafetyThresholds.calibrate([{"structure": 0.9}] * 3).limits
    assert limits["structure"].lower == pytest.approx(0.9 - MEASURES["structure"].floor)


def test_single_odd_case_moves_a_limit_little() -> None:
    cases = [{"new_structure": 0.05 + 0.001 * index} for index in range(9)]
    upper = SafetyThresholds.calibrate(cases).limits["new_structure"].upper
    odd = SafetyThresholds.calibrate([*cases, {"new_structure": 3.0}]).limits["new_structure"].upper
    assert upper is not None
    assert odd == pytest.approx(upper, abs=0.02)


def test_unchanged_image_is_within_the_limits() -> None:
    cases = [{"structure": 0.8, "intensity_drift": 0.5, "energy_added_1": -3.0, "uncertainty": 0.1}] * 3
    unchanged = {"structure": 1.0, "intensity_drift": 0.0, "energy_added_1": 0.0, "uncertainty": 0.0}
    assert SafetyThresholds.calibrate(cases).judge(unchanged).label == "ok"


def test_validation_cases_are_ok() -> None:
    thresholds = SafetyThresholds.calibrate(CASES)
    assert [thresholds.judge(case).label for case in CASES] == ["ok"] * len(CASES)


def test_measure_of_fewer_than_three_cases_has_no_limit() -> None:
    cases: list[dict[str, float]] = [{"structure": 0.9, "uncertainty": math.nan}, *({"structure": 0.9} for _ in "ab")]
    assert list(SafetyThresholds.calibrate(cases).limits) == ["structure"]


def test_two_cases_are_too_few() -> None:
    with pytest.raises(InputError, match="at least 3 validation cases"):
        SafetyThresholds.calibrate(CASES[:2])


LIMITS = SafetyThresholds(
    {"structure": Limit(lower=0.74), "intensity_drift": Limit(-0.1, 0.1), "uncertainty": Limit(upper=0.02)}, 5
)


def test_verdict_gives_number_and_limit() -> None:
    verdict = LIMITS.judge({"structure": 0.6102, "intensity_drift": 0.25, "uncertainty": 0.03})
    assert verdict.label == "check"
    assert verdict.reasons == [
        "structural agreement 0.610 is below 0.740",
        "intensity drift 0.25 is above 0.10",
        "uncertainty 0.030 is above 0.020",
    ]
    assert verdict.exceeded == ("structure", "intensity_drift", "uncertainty")


def test_verdict_within_all_limits_has_no_reason() -> None:
    assert LIMITS.judge({"structure": 0.74, "intensity_drift": -0.1, "uncertainty": 0.02}) == ("ok", [], ())


def test_numbers_of_a_reason_look_different() -> None:
    (reason,) = LIMITS.judge({"structure": 0.73999, "intensity_drift": 0.0}).reasons
    assert reason == "structural agreement 0.73999 is below 0.74000"


def test_case_without_samples_is_not_judged_by_uncertainty() -> None:
    assert LIMITS.judge({"structure": 0.9, "intensity_drift": 0.0}).label == "ok"


@pytest.mark.parametrize("case", [{"intensity_drift": 0.0}, {"structure": math.nan, "intensity_drift": 0.0}])
def test_measure_that_is_missing_needs_a_check(case: dict[str, float]) -> None:
    assert LIMITS.judge(case).reasons == ["structural agreement could not be measured"]


def test_model_without_thresholds_needs_a_check() -> None:
    assert judge_safety({}, None)[:2] == ("check", ["the model has no thresholds: calibrate it"])


def test_model_with_thresholds_is_judged_by_them() -> None:
    assert judge_safety({"structure": 0.9, "intensity_drift": 0.0}, LIMITS).label == "ok"


def test_thresholds_survive_json() -> None:
    assert SafetyThresholds.from_dict(json.loads(json.dumps(LIMITS.to_dict()))) == LIMITS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not of version 1"),
        ([], "not of version 1"),
        ({"version": 2, "cases": 5, "limits": {}}, "not of version 1"),
        ({"version": 1, "limits": {}}, "lack the number of cases"),
        ({"version": 1, "cases": -1, "limits": {}}, "lack the number of cases"),
        ({"version": 1, "cases": True, "limits": {}}, "lack the number of cases"),
        ({"version": 1, "cases": 5, "limits": []}, "lack the number of cases"),
        ({"version": 1, "cases": 5, "limits": {"beauty": {"lower": 1.0}}}, "unknown measure 'beauty'"),
        ({"version": 1, "cases": 5, "limits": {"structure": {}}}, "no lower or upper limit"),
        ({"version": 1, "cases": 5, "limits": {"structure": 0.7}}, "no lower or upper limit"),
        ({"version": 1, "cases": 5, "limits": {"structure": {"least": 0.7}}}, "no lower or upper limit"),
        ({"version": 1, "cases": 5, "limits": {"structure": {"lower": "0.7"}}}, "not a finite number"),
        ({"version": 1, "cases": 5, "limits": {"structure": {"lower": math.nan}}}, "not a finite number"),
    ],
)
def test_malformed_thresholds_are_refused(content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SafetyThresholds.from_dict(content)


def test_measures_and_verdict_separate_a_lesion_from_mere_denoising() -> None:
    def enhanced(seed: int, lesion: float = 0.0) -> SafetyMeasures:
        generator = torch.Generator().manual_seed(seed)
        clean = phantom() + 200 * disc(*(30 + 30 * torch.rand(2, generator=generator)).tolist(), 4)
        before = clean * bias() + noise(clean, 40, seed)
        return measure_safety(before, clean + noise(clean, 8, seed + 1) + lesion * disc(70, 60, 4))

    thresholds = SafetyThresholds.calibrate([enhanced(seed).values for seed in range(5)])
    assert [thresholds.judge(enhanced(seed).values).label for seed in range(5, 10)] == ["ok"] * 5
    assert all("new_structure" in thresholds.judge(enhanced(seed, 350.0).values).exceeded for seed in range(5, 10))


@pytest.mark.parametrize(("cut", "label"), [(0, "ok"), (1, "ok"), (2, "check")])
def test_many_values_that_were_cut_are_a_reason_to_check(cut: int, label: str) -> None:
    verdict = judge_cut(Verdict("ok", []), cut, 1000)
    assert verdict.label == label
    assert bool(verdict.reasons) == (label == "check")
