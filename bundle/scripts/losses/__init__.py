# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses of HQG-Net that MONAI does not have."""

from .class_moments import ClassMomentsLoss, class_moments
from .enhancement import DEFAULT_WEIGHTS, EnhancementLoss, kl_to_prior, style_disagreement
from .multi_encoder import MultiEncoderLoss
from .restoration import RestorationLoss
from .shared import SharedEnhancementLoss
from .wavelet import WaveletLoss

__all__ = [
    "DEFAULT_WEIGHTS",
    "ClassMomentsLoss",
    "EnhancementLoss",
    "MultiEncoderLoss",
    "RestorationLoss",
    "SharedEnhancementLoss",
    "WaveletLoss",
    "class_moments",
    "kl_to_prior",
    "style_disagreement",
]
