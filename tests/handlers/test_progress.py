# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from ignite.engine import Engine, Events

from scripts.handlers import TrainingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def trained(epochs: int, resumed_after: int = 0) -> Engine:
    engine = Engine(
        lambda engine, batch: logging.getLogger("here").warning("told") if engine.state.epoch == 2 else None
    )
    TrainingProgress().attach(engine)
    if resumed_after:
        engine.load_state_dict({"epoch": resumed_after, "epoch_length": 3, "max_epochs": epochs})
    engine.run([0, 1, 2], max_epochs=epochs)
    return engine


def test_a_terminal_shows_one_bar_of_all_steps_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    trained(4)
    assert screen.getvalue().replace("told\n", "").count("\n") == 1  # of the bar that stays
    last = screen.getvalue().split("\r")[-1]
    assert re.search(r"training \[4/4\]: 100%.* 12/12 \[\d+:\d+<\d+:\d+, .*(step/s|s/step)\]", last)


def test_the_log_goes_on_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    console = logging.StreamHandler(screen)
    handlers = logging.getLogger().handlers
    monkeypatch.setattr(logging.getLogger(), "handlers", [console])
    trained(2)
    assert "told\n" in re.sub(r".*\r", "", screen.getvalue())  # at the beginning of a line
    assert logging.getLogger().handlers == [console]
    assert handlers != [console]


def test_a_resumed_training_begins_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    trained(4, resumed_after=3)
    assert " 9/12 " in screen.getvalue().split("\r")[1]


def test_a_log_file_gets_a_line_an_epoch_and_no_carriage_return(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "scripts.handlers.progress"):
        trained(2)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert [re.sub(r"[\d.e+]+ steps", "R steps", re.sub(r"\d+:\d+", "T", line)) for line in lines] == [
        "epoch 1/2 took T, R steps/s; T left",
        "epoch 2/2 took T, R steps/s; T left",
    ]
    assert "\r" not in capsys.readouterr().err


def test_the_time_left_is_that_of_the_epochs_to_come(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr("scripts.handlers.progress.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "scripts.handlers.progress"):
        trained(3)
    assert "epoch 1/3 took 01:00, 0.05 steps/s; 02:00 left" in caplog.text


def test_it_takes_part_in_nothing_else() -> None:
    assert trained(1).has_event_handler(Events.EXCEPTION_RAISED) is False
