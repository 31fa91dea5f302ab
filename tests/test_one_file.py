# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The method in one file gives the numbers of the package.

The two differ in the order of their sums alone: the file writes AdaLIN as its formula says, the package as one
multiply-add. So twenty steps are compared in double precision. A bias before a normalisation has the gradient zero;
in single precision it holds rounding alone, which Adam divides by its own size and takes for a step.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from monai.transforms import CastToType, Compose
from tests.engines.bilevel_cases import dice, items, unet
from torch import nn
from torch.utils.data import DataLoader

from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import BilevelSettings, BilevelTask, EnhancementTrainer
from scripts.losses import EnhancementLoss, RestorationLoss, WaveletLoss
from scripts.networks import DetailDiscriminator, HQGNet, reinitialized
from scripts.transforms import RandPoorScanner

FILE = Path(__file__).parents[1] / "docs" / "hqgnet_in_one_file.py"
STEPS = 20


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("hqgnet_in_one_file", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


method: Any = load()


def in_double_precision(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double() if isinstance(value, torch.Tensor) else value for name, value in item.items()}


def copied(source: nn.Module, target: Any) -> Any:
    """``target`` with the weights of ``source``; both hold them in the same order."""
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    with torch.no_grad():
        for weight, copy in pairs:
            copy.copy_(weight)
    return target


def networks(head: str = "plain") -> tuple[HQGNet, DetailDiscriminator, Any, Any]:
    torch.manual_seed(0)
    network = HQGNet(2, 1, (4, 6, 8), (4, 6), cue_channels=5, code_channels=3, head=head, reduction=2)
    for modulation in network.enhancer.modulation:
        nn.init.normal_(modulation.norm.scale_and_shift.weight, std=0.3)
        modulation.norm.rho.data = torch.linspace(0, 1, len(modulation.norm.rho))  # some leave [0, 1] and are clamped
    nn.init.normal_(network.enhancer.final.weight, std=0.3)
    nn.init.normal_(network.enhancer.full_resolution.second.weight, std=0.3)
    # One log-variance is clamped.
    nn.init.normal_(network.guidance.mean.weight, std=3.0)
    network.guidance.log_variance.bias.data[0] = -11.0
    discriminator = DetailDiscriminator(2, 1, channels=4, num_layers_d=2)
    one, other = method.HQGNet(1, (4, 6, 8), (4, 6), 5, 3, head), method.Discriminator(1, 4, 2)
    return network, discriminator, copied(network, one), copied(discriminator, other)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return bool((a - b).norm() <= tolerance * b.norm() + 1e-7)


@pytest.mark.parametrize("head", ["residual", "plain"])
@pytest.mark.parametrize("size", [(32, 32), (19, 30)])
def test_results_are_those_of_the_package(head: str, size: tuple[int, int]) -> None:
    network, discriminator, one, other = networks(head)
    image, guide = torch.rand(2, 1, *size), torch.rand(2, 1, 32, 32)
    assert close(one.eval()(image, guide), network.eval()(image, guide))
    assert close(one(image), network(image))
    for found, expected in zip(other(guide), discriminator(guide), strict=True):
        assert close(found, expected)


def test_every_loss_term_is_that_of_the_package() -> None:
    network, discriminator, one, other = networks()
    names = ("image", "guide", "clean", "degraded")
    batch = dict(zip(names, torch.rand(4, 2, 1, 32, 32), strict=True))
    loss = EnhancementLoss(2, {**method.WEIGHTS})
    torch.manual_seed(1)
    enhanced = network.enhance_guided(batch["image"], batch["guide"])
    expected = loss(network, discriminator, batch, enhanced) | loss.guidance_terms(network, batch)
    torch.manual_seed(1)
    enhanced = one.enhance_guided(batch["image"], batch["guide"])
    found = method.unpaired_terms(one, other, batch["image"], enhanced)
    found |= method.guidance_terms(one, *(batch[name] for name in names[1:]))
    assert list(found) == list(expected)
    for name, term in found.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-4), name


def test_the_wavelet_loss_is_that_of_the_package() -> None:
    a, b = torch.rand(2, 1, 24, 17), torch.rand(2, 1, 24, 17)
    assert float(method.wavelet_loss(a, b)) == pytest.approx(float(WaveletLoss(2)(a, b)), rel=1e-5)


@pytest.mark.parametrize("bilevel", [False, True], ids=["enhancement", "bi-level"])
def test_twenty_steps_lead_to_the_weights_of_the_package(bilevel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "SSIM_WEIGHT", 0.0)  # MONAI's is in single precision whatever the images are
    network, discriminator, one, other = (n.double() for n in networks())
    lq, hq = items(noisy=True), items(noisy=False)
    degradation = Compose([RandPoorScanner(), CastToType(dtype=torch.float64)])
    data = UnpairedDataset(
        lq, hq, in_double_precision, degradation=degradation, length=2 * STEPS, progress=False, seed=3
    )
    adam = [torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.999)) for n in (network, discriminator)]
    s = unet(act="elu").double()
    task = None
    if bilevel:
        settings = BilevelSettings(warmup_epochs=0, upper_batch_size=2, frozen_task_networks=2, frozen_task_steps=2)
        s_adam = torch.optim.Adam(s.parameters(), 2e-3, (0.0, 0.999))
        task = BilevelTask(s, s_adam, dice(), data, steps_per_epoch=STEPS, epochs=1, settings=settings)
        task.prepare()
    # The loops draw the same numbers: one seed before each, and batches that are drawn beforehand.
    batches = list(DataLoader(data, batch_size=2, sampler=EpochSampler(data)))
    halves: list[Any] = [()] * STEPS
    if task is not None:
        task.start_epoch(1)
        drawn = {part: [task.next_batch(part) for _ in range(STEPS)] for part in ("lower", "upper")}
        halves = [
            ((a["image"], a["label"], a["guide"], a["guide_label"]), (b["image"], b["label"], b["guide"]))
            for a, b in zip(drawn["lower"], drawn["upper"], strict=True)
        ]
        streams = {part: iter(found) for part, found in drawn.items()}
        task.next_batch = lambda part: next(streams[part])  # type: ignore[method-assign]
        task.start_epoch = lambda epoch: None  # type: ignore[method-assign]
    own_s = copied(s, reinitialized(s, 0))
    frozen = tuple(task.frozen_networks.networks) if task is not None and task.frozen_networks is not None else ()

    trainer = EnhancementTrainer(
        "cpu", 1, batches, network, adam[0], discriminator, adam[1],
        EnhancementLoss(2, {**method.WEIGHTS}, restoration=RestorationLoss(2, ssim_weight=0.0)),
        bilevel=task, max_grad_norm=1.0,
    )  # fmt: skip
    trainer.run()

    adam = [torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.999)) for n in (one, other)]
    s_adam = torch.optim.Adam(own_s.parameters(), 2e-3, (0.0, 0.999))
    training = method.Training(one, adam[0], other, adam[1], own_s, s_adam, frozen, dice())
    torch.manual_seed(1)  # as the trainer's first epoch begins
    for batch, labelled in zip(batches, halves, strict=True):
        method.step(training, tuple(batch[name] for name in ("image", "guide", "clean", "degraded")), labelled)

    for found, expected in ((one, network), (other, discriminator), (own_s, s)):
        for a, b in zip(found.parameters(), expected.parameters(), strict=True):
            assert close(a, b)
