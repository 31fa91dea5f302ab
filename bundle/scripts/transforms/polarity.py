# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether images show folds and gaps dark or bright, so that images to be restored get tone curves that fit."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from ..tensors import without_metadata
from .poor_scanner import RandPoorScanner
from .slices import through_plane_axis

__all__ = ["Polarity", "estimate_polarity", "fit_falling", "polarity_of"]

LONGEST_SIDE = 128
"""Pixels of the longer side that a plane is reduced to: what is thin is so relative to the image."""
SIGMA = 2.0
FOREGROUND, LEAST_PIXELS = 0.12, 400
DEEP = 0.35
"""Share of the greatest depth below the outline from which on pixels count: skin and skull lie above."""
LOOKED_AT, PLANES = 64, 8
"""How many images of a set, and evenly spaced planes of a volume, are looked at."""
CLEAR = 0.1
"""Skewness from which on a set has a polarity, where it is also twice its standard error."""
FALLING = {"alike": 0.05, "inverted": 0.8}
"""Share of falling tone curves by how an image's polarity compares with that of the low-quality set."""

logger = logging.getLogger(__name__)


class Polarity(NamedTuple):
    """The polarity of a set of planes: below 0 where thin structures are dark, above 0 where they are bright.

    Attributes:
        mean: over the planes.
        error: standard error of the mean; infinite for fewer than two planes.
    """

    mean: float
    error: float

    @property
    def sign(self) -> int:
        """-1, 1, or 0 where it is not clear."""
        return int(np.sign(self.mean)) if abs(self.mean) > max(CLEAR, 2 * self.error) else 0


def estimate_polarity(plane: torch.Tensor) -> float | None:
    r"""Return the skewness of the details of middle size inside what a plane shows.

    .. math:: d = \frac{G_\sigma * x - G_{2\sigma} * x}{G_{2\sigma} * x + 0.05}

    with Gaussians G. Folds and gaps between tissues are thin. Where they are dark, as fluid is in T1-weighted images,
    few values of d are far below 0 and many a little above; where they are bright, it is the other way round. The
    quotient takes a bias field out, and smoothing the noise. Nothing depends on where in the image things are.

    Args:
        plane: (C, H, W) in [0, 1].

    Returns:
        The skewness; None for a plane that shows too little.
    """
    from scipy import ndimage  # takes a while

    image = without_metadata(plane).float().mean(dim=0)
    scale = LONGEST_SIDE / max(image.shape)
    if scale < 1:
        size = [max(1, round(scale * side)) for side in image.shape]
        image = F.interpolate(image[None, None], size=size, mode="area")[0, 0]
    values = image.numpy()
    shown = ndimage.binary_fill_holes(ndimage.gaussian_filter(values, 1.5) > FOREGROUND)
    if shown.sum() < LEAST_PIXELS:
        return None
    depth = ndimage.distance_transform_edt(np.pad(shown, 1))[1:-1, 1:-1]
    fine, coarse = (ndimage.gaussian_filter(values, sigma) for sigma in (SIGMA, 2 * SIGMA))
    details = ((fine - coarse) / (coarse + 0.05))[depth > DEEP * depth.max()]
    deviation = details.std()
    # The skewness of a constant is not defined. That of scipy.stats would take a second to import.
    return float((((details - details.mean()) / deviation) ** 3).mean()) if deviation > 1e-4 else None


def polarity_of(images: Iterable[torch.Tensor], slice_axis: int = 2) -> Polarity:
    """Return the polarity of a set of images, from up to eight planes of each of the first sixty-four.

    Args:
        images: (C, H, W), or volumes (C, H, W, D), in [0, 1].
        slice_axis: spatial axis along which the planes of a volume are stacked.
    """
    planes = [plane for image in islice(images, LOOKED_AT) for plane in _planes(image, slice_axis)]
    found = [value for plane in planes if (value := estimate_polarity(plane)) is not None]
    if not found:
        return Polarity(0.0, float("inf"))
    error = float(np.std(found, ddof=1)) / len(found) ** 0.5 if len(found) > 1 else float("inf")
    return Polarity(float(np.mean(found)), error)


def fit_falling(
    degradation: Any,
    images: Iterable[Any],
    guides: Any,
    styles: Sequence[Hashable | None],
    slice_axis: int = 2,
    key: str = "image",
) -> list[Any]:
    """Return a degradation for each high-quality image whose tone curves make it look like the low-quality set.

    A clean image in which fluid is bright has to become one in which fluid is dark where the low-quality images show it
    so: by a falling curve. One that shows it alike needs none. A network that meets either at any time has to guess,
    and takes a dark cavity for tissue of the other contrast.

    Args:
        degradation: what images to restore go through. One that is no :class:`RandPoorScanner`, or has a share of
            falling curves of its own, is returned for every image.
        images: prepared low-quality items.
        guides: prepared high-quality items, a sequence or a data set.
        styles: their styles, None where an entry names none. Images of one style have one polarity; a volume
            without a style has its own, and plane images without one share theirs.
        slice_axis: see :func:`polarity_of`.
        key: of the image in an item.

    Returns:
        As many as ``guides``; those of one polarity are one object.
    """
    if not (isinstance(degradation, RandPoorScanner) and degradation.fits_falling):
        return [degradation] * len(guides)
    wanted = polarity_of((item[key] for item in images), slice_axis)
    groups: dict[Hashable, list[int]] = {}
    for number, style in enumerate(styles):
        # An image is read for its dimensions only where there is no style.
        is_volume = style is None and guides[number][key].ndim == 4
        groups.setdefault(("volume", number) if is_volume else ("style", style), []).append(number)
    degradations = {name: degradation.with_falling(share) for name, share in FALLING.items()}
    degradations["unclear"] = degradation
    kinds = ["unclear"] * len(guides)
    for members in groups.values():
        found = polarity_of((guides[number][key] for number in members), slice_axis)
        product = wanted.sign * found.sign
        for number in members:
            kinds[number] = "unclear" if product == 0 else "alike" if product > 0 else "inverted"
    _tell(wanted, kinds, degradation.falling)
    return [degradations[kind] for kind in kinds]


def _planes(image: torch.Tensor, slice_axis: int) -> list[torch.Tensor]:
    if image.ndim == 3:
        return [image]
    axis = through_plane_axis(list(image.shape[1:]), slice_axis) + 1
    count = image.shape[axis]
    # The middle of each of eight equal parts.
    places = sorted({int((part + 0.5) * count / PLANES) for part in range(PLANES)})
    return [image.select(axis, place) for place in places]


def _tell(wanted: Polarity, kinds: Sequence[str], unclear: float) -> None:
    look = {-1: "dark", 0: "neither dark nor bright", 1: "bright"}[wanted.sign]
    logger.info(
        "Thin structures of the low-quality images are %s (skewness %.2f). Of %d high-quality images, %d show them "
        "alike, %d inverted, and %d are unclear: %.0f, %.0f and %.0f %% of the tone curves of images to be restored "
        "will fall.",
        look,
        wanted.mean,
        len(kinds),
        *(kinds.count(kind) for kind in ("alike", "inverted", "unclear")),
        *(100 * share for share in (FALLING["alike"], FALLING["inverted"], unclear)),
    )
