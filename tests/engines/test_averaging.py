# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings

import pytest
import torch
from ignite.engine import Engine
from ignite.handlers import EMAHandler
from torch import nn

from scripts.engines import NamedEMAHandler


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


def test_an_average_begins_with_the_weights_that_training_begins_with() -> None:
    module = network(0.0)
    average = NamedEMAHandler(module, momentum=0.5)
    nn.init.constant_(module.weight, 3.0)  # as where weights are loaded after the handler was made
    engine = Engine(lambda engine, batch: nn.init.constant_(module.weight, 5.0))
    average.attach(engine)
    engine.run([0], max_epochs=1)
    assert float(average.ema_model.weight.detach()) == pytest.approx(4.0)


def test_a_resumed_average_goes_on() -> None:
    module = network(3.0)
    average = NamedEMAHandler(module, momentum=0.5)
    nn.init.constant_(average.ema_model.weight, 1.0)
    engine = Engine(lambda engine, batch: None)
    average.attach(engine)
    engine.load_state_dict({"iteration": 1, "max_epochs": 2, "epoch_length": 1})
    engine.run([0])
    assert float(average.ema_model.weight.detach()) == pytest.approx(2.0)
