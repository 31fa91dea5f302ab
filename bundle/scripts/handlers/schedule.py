# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates that wait."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from monai.handlers import LrScheduleHandler

__all__ = ["LrScheduleAfter"]


class LrScheduleAfter(LrScheduleHandler):
    """MONAI's handler for the trainer, which leaves the first epochs out: in them the rate is constant.

    Args:
        lr_scheduler: PyTorch's scheduler.
        after_epoch: it takes its first step at the end of the epoch after this one. Defaults to 0.
        kwargs: further arguments of MONAI's ``LrScheduleHandler``.
    """

    def __init__(self, lr_scheduler: Any, after_epoch: int = 0, **kwargs: Any) -> None:
        super().__init__(lr_scheduler, **kwargs)
        self.after_epoch = after_epoch

    def __call__(self, engine: Engine) -> None:
        """Let the scheduler take a step."""
        if engine.state.epoch > self.after_epoch:
            super().__call__(engine)
