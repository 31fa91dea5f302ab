# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhanced series: sent back into their study over DICOMweb, and known again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from monailabel.datastore.dicom import DICOMWebDatastore

from .bundle import BundleError

__all__ = ["is_enhanced", "send_series", "series_folder"]


def series_folder(datastore: Any, image: str) -> Path:
    """Return the folder with the DICOM files of an image of a DICOMweb datastore.

    MONAI Label converts every series to NIfTI, and keeps its files beside that.

    Args:
        datastore: of the server.
        image: the converted file.

    Raises:
        BundleError: when the datastore is a folder, or keeps no DICOM files of the image.
    """
    folder = Path(image.removesuffix(".nii.gz"))
    if not isinstance(datastore, DICOMWebDatastore) or not folder.is_dir():
        raise BundleError(
            '"send" is for a server of DICOMweb studies: this datastore has no DICOM series of the image.'
        )
    return folder


def send_series(datastore: DICOMWebDatastore, place: Path) -> dict[str, str]:
    """Store a derived series in the archive that its source came from.

    Args:
        datastore: of the server.
        place: the file, or the folder of the series.

    Returns:
        ``{"study", "series"}``: the UIDs under which the archive has it.

    Raises:
        BundleError: when the archive refuses an instance.
    """
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    datasets = [pydicom.dcmread(file) for file in files]
    answer = datastore._client.store_instances(datasets)
    failed = answer.get("FailedSOPSequence") or []
    if failed:
        reason = failed[0].get("FailureReason", "no reason given")
        raise BundleError(
            f"The archive refused {len(failed)} of {len(datasets)} images of the enhanced series (reason {reason}).",
            False,
        )
    return {"study": str(datasets[0].StudyInstanceUID), "series": str(datasets[0].SeriesInstanceUID)}


def is_enhanced(folder: Path) -> bool:
    """Return whether the series in a folder is a result of this software."""
    file = next((file for file in sorted(folder.iterdir()) if file.is_file()), None) if folder.is_dir() else None
    if file is None:
        return False
    header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    return "HQG-Net" in str(header.get("DerivationDescription", ""))
