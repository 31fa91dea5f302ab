# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ignite.engine import Engine, Events

from scripts.errors import InputError
from scripts.handlers import EarlyStop, PauseAfter


def test_training_pauses_after_the_epoch() -> None:
    engine = Engine(lambda engine, batch: None)
    PauseAfter(2).attach(engine)
    assert engine.run([0], max_epochs=5).epoch == 2


def test_a_pause_before_the_first_epoch_is_refused() -> None:
    with pytest.raises(InputError, match="1 or more, not 0"):
        PauseAfter(0)


def epochs_until_stopped(stop: EarlyStop) -> int:
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    stop.attach(evaluator)
    stop.set_trainer(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([0], max_epochs=10)
    return trainer.state.epoch


@pytest.mark.parametrize(("after_epoch", "stopped"), [(0, 3), (4, 7)])
def test_evaluations_without_a_better_score_stop_training_once_they_count(after_epoch: int, stopped: int) -> None:
    assert epochs_until_stopped(EarlyStop(2, after_epoch, score_function=lambda engine: 0.5)) == stopped


def test_resumed_training_remembers_how_long_nothing_got_better() -> None:
    first, resumed = (EarlyStop(2, score_function=lambda engine: 0.5) for _ in range(2))
    trainer = Engine(lambda engine, batch: None)
    trainer.state.epoch = 1
    for stop in (first, resumed):
        stop.set_trainer(trainer)
    for _ in range(2):
        first(Engine(lambda engine, batch: None))
    resumed.load_state_dict(first.state_dict())
    assert resumed.state_dict()["counter"] == 1
    assert resumed.state_dict()["best_score"] == 0.5


def test_a_score_that_gets_better_goes_on() -> None:
    score = iter(range(20))
    assert epochs_until_stopped(EarlyStop(2, score_function=lambda engine: next(score))) == 10
