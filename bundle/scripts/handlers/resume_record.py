# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint was trained with, to say what is other when a training is resumed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from .. import processes
from ..files import PLACES
from .run_record import Entries, data_digest

__all__ = ["ResumeRecord"]

logger = logging.getLogger(__name__)

LISTS = ("training_lq", "training_hq", "validation")

# Places, and what is no part of the training itself. The checkpoint tells of the optimisers.
_LEFT_OUT = {
    *(*PLACES, "hq_data", "bundle_root", "device", "overwrite", "resume", "pause_after", "mlflow", "calibrates"),
    *("tracker", "panels", "optimizer", "d_optimizer", "downstream_optimizer"),
    *("learning_rate", "guidance_learning_rate", "finish", "folders"),
}
_EFFECTS = {
    "seed": "images are drawn by the new one, and the numbers are not those of a training that never stopped",
    "loss_weights": "the terms count by the new ones from the next step on",
    "model_metric": "the best value so far is one of the former metric",
    "epochs": "the learning rates fall over the new number",
}
_EFFECTS_OF_DATA = {
    "training_lq": "the next steps draw from the new ones, and what was held out before may be among them",
    "training_hq": "the next steps draw from the new ones, and the prototype is theirs",
    "validation": "scores of before and after do not compare, and the best one so far is of the former images",
}


class ResumeRecord:
    """Settings and data of a training, as an object of :class:`scripts.handlers.TrainingCheckpoint`.

    Args:
        settings: plain values by name or path.
        datalists: lists of entries by name; compared are the digests of
            :func:`scripts.handlers.run_record.data_digest`.
    """

    def __init__(self, settings: Mapping[str, Any], datalists: Mapping[str, Entries]) -> None:
        self.settings = {
            name: json.loads(json.dumps(value, default=str))
            for name, value in settings.items()
            if name.split("#")[0] not in _LEFT_OUT
        }
        self.datalists = datalists
        self._data: dict[str, list[Any]] | None = None

    @property
    def data(self) -> dict[str, list[Any]]:
        """Number of images and digest of each list; the files are read once."""
        if self._data is None:
            self._data = {
                name: [len(self.datalists[name]), data_digest(self.datalists[name])[0]]
                for name in LISTS
                if name in self.datalists
            }
        return self._data

    def state_dict(self) -> dict[str, str]:
        """Return settings and data as JSON, which every reader of checkpoints takes."""
        return {"settings": json.dumps(self.settings), "data": json.dumps(self.data)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Say what is other now than it was in :meth:`state_dict`; nothing is restored."""
        if not processes.is_first():
            return
        former = json.loads(state["settings"])
        for name, value in self.settings.items():
            if name in former and former[name] != value:
                effect = _EFFECTS.get(name.split("#")[0])
                logger.warning(
                    "resume: %s is %s from now on, and was %s before%s",
                    *(name, value, former[name], f": {effect}" if effect else ""),
                )
        for name, (number, digest) in json.loads(state["data"]).items():
            if name in self.data and self.data[name][1] != digest:
                logger.warning(
                    "resume: the images of %s are others now (%d, and were %d before): %s",
                    *(name, self.data[name][0], number, _EFFECTS_OF_DATA[name]),
                )
