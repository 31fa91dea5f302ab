# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing the images of users: one case, and many of which none may stop the others."""

from .batch import BatchEnhancement
from .case_enhancer import CaseEnhancer, Cue, EnhancedCase, calibrate
from .case_segmenter import CaseSegmenter

__all__ = ["BatchEnhancement", "CaseEnhancer", "CaseSegmenter", "Cue", "EnhancedCase", "calibrate"]
