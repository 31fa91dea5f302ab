# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Averaged weights of more than one network."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

__all__ = ["NamedEMAHandler"]


class NamedEMAHandler(EMAHandler):
    """Ignite's moving average of weights under a name of its own, so that a trainer can have several.

    It begins at the first epoch's start, with the weights that the network has then.

    Args:
        args: arguments of :class:`ignite.handlers.EMAHandler`.
        name: of the momentum in ``engine.state``. Defaults to ignite's.
        kwargs: likewise.
    """

    def __init__(self, *args: Any, name: str = "ema_momentum", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name

    def attach(
        self,
        engine: Engine,
        name: str | None = None,
        warn_if_exists: bool = True,
        event: Any = Events.ITERATION_COMPLETED,
    ) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED(once=1), self.begin)
        super().attach(engine, name or self.name, warn_if_exists, event)

    def begin(self) -> None:
        """Take over the network's weights, which may be others than when this handler was made."""
        self.ema_model.load_state_dict(self.model.state_dict())
