# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Times of things that are compared, and how long a measurement will still take."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

__all__ = ["Elapsed", "Progress", "elapsed", "interleave", "median", "median_ratio", "wait_for"]


class Elapsed(NamedTuple):
    """What something took.

    Attributes:
        wall: time, in s.
        processor: time of all threads of this process together, in s.
    """

    wall: float
    processor: float


Times = Sequence[Elapsed]
Key = TypeVar("Key", bound=Hashable)


def interleave(
    subjects: Mapping[Key, Callable[[], Any]],
    rounds: int,
    budget: float = math.inf,
    device: torch.device | None = None,
    warm_up: int = 1,
) -> dict[Key, list[Elapsed]]:
    """Measure several things in turn, so that what else the machine does meets all of them alike.

    The first rounds warm up and do not count.

    Args:
        subjects: what to run, by name.
        rounds: how many times each is measured.
        budget: of wall time, in s: when another round would not fit, no more than two are measured. Defaults to none.
        device: which has to be done before the clock stops. Defaults to None: the processor.
        warm_up: number of rounds that do not count. Defaults to 1.

    Returns:
        The times of each round by name.
    """
    begin = time.perf_counter()
    first = 0.0
    for _ in range(warm_up):
        first = sum(elapsed(run, device).wall for run in subjects.values())
    times: dict[Key, list[Elapsed]] = {name: [] for name in subjects}
    for done in range(rounds):
        if done >= 2 and time.perf_counter() - begin + first > budget:
            break
        for name, run in subjects.items():
            times[name].append(elapsed(run, device))
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


def elapsed(run: Callable[[], Any], device: torch.device | None) -> Elapsed:
    """Return how long something takes, until the device has done it."""
    wait_for(device)
    wall, processor = time.perf_counter(), time.process_time()
    run()
    wait_for(device)
    return Elapsed(time.perf_counter() - wall, time.process_time() - processor)


def wait_for(device: torch.device | None) -> None:
    """Wait until a GPU has done what it was asked to; a processor has."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
