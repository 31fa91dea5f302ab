# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of bi-level learning, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from .hypergradients import HYPERGRADIENTS

__all__ = ["WARMUP_OBJECTIVES", "BilevelSettings"]

WARMUP_OBJECTIVES = ("frozen_task", "enhancement")


@dataclass
class BilevelSettings:
    r"""How the two levels are solved.

    Attributes:
        hypergradient: ``"none"`` (the enhancer never sees the task: separate training), ``"first_order"``,
            ``"finite_difference"``, ``"unrolled"`` or ``"implicit"``.
        task_weight: :math:`\lambda_{task}`.
        guide_weight: :math:`\lambda_z`, weight of labelled high-quality images in the lower problem. The more they
            count, the less S tolerates images unlike them, and the nearer the enhancer has to come to them.
        inner_steps: steps of S in each iteration.
        warmup_epochs: epochs before S joins in.
        warmup_objective: ``"enhancement"``, what the trainer does without a task (restoration alone, for its
            ``restoration_epochs``); or ``"frozen_task"``, which adds the loss of the frozen networks.
        frozen_task_weight: :math:`\lambda_{frozen}`; 0 leaves the frozen networks out of the objective.
        frozen_task_networks: their number; 0 for none.
        frozen_task_steps: optimiser steps of each.
        frozen_task_batch_size: images in such a step; ``lower_batch_size`` where None.
        lower_batch_size: images of half A in a step of S.
        upper_batch_size: images of half B, and of the warm-up, in a step of the enhancer.
        finite_difference_epsilon: see :func:`scripts.engines.hypergradients.finite_difference`.
        neumann_terms: see :func:`scripts.engines.hypergradients.implicit`.
        damping: see :func:`scripts.engines.hypergradients.implicit`.
        neumann_step_size: its ``step_size``, whatever the optimiser.

    Raises:
        InputError: for an unknown name, or a number out of range.
    """

    hypergradient: str = "first_order"
    task_weight: float = 2.0
    guide_weight: float = 2.0
    inner_steps: int = 1
    warmup_epochs: int = 12
    warmup_objective: str = "enhancement"
    frozen_task_weight: float = 2.0
    frozen_task_networks: int = 2
    frozen_task_steps: int = 500
    frozen_task_batch_size: int | None = None
    lower_batch_size: int = 2
    upper_batch_size: int = 2
    finite_difference_epsilon: float = 1e-2
    neumann_terms: int = 5
    damping: float = 0.0
    neumann_step_size: float = 0.1

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.frozen_task_batch_size is None:
            self.frozen_task_batch_size = self.lower_batch_size
        for name, names in (("hypergradient", HYPERGRADIENTS), ("warmup_objective", WARMUP_OBJECTIVES)):
            if getattr(self, name) not in names:
                raise InputError(f'Unknown {name} "{getattr(self, name)}": use one of {", ".join(names)}.')
        counts = ("inner_steps", "lower_batch_size", "upper_batch_size", "frozen_task_steps", "frozen_task_batch_size")
        for name in counts:
            self._require(name, 1, whole=True)
        for name in ("warmup_epochs", "frozen_task_networks", "neumann_terms"):
            self._require(name, 0, whole=True)
        for name in ("task_weight", "guide_weight", "frozen_task_weight", "damping"):
            self._require(name, 0)
        for name in ("finite_difference_epsilon", "neumann_step_size"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be more than 0, not {getattr(self, name)}.")

    def _require(self, name: str, least: int, whole: bool = False) -> None:
        value = getattr(self, name)
        # True is a whole number to Python.
        if (whole and type(value) is not int) or not value >= least:
            kind = "a whole number of " if whole else ""
            raise InputError(f"{name} must be {kind}{least} or more, not {value}.")

    @property
    def cooperates(self) -> bool:
        """Whether the enhancer sees the task at all."""
        return self.hypergradient != "none"

    @property
    def follows_response(self) -> bool:
        """Whether the hypergradient goes through the last step of S."""
        return self.task_weight > 0 and self.hypergradient in ("finite_difference", "unrolled", "implicit")
