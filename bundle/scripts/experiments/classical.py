# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancement that learns nothing but a tone: bias field correction, non-local means, a mask and a power curve."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError

__all__ = ["ClassicalChain", "correct_bias", "denoise", "head_mask", "noise_level", "scikit_image"]

Planes = npt.NDArray[Any]

LEVELS = (1, 2, 3, 4)
STRENGTHS = (0.0, 0.5, 0.75, 1.0, 1.5)
BRIGHT = 95
"""Percentile of the head's intensities that becomes 1 before the tone."""
GAMMAS = tuple(float(gamma) for gamma in np.geomspace(0.3, 3.0, 21).round(3))
_OFFSET = 0.01  # N4 takes logarithms


def scikit_image(module: str) -> Any:
    """Return a module of scikit-image.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return importlib.import_module(f"skimage.{module}")
    except ImportError as error:
        raise InputError("The classical methods need scikit-image: pip install scikit-image.") from error


def correct_bias(image: Planes, inside: npt.NDArray[np.bool_], levels: int = 4, shrink: int = 4) -> Planes:
    """Return an image without its bias field, which N4 (Tustison et al. 2010) of ITK estimates.

    Args:
        image: (rows, columns), or a volume with the planes first, at least 0.
        inside: where the field is estimated, of the same shape.
        levels: of the spline, each with up to 50 iterations and twice the control points of the one before it, from 4.
        shrink: every how many rows and columns are looked at.
    """
    import itk  # takes long
    from scipy import ndimage

    step = (slice(None),) * (image.ndim - 2) + (slice(None, None, shrink),) * 2
    source = itk.image_from_array(np.ascontiguousarray(image[step] + _OFFSET, dtype=np.float32))
    mask = itk.image_from_array(np.ascontiguousarray(inside[step], dtype=np.uint8))
    corrector = itk.N4BiasFieldCorrectionImageFilter.New(source, MaskImage=mask)
    corrector.SetNumberOfWorkUnits(torch.get_num_threads())
    corrector.SetNumberOfFittingLevels(levels)
    corrector.SetMaximumNumberOfIterations([50] * levels)
    corrector.Update()
    # The filter's own output is rounded to whole numbers for volumes.
    lattice = corrector.GetLogBiasFieldControlPointLattice()
    field = itk.array_from_image(corrector.ReconstructBiasField(lattice))
    places = np.indices(image.shape, np.float32)
    places[-2:] /= shrink  # the field was sampled at rows and columns 0, shrink, 2 shrink ...
    corrected: Planes = image / np.exp(ndimage.map_coordinates(field, places, order=1, mode="nearest"))
    return corrected


def noise_level(planes: Planes) -> float:
    """Return the standard deviation of the noise: the median over the planes that show something of wavelet estimates.

    Each is the median absolute deviation of the finest diagonal details (Donoho and Johnstone 1994).

    Args:
        planes: (planes, rows, columns).
    """
    estimate = scikit_image("restoration").estimate_sigma
    found = [estimate(plane) for plane in planes if plane.max() > plane.min()]  # an empty plane has none
    return float(np.median(found)) if found else 0.0


def denoise(planes: Planes, sigma: float, strength: float) -> Planes:
    r"""Return non-local means (Buades et al. 2005) of every plane, without the offset that Rician noise adds.

    .. math:: \sqrt{\max(\mathrm{NLM}(x)^2 - \sigma^2, 0)}

    since the mean of a magnitude image is about :math:`\sqrt{s^2 + \sigma^2}` where the signal s is above the noise
    (Gudbjartsson and Patz 1995).

    Args:
        planes: (planes, rows, columns).
        sigma: standard deviation of the noise.
        strength: of the filter, the decay of its weights in multiples of ``sigma``; 0: the planes as they are.
    """
    if strength == 0 or sigma == 0:
        return planes
    filtered = scikit_image("restoration").denoise_nl_means
    settings = {"patch_size": 5, "patch_distance": 6, "h": strength * sigma, "sigma": sigma, "fast_mode": True}
    smooth = np.stack([filtered(plane, **settings) for plane in planes])
    return np.sqrt((smooth**2 - sigma**2).clip(min=0)).astype(np.float32)


def head_mask(planes: Planes) -> npt.NDArray[np.bool_]:
    """Return where the head is: the largest thing above half of Otsu's threshold, without holes.

    Args:
        planes: (planes, rows, columns), the shape of the mask too.
    """
    from scipy import ndimage  # takes long

    smooth = ndimage.gaussian_filter(planes, (0, 2, 2))
    bright = smooth > 0.5 * scikit_image("filters").threshold_otsu(smooth)
    numbered, count = ndimage.label(bright)
    if count == 0:
        return np.ones(planes.shape, bool)
    largest = numbered == 1 + np.bincount(numbered.flat)[1:].argmax()
    return np.stack([ndimage.binary_fill_holes(plane) for plane in largest])


@dataclass
class ClassicalChain:
    r"""N4, non-local means for Rician noise, a common scale, a head mask, and the tone :math:`y = \min(a x^\gamma, 1)`.

    Levels of N4, strength, mask and tone are those with the best PSNR on images with references, see :meth:`fit`.

    Attributes:
        slice_axis: spatial axis of a volume along which its planes are stacked.
        denoises: whether non-local means take part.
    """

    slice_axis: int = 2
    denoises: bool = True
    levels: int = field(default=LEVELS[0], init=False)
    strength: float = field(default=0.0, init=False)
    masked: bool = field(default=False, init=False)
    gamma: float = field(default=1.0, init=False)
    gain: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        """Look for scikit-image now, not after other work."""
        scikit_image("restoration")

    def correct(self, image: torch.Tensor, levels: int) -> Planes:
        """Return the bias-corrected planes, (planes, rows, columns), of an image, (1, *spatial) in [0, 1]."""
        planes = self._planes(image)
        inside = head_mask(planes)
        if len(planes) == 1:
            return correct_bias(planes[0], inside[0], levels)[None]
        return correct_bias(planes, inside, levels)

    def fit(self, corrected: Mapping[int, Sequence[Planes]], references: Sequence[torch.Tensor]) -> None:
        """Choose levels, strength, mask and tone: those with the best mean PSNR.

        Args:
            corrected: planes of :meth:`correct`, by levels.
            references: their references, (1, *spatial) in [0, 1].
        """
        wanted = [self._planes(reference) for reference in references]
        best = -np.inf
        strengths = STRENGTHS if self.denoises else STRENGTHS[:1]
        for levels, strength in itertools.product(corrected, strengths):
            cleaned = [_cleaned(planes, strength) for planes in corrected[levels]]
            for masked, gamma in itertools.product((False, True), GAMMAS):
                curved = [(planes * head if masked else planes) ** gamma for planes, head in cleaned]
                gain = _sum_of_products(curved, wanted) / max(_sum_of_products(curved, curved), 1e-12)
                psnr = float(np.mean([_psnr(gain * x, y) for x, y in zip(curved, wanted, strict=True)]))
                if psnr > best:
                    best, self.gamma, self.gain = psnr, gamma, gain
                    self.levels, self.strength, self.masked = levels, strength, masked

    def apply(self, corrected: Planes, image: torch.Tensor) -> torch.Tensor:
        """Return the result of an image, of its shape: its corrected planes cleaned, masked and with the tone."""
        cleaned, head = _cleaned(corrected, self.strength)
        toned = (self.gain * (cleaned * head if self.masked else cleaned) ** self.gamma).clip(max=1)
        volume = toned[0] if image.ndim == 3 else np.moveaxis(toned, 0, self.slice_axis)
        return torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None]

    def describe(self) -> str:
        """Return the settings that were chosen."""
        filtered = f", non-local means of {self.strength:g} sigma" if self.strength else ""
        mask = ", mask" if self.masked else ""
        return f"N4 of {self.levels} levels{filtered}{mask}, {self.gain:.2f} x^{self.gamma:g}"

    def _planes(self, image: torch.Tensor) -> Planes:
        values: Planes = image[0].float().numpy()
        return np.ascontiguousarray(values[None] if values.ndim == 2 else np.moveaxis(values, self.slice_axis, 0))


def _cleaned(planes: Planes, strength: float) -> tuple[Planes, npt.NDArray[np.bool_]]:
    """Return denoised planes and their head, whose bright end is 1: fields and coils scale images at will."""
    smooth = denoise(planes, noise_level(planes), strength)
    head = head_mask(smooth)
    return smooth / max(float(np.percentile(smooth[head], BRIGHT)), 1e-6), head


def _sum_of_products(some: Sequence[Planes], others: Sequence[Planes]) -> float:
    return float(sum((x * y).sum(dtype=np.float64) for x, y in zip(some, others, strict=True)))


def _psnr(image: Planes, reference: Planes) -> float:
    error = np.square(image.clip(max=1) - reference).mean()
    return float(-10 * np.log10(max(error, 1e-10)))
