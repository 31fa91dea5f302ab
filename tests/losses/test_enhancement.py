# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import PatchDiscriminator
from torch import nn

from scripts.errors import InputError
from scripts.losses import DEFAULT_WEIGHTS, EnhancementLoss, RestorationLoss, kl_to_prior, style_disagreement
from scripts.networks import HQGNet


def only(name: str) -> dict[str, float]:
    return {term: 1.0 if term == name else 0.0 for term in DEFAULT_WEIGHTS}


class Setting:
    """A small network, its discriminator and a batch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5)
        nn.init.normal_(self.network.enhancer.final.weight)
        for modulation in self.network.enhancer.modulation:
            nn.init.normal_(modulation.norm.scale_and_shift.weight)
        self.discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
        self.image, self.guide = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
        clean = torch.rand(2, 1, 32, 32)
        labels = torch.randint(0, 3, (2, 2, 1, 32, 32))
        self.batch = {"image": self.image, "guide": self.guide, "clean": clean, "degraded": 0.5 * clean}
        self.batch |= {"label": labels[0], "guide_label": labels[1]}

    def terms(self, encoders: dict[str, nn.Module] | None = None, **arguments: object) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)  # the same cue in every call
        enhanced = self.network.enhance_guided(self.image, self.guide)
        loss = EnhancementLoss(2, **arguments)  # type: ignore[arg-type]
        unpaired = loss(self.network, self.discriminator, self.batch, enhanced, encoders)
        return unpaired | loss.guidance_terms(self.network, self.batch)


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_every_term_comes_under_its_name(setting: Setting) -> None:
    terms = setting.terms()
    assert set(terms) == set(DEFAULT_WEIGHTS)
    assert all(term.dim() == 0 and torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("name", DEFAULT_WEIGHTS)
def test_weight_of_zero_leaves_the_term_out(setting: Setting, name: str) -> None:
    assert name not in setting.terms(weights={name: 0.0})


@pytest.mark.parametrize("name", DEFAULT_WEIGHTS)
def test_weight_multiplies_its_term(setting: Setting, name: str) -> None:
    setting.network.eval()
    single, triple = (setting.terms(weights={**only(name), name: weight})[name] for weight in (1.0, 3.0))
    torch.testing.assert_close(triple, 3.0 * single)


@pytest.mark.parametrize(
    "name", ["adversarial", "consistency", "wavelet", "multi_encoder", "restoration", "class_moments"]
)
def test_every_image_term_moves_the_enhancer(setting: Setting, name: str) -> None:
    setting.terms(weights=only(name))[name].backward()
    assert float(setting.network.enhancer.final.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ["adversarial", "consistency", "multi_encoder"])
def test_judging_discriminator_is_not_trained(setting: Setting, name: str) -> None:
    setting.terms(weights=only(name))[name].backward()
    assert all(parameter.grad is None for parameter in setting.discriminator.parameters())


@pytest.mark.parametrize("missing", ["label", "guide_label"])
def test_without_label_maps_classes_are_not_compared(setting: Setting, missing: str) -> None:
    del setting.batch[missing]
    assert set(setting.terms()) == set(DEFAULT_WEIGHTS) - {"class_moments"}


def test_multi_encoder_term_trains_the_enhancers_encoder_only_through_the_result(setting: Setting) -> None:
    """With a head that does nothing the judges alone would move: they must not."""
    nn.init.zeros_(setting.network.enhancer.final.weight)
    encoder = setting.network.enhancer.encoder
    setting.terms(weights=only("multi_encoder"))["multi_encoder"].backward()
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in encoder.parameters())
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in setting.network.guidance.parameters())


def test_further_encoder_judges_without_being_trained(setting: Setting) -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.conv(x)]

    setting.network.eval()
    encoder = Encoder()
    without = setting.terms(weights=only("multi_encoder"))["multi_encoder"]
    with_it = setting.terms(weights=only("multi_encoder"), encoders={"downstream": encoder})["multi_encoder"]
    assert not torch.equal(without, with_it)
    with_it.backward()
    assert encoder.conv.weight.grad is None


def test_restoration_compares_the_clean_image_with_the_degraded_one_restored_under_the_guide(setting: Setting) -> None:
    setting.network.eval()
    term = setting.terms(weights=only("restoration"))["restoration"]
    restored = setting.network(setting.batch["degraded"], setting.guide)
    expected = RestorationLoss(2)(restored, setting.batch["clean"])
    torch.testing.assert_close(term, expected)


@pytest.mark.parametrize("name", ["restoration", "style", "kl"])
def test_what_holds_the_guide_trains_the_guidance_encoder_without_a_low_quality_image(
    setting: Setting, name: str
) -> None:
    loss = EnhancementLoss(2, only(name))
    batch = {key: value for key, value in setting.batch.items() if key != "image"}
    terms = loss.guidance_terms(setting.network, batch)
    assert set(terms) == {name}
    terms[name].backward()
    assert float(setting.network.guidance.mean.weight.grad.abs().sum()) > 0


def test_the_adversarial_term_wants_the_discriminator_to_say_real(setting: Setting) -> None:
    setting.network.eval()
    term = setting.terms(weights=only("adversarial"))["adversarial"]
    logits = setting.discriminator(setting.network(setting.image, setting.guide))[-1]
    assert float(term.detach()) == pytest.approx(float((logits - 1).square().mean().detach()))


def test_style_disagreement_is_the_difference_within_studies_over_that_between_them() -> None:
    studies = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    slices = studies + 1.0
    between = (13 + 13 + 5 + 17 + 5 + 17) / 6
    assert float(style_disagreement(studies, slices, eps=0.0)) == pytest.approx(1 / between)
    assert float(style_disagreement(studies, studies)) == 0
    assert float(style_disagreement(studies[:1], slices[:1])) == 0


def test_style_disagreement_draws_slices_together_and_drives_no_studies_apart() -> None:
    cues = torch.tensor([[0.0], [1.0]], requires_grad=True)
    style_disagreement(cues, torch.tensor([[0.5], [1.0]])).backward()
    assert float(cues.grad[0]) < 0  # towards its own study's other slice, which the other study's lies beyond
    assert float(cues.grad[1]) == 0


def test_kl_is_that_of_the_distributions() -> None:
    mean, log_variance = torch.randn(3, 4), torch.randn(3, 4)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_to_prior(mean, log_variance), expected)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"weights": {"perceptual": 1.0}}, "perceptual.*adversarial, consistency"),
        ({"weights": {"kl": -1.0}}, "kl"),
        ({"weights": {"kl": "much"}}, "kl"),
        ({"weights": {"identity": 1.0}}, "identity.*restoration"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        EnhancementLoss(2, **arguments)  # type: ignore[arg-type]


def test_what_a_component_may_say_at_no_cost_has_no_gradient() -> None:
    mean = torch.tensor([[0.5, 3.0]], requires_grad=True)
    kl_to_prior(mean, torch.zeros(1, 2), free_nats=1.0).backward()
    assert mean.grad is not None
    assert mean.grad.tolist() == [[0.0, pytest.approx(1.5)]]


def test_consistency_is_the_mean_absolute_difference_of_the_cues(setting: Setting) -> None:
    loss = EnhancementLoss(2, {**dict.fromkeys(DEFAULT_WEIGHTS, 0.0), "consistency": 1.0})
    enhanced = setting.network.enhance_guided(setting.image, setting.guide)
    terms = loss(setting.network, setting.discriminator, setting.batch, enhanced)
    cue, _ = setting.network.encode_guide(enhanced.pred)
    assert float(terms["consistency"]) == pytest.approx(float((cue - enhanced.cue_mean).abs().mean()))


def test_the_guides_cue_is_a_constant_target_of_consistency(setting: Setting) -> None:
    """Otherwise the guidance encoder could agree with itself by saying nothing."""
    loss = EnhancementLoss(2, {**dict.fromkeys(DEFAULT_WEIGHTS, 0.0), "consistency": 1.0})
    enhanced = setting.network.enhance_guided(setting.image, setting.guide)
    cue_mean = enhanced.cue_mean.detach().requires_grad_(True)
    watched = enhanced._replace(pred=enhanced.pred.detach().requires_grad_(True), cue_mean=cue_mean)
    terms = loss(setting.network, setting.discriminator, setting.batch, watched)
    terms["consistency"].backward()
    assert cue_mean.grad is None
    assert watched.pred.grad is not None
