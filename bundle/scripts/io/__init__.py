# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: found, read and written, one class for each format."""

from .base import Case, CaseImage, Provenance
from .dicom import DICOMCase
from .discovery import Problem, find_cases, open_case
from .nifti import NiftiCase
from .raster import RasterCase

__all__ = [
    "Case",
    "CaseImage",
    "DICOMCase",
    "NiftiCase",
    "Problem",
    "Provenance",
    "RasterCase",
    "find_cases",
    "open_case",
]
