# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The arms of the downstream experiment, and the folders of trained ones."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

__all__ = ["ARMS", "SEPARATE", "ArmFolder"]

SEPARATE = "separate"
# The settings of each arm. The last two ask for the hypergradient of first_order, of one kind of network each.
ARMS: dict[str, tuple[str, ...]] = {
    SEPARATE: ("--hypergradient", "none"),
    **{mode: ("--hypergradient", mode) for mode in ("first_order", "finite_difference", "unrolled", "implicit")},
    "frozen_alone": ("--hypergradient", "first_order", "--bilevel#settings#task_weight", "0"),
    "s_alone": ("--hypergradient", "first_order", "--bilevel#settings#frozen_task_weight", "0"),
}

logger = logging.getLogger(__name__)


class ArmFolder(NamedTuple):
    """A folder with ``{arm}/seed{number}/model.pt`` and, where S was trained along, ``downstream.pt`` beside it.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def file(self, arm: str, seed: int, name: str) -> Path:
        """Return the place of a file of an arm."""
        return self.folder / arm / f"seed{seed}" / name

    def trained(self, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Return the arms that were trained for every seed.

        Raises:
            InputError: when there is none, or one was trained for some of the seeds only.
        """
        found = []
        for arm in arms:
            missing = [seed for seed in seeds if not self.file(arm, seed, "model.pt").is_file()]
            if len(missing) == len(seeds):
                logger.info("arm %s is left out: %s has no model.pt of it", arm, self.folder)
                continue
            if missing:
                raise InputError(
                    f'The arm {arm} was not trained for seed {missing[0]}: there is no "'
                    f'{self.file(arm, missing[0], "model.pt")}"; train it, or leave the seed or the arm out.'
                )
            cooperative = [seed for seed in seeds if self.file(arm, seed, "downstream.pt").is_file()]
            if 0 < len(cooperative) < len(seeds):
                seed = next(seed for seed in seeds if seed not in cooperative)
                raise InputError(
                    f"The arm {arm} has a downstream.pt for some seeds, but there is no "
                    f'"{self.file(arm, seed, "downstream.pt")}": train that seed anew, or leave it out.'
                )
            found.append(arm)
        if not found:
            raise InputError(
                f'There is no trained arm in "{self.folder}": train into {{arm}}/seed{{number}} in it, or set arms_dir.'
            )
        return found

    def fingerprint(self, origin: str, arms: Sequence[str], seed: int) -> str:
        """Return a digest of ``origin`` and of the weights of all arms of a seed."""
        digest = hashlib.sha256(origin.encode())
        for arm in arms:
            for name in ("model.pt", "downstream.pt"):
                file = self.file(arm, seed, name)
                digest.update(file.read_bytes() if file.is_file() else b"none")
        return digest.hexdigest()
