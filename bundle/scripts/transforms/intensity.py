# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Intensity scaling that remembers what it did."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import ImageMetaKey, TraceKeys, convert_to_tensor

from ..errors import InputError
from ..tensors import without_metadata

__all__ = ["RescaleIntensityd"]

logger = logging.getLogger(__name__)

_SAMPLES = 100_000
_MOST_OUTSIDE = 0.9  # air around a patient is often outside the window of a tissue
_LEAST_RANGE = 0.05


class RescaleIntensityd(MapTransform, InvertibleTransform):
    r"""Scale intensities to [0, 1], and back to the scanner's units.

    .. math:: y = \frac{x - low}{high - low}

    with ``low`` and ``high`` either two percentiles of the image itself, or a fixed window. Both are recorded
    with the array (``applied_operations``), one value per channel. So :meth:`inverse`, and
    :class:`monai.transforms.Invertd` for a prediction, give back :math:`x = y\,(high - low) + low`: exactly, up to
    the rounding of float32, save for values which clipping had cut to ``low`` or ``high``.

    Args:
        keys: keys of the images, arrays of shape (C, *spatial).
        lower: percentile that becomes 0.
        upper: percentile that becomes 1; where a mostly empty image has the same value at both percentiles, its
            maximum takes the place of the upper one.
        window: a fixed ``(low, high)`` in place of percentiles: Hounsfield units for CT, ``(0, 255)`` for 8-bit colour.
        channel_wise: whether every channel has its own percentiles; together they keep the colour.
        clip: whether the result is cut to [0, 1]. A window that leaves an image almost constant is warned of, once.
        allow_missing_keys: whether a key that an item lacks is skipped.

    Raises:
        InputError: when percentiles or window are out of order, or an image is constant.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.0,
        upper: float = 99.5,
        window: tuple[float, float] | None = None,
        channel_wise: bool = False,
        clip: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 <= lower < upper <= 100:
            raise InputError(f"the percentiles {lower:g} and {upper:g} are out of order: 0 <= lower < upper <= 100")
        if window is not None and (len(window) != 2 or not window[0] < window[1]):
            raise InputError(f"the intensity window {tuple(window)} is out of order: give two numbers, low below high")
        self.lower = lower
        self.upper = upper
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.channel_wise = channel_wise
        self.clip = clip
        self._warned = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images of one item; shapes stay, the type is float32."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = convert_to_tensor(item[key], track_meta=get_track_meta())
            lows, highs = self._range(image)
            low, high = _per_channel(lows, image), _per_channel(highs, image)
            scaled = (_values(image) - low) / (high - low)
            self._warn_of_window(scaled, image)
            result = _with_values(image, scaled.clamp(0, 1) if self.clip else scaled)
            if isinstance(result, MetaTensor):
                self.push_transform(result, extra_info={"low": lows, "high": highs})
            item[key] = result
        return item

    def _warn_of_window(self, scaled: torch.Tensor, image: torch.Tensor) -> None:
        """Say, once, that the window does not fit the data, which would then be almost constant to a network."""
        if self.window is None or self._warned:
            return
        values = scaled.flatten()[:: max(1, scaled.numel() // _SAMPLES)]
        outside = float(((values < 0) | (values > 1)).float().mean())
        low, high = np.percentile(values.clamp(0, 1).cpu().numpy(), (0.5, 99.5))
        if outside < _MOST_OUTSIDE and high - low > _LEAST_RANGE:
            return
        self._warned = True
        source = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None
        logger.warning(
            "%s: the window %g to %g does not fit: %.0f %% of the values are outside, the rest spans %.1f %% of it. "
            "Set --window to the range of your images, or null",
            source or "an image",
            *self.window,
            100 * outside,
            100 * (high - low),
        )

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the images of one item their former units; values outside [0, 1] stay outside ``low`` to ``high``."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            info = self.pop_transform(image)[TraceKeys.EXTRA_INFO]
            low, high = _per_channel(info["low"], image), _per_channel(info["high"], image)
            item[key] = _with_values(image, _values(image) * (high - low) + low)
        return item

    def _range(self, image: torch.Tensor) -> tuple[list[float], list[float]]:
        channels = image.shape[0]
        if self.window is not None:
            return [self.window[0]] * channels, [self.window[1]] * channels
        array = image.detach().cpu().numpy()
        # numpy and not torch: torch.quantile refuses more than 2^24 values, which is less than a CT volume has.
        parts = list(array) if self.channel_wise else [array]
        low, high = [], []
        for part in parts:
            lower, upper = (float(value) for value in np.percentile(part, (self.lower, self.upper)))
            if not upper > lower:
                upper = float(part.max())
            if not upper > lower:
                raise InputError(f"an image to be scaled is constant (every value is {lower:g}): leave it out")
            low.append(lower)
            high.append(upper)
        repeats = 1 if self.channel_wise else channels
        return low * repeats, high * repeats


def _values(image: torch.Tensor) -> torch.Tensor:
    return without_metadata(image).float()


def _per_channel(values: list[float], image: torch.Tensor) -> torch.Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32, device=image.device)
    return tensor.reshape(-1, *[1] * (image.ndim - 1))


def _with_values(image: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return MetaTensor(values).copy_meta_from(image) if isinstance(image, MetaTensor) else values
