# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The model ``enhance_segment``: its inference and its trainer."""

from __future__ import annotations

from monailabel.interfaces.config import TaskConfig

from ..infers import Segment
from ..trainers import BundleTraining
from ..trainers.bundle_training import BILEVEL

__all__ = ["EnhanceSegmentConfig"]


class EnhanceSegmentConfig(TaskConfig):
    """Inference and training of ``enhance_segment``."""

    def infer(self) -> Segment:
        """Return the task of ``/infer/enhance_segment``."""
        return Segment(self.kwargs["app"], self.kwargs["labels"], enhances=True)

    def trainer(self) -> BundleTraining:
        """Return the task of ``/train/enhance_segment``."""
        return BundleTraining(self.kwargs["app"], BILEVEL)
