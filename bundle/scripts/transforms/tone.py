# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Random tone curves: the same anatomy in another contrast."""

from __future__ import annotations

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from ..errors import InputError

__all__ = ["RandToneCurve"]


class RandToneCurve(RandomizableTransform):
    r"""Draw a piecewise-linear curve and send every intensity through it.

    .. math::
        x \leftarrow f(x), \qquad f(d + (1 - d) k / n) = t_k, \quad t_0 \in [0, 0.05], \quad t_1 \ldots t_n \in [0, 1]

    with uniform draws t. Unlike MONAI's ``RandHistogramShift``, the curve need not rise: in a share ``falling`` of the
    draws :math:`t_1 \ldots t_n` are sorted downwards, and fluid is dark where white matter is bright or the other way
    round, as another sequence would show them. In a share ``rising`` they are sorted upwards, and the curve changes the
    tone alone, with d = 0. In the rest they are left as drawn.

    Air and bone give no signal in any sequence, so they stay dark: a curve that does not rise begins at
    :math:`d \in [0, d_{max}]`, and :math:`f(0) = 0`. A network would take bright bone for the sign of a falling curve,
    and no real image bears it. All channels share the curve.

    Args:
        knots: n, the number of straight parts. Defaults to 6.
        rising: probability of a rising curve. Defaults to 0.5.
        falling: probability of a falling curve. Defaults to 0.4.
        prob: probability that an image is changed at all. Defaults to 1.
        no_signal: :math:`d_{max}`, the highest intensity that may count as no signal. Defaults to 0.3.

    Raises:
        InputError: for fewer than one knot, a probability outside [0, 1], or two that are more than 1 together.

    Example:
        >>> curve = RandToneCurve().set_random_state(seed=0)
        >>> curve(np.linspace(0, 1, 32, dtype=np.float32).reshape(1, 4, 8)).shape
        (1, 4, 8)
    """

    DARKEST = 0.05

    def __init__(
        self, knots: int = 6, rising: float = 0.5, falling: float = 0.4, prob: float = 1.0, no_signal: float = 0.3
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        if type(knots) is not int or knots < 1:
            raise InputError(f"knots is {knots} but must be a whole number of 1 or more")
        for name, value in (
            ("rising", rising),
            ("falling", falling),
            ("prob", prob),
            ("rising + falling", rising + falling),
        ):
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value} but must be a probability from 0 to 1")
        if not 0 <= no_signal < 1:
            raise InputError(f"no_signal is {no_signal} but must be an intensity of at least 0 and below 1")
        self.knots = knots
        self.rising, self.falling = rising, falling
        self.no_signal = no_signal
        self.intensities = self.tones = np.linspace(0.0, 1.0, knots + 1)

    def randomize(self, data: object = None) -> None:
        """Draw the next image's curve: `self.tones` at `self.intensities`."""
        super().randomize(None)
        tones = self.R.uniform(size=self.knots)
        direction = self.R.uniform()
        if direction < self.rising + self.falling:
            tones = np.sort(tones)[:: 1 if direction < self.rising else -1]
        dark = self.R.uniform(0.0, self.DARKEST)
        begin = self.R.uniform(0.0, self.no_signal)
        if direction < self.rising or begin == 0:
            self.intensities = np.linspace(0.0, 1.0, self.knots + 1)
            self.tones = np.array([dark, *tones])
        else:
            self.intensities = np.array([0.0, *np.linspace(begin, 1.0, self.knots + 1)])
            self.tones = np.array([0.0, dark, *tones])

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Change an image's tones.

        Args:
            img: (C, *spatial) in [0, 1]; values outside count as the nearest end.
            randomize: draw a new curve first; otherwise that of the last draw is used.

        Returns:
            The changed image, of the same shape and type.
        """
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        # NumPy's interpolation costs a fifth of gathering the knots with torch.
        values = np.interp(convert_to_numpy(img), self.intensities, self.tones)
        return convert_to_dst_type(values, dst=img)[0]
