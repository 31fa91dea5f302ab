# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Steps of a training in double precision, and the comparison of several processes with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import PatchDiscriminator
from torch.utils.data import DataLoader

from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import BilevelTask, EnhancementTrainer
from scripts.losses import SharedEnhancementLoss
from scripts.networks import HQGNet

Step = tuple[dict[str, torch.Tensor], dict[str, float]]


def train_two_steps(
    data: UnpairedDataset,
    batch_size: int,
    channels: tuple[int, ...],
    bilevel: BilevelTask | None = None,
    loss: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Step]:
    """Train for two steps in double precision; return gradients, averaged weights of S, and losses of each."""
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=channels, guidance_channels=(4, 6), cue_channels=5).double()
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE").double()
    # The noise of a cue is each process's own; its mean is the same.
    network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]
    engine = EnhancementTrainer(
        device="cpu",
        max_epochs=2,
        epoch_length=1,
        train_data_loader=DataLoader(data, batch_size=batch_size, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 1e-2),
        discriminator=discriminator,
        d_optimizer=torch.optim.SGD(discriminator.parameters(), 1e-2),
        loss_function=SharedEnhancementLoss(2, **(loss or {})).double(),
        bilevel=bilevel,
        max_grad_norm=0.5,
        **settings,
    )
    networks = {"network": network, "discriminator": discriminator}
    if bilevel is not None:
        networks["downstream"] = bilevel.network
    found: list[Step] = []

    def keep() -> None:
        tensors = {
            f"{name}.{key}": weight.grad.clone()
            for name, part in networks.items()
            for key, weight in part.named_parameters()
            if weight.grad is not None
        }
        if bilevel is not None:
            tensors |= {f"average.{key}": value.clone() for key, value in bilevel.ema_network.state_dict().items()}
        found.append((tensors, engine.state.output[0]["losses"]))

    engine.add_event_handler(Events.ITERATION_COMPLETED, keep)
    engine.run()
    return found


def assert_equal_to_one(together: list[list[Step]], alone: list[Step]) -> None:
    """Compare the steps of every process with those of one process that has the batches of all."""
    for process in together:
        for (gradients, losses), (expected, expected_losses) in zip(process, alone, strict=True):
            assert gradients.keys() == expected.keys()
            for name, gradient in gradients.items():
                # MONAI's SSIM rounds to float32.
                error = float((gradient - expected[name]).abs().max())
                assert error <= 1e-6 * max(1.0, float(expected[name].abs().max())), (name, error)
            assert losses == pytest.approx(expected_losses, rel=1e-5)
