# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A training that several processes share equals that of one process with the batches of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engines.shared_steps import Step, assert_equal_to_one, train_two_steps
from tests.several_processes import in_processes

from scripts import processes
from scripts.data import UnpairedDataset


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
    return train_two_steps(
        dataset(),
        batch_size,
        (4, 6, 8),
        loss=loss,
        restoration_epochs=1,
        unpaired_images=unpaired_images,
        r1_weight=0.1,
    )


@pytest.mark.parametrize("number", [2, 3])
def test_gradients_equal_those_of_one_process_with_the_batches_of_all(number: int) -> None:
    settings: dict[str, Any] = {"weights": {"kl": 0.1}, "kl_free_nats": 0.02}
    alone = steps(2 * number, number, **settings)
    assert_equal_to_one(in_processes(lambda: steps(2, 1, **settings), number), alone)
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
