# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Images of users, in their files: found, read, enhanced, written."""

from scripts.cases.base import Case, CaseImage, Provenance
from scripts.cases.batch import BatchEnhancement
from scripts.cases.dicom import DICOMCase
from scripts.cases.discovery import Problem, find_cases, open_case
from scripts.cases.enhancement import CaseEnhancer, Cue, EnhancedCase, calibrate
from scripts.cases.nifti import NiftiCase
from scripts.cases.raster import RasterCase

__all__ = [
    "BatchEnhancement",
    "Case",
    "CaseEnhancer",
    "CaseImage",
    "Cue",
    "DICOMCase",
    "EnhancedCase",
    "NiftiCase",
    "Problem",
    "Provenance",
    "RasterCase",
    "calibrate",
    "find_cases",
    "open_case",
]
