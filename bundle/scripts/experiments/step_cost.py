# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a step of training."""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from .speed_clock import wait_for

if sys.platform != "win32":  # which has no such module
    import resource

__all__ = ["StepCost", "peak_memory"]

logger = logging.getLogger(__name__)


def peak_memory(device: torch.device) -> int | None:
    """Return the greatest memory that was taken so far, in bytes.

    On CUDA it is that of tensors on the device; elsewhere the resident memory of this process, libraries and images
    in memory included, and None on Windows.

    Args:
        device: where the tensors are.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB elsewhere


class StepCost:
    """Ignite handler for the trainer: measure the time of a step and the peak memory of training.

    A step is the trainer's iteration alone, without the loading of its batch and without what other handlers do; what
    the trainer itself loads within an iteration counts. The figures of a run are logged when it ends.

    Peak memory is :func:`peak_memory`. On CUDA the device's peak is reset when the run starts; of a process there is
    no reset, so on the CPU each run that is to be compared needs a process of its own.

    Args:
        output_file: JSON file to write, with ``"seconds"``, ``"processor_seconds"`` and ``"peak_bytes"`` as below,
            ``"steps"``, the number that was measured, and ``"device"``, its type. Defaults to None: no file.
        skip: number of steps at the start of the run, of a resumed one too, that are left out: they warm up caches and
            memory. Defaults to 2.

    Attributes:
        seconds: median over the measured steps; None when there was none.
        processor_seconds: the same of the time of all threads of this process.
        peak_bytes: peak memory; None where the system does not tell.

    Raises:
        InputError: when ``skip`` is negative.
    """

    def __init__(self, output_file: str | Path | None = None, skip: int = 2) -> None:
        if skip < 0:
            raise InputError(f"skip is a number of steps, 0 or more, not {skip}.")
        self.output_file = None if output_file is None else Path(output_file)
        self.skip = skip
        self.seconds: float | None = None
        self.processor_seconds: float | None = None
        self.peak_bytes: int | None = None
        self._durations: list[tuple[float, float]] = []
        self._begin = (0.0, 0.0)

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; put it before the other handlers, whose time would count otherwise."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget the run before."""
        self._durations = []
        self.seconds = self.processor_seconds = self.peak_bytes = None
        device = _device(engine)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        # Only now: the clock starts after what every other handler does at the start of an iteration.
        if not engine.has_event_handler(self.iteration_started, Events.ITERATION_STARTED):
            engine.add_event_handler(Events.ITERATION_STARTED, self.iteration_started)

    def iteration_started(self, engine: Engine) -> None:
        """Start the clock."""
        self._begin = _now(_device(engine))

    def iteration_completed(self, engine: Engine) -> None:
        """Stop the clock."""
        (wall, processor), now = self._begin, _now(_device(engine))
        self._durations.append((now[0] - wall, now[1] - processor))

    def completed(self, engine: Engine) -> None:
        """Log the figures, and write the file."""
        device = _device(engine)
        measured = self._durations[self.skip :]
        if measured:
            self.seconds, self.processor_seconds = (statistics.median(times) for times in zip(*measured, strict=True))
        self.peak_bytes = peak_memory(device)
        if self.seconds is None:
            step = f"no step measured: the run had {len(self._durations)}, and the first {self.skip} do not count"
        else:
            step = f"{self.seconds:.3g} s per step (median of {len(measured)})"
        memory = "" if self.peak_bytes is None else f", peak memory {self.peak_bytes / 2**30:.1f} GiB"
        logger.info("%s%s", step, memory)
        if self.output_file is not None:
            cost = {
                "seconds": self.seconds,
                "processor_seconds": self.processor_seconds,
                "steps": len(measured),
                "peak_bytes": self.peak_bytes,
                "device": device.type,
            }
            self.output_file.parent.mkdir(parents=True, exist_ok=True)
            self.output_file.write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")


def _device(engine: Engine) -> torch.device:
    return torch.device(getattr(engine.state, "device", "cpu"))


def _now(device: torch.device) -> tuple[float, float]:
    """Return the clock and the processor time, in s, once the device has done what it was asked to."""
    wait_for(device)
    return time.perf_counter(), time.process_time()
