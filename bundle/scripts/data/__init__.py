# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Datalists and the unpaired dataset.

The modules that are commands as well (``python -m scripts.data.datalist``) are imported by their own names.
"""

from __future__ import annotations

from .checked import CheckedDataset
from .epoch_sampler import EpochSampler, shared_sampler
from .seeded_samples import SeededSamples
from .test_images import check_test_images
from .unpaired import (
    CLEAN,
    DEGRADED,
    GUIDE,
    GUIDE_LABEL,
    IMAGE,
    LABEL,
    PATIENT,
    STYLE,
    UNLABELLED,
    UnpairedDataset,
)
from .variety import WiderVariety

__all__ = [
    "CLEAN",
    "DEGRADED",
    "GUIDE",
    "GUIDE_LABEL",
    "IMAGE",
    "LABEL",
    "PATIENT",
    "STYLE",
    "UNLABELLED",
    "CheckedDataset",
    "EpochSampler",
    "SeededSamples",
    "UnpairedDataset",
    "WiderVariety",
    "check_test_images",
    "shared_sampler",
]
