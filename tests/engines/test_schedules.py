# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from scripts.engines import cosine_decay


def rates(scheduler: LRScheduler, epochs: int) -> list[float]:
    seen = []
    for _ in range(epochs):
        seen.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def optimizer(*rates_of_groups: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates_of_groups])


def test_it_is_pytorchs_cosine_for_one_group() -> None:
    theirs = rates(CosineAnnealingLR(optimizer(0.3), T_max=7, eta_min=0.03), 7)
    assert rates(cosine_decay(optimizer(0.3), 7), 7) == pytest.approx(theirs)


def test_rates_fall_after_the_constant_epochs_as_a_shorter_training_does() -> None:
    waiting = rates(cosine_decay(optimizer(0.3), epochs=9, constant_epochs=2), 9)
    assert waiting == [0.3, 0.3, *rates(cosine_decay(optimizer(0.3), epochs=7), 7)]


def test_a_constant_group_keeps_its_rate() -> None:
    both = optimizer(0.3, 0.02)
    rates(cosine_decay(both, 5, constant_groups=[1]), 5)
    assert [group["lr"] for group in both.param_groups] == pytest.approx([0.03, 0.02])


def test_an_optimiser_that_joins_later_is_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cosine_decay(optimizer(0.3), epochs=4, constant_epochs=2).step()
