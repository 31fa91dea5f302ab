# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing the images of users: one case, and many of which none may stop the others."""

from .batch import INTERRUPTED, BatchEnhancement
from .case_enhancer import CaseEnhancer, Cue, EnhancedCase, calibrate, inference_preprocessing, measured
from .case_segmenter import CaseSegmenter, check_grid_of_classes, write_classes
from .engines import BACKENDS, OnnxEngine, find_engine
from .loading import describe_settings, guide_and_tone, load_enhancer
from .saving import SaveImageAsSourced

__all__ = [
    "BACKENDS",
    "INTERRUPTED",
    "BatchEnhancement",
    "CaseEnhancer",
    "CaseSegmenter",
    "Cue",
    "EnhancedCase",
    "OnnxEngine",
    "SaveImageAsSourced",
    "calibrate",
    "check_grid_of_classes",
    "describe_settings",
    "find_engine",
    "guide_and_tone",
    "inference_preprocessing",
    "load_enhancer",
    "measured",
    "write_classes",
]
