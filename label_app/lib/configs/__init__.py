# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from .enhance import EnhanceConfig
from .enhance_segment import EnhanceSegmentConfig
from .segment import SegmentConfig

__all__ = ["CONFIGS"]

CONFIGS = {"enhance_segment": EnhanceSegmentConfig, "segment": SegmentConfig, "enhance": EnhanceConfig}
"""The models of the app by name; viewers offer the first one first."""
