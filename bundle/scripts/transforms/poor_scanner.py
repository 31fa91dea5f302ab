# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A good image as some poorer scanner would have shown it: what guided restoration starts from."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from monai.transforms import Compose, ScaleIntensityRangePercentiles, Transform

from .degradation import RandScannerDegradation
from .tone import RandToneCurve

__all__ = ["RandPoorScanner"]

DEFAULT_NOISE = (0.02, 0.14)
DEFAULT_FALLING = 0.4
ANY_SHAPE = 0.1
"""Share of tone curves that neither rise nor fall."""


class RandPoorScanner(Compose):
    """Give a clean image another tone, degrade it, and scale it anew to [0, 1], all at random.

    It is :class:`RandToneCurve`, then :class:`RandScannerDegradation`, then MONAI's
    ``ScaleIntensityRangePercentiles``, as images are scaled in training. The ranges are wide: what restores all of this
    restores a scanner that nobody has described.

    Args:
        tone_prob: probability of a tone curve.
        falling: share of falling curves, see :class:`RandToneCurve`; 0 for colour images, whose colours they would
            invert. A tenth of the curves neither rises nor falls, and the rest rises. Defaults to what
            :func:`scripts.transforms.fit_falling` finds for each high-quality image, and to 0.4 until then.
        gamma_range: see :class:`RandScannerDegradation`.
        bias_strength_range: see :class:`RandScannerDegradation`.
        smooth_sigma_range: see :class:`RandScannerDegradation`.
        zoom_range: see :class:`RandScannerDegradation`.
        noise_std_range: see :class:`RandScannerDegradation`. Defaults to what :func:`scripts.transforms.fit_noise`
            finds in the low-quality set, and to 0.02 to 0.14 until then.
        noise_sigma_range: see :class:`RandScannerDegradation`. By default half of the draws are negative, which is no
            filter: a scanner may interpolate along one axis, both or none.
        percentiles: of the degraded image, which become 0 and 1; None for images that a fixed window scales,
            which are no magnitude images either, see :class:`ScannerDegradation`.
        no_signal: see :class:`RandToneCurve`.

    Raises:
        InputError: for a range or a probability that makes no sense.
    """

    def __init__(
        self,
        tone_prob: float = 0.8,
        falling: float | None = None,
        gamma_range: Sequence[float] = (0.5, 2.0),
        bias_strength_range: Sequence[float] = (0.0, 0.35),
        smooth_sigma_range: Sequence[float] = (0.2, 0.9),
        zoom_range: Sequence[float] = (0.5, 1.0),
        noise_std_range: Sequence[float] | None = None,
        noise_sigma_range: Sequence[float] = (-1.0, 1.0),
        percentiles: Sequence[float] | None = (0.5, 99.5),
        no_signal: float = 0.3,
    ) -> None:
        self.fits_noise, self.fits_falling = noise_std_range is None, falling is None
        falling = DEFAULT_FALLING if falling is None else falling
        noise = noise_std_range or DEFAULT_NOISE
        degradation = RandScannerDegradation(
            gamma_range,
            bias_strength_range,
            smooth_sigma_range,
            zoom_range,
            noise,
            noise_sigma_range,
            magnitude=percentiles is not None,
        )
        self.tone = RandToneCurve(rising=1 - ANY_SHAPE - falling, falling=falling, prob=tone_prob, no_signal=no_signal)
        parts: list[Transform] = [self.tone, degradation]
        if percentiles:
            lower, upper = percentiles
            parts.append(ScaleIntensityRangePercentiles(lower, upper, b_min=0.0, b_max=1.0, clip=True))
        super().__init__(parts)

    @property
    def falling(self) -> float:
        """Share of falling curves."""
        return self.tone.falling

    def with_falling(self, falling: float) -> RandPoorScanner:
        """Return the same degradation, as it is now, with another share of falling curves."""
        twin = copy.deepcopy(self)
        twin.fits_falling = False
        twin.tone.rising, twin.tone.falling = 1 - ANY_SHAPE - falling, falling
        return twin
