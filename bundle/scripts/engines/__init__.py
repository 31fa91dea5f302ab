# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation workflows of HQG-Net."""

from scripts.engines.bilevel_trainer import WARMUP_OBJECTIVES, BilevelTrainer
from scripts.engines.downstream import (
    CleanReaders,
    DownstreamProblem,
    check_downstream,
    train_downstream,
)
from scripts.engines.enhancement_trainer import LOSSES, EnhancementTrainer, r1_penalty
from scripts.engines.evaluator import REFERENCE, TASK_IMAGE, TASK_PRED, TASK_REFERENCE, EnhancementEvaluator
from scripts.engines.hypergradients import HYPERGRADIENTS
from scripts.engines.schedules import cosine_decay

__all__ = [
    "HYPERGRADIENTS",
    "LOSSES",
    "REFERENCE",
    "TASK_IMAGE",
    "TASK_PRED",
    "TASK_REFERENCE",
    "WARMUP_OBJECTIVES",
    "BilevelTrainer",
    "CleanReaders",
    "DownstreamProblem",
    "EnhancementEvaluator",
    "EnhancementTrainer",
    "check_downstream",
    "cosine_decay",
    "r1_penalty",
    "train_downstream",
]
