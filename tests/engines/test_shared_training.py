# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A training that several processes share equals that of one process with the batches of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import PatchDiscriminator
from tests.several_processes import in_processes
from torch.utils.data import DataLoader

from scripts import processes
from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import EnhancementTrainer
from scripts.losses import SharedEnhancementLoss
from scripts.networks import HQGNet

Step = tuple[dict[str, torch.Tensor], dict[str, float]]


def dataset() -> UnpairedDataset:
    generator = torch.Generator().manual_seed(0)
    lq, hq = (
        [
            {
                "image": torch.rand(1, 32, 32, generator=generator, dtype=torch.float64),
                "patient": f"{domain}{number // 2}",
            }
            for number in range(4)
        ]
        for domain in ("lq", "hq")
    )
    return UnpairedDataset(
        lq, hq, lambda item: item, length=12, progress=False, degradation=lambda image: (0.6 * image + 0.1).clone()
    )


def steps(batch_size: int, unpaired_images: int, **loss: Any) -> list[Step]:
    """Train for two steps in double precision; return gradients and losses of each."""
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5).double()
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE").double()
    # The noise of a cue is each process's own; its mean is the same.
    network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]
    data = dataset()
    engine = EnhancementTrainer(
        device="cpu",
        max_epochs=2,
        epoch_length=1,
        train_data_loader=DataLoader(data, batch_size=batch_size, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 1e-2),
        discriminator=discriminator,
        d_optimizer=torch.optim.SGD(discriminator.parameters(), 1e-2),
        loss_function=SharedEnhancementLoss(2, **loss).double(),
        restoration_epochs=1,
        unpaired_images=unpaired_images,
        r1_weight=0.1,
        max_grad_norm=0.5,
    )
    found: list[Step] = []

    def keep() -> None:
        networks = {"network": network, "discriminator": discriminator}
        gradients = {
            f"{name}.{key}": weight.grad.clone()
            for name, part in networks.items()
            for key, weight in part.named_parameters()
            if weight.grad is not None
        }
        found.append((gradients, engine.state.output[0]["losses"]))

    engine.add_event_handler(Events.ITERATION_COMPLETED, keep)
    engine.run()
    return found


@pytest.mark.parametrize("number", [2, 3])
def test_gradients_equal_those_of_one_process_with_the_batches_of_all(number: int) -> None:
    settings: dict[str, Any] = {"weights": {"kl": 0.1}, "kl_free_nats": 0.02}
    alone = steps(2 * number, number, **settings)
    together = in_processes(lambda: steps(2, 1, **settings), number)
    for process in together:
        for (gradients, losses), (expected, expected_losses) in zip(process, alone, strict=True):
            assert gradients.keys() == expected.keys()
            for name, gradient in gradients.items():
                # MONAI's SSIM rounds to float32.
                error = float((gradient - expected[name]).abs().max())
                assert error <= 1e-6 * max(1.0, float(expected[name].abs().max())), (name, error)
            assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert alone[1][1]["style"] > 0
    # The discriminator rests in the first epoch, and learns in the second.
    assert any(name.startswith("discriminator") for name in alone[1][0])
    assert not any(name.startswith("discriminator") for name in alone[0][0])


def test_every_process_begins_with_the_weights_of_the_first() -> None:
    def begin() -> list[torch.Tensor]:
        from scripts.engines.shared_gradients import share_weights

        network = torch.nn.BatchNorm1d(3)
        torch.nn.init.constant_(network.weight, float(processes.rank()))
        network.num_batches_tracked += processes.rank()
        share_weights(network)
        return [network.weight.detach(), network.num_batches_tracked]

    for weight, batches in in_processes(begin):
        assert weight.tolist() == [0.0] * 3
        assert int(batches) == 0


def test_a_weight_that_only_one_process_has_a_gradient_of_counts_as_zero_elsewhere() -> None:
    def averaged() -> list[Any]:
        from scripts.engines.shared_gradients import average_gradients

        weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        if processes.is_first():
            weights[0].grad = torch.tensor([2.0, 4.0])
        average_gradients(weights)
        return [None if weight.grad is None else weight.grad.tolist() for weight in weights]

    assert in_processes(averaged) == [[[1.0, 2.0], None]] * 2
