# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation workflows of HQG-Net."""

from .bilevel_trainer import WARMUP_OBJECTIVES, BilevelTrainer
from .downstream import (
    DownstreamProblem,
    FrozenTaskNetworks,
    check_downstream,
    train_downstream,
)
from .enhancement_trainer import LOSSES, EnhancementTrainer, r1_penalty
from .evaluator import REFERENCE, TASK_IMAGE, TASK_PRED, TASK_REFERENCE, EnhancementEvaluator
from .hypergradients import HYPERGRADIENTS
from .schedules import cosine_decay

__all__ = [
    "HYPERGRADIENTS",
    "LOSSES",
    "REFERENCE",
    "TASK_IMAGE",
    "TASK_PRED",
    "TASK_REFERENCE",
    "WARMUP_OBJECTIVES",
    "BilevelTrainer",
    "FrozenTaskNetworks",
    "DownstreamProblem",
    "EnhancementEvaluator",
    "EnhancementTrainer",
    "check_downstream",
    "cosine_decay",
    "r1_penalty",
    "train_downstream",
]
