# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a network that are renewed every few epochs of training."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ignite.engine import Engine, Events

from ..errors import InputError

__all__ = ["PeriodicUpdate"]


class PeriodicUpdate(ABC):
    """Ignite handler: renew something at the end of an epoch.

    Put it before the validation and checkpoint handlers, so that they see what is new. It is renewed once more when
    training ends, should the last epoch not have been one of its own.

    Args:
        interval: epochs between two renewals. Defaults to 1.

    Raises:
        InputError: when ``interval`` is below 1.
    """

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise InputError(f"The interval of {type(self).__name__} must be at least 1 epoch, not {interval}.")
        self.interval = interval
        self._last_epoch: int | None = None

    @abstractmethod
    def update(self) -> None:
        """Renew it."""

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def __call__(self, engine: Engine) -> None:
        """Renew it in this epoch."""
        self.update()
        self._last_epoch = engine.state.epoch

    def completed(self, engine: Engine) -> None:
        """Renew it unless the last epoch did."""
        if self._last_epoch != engine.state.epoch:
            self(engine)
