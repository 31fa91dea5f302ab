# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Small trainings for the tests of both levels: bright squares, a tiny enhancer and a tiny S."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.losses import DiceCELoss
from monai.networks.nets import PatchDiscriminator, UNet
from torch import nn
from torch.utils.data import DataLoader

from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import BilevelSettings, BilevelTask, EnhancementTrainer
from scripts.networks import HQGNet
from scripts.transforms import RandScannerDegradation

STEPS = 3


def items(noisy: bool, number: int = 4, labelled: bool = True) -> list[dict[str, Any]]:
    """Bright squares at their own places: dark and noisy as LQ, clean as HQ; the label is the square."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(number):
        image, label = torch.full((1, 32, 32), 0.1), torch.zeros(1, 32, 32)
        place = (0, slice(4 + index, 16 + index), slice(8, 20))
        image[place], label[place] = 0.5 if noisy else 0.9, 1.0
        image += 0.1 * torch.rand(1, 32, 32, generator=generator) if noisy else 0.0
        found.append({"image": image, "patient": f"{noisy}{index}", **({"label": label} if labelled else {})})
    return found


def unet(norm: str = "instance", dropout: float = 0.0, act: str = "prelu") -> UNet:
    return UNet(2, 1, 2, (4, 8), (2,), norm=norm, dropout=dropout, act=act)


def dice() -> DiceCELoss:
    return DiceCELoss(to_onehot_y=True, softmax=True)


def data_set(hq_labels: bool = True) -> UnpairedDataset:
    return UnpairedDataset(
        items(noisy=True),
        items(noisy=False, labelled=hq_labels),
        lambda item: item,
        length=2 * STEPS,
        progress=False,
        degradation=RandScannerDegradation(),
    )


def task(
    network: nn.Module | None = None,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    hq_labels: bool = True,
    feature_layers: Sequence[str] = (),
    **settings: Any,
) -> BilevelTask:
    """S and its data; without frozen networks and after one epoch of warm-up, unless ``settings`` say otherwise."""
    torch.manual_seed(1)
    network = unet() if network is None else network
    given = {"frozen_task_networks": 0, "frozen_task_steps": 3, "upper_batch_size": 2, "warmup_epochs": 1, **settings}
    return BilevelTask(
        network,
        make_optimizer(network.parameters(), lr=1e-2),
        dice(),
        data_set(hq_labels),
        steps_per_epoch=STEPS,
        epochs=20,
        settings=BilevelSettings(**given),
        feature_layers=feature_layers,
    )


def trainer(bilevel: BilevelTask | None, **arguments: Any) -> EnhancementTrainer:
    data = data_set()
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5)
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
    return EnhancementTrainer(
        device="cpu",
        train_data_loader=DataLoader(data, batch_size=2, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 2e-3),
        discriminator=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), 2e-3),
        bilevel=bilevel,
        **{"max_epochs": 2, **arguments},
    )


def losses_of(engine: EnhancementTrainer) -> list[dict[str, float]]:
    """Run, and return the losses of every iteration."""
    seen: list[dict[str, float]] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.output[0]["losses"]))
    engine.run()
    return seen


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten().clone() for value in network.state_dict().values()])
