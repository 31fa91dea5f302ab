# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Means of the loss terms, and one line in the log per epoch."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys

__all__ = ["LossLog", "LossMeans"]

logger = logging.getLogger(__name__)

# A least-squares discriminator that cannot tell the two kinds apart has a loss of 0.25; in sound trainings it stays
# near or above 0.1.
_WON = 0.05


class LossMeans:
    """Mean of each loss term over the iterations that have it.

    ``ignite.metrics.Average`` is the like, but reduces over all processes whenever it is computed: a process that logs
    alone, or after another one crashed, would wait for ever.
    """

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, output: Any) -> None:
        """Add the terms of one iteration.

        Args:
            output: ``engine.state.output``: a mapping with ``"losses"`` or, of MONAI's own trainers, with ``"loss"``;
                or a list of them, one per case, all with the same losses. An output without losses adds nothing.
        """
        if isinstance(output, Sequence) and output:
            output = output[0]
        losses = output.get("losses") if isinstance(output, Mapping) else None
        if losses is None and isinstance(output, Mapping) and CommonKeys.LOSS in output:
            losses = {"total": output[CommonKeys.LOSS].detach()}
        for name, value in (losses or {}).items():
            self._values[name].append(float(value))

    def pop(self) -> dict[str, float]:
        """Return the means by term, and begin anew."""
        means = {name: fmean(values) for name, values in self._values.items()}
        self._values.clear()
        return means


class LossLog:
    """Ignite handler for the trainer: log the epoch's mean of every term of ``state.output["losses"]``.

    It warns when the loss ``discriminator`` is close to zero: the discriminator then recognises every enhanced image,
    and the images may have degenerated. No metric shows this when there are no references.
    """

    def __init__(self) -> None:
        self._means = LossMeans()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Forget an epoch that did not complete."""
        self._means.pop()

    def iteration_completed(self, engine: Engine) -> None:
        """Add the iteration's terms."""
        self._means.add(engine.state.output)

    def epoch_completed(self, engine: Engine) -> None:
        """Log the means."""
        means = self._means.pop()
        line = "  ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        logger.info("epoch %d/%d  %s", engine.state.epoch, engine.state.max_epochs, line)
        if means.get("discriminator", 1.0) < _WON:
            logger.warning(
                "The discriminator recognises almost every enhanced image: the images may have degenerated. Look at "
                "the pictures; lower learning_rate or, with labels, task_weight and frozen_task_weight."
            )
