# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The model ``enhance``: its inference and its trainer."""

from __future__ import annotations

from monailabel.interfaces.config import TaskConfig

from ..infers import Enhance
from ..trainers import BundleTraining
from ..trainers.bundle_training import ENHANCEMENT

__all__ = ["EnhanceConfig"]


class EnhanceConfig(TaskConfig):
    """Inference and training of ``enhance``."""

    def infer(self) -> Enhance:
        """Return the task of ``/infer/enhance``."""
        return Enhance(self.kwargs["app"])

    def trainer(self) -> BundleTraining:
        """Return the task of ``/train/enhance``."""
        return BundleTraining(self.kwargs["app"], ENHANCEMENT)
