# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers: losses, checkpoints, prototype, image quality, downstream task, pictures and MLflow tracking."""

from __future__ import annotations

from .checkpoint import ModelSaver, TrainingCheckpoint, load_as_trained, load_downstream, load_model
from .loss_log import LossLog
from .metrics import ImageQuality, SlicewiseMetric, image_quality, image_quality_metrics
from .normalization import BatchNormUpdate
from .panels import ImagePanels, compose_panel
from .progress import TrainingProgress
from .prototype import PrototypeUpdate
from .resume_record import ResumeRecord
from .stopping import EarlyStop, PauseAfter
from .task_metrics import (
    Hausdorff95,
    SurfaceDice,
    TaskAccuracy,
    TaskAUC,
    TaskDice,
    classification_pairs,
    segmentation_pairs,
)
from .tracking import RunTracker

__all__ = [
    "BatchNormUpdate",
    "EarlyStop",
    "Hausdorff95",
    "ImagePanels",
    "ImageQuality",
    "LossLog",
    "ModelSaver",
    "PauseAfter",
    "PrototypeUpdate",
    "ResumeRecord",
    "RunTracker",
    "SlicewiseMetric",
    "SurfaceDice",
    "TaskAUC",
    "TaskAccuracy",
    "TaskDice",
    "TrainingCheckpoint",
    "TrainingProgress",
    "classification_pairs",
    "compose_panel",
    "image_quality",
    "image_quality_metrics",
    "load_as_trained",
    "load_downstream",
    "load_model",
    "segmentation_pairs",
]
