# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Datalists, the unpaired dataset, and the commands that make demonstration data and experiments.

The modules that are commands as well (``python -m scripts.data.datalist``) are imported by their own names.
"""

from __future__ import annotations

from .seeded_samples import SeededSamples
from .unpaired import GUIDE, GUIDE_LABEL, IMAGE, LABEL, PATIENT, EpochSampler, UnpairedDataset

__all__ = [
    "GUIDE",
    "GUIDE_LABEL",
    "IMAGE",
    "LABEL",
    "PATIENT",
    "EpochSampler",
    "SeededSamples",
    "UnpairedDataset",
]
