# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What the parts of :mod:`scripts.experiments.speed` have in common: the machine, the tables, the aims."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ..reports.tables import markdown_table
from .speed_clock import Elapsed, Progress, interleave

__all__ = ["AIMS", "Bench", "Table", "in_own_process"]

AIMS = {
    "training step, demo network, relative to CycleGAN": (0.035, False),
    "training step, paper's size, relative to CycleGAN": (0.25, False),
    "memory of a step, demo network, relative to CycleGAN": (0.25, False),
    "memory of a step, paper's size, relative to CycleGAN": (0.5, False),
    "bi-level step, relative to enhancement alone": (2.5, False),
    "inference, demo network, relative to the 9-block ResNet": (20.0, True),
    "inference, paper's size, relative to the 9-block ResNet": (2.0, True),
    "share of the convolution rate, inference, demo network": (0.6, True),
    "share of the convolution rate, training step, demo network": (0.6, True),
}
"""What was aimed at, by name: the value, and whether more is better."""


@dataclass
class Table:
    """A table of the report.

    Attributes:
        title: heading.
        rows: cells, the heading first.
        notes: sentences below.
    """

    title: str
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return it in Markdown."""
        notes = [f"- {note}" for note in self.notes]
        return [f"## {self.title}", "", *markdown_table(self.rows), "", *notes, *([""] if notes else [])]


@dataclass
class Bench:
    """The settings of a run of the benchmark, and what it has found so far.

    Attributes:
        device: where the networks run.
        threads: of a process.
        quick: whether small sizes and few rounds will do.
        progress: tells how far it has come.
        folder: for files that are needed meanwhile.
        minutes: of the part that runs, as guessed.
        found: what was measured of :data:`AIMS`.
    """

    device: torch.device
    threads: int
    quick: bool
    progress: Progress
    folder: Path
    minutes: float = 1.0
    found: dict[str, list[float]] = field(default_factory=dict)

    @property
    def on_processor(self) -> bool:
        """Whether the networks run on the processor, so that its time says something."""
        return self.device.type == "cpu"

    def measure(self, subjects: Mapping[str, Callable[[], Any]], minutes: float) -> dict[str, list[Elapsed]]:
        """Return the times of what is compared, see :func:`interleave`.

        Args:
            subjects: by name.
            minutes: that it may take.
        """
        return interleave(subjects, 2 if self.quick else 5, 60 * minutes, self.device)

    def seconds(self, elapsed: Elapsed) -> float:
        """Return the time that ratios are made of: of the processor where that is what works, else of the clock."""
        return elapsed.processor if self.on_processor else elapsed.wall

    def find(self, aim: str, value: float) -> None:
        """Note a value that there is an aim for."""
        self.found.setdefault(aim, []).append(value)

    @contextlib.contextmanager
    def job(self, name: str, share: float) -> Iterator[None]:
        """Tell of a job while it runs.

        Args:
            name: what it does.
            share: of the part's time.
        """
        self.progress.begin(name)
        yield
        self.progress.end(share * self.minutes)

    def aims(self) -> Table | None:
        """Return the table of aims and measured values; None when no part measured one."""
        rows = [("what", "aim", "measured", "reached")]
        for name, values in self.found.items():
            limit, more = AIMS[name]
            reached = [value >= limit if more else value <= limit for value in values]
            verdict = "yes" if all(reached) else "no" if not any(reached) else "in part"
            span = sorted({f"{value:.3g}": value for value in values}.items(), key=lambda pair: pair[1])
            measured = " to ".join(dict.fromkeys((span[0][0], span[-1][0])))
            rows.append((name, f"{'≥' if more else '≤'} {limit:g}", measured, verdict))
        return Table("Aims", rows) if self.found else None


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process of its own; None when the process dies.

    Args:
        function: of a module, so that the other process finds it.
        arguments: of the function.
    """
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        # The processes are copies of one that has imported everything and has done nothing.
        context.set_forkserver_preload([function.__module__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(function(*arguments))
