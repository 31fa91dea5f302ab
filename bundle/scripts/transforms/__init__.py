# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading, checking, scaling, slicing and degrading images, and reading their classes."""

from __future__ import annotations

from scripts.transforms.degradation import RandScannerDegradation, RandScannerDegradationd, ScannerDegradation
from scripts.transforms.intensity import RescaleIntensityd
from scripts.transforms.labels import ClassLabeld
from scripts.transforms.loading import CheckImaged, DICOMSeriesReader, OrientVolumesd, ReadImaged
from scripts.transforms.slices import RandSliced

__all__ = [
    "CheckImaged",
    "ClassLabeld",
    "DICOMSeriesReader",
    "OrientVolumesd",
    "RandScannerDegradation",
    "RandScannerDegradationd",
    "RandSliced",
    "ReadImaged",
    "RescaleIntensityd",
    "ScannerDegradation",
]
