# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables from made-up measurements whose differences are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from scripts.errors import InputError
from scripts.experiments.ablation_tables import AblationTables
from scripts.experiments.ablation_variants import FULL, Variant

FULL_MEANS = {"own": 22.0, "prototype": 20.0, "ssim": 0.8, "detail_energy": 1.2, "new_structure": 0.1, "follow": 0.8}
VARIED = [Variant(FULL, "Everything."), Variant("varied", "Something else.")]
SPREAD = {0: -0.1, 1: 0.0, 2: 0.1}
"""Of the seeds, in the complete method."""


def measured(seeds: int = 3, **changes: float) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Four patients in two styles; the variant differs from the complete method by ``changes``."""

    def rows(seed: int, changes: Mapping[str, float]) -> list[dict[str, Any]]:
        spread = SPREAD[seed] if not changes else 0.0
        return [
            {"patient": f"p{patient}", "style": style}
            | {name: mean + changes.get(name, 0.0) + 0.01 * patient + 0.1 * spread for name, mean in FULL_MEANS.items()}
            for patient in range(4)
            for style in ("a", "b")
        ]

    return {
        FULL: {seed: rows(seed, {}) for seed in range(seeds)},
        "varied": {seed: rows(seed, changes or {"none": 0.0}) for seed in range(seeds)},
    }


def row(measure: str, **arguments: Any) -> dict[str, Any]:
    """The variant's row of a measure, of measurements made up with the other arguments."""
    rows = AblationTables(VARIED, measured(**arguments)).rows()
    (found,) = [row for row in rows if row["variant"] == "varied" and row["measure"] == measure]
    return found


def test_the_gain_is_the_paired_difference_with_the_interval_over_seeds() -> None:
    found = row("own", own=-1.0)
    assert found["mean"] == pytest.approx(21.015)
    assert found["gain"] == pytest.approx(1.0)
    # The seeds' differences are 0.99, 1.00 and 1.01, and the patients have none of their own.
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((1.0 - half, 1.0 + half))


@pytest.mark.parametrize(
    ("measure", "change", "verdict"),
    [
        ("own", -1.0, "pays"),
        ("own", 1.0, "costs"),
        ("own", -0.02, "no difference seen"),
        ("new_structure", 1.0, "pays"),
        ("new_structure", -1.0, "costs"),
        ("detail_energy", 0.5, "pays"),
        ("detail_energy", -0.15, "costs"),
        ("detail_energy", -0.8, "pays"),
        ("follow", -0.5, "pays"),
    ],
)
def test_a_part_pays_where_the_complete_method_is_better(measure: str, change: float, verdict: str) -> None:
    found = row(measure, **{measure: change})
    assert found["verdict"] == verdict
    assert (found["gain"] > 0) == (verdict != "costs")


def test_the_worst_result_is_compared_seed_by_seed() -> None:
    measurements = measured()
    for seed in range(3):
        measurements["varied"][seed][5]["own"] -= 3.0 + SPREAD[seed]
    tables = AblationTables(VARIED, measurements)
    (found,) = [row for row in tables.rows() if row["variant"] == "varied" and row["measure"] == "worst"]
    assert found["mean"] == pytest.approx(-1.0)
    assert found["gain"] == pytest.approx(3.0)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((3.0 - half, 3.0 + half))


def test_with_one_seed_there_are_gains_and_no_verdicts() -> None:
    found = row("own", seeds=1, own=-1.0)
    assert found["gain"] == pytest.approx(0.99)
    assert math.isnan(found["low"])
    assert found["verdict"] == "one seed says nothing"
    assert "the part pays" not in AblationTables(VARIED, measured(seeds=1, own=-1.0)).markdown()


def test_the_report_names_means_gains_intervals_and_what_pays() -> None:
    report = AblationTables(VARIED, measured(own=-1.0, new_structure=-1.0)).markdown()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines()]
    assert ["varied", "Something else."] in lines
    assert ["varied", "+1.00", "+0.98 to +1.02", "pays"] in lines
    assert "- varied: the part pays in own (dB), worst own - prototype (dB) and costs in new." in report


def test_a_measure_that_a_variant_lacks_is_left_open() -> None:
    measurements = measured()
    for rows in measurements["varied"].values():
        for entry in rows:
            entry["follow"] = math.nan
    tables = AblationTables(VARIED, measurements)
    (found,) = [row for row in tables.rows() if row["variant"] == "varied" and row["measure"] == "follow"]
    assert (found["gain"], found["verdict"]) == ("", "")
    assert "nan" not in tables.markdown()


def test_measurements_of_other_patients_are_refused() -> None:
    measurements = measured()
    for entry in measurements["varied"][2]:
        entry["patient"] += "x"
    with pytest.raises(InputError, match="varied with seed 2 was measured on other patients"):
        AblationTables(VARIED, measurements)
