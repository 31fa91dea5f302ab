# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulate how a low-field scanner would have seen a clean image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import (
    AdjustContrast,
    GaussianSmooth,
    MapTransform,
    RandBiasField,
    RandGaussianNoise,
    Randomizable,
    RandomizableTransform,
    RandRicianNoise,
    Resize,
    Transform,
)
from monai.utils import convert_to_dst_type, convert_to_tensor

from ..errors import InputError
from .correlated_noise import VANISHING_SIGMA, RandCorrelatedNoise

__all__ = ["RandScannerDegradation", "RandScannerDegradationd", "ScannerDegradation"]

_MAX_SEED = 2**31 - 1


class ScannerDegradation(Transform):
    r"""Degrade one clean image as a low-field scanner would, with fixed parameters.

    In the order in which a scanner does it, for an image :math:`x` in [0, 1]:

    1. reduced contrast: :math:`x \leftarrow x^{\gamma}` with :math:`\gamma < 1`
       (:class:`monai.transforms.AdjustContrast`);
    2. bias field: :math:`x \leftarrow x \exp(b)` with `b` a Legendre polynomial
       (:class:`monai.transforms.RandBiasField`), scaled so that the mean stays;
    3. smoothing and low resolution: Gaussian filter, then down and up again
       (:class:`monai.transforms.GaussianSmooth`, :class:`monai.transforms.Resize`);
    4. Rician noise: :math:`x \leftarrow \sqrt{(x + n_1)^2 + n_2^2}`, independent in every voxel and channel, so that
       air is noisy too, as in a magnitude image (:class:`monai.transforms.RandRicianNoise`). With `noise_sigma` it is
       shared by neighbouring voxels (:class:`RandCorrelatedNoise`).

    The result is divided by its maximum where that exceeds 1, so that nothing is saturated. The bias field is the same
    in all channels.

    Photographs, CT and other images on a fixed scale are no magnitude images (``magnitude=False``): their noise is
    normal, :math:`x \leftarrow x + n_1` (:class:`monai.transforms.RandGaussianNoise`), and they are cut off at 0 and 1.

    Args:
        gamma: exponent of the contrast change; 1 leaves the contrast as it is.
        bias_strength: the polynomial's coefficients are drawn from `[-bias_strength, bias_strength]`; 0 for no bias.
        bias_seed: seed of these coefficients.
        smooth_sigma: standard deviation of the Gaussian filter in voxels; 0 for none.
        zoom: resolution of the acquired image relative to that of the input, in (0, 1]; 1 for no loss.
        noise_std: standard deviation of each noise part, where 1 is the clean image's full scale; 0 for none.
        noise_seed: seed of the noise.
        noise_sigma: standard deviation of the Gaussian filter that the noise has passed, in voxels, a number per
            spatial axis; further numbers are ignored, and None is independent noise.
        blur_dims: spatial axes (0 is the first one after the channel) that smoothing and low resolution act on, all of
            them by default. Volumes of thick slices keep their slice axis out: `(0, 1)` where slices are the last axis.
        bias_degree: degree of the polynomial.
        magnitude: whether images are magnitude images, as in MR.

    Raises:
        InputError: for a parameter outside its range.
    """

    def __init__(
        self,
        gamma: float = 0.7,
        bias_strength: float = 0.2,
        bias_seed: int = 0,
        smooth_sigma: float = 0.55,
        zoom: float = 0.7,
        noise_std: float = 0.08,
        noise_seed: int = 0,
        noise_sigma: Sequence[float] | None = None,
        blur_dims: Sequence[int] | None = None,
        bias_degree: int = 3,
        magnitude: bool = True,
    ) -> None:
        for name, value in (("gamma", gamma), ("zoom", zoom)):
            if not value > 0:
                raise InputError(f"{name} is {value} but must be greater than 0")
        if zoom > 1:
            raise InputError(f"zoom is {zoom} but must not exceed 1, which stands for no loss of resolution")
        for name, value in (("bias_strength", bias_strength), ("smooth_sigma", smooth_sigma), ("noise_std", noise_std)):
            if not value >= 0:
                raise InputError(f"{name} is {value} but must not be negative")
        self.gamma = gamma
        self.bias_strength = bias_strength
        self.bias_seed = bias_seed
        self.smooth_sigma = smooth_sigma
        self.zoom = zoom
        self.noise_std = noise_std
        self.noise_seed = noise_seed
        self.noise_sigma = None if noise_sigma is None else tuple(noise_sigma)
        self.blur_dims = None if blur_dims is None else tuple(blur_dims)
        self.bias_degree = bias_degree
        self.magnitude = magnitude

    def _noise(self) -> Randomizable:
        std = float(self.noise_std)
        if self.noise_sigma is not None:
            return RandCorrelatedNoise(std, self.noise_sigma, self.magnitude)
        if self.magnitude:
            return RandRicianNoise(prob=1.0, std=std, sample_std=False)
        return RandGaussianNoise(prob=1.0, std=std, sample_std=False)

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Degrade an image.

        Args:
            img: clean image in [0, 1], shape (C, H, W) or (C, H, W, D), not changed.

        Returns:
            The degraded image in [0, 1]: same shape, same container (a `MetaTensor` keeps its affine), float32.

        Raises:
            InputError: for an image that is not 2-D or 3-D, not in [0, 1], not finite, or lacks one of `blur_dims`.
        """
        clean = convert_to_tensor(img, dtype=torch.float32, track_meta=False)
        spatial_dims = clean.ndim - 1
        if spatial_dims not in (2, 3):
            raise InputError(
                f"an image of shape {tuple(clean.shape)} cannot be degraded: give it as (channel, H, W[, D])"
            )
        if not torch.isfinite(clean).all() or clean.min() < -1e-4 or clean.max() > 1 + 1e-4:
            raise InputError("an image with values outside of [0, 1] cannot be degraded: scale its intensities first")
        blur_dims = tuple(range(spatial_dims)) if self.blur_dims is None else self.blur_dims
        if any(not 0 <= d < spatial_dims for d in blur_dims):
            raise InputError(f"blur_dims is {blur_dims} but the image has the spatial axes 0 to {spatial_dims - 1}")

        x = torch.as_tensor(AdjustContrast(self.gamma)(clean.clamp(0, 1)))
        if self.bias_strength > 0:
            bias = RandBiasField(
                degree=self.bias_degree, coeff_range=(-self.bias_strength, self.bias_strength), prob=1.0
            )
            bias.set_random_state(self.bias_seed)
            biased = torch.as_tensor(bias(x))
            # The mean is kept: were it the peak, a field that is strong in one corner would drown the rest in noise.
            x = biased * (x.mean() / biased.mean().clamp_min(1e-6))
        if self.smooth_sigma > 0:
            sigma = [self.smooth_sigma if d in blur_dims else VANISHING_SIGMA for d in range(spatial_dims)]
            x = GaussianSmooth(sigma=sigma)(x)
        if self.zoom < 1:
            size = list(x.shape[1:])
            small = [max(1, round(n * self.zoom)) if d in blur_dims else n for d, n in enumerate(size)]
            x = Resize(size, mode="bilinear" if spatial_dims == 2 else "trilinear")(Resize(small, mode="area")(x))
        if self.noise_std > 0:
            x = torch.as_tensor(self._noise().set_random_state(self.noise_seed)(x))  # type: ignore[operator]
        x = convert_to_tensor(x, track_meta=False)
        # Interpolation may undershoot 0 by a rounding error.
        x = (x / x.max().clamp_min(1.0)).clamp_min(0) if self.magnitude else x.clamp(0, 1)
        return convert_to_dst_type(x, dst=img, dtype=torch.float32 if isinstance(img, torch.Tensor) else np.float32)[0]


class RandScannerDegradation(RandomizableTransform):
    """Degrade clean images as low-field scanners would, each one differently: see :class:`ScannerDegradation`.

    Every parameter is drawn uniformly from its range; equal ends fix it. The defaults resemble a scanner of about
    0.1 T.

    Args:
        gamma_range: exponent of the contrast change.
        bias_strength_range: bound of the bias field's coefficients.
        smooth_sigma_range: standard deviation of the Gaussian filter, in voxels.
        zoom_range: relative resolution.
        noise_std_range: noise as a fraction of the clean image's full scale.
        noise_sigma_range: standard deviation of the filter that noise has passed, in voxels, drawn for every axis;
            a draw below 0 is no filter, and (0, 0) is independent noise.
        blur_dims: spatial axes that smoothing and low resolution act on; all of them by default.
        bias_degree: degree of the bias field's polynomial.
        prob: probability that an image is degraded at all.
        magnitude: see :class:`ScannerDegradation`.

    Raises:
        InputError: for a range that is not two ascending numbers, or that holds forbidden values.

    Example:
        >>> degrade = RandScannerDegradation().set_random_state(seed=0)
        >>> degrade(np.ones((1, 32, 32), np.float32)).shape
        (1, 32, 32)
    """

    def __init__(
        self,
        gamma_range: Sequence[float] = (0.6, 0.85),
        bias_strength_range: Sequence[float] = (0.15, 0.28),
        smooth_sigma_range: Sequence[float] = (0.4, 0.7),
        zoom_range: Sequence[float] = (0.6, 0.8),
        noise_std_range: Sequence[float] = (0.06, 0.1),
        noise_sigma_range: Sequence[float] = (0.0, 0.0),
        blur_dims: Sequence[int] | None = None,
        bias_degree: int = 3,
        prob: float = 1.0,
        magnitude: bool = True,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        self.ranges: dict[str, tuple[float, float]] = {
            "gamma": _as_range("gamma_range", gamma_range),
            "bias_strength": _as_range("bias_strength_range", bias_strength_range),
            "smooth_sigma": _as_range("smooth_sigma_range", smooth_sigma_range),
            "zoom": _as_range("zoom_range", zoom_range),
            "noise_std": _as_range("noise_std_range", noise_std_range),
        }
        self.noise_sigma_range = _as_range("noise_sigma_range", noise_sigma_range)
        self.blur_dims = blur_dims
        self.bias_degree = bias_degree
        self.magnitude = magnitude
        # Both ends are tried, so that a forbidden value is refused here and not in the middle of an epoch.
        for end in (0, 1):
            self.degradation = self._degradation({name: ends[end] for name, ends in self.ranges.items()})

    def randomize(self, data: object = None) -> None:
        """Draw the parameters of the next image into `self.degradation`."""
        super().randomize(None)
        if not self._do_transform:
            return
        drawn = {name: float(self.R.uniform(low, high)) for name, (low, high) in self.ranges.items()}
        seeds = int(self.R.randint(_MAX_SEED)), int(self.R.randint(_MAX_SEED))
        # Drawn only where it is asked for: data that were simulated without it stay what they are.
        correlated = self.noise_sigma_range[1] > 0
        sigma = tuple(self.R.uniform(*self.noise_sigma_range, size=3).tolist()) if correlated else None
        self.degradation = self._degradation(drawn, *seeds, sigma)

    def _degradation(
        self,
        values: Mapping[str, float],
        bias_seed: int = 0,
        noise_seed: int = 0,
        noise_sigma: Sequence[float] | None = None,
    ) -> ScannerDegradation:
        return ScannerDegradation(
            gamma=values["gamma"],
            bias_strength=values["bias_strength"],
            bias_seed=bias_seed,
            smooth_sigma=values["smooth_sigma"],
            zoom=values["zoom"],
            noise_std=values["noise_std"],
            noise_seed=noise_seed,
            noise_sigma=noise_sigma,
            blur_dims=self.blur_dims,
            bias_degree=self.bias_degree,
            magnitude=self.magnitude,
        )

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Degrade an image.

        Args:
            img: clean image in [0, 1], shape (C, H, W) or (C, H, W, D).
            randomize: draw new parameters first; otherwise those of the last draw are used.

        Returns:
            The degraded image in [0, 1], of the same shape.

        Raises:
            InputError: as :meth:`ScannerDegradation.__call__`.
        """
        if randomize:
            self.randomize()
        return self.degradation(img) if self._do_transform else img


class RandScannerDegradationd(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`RandScannerDegradation`.

    All `keys` of an item are degraded with the same parameters.

    Args:
        keys: images to degrade.
        gamma_range: see :class:`RandScannerDegradation`.
        bias_strength_range: see :class:`RandScannerDegradation`.
        smooth_sigma_range: see :class:`RandScannerDegradation`.
        zoom_range: see :class:`RandScannerDegradation`.
        noise_std_range: see :class:`RandScannerDegradation`.
        noise_sigma_range: see :class:`RandScannerDegradation`.
        blur_dims: see :class:`RandScannerDegradation`.
        bias_degree: see :class:`RandScannerDegradation`.
        prob: probability that an item is degraded at all.
        magnitude: see :class:`ScannerDegradation`.
        allow_missing_keys: do not raise an error where a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        gamma_range: Sequence[float] = (0.6, 0.85),
        bias_strength_range: Sequence[float] = (0.15, 0.28),
        smooth_sigma_range: Sequence[float] = (0.4, 0.7),
        zoom_range: Sequence[float] = (0.6, 0.8),
        noise_std_range: Sequence[float] = (0.06, 0.1),
        noise_sigma_range: Sequence[float] = (0.0, 0.0),
        blur_dims: Sequence[int] | None = None,
        bias_degree: int = 3,
        prob: float = 1.0,
        magnitude: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.rand_degradation = RandScannerDegradation(
            gamma_range=gamma_range,
            bias_strength_range=bias_strength_range,
            smooth_sigma_range=smooth_sigma_range,
            zoom_range=zoom_range,
            noise_std_range=noise_std_range,
            noise_sigma_range=noise_sigma_range,
            blur_dims=blur_dims,
            bias_degree=bias_degree,
            prob=1.0,
            magnitude=magnitude,
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandScannerDegradationd:
        """Seed the draws, as for every randomizable transform of MONAI."""
        super().set_random_state(seed, state)
        self.rand_degradation.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Degrade the images under `keys`, each (C, H, W[, D]) in [0, 1]; the rest of the item is passed on."""
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        self.rand_degradation.randomize()
        for key in self.key_iterator(item):
            item[key] = self.rand_degradation(item[key], randomize=False)
        return item


def _as_range(name: str, value: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low <= high:
        raise InputError(f"{name} is {value} but must be two numbers, the lower one first")
    return low, high
