# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: found, read and written, one class for each format."""

from .base import PATIENT_SPACE, PIXEL_SPACE, SPACE, Case, CaseImage, Provenance
from .datalist_file import read_json, write_json
from .dicom import DICOMCase
from .dicom_series import dicom_patient
from .discovery import Problem, find_cases
from .formats import ImageFormat, image_format, image_stem, natural_order
from .in_memory import ArrayCase
from .nifti import NiftiCase, write_nifti
from .opening import open_case, open_image, opener
from .raster import RasterCase
from .simulated_series import write_dicom_series

__all__ = [
    "PATIENT_SPACE",
    "PIXEL_SPACE",
    "SPACE",
    "ArrayCase",
    "Case",
    "CaseImage",
    "DICOMCase",
    "ImageFormat",
    "NiftiCase",
    "Problem",
    "Provenance",
    "RasterCase",
    "dicom_patient",
    "find_cases",
    "image_format",
    "image_stem",
    "natural_order",
    "open_case",
    "open_image",
    "opener",
    "read_json",
    "write_dicom_series",
    "write_json",
    "write_nifti",
]
