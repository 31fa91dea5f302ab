# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The model ``segment``: its inference and its trainer."""

from __future__ import annotations

from monailabel.interfaces.config import TaskConfig

from ..infers import Segment
from ..trainers import BundleTraining
from ..trainers.bundle_training import DOWNSTREAM

__all__ = ["SegmentConfig"]


class SegmentConfig(TaskConfig):
    """Inference and training of ``segment``."""

    def infer(self) -> Segment:
        """Return the task of ``/infer/segment``."""
        return Segment(self.kwargs["app"], self.kwargs["labels"], enhances=False)

    def trainer(self) -> BundleTraining:
        """Return the task of ``/train/segment``."""
        return BundleTraining(self.kwargs["app"], DOWNSTREAM)
