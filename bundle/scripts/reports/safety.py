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

import math
from typing import NamedTuple

import numpy as np
import torch

from ..errors import InputError
from ..tensors import without_metadata
from .measures import MEASURES
from .safety_bands import ENERGY_LEVELS, FOREGROUND, SAMPLES, PlanePair, measure_bands

__all__ = ["SafetyMeasures", "measure_safety", "robust_range"]

_SMALLEST_SIDE = 16


class SafetyMeasures(NamedTuple):
    """Measures of one case.

    Attributes:
        values: by name of :data:`MEASURES`; NaN where the image did not allow it.
        places: voxel, an index per spatial axis, of ``"new_structure"`` and of ``"lost_structure"``; missing where
            there is none.
    """

    values: dict[str, float]
    places: dict[str, tuple[int, ...]]


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
    pair = PlanePair(_planes(before, axis), _planes(after, axis), masked, low, span)
    if span > 0 and min(pair.plane_size) >= _SMALLEST_SIDE:
        local, found = measure_bands(pair)
        values |= local
        for name, (plane, row, column) in found.items():
            place = [row, column]
            if before.ndim == 4:
                place.insert(axis - 1, plane)
            places[name] = tuple(place)
    return SafetyMeasures({name: values[name] for name in MEASURES if name in values}, places)


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
    foreground = sources.mean(0) > low + FOREGROUND * span
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


def _samples(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return voxels, (C, N), spread over an image; the same ones of all images of one grid."""
    # An odd step does not fall on the same columns of every row.
    step = like[0].numel() // SAMPLES | 1
    return image.reshape(len(image), -1)[:, ::step]


def _planes(image: torch.Tensor, axis: int) -> torch.Tensor:
    """Return (C, D, H, W) of an image, or of a volume whose planes are stacked along an axis."""
    return image[:, None] if image.ndim == 3 else image.movedim(axis, 1)


def _plain(image: torch.Tensor) -> torch.Tensor:
    return without_metadata(image).detach().cpu()
