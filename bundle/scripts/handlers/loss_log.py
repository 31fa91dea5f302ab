# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""One line in the log per epoch: how each term of the objective stands."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["LossLog"]

logger = logging.getLogger(__name__)


# A least-squares discriminator that cannot tell the two kinds apart has a loss of 0.25; in sound trainings it stays
# near or above 0.1.
_WON = 0.05


class LossLog:
    """Ignite handler for the trainer: log the epoch's mean of every term of ``state.output["losses"]``.

    A term that is not computed in every iteration counts where it is. Where ``discriminator`` is next to nothing, a
    warning says so: enhanced images that are told from high-quality ones without fail may have fallen apart, which
    without references no metric shows.
    """

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Forget the epoch before."""
        self._sums.clear()
        self._counts.clear()

    def iteration_completed(self, engine: Engine) -> None:
        """Add this iteration's terms."""
        output: Any = engine.state.output
        for name, value in (output[0] if isinstance(output, list) else output)["losses"].items():
            self._sums[name] += value
            self._counts[name] += 1

    def epoch_completed(self, engine: Engine) -> None:
        """Log the means."""
        means = {name: self._sums[name] / count for name, count in self._counts.items()}
        line = "  ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        logger.info("epoch %d/%d  %s", engine.state.epoch, engine.state.max_epochs, line)
        if means.get("discriminator", 1.0) < _WON:
            logger.warning(
                "The discriminator tells enhanced images from high-quality ones almost without fail: they may have "
                "fallen apart. Look at the pictures; lower learning_rate or, with labels, task_weight and "
                "frozen_task_weight."
            )
