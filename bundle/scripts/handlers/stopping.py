# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training that ends before its last epoch: to be resumed later, or because the score no longer improves."""

from __future__ import annotations

import logging
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.handlers import EarlyStopHandler

from ..errors import InputError

__all__ = ["EarlyStop", "PauseAfter"]

logger = logging.getLogger(__name__)


class PauseAfter:
    """Ignite handler for the trainer: stop at the end of an epoch, to be resumed later.

    Args:
        epoch: number of the epoch, from 1.
    """

    def __init__(self, epoch: int) -> None:
        if epoch < 1:
            raise InputError(f"pause_after is the number of an epoch, 1 or more, not {epoch}.")
        self.epoch = epoch

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; put it before the checkpoint's handler, which then saves this epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Stop, when the epoch is reached."""
        if engine.state.epoch >= self.epoch:
            logger.info("stopping after epoch %d of %d, to be resumed", engine.state.epoch, engine.state.max_epochs)
            engine.terminate()


class EarlyStop(EarlyStopHandler):
    """MONAI's handler for the evaluator, with a state to resume from and without the first epochs of training.

    A warm-up has another objective, so its scores say nothing about the training that follows.

    Args:
        patience: number of evaluations without a better score after which training stops.
        after_epoch: evaluations up to this epoch of the trainer do not count. Defaults to 0: all count.
        kwargs: further arguments of MONAI's ``EarlyStopHandler``.
    """

    def __init__(self, patience: int, after_epoch: int = 0, **kwargs: Any) -> None:
        super().__init__(patience=patience, **kwargs)
        self.after_epoch = after_epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and the number of evaluations since, for a resumed training."""
        return dict(self._of_trainer().state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the return value of :meth:`state_dict`; the trainer must be set."""
        self._of_trainer().load_state_dict(state)

    def _of_trainer(self) -> EarlyStopping:
        """Return ignite's handler, which MONAI makes when the trainer is set."""
        handler: EarlyStopping | None = self._handler
        if handler is None:
            raise ValueError("set_trainer first: early stopping has no trainer to stop")
        return handler

    def __call__(self, engine: Engine) -> None:
        """Count an evaluation."""
        if self._of_trainer().trainer.state.epoch > self.after_epoch:
            super().__call__(engine)
