# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scripts.errors import InputError
from scripts.networks import Enhancer, GuidanceEncoder, HQGNet, draw_cues


def small(spatial_dims: int = 2, in_channels: int = 1, head: str = "plain", guided: bool = True) -> HQGNet:
    torch.manual_seed(0)
    sizes = {"channels": (4, 6, 8), "guidance_channels": (4, 6), "cue_channels": 5}
    network = HQGNet(spatial_dims, in_channels, head=head, guided=guided, **sizes)  # type: ignore[arg-type]
    for modulation in network.enhancer.modulation:  # a new layer ignores its cue
        torch.nn.init.normal_(modulation.norm.scale_and_shift.weight)
    return network


@pytest.mark.parametrize("in_channels", [1, 2, 3])
@pytest.mark.parametrize("shape", [(16, 16), (19, 33), (17, 8), (16, 16, 8), (9, 11, 13)])
def test_output_has_the_shape_of_the_input_and_lies_between_0_and_1(shape: tuple[int, ...], in_channels: int) -> None:
    network = small(len(shape), in_channels)
    pred = network(torch.rand(2, in_channels, *shape), torch.rand(2, in_channels, *shape))
    assert pred.shape == (2, in_channels, *shape)
    assert 0 <= float(pred.min()) <= float(pred.max()) <= 1


def test_guide_may_have_another_size_than_the_image() -> None:
    assert small()(torch.rand(2, 1, 16, 24), torch.rand(1, 1, 40, 9)).shape == (2, 1, 16, 24)


def test_residual_head_starts_from_the_identity() -> None:
    image = 0.1 + 0.8 * torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(small(head="residual")(image), image)


def test_padding_does_not_reach_the_result_of_an_image_of_fitting_size() -> None:
    enhancer = small().enhancer
    assert enhancer.pad(torch.rand(1, 1, 16, 8)).shape[2:] == (16, 8)
    padded = enhancer.pad(torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 4, 5))
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"channels": (8,)}, "two levels"),
        ({"head": "tanh"}, "tanh"),
        ({"modulation": "film"}, "film"),
    ],
)
def test_settings_that_make_no_network_are_refused(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        HQGNet(**arguments)  # type: ignore[arg-type]


def test_evaluation_uses_the_mean_of_the_cue_and_training_draws_it() -> None:
    network, image, guide = small(), torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert not torch.equal(network(image, guide), network(image, guide))
    network.eval()
    mean, _ = network.encode_guide(guide)
    torch.testing.assert_close(network(image, guide), network.enhancer(image, mean))


def test_drawn_cues_have_the_posteriors_moments() -> None:
    network = small()
    mean, log_variance = torch.full((20000, 5), 2.0), torch.full((20000, 5), -1.0)
    drawn = network.draw_cue(mean, log_variance)
    assert abs(float(drawn.mean()) - 2.0) < 0.02
    assert abs(float(drawn.var()) - float(torch.tensor(-1.0).exp())) < 0.02


def test_prototype_is_the_mean_cue_and_guides_where_no_guide_is_given() -> None:
    network, image = small().eval(), torch.rand(2, 1, 16, 16)
    cues = network.encode_guide(torch.rand(7, 1, 16, 16))[0].detach()
    network.set_prototype(cues)
    torch.testing.assert_close(network.prototype_mean, cues.mean(0))
    torch.testing.assert_close(network.prototype_std, cues.std(0, correction=0))
    torch.testing.assert_close(network(image), network.enhancer(image, cues.mean(0).expand(2, -1)))


def test_prototype_travels_in_the_state(tmp_path: Path) -> None:
    network, image = small().eval(), torch.rand(1, 1, 16, 16)
    network.set_prototype(torch.randn(4, 5))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = small().eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(network(image), other(image))


@pytest.mark.parametrize("cues", [torch.zeros(0, 5), torch.zeros(3, 4), torch.full((3, 5), float("nan"))])
def test_cues_that_make_no_prototype_are_refused(cues: torch.Tensor) -> None:
    with pytest.raises(InputError):
        small().set_prototype(cues)


def test_sample_gives_mean_and_deviation_over_the_drawn_cues() -> None:
    network, image = small().eval(), torch.rand(1, 1, 16, 16)
    network.set_prototype(torch.randn(4, 5))
    mean, deviation = network.sample(image, 6, seed=3)
    noise = torch.randn((6, 5), generator=torch.Generator().manual_seed(3))
    noise = (noise - noise.mean(0)) / noise.std(0)
    drawn = torch.stack(
        [network.enhancer(image, (network.prototype_mean + network.prototype_std * e)[None]) for e in noise]
    )
    torch.testing.assert_close(mean, drawn.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deviation, drawn.std(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_draws_have_the_mean_and_the_deviation_that_were_asked_for(n: int) -> None:
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    drawn = draw_cues(mean, std, n)
    torch.testing.assert_close(drawn.mean(0), mean)
    torch.testing.assert_close(drawn.std(0), std)


def test_sample_leaves_the_global_random_state_alone() -> None:
    network, before = small().eval(), torch.get_rng_state()
    network.sample(torch.rand(1, 1, 16, 16, generator=torch.Generator()), 2)
    assert torch.equal(before, torch.get_rng_state())


def test_one_sample_has_no_deviation() -> None:
    with pytest.raises(InputError, match="2 samples"):
        small().sample(torch.rand(1, 1, 16, 16), 1)


def test_guided_pass_keeps_what_the_losses_need() -> None:
    network, image, guide = small().eval(), torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    enhanced = network.enhance_guided(image, guide)
    torch.testing.assert_close(enhanced.pred, network(image, guide))
    torch.testing.assert_close(enhanced.cue_mean, network.encode_guide(guide)[0])
    for kept, expected in zip(enhanced.features, network.enhancer.encoder(image), strict=True):
        torch.testing.assert_close(kept, expected)


def test_cue_reports_contrast() -> None:
    torch.manual_seed(0)
    encoder, image = GuidanceEncoder(2, 1, (4, 6)), torch.rand(1, 1, 16, 16)
    assert not torch.allclose(encoder(image)[0], encoder(0.5 * image)[0], atol=1e-3)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_guidance_encoder_takes_any_size(size: int) -> None:
    mean, log_variance = GuidanceEncoder(2, 1, (4, 6, 8), cue_channels=3)(torch.rand(1, 1, size, size))
    assert mean.shape == log_variance.shape == (1, 3)


@pytest.mark.parametrize("guided", [False, True])
def test_scripted_network_equals_the_network(guided: bool) -> None:
    network = small().eval()
    inputs = [torch.rand(1, 1, 19, 21), *([torch.rand(1, 1, 16, 16)] if guided else [])]
    torch.testing.assert_close(torch.jit.script(network)(*inputs), network(*inputs))


def test_a_network_that_was_traced_at_one_size_takes_others() -> None:
    network = small().eval()
    traced = torch.jit.trace(network, torch.rand(1, 1, 16, 16))
    image = torch.rand(2, 1, 19, 21)
    torch.testing.assert_close(traced(image), network(image))


@pytest.mark.slow
def test_a_network_that_was_exported_at_one_size_takes_others() -> None:
    network = small().eval()
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(network, (torch.rand(2, 1, 32, 48),), dynamic_shapes=(sizes,), strict=False)
    image = torch.rand(3, 1, 19, 21)
    # The guards that export derives from one size know nothing of others; the operations do.
    torch.testing.assert_close(exported.module(check_guards=False)(image), network(image))


def test_image_of_minimum_size_passes() -> None:
    network = small()
    assert network(torch.rand(1, 1, network.minimum_size, network.minimum_size)).shape[-1] == network.minimum_size


def test_upsampling_leaves_no_checkerboard() -> None:
    """A flat image stays flat inside: the decoder has no grid of its own."""
    torch.manual_seed(1)
    enhancer = Enhancer(2, 1, (4, 6, 8), cue_channels=5, head="plain")
    pred = enhancer(torch.full((1, 1, 64, 64), 0.5), torch.randn(1, 5))
    inner = pred[0, 0, 24:40, 24:40]
    period_two = F.conv2d(inner[None, None], torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])).abs().mean()
    assert float(period_two) < 1e-3


def test_standardised_cues_have_mean_zero_and_deviation_one() -> None:
    torch.manual_seed(0)
    encoder, images = GuidanceEncoder(2, 1, (4, 6), cue_channels=5), torch.rand(6, 1, 16, 16)
    encoder.standardize_(encoder(images)[0])
    deviation, mean = torch.std_mean(encoder(images)[0].detach(), dim=0)
    torch.testing.assert_close(mean, torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(5), atol=1e-3, rtol=0)


def test_one_cue_cannot_be_standardised() -> None:
    with pytest.raises(InputError, match="two high-quality images"):
        GuidanceEncoder(2, 1, (4, 6), cue_channels=5).standardize_(torch.zeros(1, 5))


def test_unguided_baseline_ignores_its_guide() -> None:
    network = HQGNet(channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5, head="plain", guided=False)
    torch.nn.init.normal_(network.enhancer.modulation[0].norm.scale_and_shift.weight)
    image = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(image, torch.rand(1, 1, 16, 16)), network(image, torch.rand(1, 1, 16, 16)))


def test_the_cue_of_a_network_that_is_not_variational_is_its_mean_in_training_too() -> None:
    network = HQGNet(channels=(4, 6), guidance_channels=(4,), variational=False).train()
    mean = torch.randn(3, 16)
    assert torch.equal(network.draw_cue(mean, torch.zeros(3, 16)), mean)


def test_under_instance_norm_neither_guide_nor_code_has_an_effect() -> None:
    settings = {"channels": (4, 6), "guidance_channels": (4,), "guided": False, "modulation": "instance"}
    network = HQGNet(**settings).eval()  # type: ignore[arg-type]
    image = torch.rand(2, 1, 16, 16)
    enhanced = network.enhance_with_cue(image, torch.zeros(1, 16), torch.zeros(1, 16))
    assert torch.equal(network.enhance_with_cue(image, torch.randn(1, 16), torch.randn(1, 16)), enhanced)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_instance_norm_in_a_guided_network_is_refused() -> None:
    with pytest.raises(InputError, match="nothing would carry the guide"):
        HQGNet(channels=(4, 6), modulation="instance")


def test_parameter_groups_are_those_of_the_checkpoint() -> None:
    network = small()
    enhancer, guidance = network.parameter_groups(1e-3, 1e-4)
    assert (enhancer["name"], guidance["name"], enhancer["lr"], guidance["lr"]) == ("enhancer", "guidance", 1e-3, 1e-4)
    assert [id(w) for w in enhancer["params"]] == [id(w) for w in network.enhancer.parameters()]
    assert [id(w) for w in guidance["params"]] == [id(w) for w in network.guidance.parameters()]


def test_a_given_cue_is_that_of_a_guide() -> None:
    network = small().eval()
    nn.init.normal_(network.enhancer.final.weight)
    image, guide = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    cue, _ = network.encode_guide(guide)
    assert torch.equal(network.enhance_with_cue(image, cue), network(image, guide))
    assert torch.equal(network.enhance_with_cue(image, cue, network.encode_image(image)), network(image, guide))


def test_the_code_modulates_the_result() -> None:
    network, image = small(), torch.rand(1, 1, 16, 16)
    cue, code = network.prototype_mean[None], network.encode_image(image)
    assert not torch.allclose(
        network.enhance_with_cue(image, cue, code + 1), network.enhance_with_cue(image, cue, code)
    )


@pytest.mark.parametrize("judge", ["judge_guidance", "judge_content"])
def test_a_judge_gives_gradients_to_the_image_alone(judge: str) -> None:
    network = small()
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    found = getattr(network, judge)(image)
    features, cue = found if judge == "judge_guidance" else (found, torch.zeros(()))
    (torch.stack([f.square().sum() for f in features]).sum() + cue.sum()).backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_the_code_of_parts_is_the_mean_of_theirs() -> None:
    network = small().eval()
    parts = torch.rand(3, 1, 16, 16)
    code = network.encode_parts(parts, network.prototype_mean[None])
    assert torch.allclose(code, network.encode_image(parts).mean(0, keepdim=True))


def test_an_unguided_network_keeps_its_guidance_as_it_is() -> None:
    network = small(guided=False)
    before = network.guidance.mean.weight.detach().clone()
    network.standardize_guidance_(torch.rand(4, network.prototype_mean.numel()))
    assert torch.equal(network.guidance.mean.weight, before)


def test_the_cue_does_not_see_how_much_air_there_is() -> None:
    torch.manual_seed(0)
    encoder = GuidanceEncoder(2, 1, (4, 6), cue_channels=5)
    head = 0.3 + 0.6 * torch.rand(1, 1, 16, 16)
    framed = torch.zeros(1, 1, 48, 48)
    framed[..., 16:32, 16:32] = head
    wider = torch.zeros(1, 1, 96, 96)
    wider[..., 32:48, 32:48] = head
    cues = [encoder(image)[0] for image in (framed, wider)]
    darker = encoder(framed**2)[0]
    assert (cues[0] - cues[1]).norm() < 0.3 * (cues[0] - darker).norm()


def test_the_cue_is_that_of_the_mirrored_image_and_not_that_of_another_tone() -> None:
    torch.manual_seed(0)
    encoder = GuidanceEncoder(2, 1, (4, 6), cue_channels=5)
    for name, weight in encoder.named_parameters():
        if "conv" in name and weight.dim() == 4:
            weight.data = (weight + weight.flip(2)) / 2  # so that the trunk itself knows no direction
    image = torch.rand(1, 1, 32, 32)
    cue = encoder(image)[0]
    torch.testing.assert_close(encoder(image.flip(2))[0], cue, atol=1e-4, rtol=1e-4)
    assert float((encoder(image**2)[0] - cue).norm().detach()) > 1e-2
