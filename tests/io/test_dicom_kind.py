# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Objects that look like images and are none, and images whose headers say odd things."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage
from tests.io.bad_files import dicom_bytes, texture

from scripts.errors import InputError
from scripts.io import Provenance, find_cases
from scripts.io.base import NoImageError
from scripts.io.dicom import DICOMCase

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SOPClassUID": LABEL_MAP, "Modality": "SEG", "SegmentationType": "LABELMAP"}, "it is a segmentation"),
        ({"SOPClassUID": LABEL_MAP, "Modality": "SEG"}, "it is a segmentation"),
        ({"SOPClassUID": LABEL_MAP, "SegmentationType": "LABELMAP"}, "it is a segmentation"),
        ({"SOPClassUID": CTImageStorage, "Modality": "SEG"}, "it is a segmentation"),
        ({"SegmentSequence": [pydicom.Dataset()]}, "it is a segmentation"),
        ({"DoseGridScaling": 0.1}, "it is a radiotherapy object"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1", "Modality": "REG"}, "it is an object of an unknown kind .1.3.12"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.999", "Modality": "PLAN"}, "it is an object of an unknown kind"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1", "Modality": None}, "it is an object of an unknown kind"),
    ],
    ids=str,
)
def test_what_is_no_image_is_passed_over(attributes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(**attributes))
    with pytest.raises(NoImageError, match=reason):
        DICOMCase.read([tmp_path / "a.dcm"])
    cases, (problem,) = find_cases(tmp_path)
    assert (cases, problem.passed_over) == ([], True)


def test_an_image_of_a_private_kind_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(SOPClassUID="1.3.12.2.1107.5.9.1"))
    assert np.array_equal(DICOMCase.read([tmp_path / "a.dcm"]).image[0, ..., 0].numpy().T, texture(24, 24))


def mosaic(**attributes: Any) -> pydicom.FileDataset:
    """An MR image of 24 rows and columns which says that it is a mosaic."""
    kinds = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], **attributes}
    return pydicom.dcmread(io.BytesIO(dicom_bytes(**kinds)))


def with_private(dataset: pydicom.FileDataset, tiles: int | None = None, size: str | None = None) -> None:
    if tiles is not None:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", tiles)
    if size is not None:
        dataset.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0B, "SH", size)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("attributes", "private"),
    [
        ({"AcquisitionMatrix": [8, 0, 0, 6]}, {}),
        ({"AcquisitionMatrix": [0, 12, 12, 0]}, {}),
        ({}, {"tiles": 7}),
        ({}, {"size": "8*8"}),
        ({}, {"size": "8p*8s"}),
    ],
)
def test_a_mosaic_is_refused(attributes: dict[str, Any], private: Any, implicit: bool, tmp_path: Path) -> None:
    dataset = mosaic(**attributes)
    with_private(dataset, **private)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(
        InputError, match="it is a mosaic, whose slices lie side by side in one picture: split it first"
    ):
        DICOMCase.read([tmp_path / "a.dcm"])
    _, (problem,) = find_cases(tmp_path)
    assert not problem.passed_over


@pytest.mark.parametrize(
    ("attributes", "private"),
    [
        ({"AcquisitionMatrix": [24, 0, 0, 24]}, {}),
        ({"AcquisitionMatrix": [8, 0, 0, 8], "NumberOfFrames": 1, "SOPClassUID": EnhancedMRImageStorage}, {}),
        ({"AcquisitionMatrix": [8, 0, 0, 8], "ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {}),
        ({}, {"tiles": 1, "size": "8*8"}),
        ({}, {}),
    ],
    ids=str,
)
def test_the_word_mosaic_alone_makes_none(attributes: dict[str, Any], private: Any, tmp_path: Path) -> None:
    dataset = mosaic(**attributes)
    with_private(dataset, **private)
    dataset.save_as(tmp_path / "a.dcm")
    assert DICOMCase.read([tmp_path / "a.dcm"]).image.shape == (1, 24, 24, 1)


@pytest.mark.parametrize(
    ("keyword", "plain", "odd"),
    [
        ("SeriesNumber", 31, b"A1"),
        ("SliceThickness", "1234", b"2 mm"),
        ("SliceThickness", "123", b"1,5"),
        ("WindowCenter", "123", b"1,5"),
        ("InstanceNumber", "12", b"A1"),
        ("PatientWeight", "1234", b"about"[:4]),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_odd_text_in_what_is_not_needed_is_ignored(
    keyword: str, plain: Any, odd: bytes, implicit: bool, tmp_path: Path
) -> None:
    file = odd_file(tmp_path, keyword, plain, odd, implicit)
    (case,), problems = find_cases(tmp_path)
    assert problems == []
    image = DICOMCase.read(case.files)
    result = image.write(image.image.as_tensor(), tmp_path / "result", PROVENANCE)
    assert np.array_equal(pydicom.dcmread(result).pixel_array, pydicom.dcmread(file).pixel_array)
    assert keyword == "SeriesNumber" or odd in result.read_bytes()


def odd_file(tmp_path: Path, keyword: str, plain: Any, odd: bytes, implicit: bool) -> Path:
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes()))
    setattr(dataset, keyword, plain)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm")
    tag = pydicom.tag.Tag(keyword)
    start = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    content = (tmp_path / "a.dcm").read_bytes()
    at = content.index(start) + 8
    length = len(str(plain)) + len(str(plain)) % 2
    (tmp_path / "a.dcm").write_bytes(content[:at] + odd.ljust(length) + content[at + length :])
    return tmp_path / "a.dcm"


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("keyword", "plain", "odd", "reason"),
    [
        ("RescaleSlope", "123", b"1,5", 'its rescale slope "1,5" is no number: mend it .*with a point for decimals'),
        ("RescaleSlope", "123", b"1\\1", r'its rescale slope "1.1" is not one number: mend it'),
        ("RescaleIntercept", "1234", b"2 mm", 'its rescale intercept "2 mm" is no number: mend it'),
        ("NumberOfFrames", "11", b"A1", 'its number of frames "A1" is no number: mend it'),
        ("PixelSpacing", "123", b"1.5", 'its pixel spacing "1.5" is not 2 numbers: mend it'),
    ],
)
def test_odd_text_in_what_is_needed_is_named_with_the_mend(
    keyword: str, plain: Any, odd: bytes, reason: str, implicit: bool, tmp_path: Path
) -> None:
    file = odd_file(tmp_path, keyword, plain, odd, implicit)
    with pytest.raises(InputError, match=f'^cannot read "{file}": {reason}'):
        DICOMCase.read([file])


def test_a_spacing_is_not_needed_without_a_place(tmp_path: Path) -> None:
    file = odd_file(tmp_path, "PixelSpacing", "123", b"1.5", implicit=False)
    dataset = pydicom.dcmread(file)
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    dataset.save_as(file)
    assert DICOMCase.read([file]).image.shape == (1, 24, 24)


@pytest.mark.parametrize("first", ["LengthToEnd", "InstanceCreationDate", "SpecificCharacterSet", "ImageType"])
@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big endian"])
def test_files_without_preamble_are_read_whatever_their_first_element(first: str, syntax: str, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes()))
    pixels = dataset.pixel_array
    del dataset.file_meta, dataset.preamble
    value = {"LengthToEnd": 9, "InstanceCreationDate": "20260101", "SpecificCharacterSet": "ISO_IR 100"}
    setattr(dataset, first, value.get(first, ["ORIGINAL", "PRIMARY"]))
    if syntax == "big endian":
        dataset.PixelData = pixels.astype(">u2").tobytes()
    pydicom.dcmwrite(
        tmp_path / "a.dcm", dataset, implicit_vr=syntax == "implicit", little_endian=syntax != "big endian"
    )
    ((case,), _) = find_cases(tmp_path)
    assert np.array_equal(DICOMCase.read(case.files).image[0, ..., 0].numpy().T, pixels)
