# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing the images of users: one case, and many of which none may stop the others."""

from .batch import BatchEnhancement
from .case_enhancer import CaseEnhancer, Cue, EnhancedCase, calibrate, measured
from .case_segmenter import CaseSegmenter
from .loading import describe_settings, load_enhancer

__all__ = [
    "BatchEnhancement",
    "CaseEnhancer",
    "CaseSegmenter",
    "Cue",
    "EnhancedCase",
    "calibrate",
    "describe_settings",
    "load_enhancer",
    "measured",
]
