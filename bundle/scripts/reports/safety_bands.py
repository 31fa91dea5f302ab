# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The local safety measures, taken in the bands of a Laplacian pyramid; see :mod:`scripts.reports.safety`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["ENERGY_LEVELS", "FOREGROUND", "SAMPLES", "PlanePair", "measure_bands"]

ENERGY_LEVELS = 3
"""Wavelet levels whose energy is compared."""

_MAX_BANDS, _SMALLEST_BAND = 6, 12
_WINDOW, _SURROUNDINGS = 8, 3
_FINEST_WEIGHT, _FINE_WEIGHT = 0.1, 0.5
_EDGE_SLACK = 0.5
_FLOOR = 0.01
FOREGROUND = 0.1
_CLIP = (-1.0, 2.0)
SAMPLES = 1_000_000
_NOISE_PLANES = 16
_CHUNK = 4_000_000
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SCALE_OF_MAD = 1.4826


class PlanePair(NamedTuple):
    """Planes of input and result, (C, D, H, W), and what normalises them."""

    before: torch.Tensor
    after: torch.Tensor
    padding: torch.Tensor | None
    low: float
    span: float

    @property
    def plane_size(self) -> tuple[int, int]:
        """Height and width of a plane."""
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


def measure_bands(pair: PlanePair) -> tuple[dict[str, float], dict[str, tuple[int, int, int]]]:
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
        # The noise that is left is the same in both.
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


def _noise(pair: PlanePair, channel: int) -> tuple[float, float]:
    """Return the standard deviation of white noise in input and result."""
    depth = pair.before.shape[1]
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    step = 1 + math.prod(pair.plane_size) * min(depth, _NOISE_PLANES) // (4 * SAMPLES)
    for plane in sorted({(2 * index + 1) * depth // (2 * _NOISE_PLANES) for index in range(_NOISE_PLANES)}):
        images = pair.normalized(channel, slice(plane, plane + 1))
        blocks = [_blocks(image)[0, ::step] for image in images]
        foreground = blocks[0].mean((1, 3)) > FOREGROUND
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
