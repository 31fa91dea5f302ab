# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
r"""How far an enhanced image may be trusted: measures of input against result, their limits, and a verdict.

No measure needs a reference. All of them take the robust range :math:`R` of the input (from its 0.5th to its 99.5th
percentile) as the unit of intensity, so they compare between scanners, and look at an image plane by plane.

**Bands.** A plane :math:`G_0` is split into the bands of a Laplacian pyramid, :math:`L_k = G_k - h * G_k` and
:math:`G_{k+1} = (h * G_k)\downarrow_2`, with the binomial filter :math:`h` of 5 taps (filter, subtract, decimate); the
low-pass rest, where illumination lives, is left out. :math:`x` and :math:`y` are bands of input and result. Their
moments :math:`\sigma_x^2, \sigma_y^2, \sigma_{xy}` are taken in windows of 8 x 8 samples of the band, and the variance
of white noise, known from the finest diagonal Haar details (median absolute deviation over the foreground), is
subtracted: noise is no structure, and taking it away is no loss.

**Structural agreement** is the correlation of SSIM, which contrast does not change, averaged with the information
content of the window as weight,

.. math::
    S = \frac{\sum_k \beta_k\, \overline{w \rho}}{\sum_k \beta_k\, \overline{w}}, \quad
    \rho = \frac{\max(\sigma_{xy}, 0)}{\sigma_x \sigma_y}, \quad
    w = \max\left(\log_2 \frac{\sigma_x^2}{\tau^2}, 0\right) + \max\left(\log_2 \frac{\sigma_y^2}{\tau^2}, 0\right),

with :math:`\tau^2` of 1 % of :math:`R` and half the noise, squared and added, means over the windows of a band, and the
weights :math:`\beta` of the bands. A window that is flat in both images weighs nothing; one that is flat in one of them
counts in full, and agrees in nothing.

**New structure** is what of the result no local scaling of the input explains: the largest amplitude of
:math:`y - g x`, smoothed by :math:`h`, with the regression :math:`g = \sigma_{xy} / \sigma_x^2` over 3 x 3 windows,
after noise and half the energy of :math:`g x` there (an edge that was made sharper) are subtracted. **Lost structure**
is the same with the roles exchanged, in the contrast of the input. A mean over an image hides a lesion; a largest value
does not, and its place says where to look.

References:
    P. J. Burt, E. H. Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans. Communications 31(4), 1983.
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004.
    Z. Wang, Q. Li, "Information content weighting for perceptual image quality assessment", IEEE TIP 20(5), 2011.
    D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from ..errors import InputError

__all__ = [
    "MEASURES",
    "Limit",
    "Measure",
    "SafetyMeasures",
    "SafetyThresholds",
    "Verdict",
    "judge_safety",
    "measure_safety",
]

ENERGY_LEVELS = 3
"""Wavelet levels whose energy is compared."""

_VERSION = 1
_SMALLEST_SIDE = 16
_MAX_BANDS, _SMALLEST_BAND = 6, 12
_WINDOW, _SURROUNDINGS = 8, 3
_FINEST_WEIGHT, _FINE_WEIGHT = 0.1, 0.5
_EDGE_SLACK = 0.5
_FLOOR = 0.01
_FOREGROUND = 0.1
_CLIP = (-1.0, 2.0)
_SAMPLES = 1_000_000
_NOISE_PLANES = 16
_CHUNK = 4_000_000
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SCALE_OF_MAD = 1.4826


@dataclass(frozen=True)
class Measure:
    """What a measure is called, and which way is bad.

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


class SafetyMeasures(NamedTuple):
    """What was measured in one case.

    Attributes:
        values: by name of :data:`MEASURES`; NaN where the image did not allow it.
        places: voxel, an index per spatial axis, of ``"new_structure"`` and of ``"lost_structure"``; missing where
            there is none.
    """

    values: dict[str, float]
    places: dict[str, tuple[int, ...]]


class Verdict(NamedTuple):
    """What a reader should do.

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


def robust_range(image: torch.Tensor, padding: torch.Tensor | None = None) -> tuple[float, float]:
    """Return the 0.5th and the 99.5th percentile of an image, or its extremes where they coincide.

    Args:
        image: (C, *spatial); of large images about a million voxels count.
        padding: (1, *spatial), bool, true where voxels do not count.

    Returns:
        The two ends, equal of a constant image; 0 and 0 where there is no finite voxel.
    """
    samples = _samples(_plain(image), image).double()
    kept = samples.isfinite().all(0)
    if padding is not None:
        kept &= ~_samples(_plain(padding), image)[0].bool()
    samples = samples[:, kept]
    if not samples.numel():
        return 0.0, 0.0
    low, high = np.percentile(samples.numpy(), (0.5, 99.5)).tolist()
    return (low, high) if high > low else (float(samples.min()), float(samples.max()))


def measure_safety(
    before: torch.Tensor,
    after: torch.Tensor,
    padding: torch.Tensor | None = None,
    deviation: torch.Tensor | None = None,
    slice_axis: int | None = None,
) -> SafetyMeasures:
    r"""Measure what enhancement did to one case.

    ============================ ============ ======= ==============================================================
    measure                      range        bad     formula
    ============================ ============ ======= ==============================================================
    ``structure``                [0, 1]       small   :math:`S`, see the top of this module
    ``new_structure``            [0, 3]       large   likewise, in units of :math:`R`; finest band left out
    ``lost_structure``           [0, 3]       large   likewise
    ``energy_added_1`` .. ``_3`` real         large   :math:`\log_2 (E_y / E_x)`, Haar detail energies of a level,
                                                      finest first; at least :math:`(10^{-3} R)^2` per coefficient
    ``intensity_drift``          [-3, 3]      either  change of the foreground's median / :math:`R`
    ``colour_drift``             [0, 1]       large   largest change of a channel's share of the foreground's mean
                                                      colour; 3 channels only
    ``uncertainty``              [0, inf)     large   mean of ``deviation`` over the foreground / :math:`R`
    ``uncertainty_max``          [0, inf)     large   its 99th percentile
    ============================ ============ ======= ==============================================================

    :math:`\beta` is in the proportion 0.1 : 0.5 : 1 : 1 ..., finest first, and so are the weights of the bands in new
    and lost structure: details of one or two pixels are mostly noise and sharpened edges. There are as many bands, at
    most 6, as leave the coarsest 12 samples. The foreground is where the input, the mean of its channels, is above a
    tenth of :math:`R`. Intensities beyond one :math:`R` below or above the range are cut. Percentiles are those of at
    most a million voxels. Planes with a side below 16 pixels and constant images give NaN.

    Args:
        before: the input, (C, *spatial), float.
        after: the result, of the same shape and in the same units.
        padding: (1, *spatial), bool, true where the input holds no image; those voxels do not count.
        deviation: (1, *spatial) or (C, *spatial), standard deviation of the result over samples, in the same units;
            None: the measures of uncertainty are missing.
        slice_axis: spatial axis along which the planes of a volume are stacked; None: the last.

    Raises:
        InputError: when the shapes do not fit.
    """
    if before.shape != after.shape or before.ndim not in (3, 4):
        raise InputError(
            f"A result of shape {tuple(after.shape)} cannot be compared with an input of shape {tuple(before.shape)}: "
            "both must be an image or a volume, channel first, on one grid."
        )
    for name, extra in (("padding", padding), ("deviation", deviation)):
        if extra is not None and extra.shape[1:] != before.shape[1:]:
            raise InputError(
                f"The {name} of shape {tuple(extra.shape)} does not fit an image of shape {tuple(before.shape)}."
            )
    before, after = _plain(before), _plain(after)
    padding, deviation = (None if extra is None else _plain(extra) for extra in (padding, deviation))
    low, span, values = _global_measures(before, after, padding, deviation)
    values = (
        {"structure": math.nan, "new_structure": math.nan, "lost_structure": math.nan}
        | {f"energy_added_{level + 1}": math.nan for level in range(ENERGY_LEVELS)}
        | values
    )
    places: dict[str, tuple[int, ...]] = {}
    axis = before.ndim - 1 if slice_axis is None else slice_axis + 1
    masked = None if padding is None else _planes(padding, axis)
    pair = _Pair(_planes(before, axis), _planes(after, axis), masked, low, span)
    if span > 0 and min(pair.plane_size) >= _SMALLEST_SIDE:
        local, found = _local_measures(pair)
        values |= local
        for name, (plane, row, column) in found.items():
            place = [row, column]
            if before.ndim == 4:
                place.insert(axis - 1, plane)
            places[name] = tuple(place)
    return SafetyMeasures({name: values[name] for name in MEASURES if name in values}, places)


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

        1.4826 MAD is the standard deviation of normally distributed values; neither it nor the median follows a single
        odd case. Few cases know their spread badly, so the slack :math:`s` is wide, but ends as far beyond the worst
        case as that is from the median. The cases themselves pass, but for outliers, and so does an image that is not
        changed at all.

        Args:
            measures: values of :func:`measure_safety`, one mapping per case. A measure that fewer than 3 cases have
                gets no limit.
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
            values: of :func:`measure_safety`.
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
        values: of :func:`measure_safety`.
        thresholds: those of the model, or None.
    """
    if thresholds is None:
        return Verdict("check", ["the model has no thresholds: calibrate it"])
    return thresholds.judge(values)


class _Pair(NamedTuple):
    """Planes of input and result, (C, D, H, W), and what normalises them."""

    before: torch.Tensor
    after: torch.Tensor
    padding: torch.Tensor | None
    low: float
    span: float

    @property
    def plane_size(self) -> tuple[int, int]:
        return self.before.shape[2], self.before.shape[3]

    def normalized(self, channel: int, planes: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return planes of a channel, (D, H, W), with the robust range from 0 to 1 and padding at 0."""
        pair = []
        for image in (self.before, self.after):
            values = ((image[channel, planes].float() - self.low) / self.span).nan_to_num_(0.0).clamp_(*_CLIP)
            if self.padding is not None:
                values.masked_fill_(self.padding[0, planes].bool(), 0.0)
            pair.append(values)
        return pair[0], pair[1]

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Yield first and last + 1 of so many planes at a time that memory stays low."""
        count = max(1, _CHUNK // math.prod(self.plane_size))
        for start in range(0, self.before.shape[1], count):
            yield start, start + count


def _global_measures(
    before: torch.Tensor, after: torch.Tensor, padding: torch.Tensor | None, deviation: torch.Tensor | None
) -> tuple[float, float, dict[str, float]]:
    """Return low end and width of the robust range, and the measures that need no neighbourhood."""
    low, high = robust_range(before, padding)
    span = high - low
    sources, results = (_samples(image, before).double() for image in (before, after))
    kept = sources.isfinite().all(0) & results.isfinite().all(0)
    if padding is not None:
        kept &= ~_samples(padding, before)[0].bool()
    names = ["intensity_drift", *(["colour_drift"] if len(before) == 3 else [])]
    names += [] if deviation is None else ["uncertainty", "uncertainty_max"]
    if not kept.any() or span <= 0:
        return low, 0.0, dict.fromkeys(names, math.nan)
    sources, results = sources[:, kept], results[:, kept]
    foreground = sources.mean(0) > low + _FOREGROUND * span
    sources, results = sources[:, foreground], results[:, foreground]
    values = {"intensity_drift": float(results.mean(0).median() - sources.mean(0).median()) / span}
    if len(before) == 3:
        shares = [image.mean(1).sub(min(low, 0.0)).clamp(min=0) for image in (sources, results)]
        shares = [share / share.sum().clamp(min=1e-6 * span) for share in shares]
        values["colour_drift"] = float((shares[1] - shares[0]).abs().max())
    if deviation is not None:
        spread = _samples(deviation, before).double().mean(0)[kept][foreground] / span
        values["uncertainty"] = float(spread.mean())
        values["uncertainty_max"] = float(np.percentile(spread.numpy(), 99))
    return low, span, values


def _local_measures(pair: _Pair) -> tuple[dict[str, float], dict[str, tuple[int, int, int]]]:
    """Return the measures of bands, and plane, row and column of the new and the lost structure."""
    bands = _count_bands(pair.plane_size)
    gains = _noise_gains(bands)
    agreement, information = np.zeros(bands), np.zeros(bands)
    energies = np.zeros((2, ENERGY_LEVELS))
    coefficients = np.zeros(ENERGY_LEVELS)
    changes = {"new_structure": 0.0, "lost_structure": 0.0}
    places: dict[str, tuple[int, int, int]] = {}
    for channel in range(len(pair.before)):
        noise = _noise(pair, channel)
        for start, stop in pair.chunks():
            x, y = pair.normalized(channel, slice(start, stop))
            for image, energy in zip((x, y), energies, strict=True):
                energy += _haar_energies(image)
            coefficients += [x.numel() * 3 / 4 ** (level + 1) for level in range(ENERGY_LEVELS)]
            for band, gain in enumerate(gains):
                (x_band, x), (y_band, y) = _split(x), _split(y)
                moments = _moments(x_band, y_band, (noise[0] * gain, noise[1] * gain))
                agreement[band], information[band] = (agreement[band], information[band]) + _agreement(moments, band)
                if band == 0 < bands - 1:
                    continue
                weight = _band_weight(band)
                for name, change in (
                    ("new_structure", _unexplained(x_band, y_band, moments)),
                    ("lost_structure", _unexplained(y_band, x_band, moments.exchanged())),
                ):
                    value = weight * float(change.max())
                    if value > changes[name]:
                        plane, row, column = np.argwhere(change.numpy() == change.numpy().max())[0].tolist()
                        changes[name] = value
                        places[name] = start + plane, row << band, column << band
    weights = np.array([_band_weight(band) for band in range(bands)])
    structure = float(weights @ agreement / (weights @ information)) if information.any() else math.nan
    values = {"structure": structure, **changes}
    floor = 1e-6 * coefficients
    for level, (x_energy, y_energy) in enumerate((energies + floor).T):
        values[f"energy_added_{level + 1}"] = math.log2(y_energy / x_energy)
    return values, places


class _Moments(NamedTuple):
    """Second moments in windows, noise subtracted, (D, h, w), of one band of input and result."""

    xx: torch.Tensor
    yy: torch.Tensor
    xy: torch.Tensor
    x_noise: float
    y_noise: float

    @property
    def floor(self) -> float:
        return _FLOOR**2 + (0.5 * self.x_noise) ** 2

    def exchanged(self) -> _Moments:
        return _Moments(self.yy, self.xx, self.xy, self.y_noise, self.x_noise)


def _moments(x: torch.Tensor, y: torch.Tensor, noise: tuple[float, float]) -> _Moments:
    def windows(product: torch.Tensor) -> torch.Tensor:
        half = min(_WINDOW // 2, *(side // 2 for side in product.shape[1:]))
        # Windows overlap by half: 2 x 2 means of their quarters.
        return F.avg_pool2d(F.avg_pool2d(product, half, ceil_mode=True), 2, stride=1)

    return _Moments(
        (windows(x * x) - noise[0] ** 2).clamp_(min=0),
        (windows(y * y) - noise[1] ** 2).clamp_(min=0),
        # What is left of the noise is the same noise in both.
        (windows(x * y) - min(noise) ** 2).clamp_(min=0),
        *noise,
    )


def _agreement(moments: _Moments, band: int) -> np.ndarray[Any, Any]:
    """Return the weighted sum of the windows' agreement and the sum of their weights."""
    xx, yy, xy = moments[:3]
    floor = moments.floor
    correlation = (xy / ((xx * yy).sqrt() + 0.05 * floor)).clamp_(max=1)
    weight = torch.log2((xx / floor).clamp_(min=1)) + torch.log2((yy / floor).clamp_(min=1))
    # Bands have ever fewer windows.
    share = 4.0**band
    return np.array([float((weight * correlation).sum()) * share, float(weight.sum()) * share])


def _unexplained(x: torch.Tensor, y: torch.Tensor, moments: _Moments) -> torch.Tensor:
    """Return the amplitude, (D, h, w), of what a local scaling of `x` does not explain of `y`."""
    floor = _FLOOR**2 + 0.5 * moments.x_noise**2
    slope = _surroundings(moments.xy) / (_surroundings(moments.xx) + floor)
    slope = F.interpolate(slope[None], size=x.shape[1:], mode="bilinear", align_corners=False)[0]
    explained = slope * x
    x_noise = (slope * moments.x_noise) ** 2
    residual = _smooth((y - explained).square_()) - x_noise - moments.y_noise**2
    explained_energy = (_smooth(explained.square_()) - x_noise).clamp_(min=0)
    residual -= _EDGE_SLACK * _smooth(_smooth(explained_energy))
    is_more = _smooth(y.square()) - moments.y_noise**2 > explained_energy
    return residual.clamp_(min=0).sqrt_() * is_more


def _band_weight(band: int) -> float:
    return (_FINEST_WEIGHT, _FINE_WEIGHT)[band] if band < 2 else 1.0


def _count_bands(size: Sequence[int]) -> int:
    bands = 1
    while bands < _MAX_BANDS and min(size) >> bands >= _SMALLEST_BAND:
        bands += 1
    return bands


@functools.cache
def _noise_gains(bands: int) -> tuple[float, ...]:
    """Return the standard deviation of white noise of 1 in each band."""
    taps, kernel, gains = np.array(_BINOMIAL), np.ones(1), []
    for band in range(bands):
        spread = np.zeros(4 * 2**band + 1)
        spread[:: 2**band] = taps
        smoothed = np.convolve(kernel, spread)
        padded = np.pad(kernel, (len(smoothed) - len(kernel)) // 2)
        # Kernels are separable: the norm of the difference of two products of one-dimensional kernels.
        gains.append(math.sqrt((padded @ padded) ** 2 - 2 * (padded @ smoothed) ** 2 + (smoothed @ smoothed) ** 2))
        kernel = smoothed
    return tuple(gains)


def _noise(pair: _Pair, channel: int) -> tuple[float, float]:
    """Return the standard deviation of white noise in input and result."""
    depth = pair.before.shape[1]
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    step = 1 + math.prod(pair.plane_size) * min(depth, _NOISE_PLANES) // (4 * _SAMPLES)
    for plane in sorted({(2 * index + 1) * depth // (2 * _NOISE_PLANES) for index in range(_NOISE_PLANES)}):
        images = pair.normalized(channel, slice(plane, plane + 1))
        blocks = [_blocks(image)[0, ::step] for image in images]
        foreground = blocks[0].mean((1, 3)) > _FOREGROUND
        for block, values in zip(blocks, found, strict=True):
            diagonal = (block[:, 0, :, 0] - block[:, 1, :, 0] - block[:, 0, :, 1] + block[:, 1, :, 1]) / 2
            values.append(diagonal[foreground].abs())
    x, y = (torch.cat(values) for values in found)
    if not len(x):
        return 0.0, 0.0
    return float(x.median()) * _SCALE_OF_MAD, float(y.median()) * _SCALE_OF_MAD


def _haar_energies(image: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the energy of the Haar details of (D, H, W), finest level first."""
    energies = []
    for _ in range(ENERGY_LEVELS):
        blocks = _blocks(image)
        means = blocks.mean((2, 4))
        # Parseval: details hold what 2 x 2 means do not.
        energies.append(float((blocks - means[:, :, None, :, None]).square_().sum(dtype=torch.float64)))
        image = 2 * means
    return np.array(energies)


def _blocks(image: torch.Tensor) -> torch.Tensor:
    """Return the 2 x 2 blocks, (D, H / 2, 2, W / 2, 2), of (D, H, W) without an odd last row or column."""
    depth, height, width = image.shape[0], image.shape[1] // 2, image.shape[2] // 2
    return image[:, : 2 * height, : 2 * width].reshape(depth, height, 2, width, 2)


def _split(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the finest band of (D, H, W) and the rest at half the size."""
    low = _smooth(image)
    return image - low, low[:, ::2, ::2].contiguous()


def _smooth(image: torch.Tensor) -> torch.Tensor:
    # A convolution of one channel is fifteen times as slow on a CPU.
    for axis, border in ((2, (2, 2, 0, 0)), (1, (0, 0, 2, 2))):
        size = image.shape[axis]
        padded = F.pad(image[None], border, mode="replicate")[0]
        image = padded.narrow(axis, 2, size) * _BINOMIAL[2]
        for first, second, weight in ((0, 4, _BINOMIAL[0]), (1, 3, _BINOMIAL[1])):
            image.add_(padded.narrow(axis, first, size), alpha=weight).add_(
                padded.narrow(axis, second, size), alpha=weight
            )
    return image


def _surroundings(windows: torch.Tensor) -> torch.Tensor:
    """Return means over 3 x 3 windows, as far as they exist."""
    sides = [min(_SURROUNDINGS, side - 1 + side % 2) for side in windows.shape[1:]]
    margins = [side // 2 for side in sides]
    return F.avg_pool2d(windows, sides, stride=1, padding=margins, count_include_pad=False)


def _samples(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return voxels, (C, N), spread over an image; the same ones of all images of one grid."""
    # An odd step does not fall on the same columns of every row.
    step = like[0].numel() // _SAMPLES | 1
    return image.reshape(len(image), -1)[:, ::step]


def _planes(image: torch.Tensor, axis: int) -> torch.Tensor:
    """Return (C, D, H, W) of an image, or of a volume whose planes are stacked along an axis."""
    return image[:, None] if image.ndim == 3 else image.movedim(axis, 1)


def _plain(image: torch.Tensor) -> torch.Tensor:
    tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return tensor.detach().cpu()


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
