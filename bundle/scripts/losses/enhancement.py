# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The enhancement objective: the weighted sum of its terms, each under its own name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn
from torch.nn import functional as F

from ..data import CLEAN, DEGRADED, GUIDE, GUIDE_LABEL, IMAGE, LABEL
from ..errors import InputError
from ..networks import GuidedEnhancement, HQGNet, with_frozen_weights
from .class_moments import ClassMomentsLoss
from .multi_encoder import MultiEncoderLoss
from .restoration import RestorationLoss
from .wavelet import WaveletLoss

DEFAULT_WEIGHTS = {
    "adversarial": 0.1,
    "consistency": 0.1,
    "wavelet": 0.1,
    "multi_encoder": 0.1,
    "restoration": 10.0,
    "style": 0.2,
    "class_moments": 4.0,
    "kl": 1e-3,
}
"""The weight of KL follows from the evidence bound: with a Laplace likelihood of scale 0.05 for each of ten thousand
pixels, and 16 components, the mean nats of a component weigh 1e-4 of the mean L1 of a pixel."""


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


def style_disagreement(cues: torch.Tensor, others: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    r"""Return how much the cues of two images of one study differ, relative to cues of different studies.

    .. math:: \frac{\overline{\lVert v_i - w_i \rVert^2}}{\overline{\lVert v_i - w_j \rVert^2} + \epsilon},\quad j \ne i

    A study has one style and many slices, so its cues should agree. The denominator is held constant: otherwise cues of
    patients who share a style would be driven apart.

    Args:
        cues: v, (B, cue_channels), one of each study.
        others: w, of another image of each study, of the same shape, without gradient.
        eps: against a division by zero. Defaults to 1e-3.

    Returns:
        Scalar tensor; 0 for a single study.
    """
    distances = (cues.unsqueeze(1) - others.unsqueeze(0)).square().mean(dim=2)
    own = distances.diagonal().mean()
    count = len(cues)
    if count < 2:
        return 0.0 * own
    rest = (distances.detach().sum() - count * own.detach()) / (count * (count - 1))
    return own / (rest + eps)


class EnhancementLoss(nn.Module):
    r"""The objective of the enhancer and the guidance encoder (METHOD of HQG-Net, He et al. 2024).

    .. math::
        L = \lambda_{adv}L_{adv} + \lambda_{con}L_{con} + \lambda_{pix}L_{pix} + \lambda_{feat}L_{feat}
            + \lambda_{cls}L_{cls} + \lambda_{res}L_{res} + \lambda_{sty}L_{sty} + \lambda_{kl}L_{kl}

    - ``adversarial``: least squares, the discriminator should take the result for real;
    - ``consistency``: L1 between the cue of the result and the (constant) cue of its guide. The guidance encoder judges
      here, with constant weights, otherwise it could agree with itself by saying nothing;
    - ``wavelet``: :class:`WaveletLoss` between result and input;
    - ``multi_encoder``: :class:`MultiEncoderLoss` between result and input, judged by the enhancer's encoder, the
      guidance encoder, the discriminator, and any further encoder given;
    - ``class_moments``: :class:`ClassMomentsLoss` between result and guide, where both have a label map;
    - ``restoration``: :class:`RestorationLoss`. A high-quality image z' that was degraded and given another tone comes
      back, guided by another slice z of the same study: :math:`d(E(\delta(z'); v_z), z')`. It is the paired signal that
      unpaired data have. The tone of the degraded image says nothing about that of z', so it has to come from the
      guide. Zuo et al. 2023 (HACA3) teach style to harmonisation networks in this way;
    - ``style``: two slices of a study give one cue, see :func:`style_disagreement`;
    - ``kl``: the posterior of the cue stays near N(0, I), see :func:`kl_to_prior`.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        weights: by term; terms that are not named keep :data:`DEFAULT_WEIGHTS`. A weight of 0 skips the work.
        wavelet: the wavelet loss. Defaults to ``WaveletLoss(spatial_dims)``.
        multi_encoder: the multi-encoder loss. Defaults to ``MultiEncoderLoss()``.
        restoration: the restoration loss. Defaults to ``RestorationLoss(spatial_dims)``.
        kl_free_nats: nats per component of the cue that cost nothing. Defaults to 0.

    Raises:
        InputError: for an unknown term or a negative weight.
    """

    def __init__(
        self,
        spatial_dims: int,
        weights: Mapping[str, float] | None = None,
        wavelet: nn.Module | None = None,
        multi_encoder: MultiEncoderLoss | None = None,
        restoration: nn.Module | None = None,
        kl_free_nats: float = 0.0,
    ) -> None:
        super().__init__()
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        for name, weight in self.weights.items():
            if name not in DEFAULT_WEIGHTS:
                raise InputError(f'Unknown loss weight "{name}": the terms are {", ".join(DEFAULT_WEIGHTS)}.')
            if not isinstance(weight, (int, float)) or not weight >= 0:
                raise InputError(f'The loss weight "{name}" must be a number not below 0, not {weight!r}.')
        self.wavelet = WaveletLoss(spatial_dims) if wavelet is None else wavelet
        self.multi_encoder = MultiEncoderLoss() if multi_encoder is None else multi_encoder
        self.restoration = RestorationLoss(spatial_dims) if restoration is None else restoration
        self.class_moments = ClassMomentsLoss()
        self.adversarial = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        self.kl_free_nats = kl_free_nats

    @property
    def has_terms(self) -> bool:
        """Whether there is something to minimise, whatever the images: class moments take labels."""
        return any(weight > 0 for name, weight in self.weights.items() if name != "class_moments")

    @property
    def holds_guide(self) -> bool:
        """Whether there is a term in :meth:`guidance_terms` that trains the enhancer."""
        return self.weights["restoration"] > 0

    def forward(
        self,
        network: HQGNet,
        discriminator: nn.Module,
        batch: Mapping[str, torch.Tensor],
        enhanced: GuidedEnhancement,
        encoders: Mapping[str, nn.Module] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the weighted terms of low-quality images by name.

        With those of :meth:`guidance_terms` their sum is the objective.

        Args:
            network: the network that is trained.
            discriminator: returns a list of features with the logits last (as MONAI's ``PatchDiscriminator``).
            batch: with the low-quality ``image`` y, (B, C, *spatial) in [0, 1], and for ``class_moments`` with the
                ``guide`` and the label maps of both, ``label`` and ``guide_label``.
            enhanced: ``network.enhance_guided(image, guide)``.
            encoders: further judges by name, modules that return lists of features, finest first.

        Returns:
            Scalar tensors by name, without the terms whose weight is 0.
        """
        weights = self.weights
        image, pred = batch[IMAGE], enhanced.pred
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
        if weights["class_moments"] > 0 and LABEL in batch and GUIDE_LABEL in batch:
            terms["class_moments"] = self.class_moments(pred, batch[LABEL], batch[GUIDE], batch[GUIDE_LABEL])
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
        return {name: weights[name] * term for name, term in terms.items()}

    def guidance_terms(self, network: HQGNet, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weighted terms that need no low-quality image, by name: restoration, style and KL.

        They hold the guide, so no stage of training goes without them.

        Args:
            network: the network that is trained.
            batch: with ``guide`` and, for restoration and style, ``clean`` and ``degraded``, each (B, C, *spatial).
        """
        terms: dict[str, torch.Tensor] = {}
        if not any(self.weights[name] > 0 for name in ("restoration", "style", "kl")):
            return terms
        mean, log_variance = network.encode_guide(batch[GUIDE])
        if self.weights["restoration"] > 0:
            restored = network.enhance_with_cue(batch[DEGRADED], network.draw_cue(mean, log_variance))
            terms["restoration"] = self.weights["restoration"] * self.restoration(restored, batch[CLEAN])
        if self.weights["style"] > 0:
            with torch.no_grad():
                other, _ = network.encode_guide(batch[CLEAN])
            terms["style"] = self.weights["style"] * self.style(mean, other)
        if self.weights["kl"] > 0:
            terms["kl"] = self.weights["kl"] * self.kl(mean, log_variance)
        return terms

    def style(self, cues: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return :func:`style_disagreement` of the cues of a batch, (B, cue_channels), without its weight."""
        return style_disagreement(cues, others)

    def kl(self, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """Return :func:`kl_to_prior` of the cues of a batch, (B, cue_channels), without its weight."""
        return kl_to_prior(mean, log_variance, self.kl_free_nats)
