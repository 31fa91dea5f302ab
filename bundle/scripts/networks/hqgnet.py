# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""HQG-Net: the enhancer, the guidance encoder and the stored prototype in one network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import InputError, require
from .enhancer import Enhancer
from .functional import with_frozen_weights
from .guidance_encoder import GuidanceEncoder
from .variational_norm import AdaLIN


class GuidedEnhancement(NamedTuple):
    """One guided forward pass, with everything that the losses need of it.

    Attributes:
        pred: enhanced image, (B, C, *spatial) in [0, 1].
        cue_mean: mean of the guide's cue, (B, cue_channels).
        cue_log_variance: its log-variance, (B, cue_channels).
        features: the enhancer's encoder features of the input image, finest first.
    """

    pred: torch.Tensor
    cue_mean: torch.Tensor
    cue_log_variance: torch.Tensor
    features: list[torch.Tensor]


class HQGNet(nn.Module):
    r"""Guided enhancement of low-quality medical images (He et al. 2024, HQG-Net, doi 10.1109/TNNLS.2023.3315307).

    With a guide z, its cue :math:`v_z\sim N(\mu(z),\sigma^2(z))` (training) or :math:`v_z=\mu(z)` (evaluation) steers
    the enhancer. Without one, the *stored prototype* does: mean and spread of the cues of the high-quality training
    set, kept as buffers and therefore in every checkpoint. So the trained network takes one image and needs no other.
    Before :meth:`set_prototype` the prototype is the prior, N(0, I).

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3. Defaults to 2.
        in_channels: channels of the images: 1 for greyscale, 3 for colour. Defaults to 1.
        channels: width of each level of the enhancer, finest first. Defaults to the paper's (64, 128, 256, 512).
        guidance_channels: width of each level of the guidance encoder. Defaults to ``channels``.
        cue_channels: length of the HQ cue v_z. Defaults to 16: few, since a cue is to hold a style and no anatomy.
        code_channels: length of the LQ code v_y. Defaults to 16.
        head: ``"plain"`` or ``"residual"``, see :class:`Enhancer`. Defaults to plain, which is
            the paper's and restores better.
        guided: False for the unguided baseline, in which every cue is 0. Defaults to True.
        reduction: 2 lets both encoders and the decoder work at half the resolution, see :class:`Enhancer`; their levels
            are then those from the second on of a network of full resolution. Defaults to 1.
        variational: False for a cue that is its mean in training too. No noise is drawn then, and the log-variance is
            used by the KL term alone, whose weight is best 0. Defaults to True.
        modulation: what the decoder's features are normalised with. ``"adalin"`` takes the cue and the LQ code.
            ``"instance"`` is instance norm with learned scale and shift: nothing carries the guide then, so ``guided``
            has to be False. Defaults to ``"adalin"``.

    Raises:
        InputError: for settings that make no network.

    Example::

        network = HQGNet(spatial_dims=2, channels=(16, 32, 64))
        enhanced = network(torch.rand(1, 1, 97, 115))            # (1, 1, 97, 115), by the prototype
        enhanced = network(torch.rand(1, 1, 97, 115), torch.rand(1, 1, 64, 64))
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512),
        guidance_channels: Sequence[int] | None = None,
        cue_channels: int = 16,
        code_channels: int = 16,
        head: str = "plain",
        guided: bool = True,
        reduction: int = 1,
        variational: bool = True,
        modulation: str = "adalin",
    ) -> None:
        super().__init__()
        require(
            modulation != "instance" or not guided,
            'The modulation "instance" takes no cue, so nothing would carry the guide: set guided to False with it.',
        )
        self.guided = guided
        self.variational = variational
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        # Values of the finest features per pixel of the image.
        self.width = channels[0] / reduction**spatial_dims
        self.enhancer = Enhancer(
            spatial_dims,
            in_channels,
            channels,
            cue_channels,
            code_channels,
            head,
            reduction=reduction,
            modulation=modulation,
        )
        widths = channels if guidance_channels is None else guidance_channels
        self.guidance = GuidanceEncoder(spatial_dims, in_channels, widths, cue_channels, reduction)
        # Declared here, since TorchScript cannot read the string annotations of a class body.
        self.prototype_mean: torch.Tensor
        self.prototype_std: torch.Tensor
        self.register_buffer("prototype_mean", torch.zeros(cue_channels))
        self.register_buffer("prototype_std", torch.ones(cue_channels))

    @property
    def stride(self) -> int:
        """Side of the square of pixels that one position of the coarsest level stands for."""
        return self.enhancer.stride

    @property
    def minimum_size(self) -> int:
        """Smallest spatial size, in pixels, that the network takes."""
        return self.enhancer.minimum_size

    @torch.jit.unused
    def parameter_groups(self, learning_rate: float, guidance_learning_rate: float) -> list[dict[str, Any]]:
        """Return the parameters in two groups for an optimiser, ``enhancer`` and ``guidance``.

        The cue moves a thousand times as far as the weights of the guidance encoder: these need a lower rate.
        """
        return [
            {"name": "enhancer", "params": list(self.enhancer.parameters()), "lr": learning_rate},
            {"name": "guidance", "params": list(self.guidance.parameters()), "lr": guidance_learning_rate},
        ]

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log-variance, each (B, cue_channels), of the cue of ``guide`` (B, C, *spatial)."""
        mean, log_variance = self.guidance(guide)
        if not self.guided:
            return torch.zeros_like(mean), torch.zeros_like(log_variance)
        return mean, log_variance

    def draw_cue(self, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """Draw v_z = mean + exp(log_variance / 2) * noise while training; return the mean otherwise.

        A network that is not variational, or not guided, always returns the mean.
        """
        if self.training and self.guided and self.variational:
            return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return mean

    def forward(self, image: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """Enhance.

        Args:
            image: low-quality image y, (B, C, *spatial), intensities in [0, 1].
            guide: high-quality image z of another patient, (B or 1, C, *any spatial); the prototype where None.

        Returns:
            Enhanced image, of the shape of ``image``, in [0, 1].
        """
        if guide is None:
            cue = self.prototype_mean.unsqueeze(0)
        else:
            mean, log_variance = self.encode_guide(guide)
            cue = self.draw_cue(mean, log_variance)
        return self.enhancer(image, cue.expand(image.shape[0], -1))

    @torch.jit.unused
    def enhance_guided(self, image: torch.Tensor, guide: torch.Tensor) -> GuidedEnhancement:
        """Enhance ``image`` under ``guide`` as :meth:`forward` does, and keep what the losses need of the pass."""
        mean, log_variance = self.encode_guide(guide)
        pred, features = self.enhancer.forward_features(image, self.draw_cue(mean, log_variance))
        return GuidedEnhancement(pred, mean, log_variance, features)

    @torch.jit.unused
    def enhance_with_cue(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Enhance ``image`` (B, C, *spatial) under given vectors.

        Args:
            image: low-quality image, intensities in [0, 1].
            cue: v_z, (1 or B, cue_channels).
            code: v_y, (1 or B, code_channels), for parts of a larger image that have to agree; the image's own where
                None.
        """
        size = image.shape[0]
        enhanced: torch.Tensor = self.enhancer(
            image, cue.expand(size, -1), None if code is None else code.expand(size, -1)
        )
        return enhanced

    @torch.jit.unused
    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """Return the LQ code v_y of ``image`` (B, C, *spatial), (B, code_channels)."""
        return self.enhancer.encode(image)

    @torch.jit.unused
    def encode_parts(self, parts: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        """Return the LQ code of a larger image, the mean over its parts, after a whole pass with that code.

        The pass lets :class:`JointNorm` measure every layer.

        Args:
            parts: (N, C, *spatial), taken from all over the image.
            cue: v_z, (1, cue_channels).

        Returns:
            The code, (1, code_channels).
        """
        features = self.enhancer.encoder(self.enhancer.pad(parts))
        code = self.enhancer.pooled_code(features[-1]).mean(dim=0, keepdim=True)
        self.enhancer.decode(features, cue.expand(len(parts), -1), code.expand(len(parts), -1))
        return code

    @torch.jit.unused
    def guide_features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the guidance encoder's features of ``image`` (B, C, *spatial), finest first."""
        features: list[torch.Tensor] = self.guidance.trunk(image)
        return features

    @torch.jit.unused
    def judge_guidance(self, image: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the guidance encoder's features of ``image``, and its cue's mean, with constant weights.

        Gradients reach the image and never the weights: the encoder judges, and must not learn to please itself.

        Returns:
            Features, finest first, and the mean, (B, cue_channels).
        """
        features = with_frozen_weights(self.guidance.trunk, image)
        statistics = self.guidance.statistics(image, features)
        return features, with_frozen_weights(self.guidance.mean, statistics)

    @torch.jit.unused
    def judge_content(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the enhancer's encoder features of ``image``, finest first, with constant weights."""
        features: list[torch.Tensor] = with_frozen_weights(self.enhancer.encoder, self.enhancer.pad(image))
        return features

    @torch.jit.unused
    def standardize_guidance_(self, means: torch.Tensor) -> None:
        """Standardise the cues of the high-quality set, see :meth:`GuidanceEncoder.standardize_`."""
        if self.guided:
            self.guidance.standardize_(means)

    @torch.jit.unused
    @torch.no_grad()
    def set_prototype(self, cues: torch.Tensor, std: torch.Tensor | None = None) -> None:
        """Store mean and standard deviation of cues of the high-quality set.

        Args:
            cues: posterior means, (N, cue_channels), N at least 1.
            std: the deviation that samples are to have, (cue_channels). Defaults to that of the cues; where the set has
                several styles, that within a style says how sure a result is, and that between them which was chosen.

        Raises:
            InputError: when there is none, or they are not finite.
        """
        width = self.prototype_mean.numel()
        if cues.dim() != 2 or cues.shape[0] == 0 or cues.shape[1] != width:
            raise InputError(f"The prototype needs cues of shape (N, {width}) with N > 0, not {tuple(cues.shape)}.")
        if not torch.isfinite(cues).all():
            raise InputError("The cues of the high-quality set are not finite: training has diverged, lower the rate.")
        self.prototype_mean.copy_(cues.mean(dim=0))
        self.prototype_std.copy_(cues.std(dim=0, correction=0) if std is None else std)

    @torch.jit.unused
    @torch.no_grad()
    def sample(self, image: torch.Tensor, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Enhance under ``n`` cues drawn around the prototype.

        Args:
            image: low-quality image, (B, C, *spatial), intensities in [0, 1].
            n: number of draws, at least 2.
            seed: of the draws, which leave the global random state alone.

        Returns:
            Mean and per-pixel standard deviation over the draws, each of the shape of ``image``: where the deviation is
            large, the network follows the guide rather than the image.

        Raises:
            InputError: when ``n`` is below 2.
        """
        if n < 2:
            raise InputError(f"A standard deviation needs at least 2 samples, not {n}.")
        return mean_and_deviation(
            self.enhance_with_cue(image, cue.unsqueeze(0))
            for cue in draw_cues(self.prototype_mean, self.prototype_std, n, seed)
        )

    @torch.jit.unused
    def clamp_(self) -> None:
        """Bring every mixing weight of the normalisations back into [0, 1]: call after each optimiser step."""
        for module in self.modules():
            if isinstance(module, AdaLIN):
                module.clamp_()


def draw_cues(mean: torch.Tensor, std: torch.Tensor, n: int, seed: int = 0) -> torch.Tensor:
    """Draw cues of a normal distribution, and leave the global random state alone.

    Two draws or more have exactly this mean and this standard deviation (n - 1 below the line), so that the deviation
    of results hardly depends on how many there are.

    Args:
        mean: (cue_channels) or (1, cue_channels).
        std: likewise.
        n: number of draws.
        seed: of the draws, which are the same on every device.

    Returns:
        Cues, (n, cue_channels).
    """
    noise = torch.randn((n, mean.shape[-1]), generator=torch.Generator().manual_seed(seed))
    if n > 1:
        deviation, centre = torch.std_mean(noise, dim=0)
        noise = (noise - centre) / deviation
    return mean + std * noise.to(mean)


def mean_and_deviation(images: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and per-pixel standard deviation (n - 1 below the line) of images that come one at a time.

    Args:
        images: at least two, all of one shape; no more than one of them is held at a time.

    Returns:
        Two tensors of that shape.
    """
    mean = squares = torch.zeros(())
    count = 0
    # Welford's update: no cancellation, whatever the mean.
    for count, image in enumerate(images, start=1):
        if count == 1:
            mean, squares = torch.zeros_like(image), torch.zeros_like(image)
        delta = image - mean
        mean = mean + delta / count
        squares = squares + delta * (image - mean)
    return mean, (squares / (count - 1)).sqrt()
