# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The safety measures: their names, and which way each is bad."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEASURES", "Measure"]


@dataclass(frozen=True)
class Measure:
    """Names of a measure, and the direction that is bad.

    Attributes:
        name: key of the measure and column of ``report.csv``.
        title: what a reader calls it, lower case.
        explanation: one or two plain sentences.
        lower: whether too small a value is suspicious.
        upper: whether too large a value is.
        floor: least distance of a limit from the median of the validation cases, and from ``unchanged``.
        unchanged: value of a result that equals the input.
        digits: behind the decimal point.
        optional: whether some cases lack it.
    """

    name: str
    title: str
    explanation: str
    lower: bool
    upper: bool
    floor: float
    unchanged: float = 0.0
    digits: int = 2
    optional: bool = False


def _energy(level: int, pixels: str) -> Measure:
    return Measure(
        f"energy_added_{level}",
        f"detail energy added, {pixels}",
        f"Detail of about {pixels}: 0 means as much as in the original, 1 twice as much energy, -1 half as much "
        "(noise taken away is below 0). Detail that was not in the original must come from somewhere.",
        lower=False,
        upper=True,
        floor=0.3,
    )


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "structure",
            "structural agreement",
            "Whether edges and textures are where they were, whatever their contrast and the illumination: 1 is "
            "complete agreement, 0 none.",
            lower=True,
            upper=False,
            floor=0.02,
            unchanged=1.0,
            digits=3,
        ),
        Measure(
            "new_structure",
            "new structure",
            "The strongest detail at any one place of the result that the original does not explain, as a share of "
            "the original's intensity range. It hints at invented structure.",
            lower=False,
            upper=True,
            floor=0.015,
            digits=3,
        ),
        Measure(
            "lost_structure",
            "lost structure",
            "The strongest detail at any one place of the original that the result no longer shows, as a share of "
            "the original's intensity range. It hints at erased structure.",
            lower=False,
            upper=True,
            floor=0.015,
            digits=3,
        ),
        _energy(1, "1 to 2 pixels"),
        _energy(2, "2 to 4 pixels"),
        _energy(3, "4 to 8 pixels"),
        Measure(
            "intensity_drift",
            "intensity drift",
            "By how much the median of the foreground moved, as a share of the original's intensity range.",
            lower=True,
            upper=True,
            floor=0.05,
        ),
        Measure(
            "colour_drift",
            "colour drift",
            "Largest change of a colour channel's share of the mean colour: 0 is the same hue.",
            lower=False,
            upper=True,
            floor=0.02,
            digits=3,
            optional=True,
        ),
        Measure(
            "uncertainty",
            "uncertainty",
            "Mean spread of the result over samples of the model, as a share of the original's intensity range.",
            lower=False,
            upper=True,
            floor=0.005,
            digits=3,
            optional=True,
        ),
        Measure(
            "uncertainty_max",
            "largest uncertainty",
            "Spread of the result over samples of the model that 1 % of the foreground exceed, as a share of the "
            "original's intensity range.",
            lower=False,
            upper=True,
            floor=0.01,
            digits=3,
            optional=True,
        ),
    )
}
"""Every measure by name, in the order of the report."""
