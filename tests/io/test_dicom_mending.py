# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Headers that cannot be encoded as they are: mended where that is lawful, refused before the network runs."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
)
from tests.io.bad_files import dicom_bytes, raster_bytes, texture

from scripts.errors import InputError
from scripts.io import Provenance
from scripts.io.dicom import DICOMCase

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")


def element(group: int, number: int, value: bytes) -> bytes:
    """An element in implicit VR."""
    return struct.pack("<HHI", group, number, len(value)) + value


def implicit(tmp_path: Path, before: bytes = b"", after: bytes = b"") -> Path:
    """An image in implicit VR with elements before and after its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes()))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    at = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    (tmp_path / "a.dcm").write_bytes(content[:at] + before + content[at:] + after)
    return tmp_path / "a.dcm"


def derived(file: Path, tmp_path: Path) -> pydicom.FileDataset:
    case = DICOMCase.read([file])
    case.check_writable()
    result = case.write(case.image.as_tensor(), tmp_path / "result", PROVENANCE)
    dataset = pydicom.dcmread(result)
    assert np.array_equal(dataset.pixel_array, texture(24, 24))
    return dataset


@pytest.mark.parametrize(
    ("tag", "value", "vr"),
    [
        ((0x5000, 0x3000), b"\x01\x02\x03\x04", "OW"),  # curve data
        ((0x0028, 0x3006), b"\x01\x02\x03\x04", "OW"),  # data of a table without a descriptor
        ((0x0028, 0x1101), struct.pack("<3H", 4, 0, 16), "US"),  # descriptor of a palette
        ((0x0060, 0x3004), b"\x01\x02\x03\x04", "US"),  # histogram
        ((0x0028, 0x0106), b"\x01\x00", "US"),
        ((0x0028, 0x0071), b"\x01\x00", "US"),
        ((0x0028, 0x1100), struct.pack("<3H", 4, 0, 16), "US"),
        ((0x0028, 0x1200), b"\x01\x00\x02\x00", "OW"),
        ((0x5400, 0x0110), b"\x01\x00", "OW"),
        ((0x5400, 0x1010), b"\x01\x00", "OW"),
    ],
)
def test_a_representation_that_implicit_vr_leaves_open_is_settled(
    tag: tuple[int, int], value: bytes, vr: str, tmp_path: Path
) -> None:
    result = derived(implicit(tmp_path, before=element(*tag, value)), tmp_path)
    assert result[tag].VR in (vr, "OB", "SS")
    raw = (tmp_path / "result.dcm").read_bytes()
    assert struct.pack("<HH", *tag) in raw
    assert value in raw


@pytest.mark.parametrize(
    "after",
    [
        bytes(8),
        bytes(64),
        struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
        struct.pack("<HHI", 0xFFFE, 0xE00D, 0),
    ],
)
def test_zeros_and_delimiters_behind_the_pixels_are_dropped(after: bytes, tmp_path: Path) -> None:
    result = derived(implicit(tmp_path, after=after), tmp_path)
    assert all(0x0002 < tag.group < 0xFFFE for tag in list(result.keys()))


def test_compressed_icons_do_not_stay_in_an_uncompressed_file(tmp_path: Path) -> None:
    jpeg = raster_bytes(Image.fromarray((texture(24, 24) // 4).astype(np.uint8)), "JPEG")
    dataset = pydicom.dcmread(
        io.BytesIO(
            dicom_bytes(
                syntax=JPEGBaseline8Bit, PixelData=encapsulate([jpeg]), BitsAllocated=8, BitsStored=8, HighBit=7
            )
        )
    )
    icon, reference, private = Dataset(), Dataset(), Dataset()
    icon.PixelData = encapsulate([jpeg])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    reference.ReferencedSOPInstanceUID, reference.IconImageSequence = "1.2", [icon]
    private.PixelData = encapsulate([jpeg])
    private["PixelData"].VR, private["PixelData"].is_undefined_length = "OB", True
    dataset.ReferencedImageSequence = [reference]
    dataset.private_block(0x0009, "VENDOR", create=True).add_new(1, "SQ", [private])
    dataset.save_as(tmp_path / "a.dcm")
    case = DICOMCase.read([tmp_path / "a.dcm"])
    result = pydicom.dcmread(case.write(case.image.as_tensor(), tmp_path / "result", PROVENANCE))
    assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2"
    assert b"\xff\xd8\xff" not in (tmp_path / "result.dcm").read_bytes()
    assert "IconImageSequence" not in result.ReferencedImageSequence[0]


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        (PositronEmissionTomographyImageStorage, "PRIMARY"),
        (NuclearMedicineImageStorage, "PRIMARY"),
        (pydicom.uid.MRImageStorage, "SECONDARY"),
    ],
)
def test_the_image_type_is_one_that_the_kind_of_object_allows(kind: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(SOPClassUID=kind, ImageType=["ORIGINAL", "PRIMARY", "X"]))
    assert derived(tmp_path / "a.dcm", tmp_path).ImageType == ["DERIVED", second, "X"]


@pytest.mark.parametrize("written", [False, True], ids=["before the network runs", "when it is written"])
def test_a_header_that_cannot_be_encoded_is_refused(
    written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    case = DICOMCase.read([tmp_path / "a.dcm"])

    def refusing(*arguments: object, **keywords: object) -> None:
        raise ValueError("a value that no file may hold")

    monkeypatch.setattr("scripts.io.dicom_writing.dcmwrite", refusing)
    with pytest.raises(InputError, match=r'cannot read "\S+a.dcm": a value that no file may hold$'):
        case.write(case.image.as_tensor(), tmp_path / "result", PROVENANCE) if written else case.check_writable()
