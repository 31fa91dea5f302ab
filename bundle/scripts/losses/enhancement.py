# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancement objective: the weighted sum of its terms, each under its own name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from ..networks import GuidedEnhancement, HQGNet, with_frozen_weights
from .multi_encoder import MultiEncoderLoss
from .wavelet import WaveletLoss

DEFAULT_WEIGHTS = {
    "adversarial": 1.0,
    "consistency": 0.5,
    "wavelet": 3.0,
    "multi_encoder": 1.0,
    "identity": 2.0,
    "kl": 0.1,
}


def kl_to_prior(mean: torch.Tensor, log_variance: torch.Tensor, free_nats: float = 0.0) -> torch.Tensor:
    r"""Return :math:`\mathrm{KL}(N(\mu,\sigma^2)\,\Vert\,N(0,1))` in nats, the mean over batch and cue components.

    Args:
        mean: (B, cue_channels).
        log_variance: (B, cue_channels).
        free_nats: what each component may say at no cost: its batch mean counts as this much at least ("free bits",
            Kingma et al. 2016, arXiv 1606.04934). Defaults to 0.

    Returns:
        Scalar tensor, not negative (Kingma & Welling 2014, arXiv 1312.6114).
    """
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
    return divergence.mean(dim=0).clamp_min(free_nats).mean()


class EnhancementLoss(nn.Module):
    r"""The objective of the enhancer and the guidance encoder (METHOD of HQG-Net, He et al. 2024).

    .. math::
        L = \lambda_{adv}L_{adv} + \lambda_{con}L_{con} + \lambda_{pix}L_{pix} + \lambda_{feat}L_{feat}
            + \lambda_{idt}L_{idt} + \lambda_{kl}L_{kl}

    - ``adversarial``: least squares, the discriminator should take the result for real;
    - ``consistency``: L1 between the cue of the result and the (constant) cue of its guide. The guidance encoder judges
      here, with constant weights, otherwise it could agree with itself by saying nothing;
    - ``wavelet``: :class:`WaveletLoss` between result and input;
    - ``multi_encoder``: :class:`MultiEncoderLoss` between result and input, judged by the enhancer's encoder, the
      guidance encoder, the discriminator, and any further encoder given;
    - ``identity``: L1, a high-quality image guided by itself comes back as it is, whatever its tone curve was on the
      way in: :math:`\lVert E(z^g; v_z) - z\rVert_1` with a random exponent g. With g = 1 alone the cue would say
      nothing that the image does not say itself, and collapse to the prior; so the contrast has to come from the cue;
    - ``kl``: the posterior of the cue stays near N(0, I), see :func:`kl_to_prior`.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        weights: by term; terms that are not named keep :data:`DEFAULT_WEIGHTS`. A weight of 0 skips the work.
        wavelet: the wavelet loss. Defaults to ``WaveletLoss(spatial_dims)``.
        multi_encoder: the multi-encoder loss. Defaults to ``MultiEncoderLoss()``.
        identity_interval: the identity term is a second pass through the network; it is computed on every n-th call,
            and weighs n times as much there. Defaults to 1.
        identity_gamma: range of the exponent g, drawn log-uniformly for each image. Defaults to (0.5, 2); (1, 1) is the
            plain identity.
        kl_free_nats: nats per component of the cue that cost nothing. Defaults to 1; without them the cue soon says
            nothing.

    Raises:
        InputError: for an unknown term, a negative weight, an interval below 1, or exponents out of order.
    """

    def __init__(
        self,
        spatial_dims: int,
        weights: Mapping[str, float] | None = None,
        wavelet: nn.Module | None = None,
        multi_encoder: MultiEncoderLoss | None = None,
        identity_interval: int = 1,
        identity_gamma: tuple[float, float] = (0.5, 2.0),
        kl_free_nats: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        for name, weight in self.weights.items():
            if name not in DEFAULT_WEIGHTS:
                raise InputError(f'Unknown loss weight "{name}": the terms are {", ".join(DEFAULT_WEIGHTS)}.')
            if not isinstance(weight, (int, float)) or not weight >= 0:
                raise InputError(f'The loss weight "{name}" must be a number not below 0, not {weight!r}.')
        if identity_interval < 1:
            raise InputError(f"identity_interval counts steps and must be at least 1, not {identity_interval}.")
        if not 0 < identity_gamma[0] <= identity_gamma[1]:
            raise InputError(f"identity_gamma must be two positive exponents in order, not {list(identity_gamma)}.")
        self.wavelet = WaveletLoss(spatial_dims) if wavelet is None else wavelet
        self.multi_encoder = MultiEncoderLoss() if multi_encoder is None else multi_encoder
        self.adversarial = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        self.identity_interval = identity_interval
        self.kl_free_nats = kl_free_nats
        self.identity_gamma = (float(identity_gamma[0]), float(identity_gamma[1]))

    @property
    def has_terms(self) -> bool:
        """Whether there is something to minimise in every step: identity alone has a term in some of them only."""
        return any(
            weight > 0 and (name != "identity" or self.identity_interval == 1) for name, weight in self.weights.items()
        )

    def forward(
        self,
        network: HQGNet,
        discriminator: nn.Module,
        image: torch.Tensor,
        guide: torch.Tensor,
        enhanced: GuidedEnhancement,
        step: int = 0,
        encoders: Mapping[str, nn.Module] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return every weighted term by name; their sum is the objective.

        Args:
            network: the network that is trained.
            discriminator: returns a list of features with the logits last (as MONAI's ``PatchDiscriminator``).
            image: low-quality image y, (B, C, *spatial) in [0, 1].
            guide: high-quality image z, (B, C, *spatial) in [0, 1].
            enhanced: ``network.enhance_guided(image, guide)``.
            step: number of the training step, for ``identity_interval``.
            encoders: further judges by name, modules that return lists of features, finest first.

        Returns:
            Scalar tensors by name, without the terms whose weight is 0.
        """
        weights = self.weights
        pred = enhanced.pred
        terms: dict[str, torch.Tensor] = {}
        judged: dict[str, list[torch.Tensor]] = {}
        if weights["adversarial"] > 0 or weights["multi_encoder"] > 0:
            judged["discriminator"] = with_frozen_weights(discriminator, pred)
        if weights["adversarial"] > 0:
            logits = judged["discriminator"][-1]
            terms["adversarial"] = self.adversarial(logits, target_is_real=True, for_discriminator=False)
        if weights["consistency"] > 0 or weights["multi_encoder"] > 0:
            judged["guidance"], cue_mean = network.judge_guidance(pred)
        if weights["consistency"] > 0:
            terms["consistency"] = F.l1_loss(cue_mean, enhanced.cue_mean.detach())
        if weights["wavelet"] > 0:
            terms["wavelet"] = self.wavelet(pred, image)
        if weights["multi_encoder"] > 0:
            further = dict(encoders or {})
            judged["discriminator"] = judged["discriminator"][:-1]
            judged["enhancer"] = network.judge_content(pred)
            judged |= {name: with_frozen_weights(encoder, pred) for name, encoder in further.items()}
            with torch.no_grad():
                targets = {
                    "discriminator": discriminator(image)[:-1],
                    "enhancer": enhanced.features,
                    "guidance": network.guide_features(image),
                    **{name: encoder(image) for name, encoder in further.items()},
                }
            terms["multi_encoder"] = self.multi_encoder(judged, targets)
        if weights["identity"] > 0 and step % self.identity_interval == 0:
            cue = network.draw_cue(enhanced.cue_mean, enhanced.cue_log_variance)
            restored = network.enhance_with_cue(self.change_tone(guide), cue)
            terms["identity"] = self.identity_interval * F.l1_loss(restored, guide)
        if weights["kl"] > 0:
            terms["kl"] = kl_to_prior(enhanced.cue_mean, enhanced.cue_log_variance, self.kl_free_nats)
        return {name: weights[name] * term for name, term in terms.items()}

    def change_tone(self, image: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, *spatial) in [0, 1], each raised to a random exponent from ``identity_gamma``."""
        low, high = (math.log(bound) for bound in self.identity_gamma)
        exponent = torch.empty(image.shape[0], *[1] * (image.dim() - 1), device=image.device).uniform_(low, high).exp()
        return image.clamp_min(0.0).pow(exponent)
