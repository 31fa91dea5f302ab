# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Bi-level learning that several processes share equals that of one process with the batches of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from tests.engines.bilevel_cases import dice, items, unet
from tests.engines.shared_steps import Step, assert_equal_to_one, train_two_steps
from tests.several_processes import in_processes

from scripts import processes
from scripts.data import UnpairedDataset
from scripts.engines import (
    HYPERGRADIENTS,
    BilevelSettings,
    BilevelTask,
    FrozenTaskNetworks,
    bilevel_task,
)
from scripts.engines.shared_batch_norm import SharedBatchNorm, share_batch_statistics
from scripts.engines.shared_gradients import average_gradients
from scripts.handlers import BatchNormUpdate


def dataset() -> UnpairedDataset:
    def in_double(noisy: bool) -> list[dict[str, Any]]:
        return [
            {key: value.double() if torch.is_tensor(value) else value for key, value in item.items()}
            for item in items(noisy)
        ]

    return UnpairedDataset(
        in_double(noisy=True),
        in_double(noisy=False),
        lambda item: item,
        length=12,
        progress=False,
        degradation=lambda image: (0.6 * image + 0.1).clone(),
    )


def bilevel(data: UnpairedDataset, batch_size: int, norm: str = "instance", **settings: Any) -> BilevelTask:
    torch.manual_seed(1)
    network = UNet(2, 1, 2, (3, 4), (2,), norm=norm, act="ELU").double()
    given = {"warmup_epochs": 0, "frozen_task_networks": 1, "frozen_task_steps": 1, "frozen_task_batch_size": 1}
    return BilevelTask(
        network,
        torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.0, 0.999)),
        dice(),
        data,
        steps_per_epoch=1,
        epochs=2,
        settings=BilevelSettings(
            **{**given, "lower_batch_size": batch_size, "upper_batch_size": batch_size, **settings}
        ),
        feature_layers=("model.0",),
    )


def steps(batch_size: int, **settings: Any) -> list[Step]:
    data = dataset()
    return train_two_steps(data, batch_size, (4, 6), bilevel(data, batch_size, **settings))


def compare(number: int, **settings: Any) -> list[Step]:
    """Compare processes with batches of one with one process that has the batches of all, which is returned."""
    alone = steps(number, **settings)
    assert_equal_to_one(in_processes(lambda: steps(1, **settings), number), alone)
    return alone


def test_gradients_equal_those_of_one_process_with_the_batches_of_all() -> None:
    alone = compare(2, hypergradient="unrolled")
    assert {"task", "frozen_task", "downstream", "response"} <= alone[1][1].keys()


@pytest.mark.slow
@pytest.mark.parametrize("hypergradient", HYPERGRADIENTS)
def test_every_hypergradient_equals_that_of_one_process(hypergradient: str) -> None:
    alone = compare(3, hypergradient=hypergradient, neumann_step_size=1e-3, inner_steps=2)
    assert ("response" in alone[1][1]) == (hypergradient not in ("none", "first_order"))


@pytest.mark.slow
def test_the_warm_up_by_frozen_networks_equals_that_of_one_process() -> None:
    alone = compare(2, warmup_epochs=1, warmup_objective="frozen_task", frozen_task_networks=2)
    assert "frozen_task" in alone[0][1]
    assert "adversarial" not in alone[0][1]


def test_each_process_teaches_its_share_of_the_frozen_networks() -> None:
    def taught() -> list[Any]:
        torch.manual_seed(0)
        frozen = FrozenTaskNetworks(unet(), dice(), items(noisy=False), number=3, steps=2, batch_size=1)
        own: list[int] = []
        teach = frozen._teach
        frozen._teach = lambda place: (own.append(place), teach(place))[1]  # type: ignore[method-assign]
        frozen.learn()
        return [own, {name: value.clone() for name, value in frozen.state_dict().items()}]

    own, alone = taught()
    assert own == [0, 1, 2]
    (first, states), (second, others) = in_processes(taught)
    assert (first, second) == ([0, 2], [1])
    for shared in (states, others):
        assert [name for name in alone if not torch.equal(alone[name], shared[name])] == []


def normalised(batch_size: int) -> dict[str, torch.Tensor]:
    """Take two training steps with batch normalisation by this process's share of six images; return what changes."""
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3, momentum=None).double()
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3).double(), norm)
    share_batch_statistics(network)
    assert isinstance(network[1], SharedBatchNorm) == (batch_size < 6)
    assert network[1].weight is norm.weight
    images = torch.rand(6, 1, 5, 5, dtype=torch.float64)[processes.rank() :: 6 // batch_size].clone().requires_grad_()
    for _ in range(2):
        network(images).square().mul(images[:, :, 1:-1, 1:-1]).mean().backward()
    average_gradients(network.parameters())
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert images.grad is not None
    found = {
        **network.state_dict(),
        **{f"{name}.grad": value for name, value in gradients.items() if value is not None},
    }
    found["images"] = images.grad * batch_size / 6
    network.eval()
    found["evaluated"] = network(images)
    return {name: value.detach() for name, value in found.items()}


def test_batch_normalisation_sees_the_images_of_all_processes() -> None:
    alone = normalised(6)
    for rank, shared in enumerate(in_processes(lambda: normalised(3))):
        for name, value in alone.items():
            expected = value[rank::2] if name in ("images", "evaluated") else value
            assert torch.allclose(shared[name], expected, rtol=1e-9, atol=1e-12), name


@pytest.mark.slow
@pytest.mark.parametrize("hypergradient", ["none", "first_order"])
def test_a_network_with_batch_normalisation_equals_that_of_one_process(hypergradient: str) -> None:
    compare(2, hypergradient=hypergradient, norm="batch")


def test_the_statistics_of_averaged_weights_are_estimated_on_the_batches_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bilevel_task, "_BATCH_NORM_BATCHES", 3)

    def estimated(batch_size: int) -> dict[str, torch.Tensor]:
        task = bilevel(dataset(), batch_size, norm="batch", frozen_task_networks=0)
        task.ema_network.float()
        BatchNormUpdate(task.ema_network, torch.nn.Identity(), task.batch_norm_batches).update()
        return {name: value.clone() for name, value in task.ema_network.state_dict().items()}

    alone = estimated(2)
    for shared in in_processes(lambda: estimated(1)):
        assert alone.keys() == shared.keys()
        for name, value in alone.items():
            assert torch.allclose(shared[name], value, atol=1e-6), name


def test_every_process_begins_with_the_downstream_network_of_the_first() -> None:
    def begun() -> torch.Tensor:
        task = bilevel(dataset(), 1, frozen_task_networks=0)
        with torch.no_grad():
            for weight in task.network.parameters():
                weight.fill_(processes.rank())
        task.prepare()
        return torch.cat([weight.detach().flatten() for weight in task.network.parameters()])

    for weights in in_processes(begun):
        assert not weights.any()
