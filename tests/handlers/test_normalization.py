# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from torch import nn

from scripts.engines import NamedEMAHandler
from scripts.handlers import BatchNormUpdate


class Brighter(nn.Module):
    """Adds one, and something random while it is training."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images + 1 + (torch.rand(1) if self.training else 0)


def classifier(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 1), norm, nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def batches() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [{"image": torch.rand(4, 1, 8, 8, generator=generator)} for _ in range(3)]


def test_statistics_are_those_of_enhanced_images_under_the_network_s_own_weights() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.1)
    network, enhancer = classifier(norm), Brighter()
    nn.init.constant_(norm.running_mean, 7.0)  # as of other weights

    BatchNormUpdate(network, enhancer, batches()).update()

    features = network[0](torch.cat([batch["image"] for batch in batches()]) + 1).detach()
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)))
    # Batches are of one size, so the mean of their variances misses what their means differ by.
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in features.split(4)])
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.momentum == 0.1


@pytest.mark.parametrize("training", [True, False])
def test_modes_weights_and_the_random_state_stay(training: bool) -> None:
    network, enhancer = classifier(nn.BatchNorm2d(3)).train(training), Brighter().train(training)
    weights = [weight.detach().clone() for weight in network.parameters()]
    # It draws a seed when it starts.
    loader = DataLoader([{"image": batch["image"][0]} for batch in batches()], batch_size=1)
    state = torch.get_rng_state()

    BatchNormUpdate(network, enhancer, loader).update()

    assert (network.training, enhancer.training) == (training, training)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*pair) for pair in zip(weights, network.parameters(), strict=True))


def test_the_network_that_learns_keeps_its_own_statistics() -> None:
    learner = classifier(nn.BatchNorm2d(3))
    average = NamedEMAHandler(learner, momentum=0.5, handle_buffers="copy")
    engine = Engine(lambda engine, batch: learner(batch["image"]))
    average.attach(engine)
    learnt: list[torch.Tensor] = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: learnt.append(learner[1].running_mean.clone()))
    BatchNormUpdate(average.ema_model, Brighter(), batches()).attach(engine)
    engine.run(batches(), max_epochs=1)
    assert torch.equal(learner[1].running_mean, learnt[0])
    assert not torch.equal(average.ema_model[1].running_mean, learnt[0])


def test_nothing_is_enhanced_for_a_network_without_batch_normalisation() -> None:
    enhancer = Brighter()
    BatchNormUpdate(classifier(nn.InstanceNorm2d(3)), enhancer, batches()).update()
    assert enhancer.calls == 0
