# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Measures of guidance: does a result take the look of its guide, and keep the anatomy of its input?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..handlers.metrics import image_quality
from ..networks import WaveletTransform
from ..reports.safety import measure_safety

__all__ = [
    "against_reference",
    "best_rising_tone",
    "detail_energy",
    "follow_slope",
    "match_histogram",
    "rank_correlation",
    "style_share",
    "tissue_deviation",
    "tissue_means",
]

FOREGROUND = 0.05
"""Intensity above which a pixel counts as foreground in histogram matching."""


def tissue_means(image: torch.Tensor, label: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Return the mean intensity in each class, (len(classes),), NaN for a class that is not there.

    Args:
        image: (C, *spatial).
        label: class numbers, (1, *spatial).
        classes: which classes.
    """
    mean = image.float().mean(dim=0)
    return torch.stack([mean[label[0] == number].mean() for number in classes])


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return Spearman's rank correlation of two tensors: 1 where one is an increasing function of the other.

    Equal values have ranks in order of their place, which hardly matters for real-valued images.
    """
    ranks = [x.flatten().argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def follow_slope(results: Mapping[str, torch.Tensor], truths: Mapping[str, torch.Tensor]) -> float:
    r"""Return how far the contrast of one input's results goes with that of its guides: 1 all the way, 0 not at all.

    .. math:: b = \frac{\sum_{s<s'} (r_s - r_{s'})\cdot(t_s - t_{s'})}{\sum_{s<s'} \lVert t_s - t_{s'}\rVert^2}

    the slope of the least-squares line through the origin, over all pairs of styles and all classes.

    Args:
        results: tissue means r of the results by style.
        truths: tissue means t that they should have.
    """
    pairs = list(itertools.combinations(truths, 2))
    found = torch.cat([results[a] - results[b] for a, b in pairs])
    wanted = torch.cat([truths[a] - truths[b] for a, b in pairs])
    known = found.isfinite() & wanted.isfinite()
    norm = float(wanted[known].square().sum())
    return float((found * wanted)[known].sum()) / norm if norm > 0 else math.nan


def style_share(cues: Mapping[str, torch.Tensor]) -> float:
    r"""Return the share of the cues' variance that their style explains, :math:`\eta^2` of an analysis of variance.

    Args:
        cues: by style, the cues of single slices, (n, cue_channels). Every style counts alike.

    Returns:
        Variance between the styles' means over that plus the mean variance within, each summed over the components.
    """
    between = torch.stack([own.mean(0) for own in cues.values()]).var(0, correction=0).sum()
    within = torch.stack([own.var(0, correction=0).sum() for own in cues.values()]).mean()
    return float(between / (between + within))


def match_histogram(image: torch.Tensor, guide: torch.Tensor, quantiles: int = 256) -> torch.Tensor:
    """Return an image whose foreground has the intensities of a guide's: the rival of every learnt guide.

    Args:
        image: (C, *spatial) in [0, 1].
        guide: (C, *any spatial) in [0, 1].
        quantiles: at how many the two are made equal.
    """
    share = np.linspace(0, 1, quantiles)
    matched = image.clone()
    for channel in range(len(image)):
        inside = image[channel] > FOREGROUND
        values, wanted = image[channel][inside].numpy(), guide[channel][guide[channel] > FOREGROUND].numpy()
        if values.size and wanted.size:
            mapped = np.interp(values, np.quantile(values, share), np.quantile(wanted, share))
            matched[channel][inside] = torch.from_numpy(mapped).to(matched)
    return matched


def against_reference(
    image: torch.Tensor, reference: torch.Tensor, spatial_dims: int = 2, slice_axis: int = 2
) -> dict[str, float]:
    """Return what is measured of a result against a reference of its style.

    ``psnr`` (dB), ``ssim``, ``haarpsi``; ``detail_energy``, see :func:`detail_energy`; ``new_structure`` and
    ``lost_structure`` of :func:`scripts.reports.measure_safety` with the reference in the place of the input.

    Args:
        image: (C, *spatial).
        reference: of the same shape.
        spatial_dims: number of spatial dimensions of the network.
        slice_axis: spatial axis of a volume along which its slices are stacked.
    """
    axis = slice_axis if image.ndim == 4 else None
    quality = image_quality(image, reference, spatial_dims, slice_axis)
    safety = measure_safety(reference, image, slice_axis=axis).values
    return {
        **{name: quality[name] for name in ("psnr", "ssim", "haarpsi")},
        "detail_energy": detail_energy(image, reference, axis),
        **{name: safety[name] for name in ("new_structure", "lost_structure")},
    }


def detail_energy(image: torch.Tensor, reference: torch.Tensor, slice_axis: int | None = None) -> float:
    """Return the energy of an image's details with periods of 2 to 4 pixels over that of the reference.

    Above 1 the image is noisier or hatched, below 1 it is smoother. Those are the finest Haar details.

    Args:
        image: (C, *spatial).
        reference: of the same shape.
        slice_axis: spatial axis along which the slices of a volume are stacked; None for an image.
    """
    transform = WaveletTransform(2, "haar", 1, boundary="symmetric")
    energies = []
    for values in (image, reference):
        planes = values[None] if slice_axis is None else values.movedim(slice_axis + 1, 0)
        _, details = transform(planes.float())
        energies.append(float(details[0].square().sum()))
    return energies[0] / energies[1] if energies[1] > 0 else math.nan


def best_rising_tone(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    r"""Return an image in the rising tone that brings it nearest to the reference, :math:`\hat f(x)`.

    .. math:: \hat f = \arg\min_{f\ \text{rising}} \sum_i (f(x_i) - r_i)^2

    by isotonic regression, channel by channel, so that methods can be compared without their tone.

    Args:
        image: (C, *spatial).
        reference: of the same shape.
    """
    from scipy.optimize import isotonic_regression  # takes long

    toned = torch.empty_like(image)
    for channel, (values, wanted) in enumerate(zip(image.float(), reference.float(), strict=True)):
        _, places, counts = np.unique(values.numpy().ravel(), return_inverse=True, return_counts=True)
        means = np.bincount(places, wanted.numpy().ravel()) / counts
        fitted = isotonic_regression(means, weights=counts).x
        toned[channel] = torch.from_numpy(fitted[places].reshape(values.shape)).to(toned)
    return toned


def tissue_deviation(image: torch.Tensor, label: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Return the standard deviation of the intensities in each class, (len(classes),), NaN where a class is not there.

    Noise, blobs and a bias field raise it; a reference has that of its texture and lesions.

    Args:
        image: (C, *spatial).
        label: class numbers, (1, *spatial).
        classes: which classes.
    """
    mean = image.float().mean(dim=0)
    inside = (mean[label[0] == number] for number in classes)
    return torch.stack([values.std(correction=0) if len(values) else mean.new_tensor(math.nan) for values in inside])
