# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading, checking, scaling, slicing and degrading images, and reading their classes."""

from __future__ import annotations

from .degradation import RandScannerDegradation, RandScannerDegradationd, ScannerDegradation
from .intensity import RescaleIntensityd
from .labels import MASK_VALUE, ClassLabeld, TwoClassLabeld
from .loading import CheckImaged, OrientVolumesd, ReadImaged
from .noise import estimate_noise, fit_noise
from .polarity import Polarity, estimate_polarity, fit_falling, polarity_of
from .poor_scanner import RandPoorScanner
from .restoring import RestoreSourced
from .slices import SLICE_AXIS, RandSliced, SliceAxisd
from .structures import RandStructuresd
from .tone import RandToneCurve

__all__ = [
    "MASK_VALUE",
    "SLICE_AXIS",
    "CheckImaged",
    "ClassLabeld",
    "OrientVolumesd",
    "Polarity",
    "RandPoorScanner",
    "RandScannerDegradation",
    "RandScannerDegradationd",
    "RandSliced",
    "RandStructuresd",
    "RandToneCurve",
    "ReadImaged",
    "RescaleIntensityd",
    "RestoreSourced",
    "ScannerDegradation",
    "SliceAxisd",
    "TwoClassLabeld",
    "estimate_noise",
    "estimate_polarity",
    "fit_falling",
    "fit_noise",
    "polarity_of",
]
