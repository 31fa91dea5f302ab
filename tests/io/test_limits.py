# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Small files that unpack to gigabytes."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless
from tests.io.bad_files import dicom_bytes, nifti_bytes, texture
from tests.io.process_tree import PeakMemory

from scripts.errors import InputError
from scripts.io import find_cases, limits, open_case, open_image
from scripts.transforms import ReadImaged

MEBIBYTE = 2**20
MOST_SECONDS, MOST_MEMORY = 5.0, 512 * MEBIBYTE


def nifti_bomb() -> bytes:
    """A megabyte that is a true volume of a gigabyte of zeros."""
    header = nifti_bytes(dim=[3, 1024, 1024, 1024, 1, 1, 1, 1], datatype=2, bitpix=8)[:352]
    return gzip.compress(header) + 64 * gzip.compress(bytes(16 * MEBIBYTE))


def deflated(dataset: bytes, zeros: int) -> bytes:
    """A deflated dataset followed by zeros, as many times 16 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(dataset) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(16 * MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + zeros * block + packer.flush()


def dicom_bomb(rows: int = 16384, frames: int = 3) -> bytes:
    """One and a half megabytes that are a true image of one and a half gigabytes of zeros."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(Rows=rows, Columns=16384, NumberOfFrames=frames, PixelData=None)))
    body, meta = io.BytesIO(), io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(body, dataset, implicit_vr=False, little_endian=True)
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + (2 * rows * 16384 * frames).to_bytes(4, "little")
    return bytes(128) + b"DICM" + meta.getvalue() + deflated(body.getvalue() + pixels, 96)


def trailing_bomb() -> bytes:
    """A small deflated image with a gigabyte and a half behind its pixels."""
    return dicom_bomb(rows=1, frames=1)


def many_frames() -> bytes:
    """A header that promises two milliards of frames of one pixel."""
    return dicom_bomb(rows=1, frames=2**17 - 1)


def compressed_frames() -> bytes:
    data = encapsulate([b"\xff\x4f\xff\x51" + bytes(99)])
    return dicom_bytes(syntax=JPEG2000Lossless, Rows=20000, Columns=20000, PixelData=data)


def png_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(file, "PNG")
    return file.getvalue()


def fax_bomb() -> bytes:
    """Twenty kilobytes of 169 millions of single bits."""
    file = io.BytesIO()
    Image.new("1", (13000, 13000)).save(file, "PNG")
    return file.getvalue()


def palette_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("P", (7000, 7000)).save(file, "GIF")
    return file.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "nifti.nii.gz": nifti_bomb,
    "deflated.dcm": dicom_bomb,
    "trailing.dcm": trailing_bomb,
    "frames.dcm": many_frames,
    "compressed.dcm": compressed_frames,
    "picture.png": png_bomb,
    "fax.png": fax_bomb,
    "palette.gif": palette_bomb,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BOMBS[name]())
    start = time.perf_counter()
    with PeakMemory() as memory:
        cases, problems = find_cases(tmp_path)
        if cases:
            with pytest.raises(InputError) as error:
                open_case(cases[0])
            message = str(error.value)
        else:
            message = problems[0].message
    assert time.perf_counter() - start < MOST_SECONDS
    assert memory.growth < MOST_MEMORY
    assert "it would unpack to" in message
    assert "\n" not in message


def test_a_volume_that_is_mostly_air_is_read(tmp_path: Path) -> None:
    values = np.zeros((256, 256, 64), np.int16)
    values[100:140, 100:140, 20:40] = np.random.RandomState(0).randint(0, 999, (40, 40, 20))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti_bytes(values)))
    ((case,), _) = find_cases(tmp_path)
    assert np.array_equal(open_case(case).image[0].numpy(), values)


@pytest.fixture
def small_files_unpack_to_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKS_FREELY", 2**12)


@pytest.mark.usefixtures("small_files_unpack_to_little")
def test_a_label_that_is_nearly_empty_is_read_though_no_image_may_be_like_that(tmp_path: Path) -> None:
    values = np.zeros((128, 128, 60), np.uint8)
    values[40:60, 40:60, 20:40] = 1
    file = tmp_path / "a.nii.gz"
    file.write_bytes(gzip.compress(nifti_bytes(values)))
    assert int(open_image(file, is_label=True).image.sum()) == 20 * 20 * 20
    with pytest.raises(InputError, match="it would unpack to"):
        open_image(file)


@pytest.mark.usefixtures("small_files_unpack_to_little")
def test_a_mask_of_a_large_picture_is_read(tmp_path: Path) -> None:
    picture = Image.new("L", (900, 900))
    picture.putpixel((5, 7), 1)
    picture.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="it would unpack to"):
        open_image(tmp_path / "a.png")
    assert int(open_image(tmp_path / "a.png", is_label=True, voxels=900 * 900).image[0, 5, 7]) == 1


def test_a_label_may_not_unpack_to_more_than_its_image_has_voxels(tmp_path: Path) -> None:
    (tmp_path / "bomb.nii.gz").write_bytes(nifti_bomb())
    (tmp_path / "bomb.png").write_bytes(png_bomb())
    (tmp_path / "image.nii.gz").write_bytes(gzip.compress(nifti_bytes()))
    for name in ("bomb.nii.gz", "bomb.png"):
        start = time.perf_counter()
        with PeakMemory() as memory, pytest.raises(InputError, match=f'"\\S+{name}": it would unpack to'):
            ReadImaged(["image", "label"])({"image": tmp_path / "image.nii.gz", "label": tmp_path / name})
        assert time.perf_counter() - start < MOST_SECONDS
        assert memory.growth < MOST_MEMORY


def test_a_label_without_an_image_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "bomb.nii.gz").write_bytes(nifti_bomb())
    with PeakMemory() as memory, pytest.raises(InputError, match="it would unpack to"):
        open_image(tmp_path / "bomb.nii.gz", is_label=True)
    assert memory.growth < MOST_MEMORY


def test_a_deflated_image_of_usual_size_is_read(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes()))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm")
    ((case,), _) = find_cases(tmp_path)
    assert np.array_equal(open_case(case).image[0, ..., 0].numpy().T, texture(24, 24))
