# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How far a training is: one bar from its first step to its last, or lines in a log file."""

from __future__ import annotations

import contextlib
import logging
import time

from ignite.engine import Engine, Events
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..terminal import is_terminal

__all__ = ["TrainingProgress"]

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Ignite handler for the trainer: show steps, rate and time left of the whole training.

    On a terminal it is one bar of tqdm, above which the log goes on. Elsewhere a line is logged after each epoch.
    ``ignite.handlers.ProgressBar`` counts the steps of an epoch or the epochs, so it has no time left of all steps.

    Args:
        desc: the word before the number of the epoch. Defaults to ``"training"``.
    """

    def __init__(self, desc: str = "training") -> None:
        self.desc = desc
        self._bar: tqdm | None = None
        self._redirected = contextlib.ExitStack()
        self._epoch_start = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def started(self, engine: Engine) -> None:
        """Open the bar, at the step from which the training goes on."""
        self._epoch_start = time.monotonic()
        if is_terminal():
            self._redirected.enter_context(logging_redirect_tqdm())
            total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
            self._bar = tqdm(total=total, initial=engine.state.iteration, unit="step", dynamic_ncols=True)

    def epoch_started(self, engine: Engine) -> None:
        """Name the epoch in the bar."""
        if self._bar is not None:
            self._bar.set_description(f"{self.desc} [{engine.state.epoch}/{engine.state.max_epochs}]")

    def iteration_completed(self, engine: Engine) -> None:
        """Advance the bar by a step."""
        if self._bar is not None:
            self._bar.update(engine.state.iteration - self._bar.n)

    def epoch_completed(self, engine: Engine) -> None:
        """Log the line of an epoch, where there is no bar. Its time includes the validation before it."""
        now = time.monotonic()
        seconds, self._epoch_start = now - self._epoch_start, now
        if self._bar is None:
            epoch, epochs = engine.state.epoch, engine.state.max_epochs or engine.state.epoch
            rate = (engine.state.epoch_length or 0) / max(seconds, 1e-9)
            took, left = (tqdm.format_interval(time_) for time_ in (seconds, seconds * (epochs - epoch)))
            logger.info("epoch %d/%d took %s, %.3g steps/s; %s left", epoch, epochs, took, rate, left)

    def close(self, engine: Engine) -> None:
        """Leave the bar as it is, and give the log its handlers back."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._redirected.close()
