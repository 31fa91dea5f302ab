# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation workflows of HQG-Net."""

from .averaging import NamedEMAHandler
from .bilevel_settings import WARMUP_OBJECTIVES, BilevelSettings
from .bilevel_task import BilevelTask, UpperTerms
from .enhancement_trainer import LOSSES, EnhancementTrainer, r1_penalty
from .evaluator import REFERENCE, TASK_IMAGE, TASK_PRED, TASK_REFERENCE, EnhancementEvaluator
from .frozen_task_networks import FrozenTaskNetworks, train_downstream
from .hypergradients import HYPERGRADIENTS
from .optimizer import Adam
from .schedules import cosine_decay
from .task_problem import LowerSolution, TaskProblem

__all__ = [
    "HYPERGRADIENTS",
    "LOSSES",
    "REFERENCE",
    "TASK_IMAGE",
    "TASK_PRED",
    "TASK_REFERENCE",
    "WARMUP_OBJECTIVES",
    "Adam",
    "BilevelSettings",
    "BilevelTask",
    "EnhancementEvaluator",
    "EnhancementTrainer",
    "FrozenTaskNetworks",
    "LowerSolution",
    "NamedEMAHandler",
    "TaskProblem",
    "UpperTerms",
    "cosine_decay",
    "r1_penalty",
    "train_downstream",
]
