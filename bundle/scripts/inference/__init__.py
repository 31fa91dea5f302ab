# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing the images of users: one case, and many of which none may stop the others."""

from .batch import BatchEnhancement
from .case_enhancer import CaseEnhancer, Cue, EnhancedCase, calibrate, inference_preprocessing
from .saving import SaveImageAsSourced

__all__ = [
    "BatchEnhancement",
    "CaseEnhancer",
    "Cue",
    "EnhancedCase",
    "SaveImageAsSourced",
    "calibrate",
    "inference_preprocessing",
]
