# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from scripts.engines import Adam, cosine_decay


def weights_after_steps(kind: type[torch.optim.Optimizer]) -> torch.Tensor:
    """Six steps under a falling rate, and a new optimiser with the state of the old one in the middle."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3)
    optimizer = kind(layer.parameters(), lr=0.1, betas=(0.5, 0.999))  # type: ignore[call-arg]
    for part in range(2):
        schedule = cosine_decay(optimizer, 3)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            layer(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
            schedule.step()
        if part == 0:
            state = optimizer.state_dict()
            optimizer = kind(layer.parameters())  # type: ignore[call-arg]
            optimizer.load_state_dict(state)
    return layer.weight.detach()


def test_adam_is_that_of_pytorch() -> None:
    assert torch.equal(weights_after_steps(Adam), weights_after_steps(torch.optim.Adam))


def test_adam_records_no_graph_and_returns_the_loss() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([weight])

    def loss() -> torch.Tensor:
        value = weight.sum()
        value.backward()
        return value

    assert optimizer.step(loss) == 2.0
    assert weight.is_leaf
    assert weight.requires_grad
