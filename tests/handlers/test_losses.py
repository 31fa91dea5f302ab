# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
from ignite.engine import Engine

from scripts.handlers import LossLog


def test_every_term_is_logged_with_its_mean_over_the_iterations_that_have_it(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(lambda engine, batch: [{"losses": batch}])
    LossLog().attach(engine)
    with caplog.at_level(logging.INFO, "scripts.handlers.losses"):
        engine.run([{"kl": 1.0, "identity": 4.0}, {"kl": 2.0}], max_epochs=1)
    assert [record.getMessage() for record in caplog.records] == ["epoch 1/1  kl 1.5000  identity 4.0000"]
