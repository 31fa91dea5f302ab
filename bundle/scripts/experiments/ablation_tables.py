# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the ablation: means by variant, and what each part brings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import require
from ..reports.tables import markdown_table
from .ablation_variants import FULL, Variant
from .paired_interval import PairedInterval, paired_interval

__all__ = ["PAYS", "AblationTables", "Measured"]

Row = Mapping[str, Any]
Measured = Mapping[str, Mapping[int, Sequence[Row]]]
"""Rows of ``guidance.csv``, one for each patient and style, by variant and seed."""

PAYS, COSTS, NO_DIFFERENCE, ONE_SEED = "pays", "costs", "no difference seen", "one seed says nothing"
_WORST, _ALL = "worst", "all patients"


class _Measure(NamedTuple):
    """A column of ``guidance.csv``: ``merit`` of a value is the higher, the better the value is."""

    name: str
    title: str
    digits: int
    merit: Callable[[float], float]


def _itself(value: float) -> float:
    return value


def _negative(value: float) -> float:
    return -value


def _nearness_to_1(value: float) -> float:
    return -abs(value - 1.0)


_MEASURES = (
    _Measure("own", "own (dB)", 2, _itself),
    _Measure("ssim", "SSIM", 3, _itself),
    _Measure("haarpsi", "HaarPSI", 3, _itself),
    _Measure("follow", "follow", 2, _itself),
    _Measure("nearer", "nearer own", 2, _itself),
    _Measure("style_share", "style share", 2, _itself),
    _Measure(_WORST, "worst own - prototype (dB)", 2, _itself),
    _Measure("detail_energy", "2-4 pixels", 2, _nearness_to_1),
    _Measure("new_structure", "new", 3, _negative),
    _Measure("lost_structure", "lost", 3, _negative),
)


class AblationTables:
    """Tables of what was measured.

    Args:
        variants: the complete method first.
        measured: rows by variant and seed; every variant has the same seeds.

    Raises:
        InputError: when two networks were tested on other patients.
    """

    def __init__(self, variants: Sequence[Variant], measured: Measured) -> None:
        self.variants = list(variants)
        self.measured = measured
        self.seeds = sorted(measured[FULL])
        self.patients = _patients(measured[FULL][self.seeds[0]])
        for variant in self.variants:
            for seed in self.seeds:
                require(
                    _patients(measured[variant.name][seed]) == self.patients,
                    f"{variant.name} with seed {seed} was measured on other patients than {FULL}: measure all anew.",
                )
        first = measured[FULL][self.seeds[0]][0]
        columns = {*first, *([_WORST] if {"own", "prototype"} <= set(first) else [])}
        self.measures = [measure for measure in _MEASURES if measure.name in columns]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each variant and measure, for ``ablation.csv``.

        ``mean`` is the variant's, ``gain`` what the complete method has more, the better way round, with the ends
        ``low`` and ``high`` of its interval and a ``verdict``.
        """
        return [
            {"variant": variant.name, "measure": measure.name, "mean": self._mean(variant.name, measure)}
            | self._compared(variant.name, measure)
            for variant in self.variants
            for measure in self.measures
        ]

    def _compared(self, variant: str, measure: _Measure) -> dict[str, Any]:
        gain = None if variant == FULL else self.gain(variant, measure)
        if gain is None:
            return dict.fromkeys(("gain", "low", "high", "verdict"), "")
        return {"gain": gain.mean, "low": gain.low, "high": gain.high, "verdict": _verdict(gain)}

    def gain(self, variant: str, measure: _Measure) -> PairedInterval | None:
        """Return by how much the complete method is better than a variant; None where one has no such figure."""
        tables = [
            np.array([list(self._by_patient(name, seed, measure, measure.merit).values()) for seed in self.seeds])
            for name in (FULL, variant)
        ]
        differences = tables[0] - tables[1]
        known = np.isfinite(differences).all(axis=0)
        return paired_interval(differences[:, known]) if known.any() else None

    def _mean(self, variant: str, measure: _Measure) -> float:
        """Return the mean over seeds and patients; NaN where there is none."""
        values = [value for seed in self.seeds for value in self._by_patient(variant, seed, measure, _itself).values()]
        known = [value for value in values if math.isfinite(value)]
        return statistics.fmean(known) if known else math.nan

    def _by_patient(
        self, variant: str, seed: int, measure: _Measure, merit: Callable[[float], float]
    ) -> dict[str, float]:
        """Return the mean over the styles of each patient; the worst of all is one figure for all patients."""
        rows = self.measured[variant][seed]
        if measure.name == _WORST:
            return {_ALL: min(row["own"] - row["prototype"] for row in rows)}
        found = {}
        for patient in self.patients:
            values = [merit(row[measure.name]) for row in rows if row["patient"] == patient]
            known = [value for value in values if math.isfinite(value)]
            found[patient] = statistics.fmean(known) if known else math.nan
        return found

    def markdown(self) -> str:
        """Return the report."""
        heading = ("Variant", *(measure.title for measure in self.measures))
        means = [
            (variant.name, *(_number(self._mean(variant.name, measure), measure.digits) for measure in self.measures))
            for variant in self.variants
        ]
        changes = [(variant.name, variant.change) for variant in self.variants]
        named = ", ".join(map(str, self.seeds))
        lines = ["# Ablation", "", *markdown_table([("Variant", "What is changed"), *changes]), "", "## Means", ""]
        lines += [*markdown_table([heading, *means]), ""]
        lines += [
            f"Means over {len(self.patients)} patients and the seeds {named}.",
            "",
            "## What each part brings",
            "",
        ]
        lines += [
            "The gain is what the complete method has more than the variant, patient by patient and seed by seed.",
            "Above 0 the complete method is better: for new and lost structure it has less, and its energy at periods",
            "of 2 to 4 pixels is nearer to the reference's. The 95 % interval is to hold for other seeds and patients.",
            f'"{NO_DIFFERENCE}" means that it holds 0.',
            "",
        ]
        for measure in self.measures:
            lines += [f"### {measure.title}", "", *markdown_table(self._gains(measure)), ""]
        return "\n".join([*lines, *self._payments(), ""])

    def _gains(self, measure: _Measure) -> list[tuple[str, ...]]:
        """Return the table of one measure."""
        table: list[tuple[str, ...]] = [("Variant", "Gain of full", "95 % interval", "Its part")]
        for variant in self.variants[1:]:
            gain = self.gain(variant.name, measure)
            if gain is None:
                table.append((variant.name, "–", "–", "–"))
                continue
            mean, low, high = (_number(value, measure.digits, "+") for value in gain)
            table.append((variant.name, mean, f"{low} to {high}" if math.isfinite(gain.low) else "–", _verdict(gain)))
        return table

    def _payments(self) -> list[str]:
        """Return where the part of each variant pays and where it costs."""
        lines = []
        for variant in self.variants[1:]:
            verdicts: dict[str, list[str]] = {PAYS: [], COSTS: []}
            for measure in self.measures:
                gain = self.gain(variant.name, measure)
                if gain is not None:
                    verdicts.setdefault(_verdict(gain), []).append(measure.title)
            words = [f"{word} in {', '.join(titles) or 'nothing'}" for word, titles in verdicts.items()][:2]
            lines.append(f"- {variant.name}: the part {' and '.join(words)}.")
        return lines if len(self.seeds) > 1 else []


def _patients(rows: Sequence[Row]) -> list[str]:
    return sorted({row["patient"] for row in rows})


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else "–"


def _verdict(gain: PairedInterval) -> str:
    """Return a word on a gain."""
    if not math.isfinite(gain.low):
        return ONE_SEED
    if gain.low > 0:
        return PAYS
    return COSTS if gain.high < 0 else NO_DIFFERENCE
