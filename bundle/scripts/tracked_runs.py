# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""MLflow runs of what uses a trained model: below the run that trained it, and also where no engine runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from .inference import INTERRUPTED, BatchEnhancement
from .model_spec import ModelSpec

__all__ = ["enhance", "tracked", "training_run"]


def training_run(model_file: str | Path) -> str | None:
    """Return the MLflow run that trained a model; None where it was not tracked, or there is no model."""
    return ModelSpec.load(model_file).run_id if Path(model_file).is_file() else None


def tracked(tracker: Any, report: Callable[[], Mapping[str, Any] | None]) -> None:
    """Run what is no engine within an MLflow run, where there is a tracker.

    Args:
        tracker: a :class:`scripts.handlers.RunTracker`; None: nothing is tracked.
        report: what is run; it returns metrics by name, groups of them, or None.
    """
    if tracker is None:
        report()
        return

    def run(engine: Engine, batch: Any) -> None:
        for group, value in (report() or {}).items():
            values = (
                {f"{group}/{name}": part for name, part in value.items()}
                if isinstance(value, Mapping)
                else {group: value}
            )
            # MLflow refuses other characters in the name of a metric.
            engine.state.metrics |= {re.sub(r"[^\w\-. /:]", "_", name): part for name, part in values.items()}

    engine = Engine(run)
    tracker.attach(engine)
    engine.run([None], max_epochs=1)


def enhance(batch: BatchEnhancement, tracker: Any = None) -> int:
    """Run a batch, within an MLflow run where there is a tracker.

    Args:
        batch: what is enhanced.
        tracker: see :func:`tracked`. Defaults to None.

    Returns:
        The exit status of :meth:`scripts.inference.BatchEnhancement.run`.

    Raises:
        SystemExit: when a tracked batch was interrupted, so that its run counts as killed.
    """
    if tracker is None:
        return batch.run()
    status = 0

    def run() -> dict[str, int]:
        nonlocal status
        status = batch.run()
        if status == INTERRUPTED:
            sys.exit(status)
        return {**batch.counts, "exit_status": status}

    tracked(tracker, run)
    return status
