# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from scripts.errors import InputError
from scripts.experiments import step_cost as module
from scripts.experiments.step_cost import StepCost, peak_memory


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that moves by what is slept, so that no test depends on how busy the machine is."""
    now = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now, process_time=lambda: 2 * now))
    return pass_time


def trainer(sleep: Callable[[float], None], cost: StepCost) -> Engine:
    """An engine whose batches are the seconds that its iterations take."""
    engine = Engine(lambda engine, seconds: sleep(seconds))
    cost.attach(engine)
    return engine


def measured(sleep: Callable[[float], None], durations: Sequence[float], **arguments: Any) -> StepCost:
    cost = StepCost(**arguments)
    trainer(sleep, cost).run(durations)
    return cost


def test_seconds_are_the_median_after_the_first_steps(sleep: Callable[[float], None]) -> None:
    assert measured(sleep, [60.0, 50.0, 3.0, 1.0, 10.0]).seconds == pytest.approx(3.0)


def test_processor_seconds_are_measured_beside(sleep: Callable[[float], None]) -> None:
    assert measured(sleep, [60.0, 50.0, 3.0, 1.0, 10.0]).processor_seconds == pytest.approx(6.0)


def test_number_of_steps_left_out_can_be_chosen(sleep: Callable[[float], None]) -> None:
    assert measured(sleep, [60.0, 3.0], skip=0).seconds == pytest.approx(31.5)


@pytest.mark.parametrize(
    "event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.GET_BATCH_STARTED, Events.EPOCH_COMPLETED]
)
def test_other_handlers_and_loading_do_not_count(sleep: Callable[[float], None], event: Events) -> None:
    cost = StepCost()
    engine = trainer(sleep, cost)
    engine.add_event_handler(event, lambda: sleep(100.0))
    engine.run([1.0] * 4, max_epochs=2)
    assert cost.seconds == pytest.approx(1.0)


def test_steps_are_left_out_at_the_start_of_a_resumed_run_too(sleep: Callable[[float], None]) -> None:
    cost = StepCost()
    engine = trainer(sleep, cost)
    engine.load_state_dict({"iteration": 4, "epoch_length": 4, "max_epochs": 2})
    engine.run([60.0, 50.0, 1.0, 2.0])
    assert cost.seconds == pytest.approx(1.5)


def test_another_run_is_measured_anew(sleep: Callable[[float], None]) -> None:
    cost = StepCost()
    engine = trainer(sleep, cost)
    engine.run([1.0] * 5)
    engine.run([60.0, 50.0, 3.0])
    assert cost.seconds == pytest.approx(3.0)


def test_one_line_is_logged(
    sleep: Callable[[float], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "peak_memory", lambda device: int(2.1 * 2**30))
    with caplog.at_level(logging.INFO, module.__name__):
        measured(sleep, [9.0, 9.0, 0.57, 0.57])
    assert caplog.messages == ["0.57 s per step (median of 2), peak memory 2.1 GiB"]


def test_run_without_a_measured_step_says_so(
    sleep: Callable[[float], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "peak_memory", lambda device: None)
    with caplog.at_level(logging.INFO, module.__name__):
        cost = measured(sleep, [1.0])
    assert cost.seconds is None
    assert caplog.messages == ["no step measured: the run had 1, and the first 2 do not count"]


def test_figures_are_written(sleep: Callable[[float], None], tmp_path: Path) -> None:
    file = tmp_path / "new" / "unrolled.json"
    cost = measured(sleep, [9.0, 9.0, 1.0, 1.0, 1.0], output_file=file)
    assert json.loads(file.read_text()) == {
        "seconds": pytest.approx(1.0),
        "processor_seconds": pytest.approx(2.0),
        "steps": 3,
        "peak_bytes": cost.peak_bytes,
        "device": "cpu",
    }


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the oracle is Linux's")
def test_peak_memory_of_the_process_is_what_the_system_says() -> None:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kibibytes = int(lines["VmHWM"].split()[0])
    # Not equal: Linux counts pages per thread, and what the program was started from.
    assert peak_memory(torch.device("cpu")) == pytest.approx(1024 * kibibytes, rel=0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
@pytest.mark.parametrize(("platform", "expected"), [("linux", 3 * 1024), ("darwin", 3), ("win32", None)])
def test_unit_of_the_peak_is_the_platforms(
    monkeypatch: pytest.MonkeyPatch, platform: str, expected: int | None
) -> None:
    monkeypatch.setattr(module.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setattr(module, "sys", SimpleNamespace(platform=platform))
    assert peak_memory(torch.device("cpu")) == expected


def test_on_cuda_the_devices_own_peak_counts_and_its_clock_waits(
    sleep: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(("wait", device)))
    cost = StepCost(skip=0)
    engine = trainer(sleep, cost)
    engine.state.device = device
    engine.run([1.0])
    assert calls == [("reset", device), ("wait", device), ("wait", device)]
    assert cost.peak_bytes == 7


def test_real_clock_runs() -> None:
    cost = StepCost(skip=0)
    engine = Engine(lambda engine, seconds: time.sleep(seconds))
    cost.attach(engine)
    engine.run([0.01])
    assert cost.seconds is not None
    assert cost.seconds >= 0.01


def test_negative_skip_is_refused() -> None:
    with pytest.raises(InputError, match="skip"):
        StepCost(skip=-1)
