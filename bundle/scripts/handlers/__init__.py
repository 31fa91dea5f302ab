# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers: losses, checkpoints, prototype update, image quality, image panels and MLflow tracking."""

from __future__ import annotations

from scripts.handlers.checkpoint import ModelSaver, TrainingCheckpoint, load_model
from scripts.handlers.losses import LossLog
from scripts.handlers.metrics import ImageQuality, SlicewiseMetric, image_quality
from scripts.handlers.panels import ImagePanels, compose_panel
from scripts.handlers.prototype import PrototypeUpdate, collect_cues
from scripts.handlers.tracking import RunTracker

__all__ = [
    "ImagePanels",
    "ImageQuality",
    "LossLog",
    "ModelSaver",
    "PrototypeUpdate",
    "RunTracker",
    "SlicewiseMetric",
    "TrainingCheckpoint",
    "collect_cues",
    "compose_panel",
    "image_quality",
    "load_model",
]
