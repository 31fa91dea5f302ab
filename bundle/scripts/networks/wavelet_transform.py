# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Wavelet transform made of fixed convolutions."""

from __future__ import annotations

import itertools

import pywt
import torch
from torch import nn

from ..errors import InputError
from .functional import at_least_float32

__all__ = ["WaveletTransform"]


def _orthogonal_wavelet(name: str) -> pywt.Wavelet:
    """Look a wavelet up by name; InputError, naming the choices, for one that is unknown or not orthogonal."""
    known = pywt.wavelist(kind="discrete")
    wavelet = pywt.Wavelet(name) if name in known else None
    if wavelet is None or not wavelet.orthogonal:
        fault = "unknown" if wavelet is None else "not orthogonal"
        orthogonal = [n for n in known if pywt.Wavelet(n).orthogonal]
        families = [list(g) for _, g in itertools.groupby(orthogonal, key=lambda n: n.rstrip("0123456789"))]
        choices = ", ".join(f"{g[0]} to {g[-1]}" if len(g) > 1 else g[0] for g in families)
        raise InputError(f"Wavelet {name!r} is {fault}: choose one of {choices}.")
    return wavelet


class WaveletTransform(nn.Module):
    r"""Multi-level discrete wavelet transform of 2-D images or 3-D volumes, differentiable, made of fixed convolutions.

    Along each axis the low-pass filter :math:`h` and the high-pass filter :math:`g` of an orthogonal wavelet split the
    approximation of the level before (:math:`a_0` is the image) in two,

    .. math::
        a_j[n] = \sum_k h[k]\, a_{j-1}[s n + d_j (L/2 - k)], \qquad
        d_j[n] = \sum_k g[k]\, a_{j-1}[s n + d_j (L/2 - k)],

    with filters of length :math:`L`. Stationary (undecimated, *à trous*): :math:`s = 1`, :math:`d_j = 2^{j-1}`, every
    sub-band as large as the image. Decimated: :math:`s = 2`, :math:`d_j = 1`, every level half as large as the one
    before. The axes are filtered one after the other by grouped convolutions, which is quicker than one dense kernel
    for all but the shortest filters.

    Coefficients equal those of PyWavelets with ``boundary="periodic"``: ``pywt.swt2``/``pywt.swtn`` with
    ``norm=False, trim_approx=False`` (stationary), ``pywt.wavedec2``/``pywt.wavedecn`` with ``mode="periodization"``
    (decimated). As there, filters have unit energy, so a constant image :math:`c` has the approximation
    :math:`c\, 2^{jD/2}` on level :math:`j` in :math:`D` dimensions.

    Any size of at least ``2 ** levels`` along every axis is accepted. The stationary transform extends the image from
    its own ends whatever its size, hence no size needs padding (``pywt.swt2`` takes multiples of ``2 ** levels`` only;
    there the two are equal). The decimated one pads an odd axis by repeating its last sample, at each level, as
    ``mode="periodization"`` does.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        wavelet: name of an orthogonal wavelet of PyWavelets: haar, db1 to db38, sym2 to sym20, coif1 to coif17, dmey.
        levels: number of decompositions.
        stationary: keep the full size on every level (shift-equivariant) instead of halving it.
        boundary: what lies beyond the image, on each level: ``"periodic"``, the opposite end, or ``"symmetric"``, the
            mirror image (the edge sample twice). Both give equally many coefficients.

    Attributes:
        band_names: the detail sub-bands in their order, in PyWavelets' notation: one letter per axis, ``a`` for
            low-pass and ``d`` for high-pass. ``("da", "ad", "dd")``, PyWavelets' horizontal, vertical and diagonal
            details, in 2-D; ``("daa", "ada", "dda", "aad", "dad", "add", "ddd")`` in 3-D.

    Raises:
        InputError: for an unknown or non-orthogonal wavelet, or another argument out of range.

    Example:
        >>> transform = WaveletTransform(spatial_dims=2, wavelet="sym4", levels=3)
        >>> approximation, details = transform(torch.rand(4, 1, 96, 112))
        >>> [tuple(d.shape) for d in details]
        [(4, 1, 3, 96, 112), (4, 1, 3, 96, 112), (4, 1, 3, 96, 112)]

    References:
        S. Mallat, "A theory for multiresolution signal decomposition: the wavelet representation", IEEE TPAMI 11(7),
        1989. M. Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
        transform", in Wavelets, Springer, 1989. M. J. Shensa, "The discrete wavelet transform: wedding the à trous
        and Mallat algorithms", IEEE Trans. Signal Processing 40(10), 1992.
    """

    filters: torch.Tensor

    def __init__(
        self,
        spatial_dims: int,
        wavelet: str = "sym4",
        levels: int = 3,
        stationary: bool = True,
        boundary: str = "periodic",
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims is {spatial_dims!r}: choose 2 for images or 3 for volumes.")
        if levels < 1:
            raise InputError(f"A wavelet transform of {levels} levels does nothing: set levels to 1 or more.")
        if boundary not in ("periodic", "symmetric"):
            raise InputError(f"boundary is {boundary!r}: choose 'periodic' or 'symmetric'.")
        bank = _orthogonal_wavelet(wavelet)
        self.spatial_dims = int(spatial_dims)
        self.wavelet = wavelet
        self.levels = int(levels)
        self.stationary = stationary
        self.boundary = boundary
        # Bit k of a band's number says whether axis k was high-pass filtered.
        self.band_names = tuple(
            "".join("ad"[band >> axis & 1] for axis in range(spatial_dims)) for band in range(1, 2**spatial_dims)
        )
        # Reversed, because torch's convolution is a correlation.
        self._taps: list[list[float]] = [list(bank.dec_lo[::-1]), list(bank.dec_hi[::-1])]
        self.register_buffer("filters", torch.tensor(self._taps, dtype=torch.float32), persistent=False)

    def extra_repr(self) -> str:
        """Arguments, as ``print`` shows them."""
        return (
            f"spatial_dims={self.spatial_dims}, wavelet={self.wavelet!r}, levels={self.levels}, "
            f"stationary={self.stationary}, boundary={self.boundary!r}"
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Decompose an image.

        Args:
            x: image (B, C, *spatial) of any real floating type; half-precision types are computed in float32.

        Returns:
            The approximation of the coarsest level, (B, C, *spatial_levels), and the details of every level, finest
            first, (B, C, bands, *spatial_l) with 3 (2-D) or 7 (3-D) bands, all of the type of ``x``.

        Raises:
            InputError: when ``x`` has another number of axes, is not floating, or has an axis below ``2 ** levels``.
        """
        approximations, details = self.pyramid(x)
        return approximations[-1].to(x.dtype), [detail.to(x.dtype) for detail in details]

    def pyramid(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Decompose an image as `forward` does, but give the approximation of every level, in at least float32.

        Args:
            x: image (B, C, *spatial).

        Returns:
            Approximations (B, C, *spatial_l) and details (B, C, bands, *spatial_l) per level, finest first.

        Raises:
            InputError: as `forward` does.
        """
        self._check(x)
        batch, channels = x.shape[0], x.shape[1]
        low = at_least_float32(x).flatten(0, 1).unsqueeze(1)
        approximations: list[torch.Tensor] = []
        details: list[torch.Tensor] = []
        # Half precision would lose the small differences between large neighbours that the details are.
        with torch.autocast(device_type=x.device.type, enabled=False):
            for level in range(self.levels):
                bands = self._split(low, 2**level if self.stationary else 1)
                low = bands[:, :1]
                bands = bands.reshape(batch, channels, *bands.shape[1:])
                approximations.append(bands[:, :, 0])
                details.append(bands[:, :, 1:])
        return approximations, details

    def _check(self, x: torch.Tensor) -> None:
        if x.ndim != self.spatial_dims + 2:
            raise InputError(
                f"Image has shape {tuple(x.shape)}: the wavelet transform expects batch, channel and "
                f"{self.spatial_dims} spatial axes."
            )
        if not x.is_floating_point():
            raise InputError(f"Image is of type {x.dtype}: convert it to a real floating type for wavelets.")
        smallest = 2**self.levels
        if min(x.shape[2:]) < smallest:
            raise InputError(
                f"Image of size {tuple(x.shape[2:])} is too small for {self.levels} wavelet levels: give every axis "
                f"at least {smallest} samples or use fewer levels."
            )

    def _split(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """One level: (N, 1, *spatial) to (N, 2 ** spatial_dims, *spatial), approximation first, then `band_names`."""
        # The buffer may have been rounded by .half(), and has too few digits for float64.
        exact = self.filters.dtype == torch.float32 and x.dtype == torch.float32
        filters = self.filters if exact else torch.tensor(self._taps, dtype=x.dtype, device=x.device)
        convolution = torch.conv2d if self.spatial_dims == 2 else torch.conv3d
        stride = 1 if self.stationary else 2
        # The last axis first makes axis 0 the lowest bit of a band's number.
        for axis in range(self.spatial_dims - 1, -1, -1):
            bands = x.shape[1]
            kernel, strides, dilations = ([1] * self.spatial_dims for _ in range(3))
            kernel[axis], strides[axis], dilations[axis] = filters.shape[1], stride, dilation
            weight = filters.reshape(2, 1, *kernel).repeat(bands, *[1] * (self.spatial_dims + 1))
            x = self._extend(x, axis + 2, dilation)
            x = convolution(x, weight, stride=strides, dilation=dilations, groups=bands)
        return x

    def _extend(self, x: torch.Tensor, axis: int, dilation: int) -> torch.Tensor:
        """Continue `x` beyond both ends of an axis by the reach of the filters, which may exceed the image."""
        size = x.shape[axis]
        even_size = size if self.stationary else size + size % 2
        half = self.filters.shape[1] // 2
        index = torch.arange(-(half - 1) * dilation, even_size + half * dilation, device=x.device)
        if self.boundary == "periodic":
            index = (index % even_size).clamp(max=size - 1)
        else:
            index = index % (2 * size)
            index = torch.minimum(index, 2 * size - 1 - index)
        return x.index_select(axis, index)
