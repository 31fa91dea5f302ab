# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM series of simulated volumes, which have no source to derive them from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

__all__ = ["write_dicom_series"]

# The same for every simulated slice.
_FIXED = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
    "SOPClassUID": MRImageStorage,
    **dict.fromkeys(("StudyDate", "SeriesDate", "ContentDate"), "20260101"),
    **dict.fromkeys(("StudyTime", "SeriesTime", "ContentTime"), "120000"),
    "AccessionNumber": "",
    "Modality": "MR",
    "Manufacturer": "HQG-Net demo",
    "ReferringPhysicianName": "",
    "StudyDescription": "Simulated brain",
    "SeriesDescription": "T1w simulated from MNI152",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "BodyPartExamined": "BRAIN",
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    **dict.fromkeys(("RepetitionTime", "EchoTime", "EchoTrainLength")),
    "PatientPosition": "HFS",
    "StudyID": "1",
    "SeriesNumber": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PositionReferenceIndicator": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "RescaleType": "US",
}


def write_dicom_series(folder: Path, array: np.ndarray, affine: np.ndarray, patient: str, uid_seed: str) -> None:
    """Write an axial volume as a series of MR Image Storage, one file a slice, from the lowest slice upwards.

    Args:
        folder: made, and filled with `slice_001.dcm` and so on.
        array: (X, Y, Z) of int16, 0 or more, in RAS+ order.
        affine: voxel to RAS+ millimetres, diagonal and positive.
        patient: patient ID and name.
        uid_seed: the source of the unique identifiers; the same text gives the same ones.
    """
    folder.mkdir(parents=True)
    spacing = np.diag(affine)[:3]
    # DICOM counts columns to the patient's left and rows to the back (LPS): both in-plane axes of RAS+ are reversed.
    pixels = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0)).astype("<u2")
    corner = affine @ np.array([array.shape[0] - 1, array.shape[1] - 1, 0, 1])
    peak = int(array.max())
    for index, plane in enumerate(pixels):
        location = round(float(corner[2] + index * spacing[2]), 4)
        varying = {
            "SOPInstanceUID": generate_uid(entropy_srcs=[uid_seed, "instance", str(index)]),
            "StudyInstanceUID": generate_uid(entropy_srcs=[uid_seed, "study"]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=[uid_seed, "series"]),
            "FrameOfReferenceUID": generate_uid(entropy_srcs=[uid_seed, "frame"]),
            "PatientName": patient,
            "PatientID": patient,
            "SliceThickness": float(spacing[2]),
            "SpacingBetweenSlices": float(spacing[2]),
            "PixelSpacing": [float(spacing[1]), float(spacing[0])],
            "InstanceNumber": index + 1,
            "ImagePositionPatient": [round(-float(corner[0]), 4), round(-float(corner[1]), 4), location],
            "SliceLocation": location,
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "WindowCenter": peak / 2,
            "WindowWidth": max(peak, 1),
            "PixelData": plane.tobytes(),
        }
        dataset = pydicom.Dataset()
        for keyword, value in (_FIXED | varying).items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"slice_{index + 1:03d}.dcm", enforce_file_format=True)
