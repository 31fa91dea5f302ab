# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Limits of the safety measures, and the verdict on a case."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from ..errors import InputError
from .measures import MEASURES, Measure

__all__ = ["LARGEST_SHARE_CUT", "Limit", "SafetyThresholds", "Verdict", "judge_cut", "judge_safety"]

_VERSION = 1
_SCALE_OF_MAD = 1.4826

LARGEST_SHARE_CUT = 0.001
"""Share of values that may be cut to the stored range before a reader should look."""


class Verdict(NamedTuple):
    """Advice to the reader of a case.

    Attributes:
        label: ``"ok"``: no measure is beyond what validation cases showed; ``"check"``: compare with the original
            before use.
        reasons: why, a sentence without full stop each; empty when ``"ok"``.
        exceeded: names of the measures beyond their limits.
    """

    label: Literal["ok", "check"]
    reasons: list[str]
    exceeded: tuple[str, ...] = ()


class Limit(NamedTuple):
    """Where a measure begins to be suspicious.

    Attributes:
        lower: values below are; None: no value is too small.
        upper: values above are; None: no value is too large.
    """

    lower: float | None = None
    upper: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a value is unsuspicious; NaN is not."""
        return (
            math.isfinite(value)
            and (self.lower is None or value >= self.lower)
            and (self.upper is None or value <= self.upper)
        )


@dataclass(frozen=True)
class SafetyThresholds:
    """Where each measure begins to be suspicious, learnt from cases that a reader may trust.

    Attributes:
        limits: by name of :data:`MEASURES`.
        cases: number of validation cases that they come from.
    """

    LEAST_CASES: ClassVar[int] = 3

    limits: Mapping[str, Limit]
    cases: int

    @classmethod
    def calibrate(cls, measures: Sequence[Mapping[str, float]], slack: float = 6.0) -> SafetyThresholds:
        r"""Learn the limits from the measures of enhanced validation cases.

        With the median :math:`m` over the cases, their median absolute deviation MAD, the distance :math:`d` of the
        worst of them from :math:`m` and the measure's least distance :math:`f`, the limit on a suspicious side is

        .. math::
            m \pm \max(f, \min(s \cdot 1.4826\,\mathrm{MAD},\, 2 d)).

        1.4826 MAD estimates the standard deviation of normally distributed values; neither it nor the median follows a
        single odd case. A few cases estimate their spread badly, so the slack :math:`s` is wide; but a limit lies no
        farther beyond the worst case than that case lies from the median. The cases themselves pass, except outliers,
        and so does an unchanged image.

        Args:
            measures: values of :func:`scripts.reports.measure_safety`, one mapping per case. A measure that fewer
                than 3 cases have gets no limit.
            slack: how many standard deviations are unsuspicious.

        Raises:
            InputError: when there are fewer than 3 cases.
        """
        if len(measures) < cls.LEAST_CASES:
            raise InputError(
                f"Thresholds need at least {cls.LEAST_CASES} validation cases to be calibrated, not {len(measures)}."
            )
        limits: dict[str, Limit] = {}
        for name, measure in MEASURES.items():
            found = [float(case[name]) for case in measures if math.isfinite(case.get(name, math.nan))]
            if len(found) < cls.LEAST_CASES:
                continue
            middle = statistics.median(found)
            spread = slack * _SCALE_OF_MAD * statistics.median(abs(value - middle) for value in found)
            below, above = (
                max(measure.floor, min(spread, 2 * worst)) for worst in (middle - min(found), max(found) - middle)
            )
            lower = min(middle - below, measure.unchanged - measure.floor)
            upper = max(middle + above, measure.unchanged + measure.floor)
            limits[name] = Limit(lower if measure.lower else None, upper if measure.upper else None)
        return cls(limits, len(measures))

    def judge(self, values: Mapping[str, float]) -> Verdict:
        """Compare one case with the limits.

        A measure without a limit does not count; neither does one that the case lacks because it was not asked for
        (uncertainty) or makes no sense (colour of grey images).

        Args:
            values: of :func:`scripts.reports.measure_safety`.
        """
        reasons: dict[str, str] = {}
        for name, limit in self.limits.items():
            measure = MEASURES[name]
            if name not in values and measure.optional:
                continue
            value = values.get(name, math.nan)
            if limit.holds(value):
                continue
            if not math.isfinite(value):
                reasons[name] = f"{measure.title} could not be measured"
            elif limit.lower is not None and value < limit.lower:
                reasons[name] = _comparison(measure, value, "below", limit.lower)
            elif limit.upper is not None:
                reasons[name] = _comparison(measure, value, "above", limit.upper)
        return Verdict("check" if reasons else "ok", list(reasons.values()), tuple(reasons))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        limits = {
            name: {side: value for side, value in limit._asdict().items() if value is not None}
            for name, limit in self.limits.items()
        }
        return {"version": _VERSION, "cases": self.cases, "limits": limits}

    @classmethod
    def from_dict(cls, content: Any) -> SafetyThresholds:
        """Restore what :meth:`to_dict` returned.

        Raises:
            InputError: when the content is something else.
        """
        if not isinstance(content, Mapping) or content.get("version") != _VERSION:
            raise InputError(f"Safety thresholds are not of version {_VERSION}: calibrate the model again.")
        cases, limits = content.get("cases"), content.get("limits")
        if not _is_count(cases) or not isinstance(limits, Mapping):
            raise InputError("Safety thresholds lack the number of cases or the limits: calibrate the model again.")
        restored: dict[str, Limit] = {}
        for name, sides in limits.items():
            if name not in MEASURES:
                raise InputError(f"Safety thresholds limit the unknown measure {name!r}: calibrate the model again.")
            if not isinstance(sides, Mapping) or not sides or not set(sides) <= {"lower", "upper"}:
                raise InputError(
                    f"The safety threshold of {name} has no lower or upper limit: calibrate the model again."
                )
            if not all(_is_finite_number(value) for value in sides.values()):
                raise InputError(f"The safety threshold of {name} is not a finite number: calibrate the model again.")
            restored[name] = Limit(**{side: float(value) for side, value in sides.items()})
        return cls(restored, int(content["cases"]))


def judge_safety(values: Mapping[str, float], thresholds: SafetyThresholds | None) -> Verdict:
    """Return the verdict on one case; ``"check"`` where the model has no thresholds.

    Args:
        values: of :func:`scripts.reports.measure_safety`.
        thresholds: those of the model, or None.
    """
    if thresholds is None:
        return Verdict("check", ["the model has no thresholds: calibrate it"])
    return thresholds.judge(values)


def judge_cut(verdict: Verdict, cut: int, values: int) -> Verdict:
    """Return a verdict that also minds what was cut to the range of the stored type.

    Args:
        verdict: of :func:`judge_safety`.
        cut: how many values were.
        values: how many there are.
    """
    if cut <= LARGEST_SHARE_CUT * values:
        return verdict
    reason = f"{cut / values:.1%} of the values do not fit the stored type and were cut to its range"
    return verdict._replace(label="check", reasons=[*verdict.reasons, reason])


def _comparison(measure: Measure, value: float, side: str, limit: float) -> str:
    """Return a sentence with so many digits that the two numbers look different."""
    digits = measure.digits
    while digits < 9 and f"{value:.{digits}f}" == f"{limit:.{digits}f}":
        digits += 1
    return f"{measure.title} {value:.{digits}f} is {side} {limit:.{digits}f}"


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
