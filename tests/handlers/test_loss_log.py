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
    with caplog.at_level(logging.INFO, "scripts.handlers.loss_log"):
        engine.run([{"kl": 1.0, "identity": 4.0}, {"kl": 2.0}], max_epochs=1)
    assert [record.getMessage() for record in caplog.records] == ["epoch 1/1  kl 1.5000  identity 4.0000"]


@pytest.mark.parametrize(("discriminator", "warnings"), [(0.2, 0), (0.02, 1)])
def test_a_discriminator_that_has_won_is_a_warning(
    discriminator: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(lambda engine, batch: [{"losses": {"discriminator": discriminator}}])
    LossLog().attach(engine)
    engine.run([0, 1], max_epochs=1)
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == warnings
