# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers: losses, checkpoints, prototype, image quality, downstream task, pictures and MLflow tracking."""

from __future__ import annotations

from scripts.handlers.averaging import NamedEMAHandler
from scripts.handlers.checkpoint import ModelSaver, TrainingCheckpoint, load_downstream, load_model
from scripts.handlers.cost import StepCost
from scripts.handlers.losses import LossLog
from scripts.handlers.metrics import ImageQuality, SlicewiseMetric, image_quality
from scripts.handlers.normalization import BatchNormUpdate
from scripts.handlers.panels import ImagePanels, compose_panel
from scripts.handlers.prototype import PrototypeUpdate, collect_cues
from scripts.handlers.schedule import LrScheduleAfter
from scripts.handlers.stopping import EarlyStop, PauseAfter
from scripts.handlers.task_metrics import (
    Hausdorff95,
    SurfaceDice,
    TaskAccuracy,
    TaskAUC,
    TaskDice,
    classification_pairs,
    segmentation_pairs,
)
from scripts.handlers.tracking import RunTracker

__all__ = [
    "BatchNormUpdate",
    "EarlyStop",
    "Hausdorff95",
    "ImagePanels",
    "ImageQuality",
    "LossLog",
    "LrScheduleAfter",
    "ModelSaver",
    "NamedEMAHandler",
    "PauseAfter",
    "PrototypeUpdate",
    "RunTracker",
    "SlicewiseMetric",
    "StepCost",
    "SurfaceDice",
    "TaskAUC",
    "TaskAccuracy",
    "TaskDice",
    "TrainingCheckpoint",
    "classification_pairs",
    "collect_cues",
    "compose_panel",
    "image_quality",
    "load_downstream",
    "load_model",
    "segmentation_pairs",
]
