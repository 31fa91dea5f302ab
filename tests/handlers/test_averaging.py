# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings

import pytest
import torch
from ignite.engine import Engine
from ignite.handlers import EMAHandler
from torch import nn

from scripts.handlers import NamedEMAHandler


def network(value: float) -> nn.Module:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_a_trainer_can_have_two_averages_of_their_own_momentum() -> None:
    one, two = network(0.0), network(0.0)
    engine = Engine(lambda engine, batch: [nn.init.constant_(module.weight, 1.0) for module in (one, two)])
    slow, fast = EMAHandler(one, momentum=0.1), NamedEMAHandler(two, momentum=0.5, name="second")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slow.attach(engine)
        fast.attach(engine)
        engine.run([0], max_epochs=1)
    averages = [float(torch.as_tensor(handler.ema_model.weight.detach())) for handler in (slow, fast)]
    assert averages == pytest.approx([0.1, 0.5])
