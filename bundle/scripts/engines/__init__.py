# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation workflows of HQG-Net."""

from scripts.engines.enhancement_trainer import LOSSES, EnhancementTrainer, r1_penalty
from scripts.engines.evaluator import REFERENCE, EnhancementEvaluator

__all__ = ["LOSSES", "REFERENCE", "EnhancementEvaluator", "EnhancementTrainer", "r1_penalty"]
