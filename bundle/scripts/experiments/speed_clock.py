# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Times of things that are compared, and how long a measurement will still take."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

__all__ = ["Elapsed", "Progress", "interleave", "median", "median_ratio"]


class Elapsed(NamedTuple):
    """What something took.

    Attributes:
        wall: time, in s.
        processor: time of all threads of this process together, in s.
    """

    wall: float
    processor: float


Times = Sequence[Elapsed]


def interleave(
    subjects: Mapping[str, Callable[[], Any]], rounds: int, budget: float, device: torch.device | None = None
) -> dict[str, list[Elapsed]]:
    """Measure several things in turn, so that what else the machine does meets all of them alike.

    A first round warms up and does not count.

    Args:
        subjects: what to run, by name.
        rounds: how many times each is measured.
        budget: of wall time, in s: when another round would not fit, no more than two are measured.
        device: which has to be done before the clock stops. Defaults to None: the processor.

    Returns:
        The times of each round by name.
    """
    begin = time.perf_counter()
    for run in subjects.values():
        run()
    first = time.perf_counter() - begin
    times: dict[str, list[Elapsed]] = {name: [] for name in subjects}
    for done in range(rounds):
        if done >= 2 and time.perf_counter() - begin + first > budget:
            break
        for name, run in subjects.items():
            times[name].append(_elapsed(run, device))
    return times


def median(times: Times) -> Elapsed:
    """Return the median of either time."""
    return Elapsed(*(statistics.median(column) for column in zip(*times, strict=True)))


def median_ratio(times: Times, reference: Times) -> Elapsed:
    """Return the median over the rounds of the ratio within a round, of either time."""
    ratios = [[a / b for a, b in zip(one, other, strict=True)] for one, other in zip(times, reference, strict=True)]
    return Elapsed(*(statistics.median(column) for column in zip(*ratios, strict=True)))


class Progress:
    """Lines on standard error that say how far a measurement has come.

    Args:
        total: sum of the weights of all jobs. A weight is a rough guess at the job's time, in any unit.
    """

    def __init__(self, total: float) -> None:
        self.total = total
        self.done = 0.0
        self._begin = time.perf_counter()

    def begin(self, name: str) -> None:
        """Say what comes next, how much time has gone and, from the second job on, how much is left."""
        gone = time.perf_counter() - self._begin
        left = f", about {_minutes(gone / self.done * (self.total - self.done))} left" if self.done else ""
        print(f"[{_minutes(gone)} gone{left}] {name}", file=sys.stderr, flush=True)

    def end(self, weight: float) -> None:
        """Count a job as done."""
        self.done += weight


def _elapsed(run: Callable[[], Any], device: torch.device | None) -> Elapsed:
    _wait_for(device)
    wall, processor = time.perf_counter(), time.process_time()
    run()
    _wait_for(device)
    return Elapsed(time.perf_counter() - wall, time.process_time() - processor)


def _wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
