# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses of HQG-Net that MONAI does not have."""

from scripts.losses.enhancement import DEFAULT_WEIGHTS, EnhancementLoss, kl_to_prior
from scripts.losses.multi_encoder import MultiEncoderLoss, judge
from scripts.losses.wavelet import WaveletLoss

__all__ = [
    "DEFAULT_WEIGHTS",
    "EnhancementLoss",
    "MultiEncoderLoss",
    "WaveletLoss",
    "judge",
    "kl_to_prior",
]
