# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Which of many DICOM files belong together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom import dcmread
from pydicom.dataset import FileDataset

from ..errors import InputError
from .base import NoImageError
from .dicom_header import IDENTITY_TAGS, dataset_digest, naming, read_header
from .dicom_values import series_number, text, whole_number
from .formats import image_stem

__all__ = ["Rejection", "dicom_patient", "find_series", "series_name"]

_TAGS = (*IDENTITY_TAGS, "StudyInstanceUID", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient")


class Rejection(NamedTuple):
    """Why a file is no part of a case.

    Attributes:
        reason: a clause.
        harmless: whether it may lie beside images: a whole object of another kind, or a copy of an image.
    """

    reason: str
    harmless: bool = False


def find_series(files: Sequence[Path]) -> tuple[list[tuple[Path, ...]], dict[Path, Rejection]]:
    """Sort DICOM files into cases by their headers.

    The files of a case have one series instance UID. A file is a case of its own if it has several frames or no
    series instance UID, and so is each file of a series that has no position in the patient (radiographs,
    photographs). Copies of an image are taken once.

    Args:
        files: DICOM files of any number of studies, and others.

    Returns:
        The cases, each with its files in the order given; by study, series number and series. And the files that hold
        no image, or the same image as another.
    """
    series: dict[tuple[str, int, str], list[_Member]] = defaultdict(list)
    rejected: dict[Path, Rejection] = {}
    for file in files:
        try:
            header = read_header(file, _TAGS)
            with naming(file):
                series[_series_of(header)].append(_Member.of(header, file))
        except InputError as error:
            reason = str(error).removeprefix(f'cannot read "{file}": ')
            rejected[file] = Rejection(reason, isinstance(error, NoImageError))
    cases: list[tuple[Path, ...]] = []
    for key in sorted(series):
        copies = _copies(series[key])
        rejected.update({file: Rejection(f'it is a copy of "{first}"', True) for file, first in copies.items()})
        series[key] = [member for member in series[key] if member.file not in copies]
        slices = [member for member in series[key] if member.is_slice]
        together = any(member.has_position for member in slices)
        if together:
            cases.append(tuple(member.file for member in slices))
        cases += [(member.file,) for member in series[key] if not (together and member.is_slice)]
    return cases, rejected


def series_name(files: Sequence[Path]) -> str:
    """Name a case by the number and the description of its series, such as ``12-T1post``, for a file system.

    Cases of one series have the same name. Letters of any language stay; whatever else a file name may not hold
    becomes a hyphen.

    Args:
        files: those of a case.

    Raises:
        InputError: when the first file is not an image.
    """
    header = read_header(Path(files[0]), IDENTITY_TAGS)
    with naming(Path(files[0])):
        parts = [text(header, "SeriesNumber"), str(header.get("SeriesDescription") or "")]
        parts = parts if parts[1] else [parts[0], str(header.get("Modality") or "")]
    name = "-".join(cleaned for part in parts if (cleaned := re.sub(r"[^\w.+]+", "-", part).strip("-._")))
    return name[:64].rstrip("-.") or "series"


def dicom_patient(file: Path) -> str:
    """Return the ID of the patient in a DICOM file; that of the study, or the file's name, where there is none.

    Raises:
        InputError: when the file is not DICOM.
    """
    with naming(file):
        header = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
        return str(header.get("PatientID") or header.get("StudyInstanceUID") or image_stem(file))


def _copies(members: Sequence[_Member]) -> dict[Path, Path]:
    """The files that hold the same as another, and that other one; what stands before the dataset may differ."""
    of_instance: dict[str, list[Path]] = defaultdict(list)
    for member in members:
        if member.instance:
            of_instance[member.instance].append(member.file)
    copies: dict[Path, Path] = {}
    for files in of_instance.values():
        first: dict[str, Path] = {}
        for file in files if len(files) > 1 else ():
            with naming(file):
                original = first.setdefault(dataset_digest(file), file)
            if original != file:
                copies[file] = original
    return copies


class _Member(NamedTuple):
    """A file of a series."""

    file: Path
    instance: str
    is_slice: bool
    has_position: bool

    @classmethod
    def of(cls, header: FileDataset, file: Path) -> _Member:
        frames = whole_number(header, "NumberOfFrames", 1)
        place = (text(header, "ImagePositionPatient"), text(header, "ImageOrientationPatient"))
        instance = str(header.get("SOPInstanceUID") or "")
        return cls(file, instance, frames == 1 and bool(header.get("SeriesInstanceUID")), all(place))


def _series_of(header: FileDataset) -> tuple[str, int, str]:
    return (
        str(header.get("StudyInstanceUID") or ""),
        series_number(header),
        str(header.get("SeriesInstanceUID") or ""),
    )
