# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Damaged files: seeds of every format, some bytes of which are changed, lost or repeated, the same in every run."""

from __future__ import annotations

import gzip
import io
import os
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless
from tests.io.bad_files import deep_png, dicom_bytes, nifti_bytes, raster_bytes, texture
from tests.io.compression import compress
from tests.io.process_tree import PeakMemory

from scripts.errors import InputError
from scripts.io import CaseImage, Provenance, find_cases, open_case

MUTATIONS = int(os.environ.get("HQGNET_FUZZ_MUTATIONS", "300"))
"""Of each seed. A codec that breaks down is started anew, which takes a second: its seeds get a fifth of them."""

MOST_VALUES = 2**24
MOST_MEMORY = 2**29
LONGEST = 5.0  # seconds of the processor

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")
EIGHT_BITS: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def multi_frame() -> bytes:
    return dicom_bytes(NumberOfFrames=3, PixelData=np.stack([texture(24, 24)] * 3).tobytes())


def rle() -> bytes:
    segment = b"\xe9\x07\xe9\x09" * 12  # 24 times 7, 24 times 9 ...
    return dicom_bytes(
        syntax=RLELossless,
        PixelData=encapsulate([(1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + segment]),
        **EIGHT_BITS,
    )


def jpeg_dicom() -> bytes:
    return dicom_bytes(syntax=JPEGBaseline8Bit, PixelData=encapsulate([raster_bytes(format_="JPEG")]), **EIGHT_BITS)


def compressed(process: str) -> bytes:
    """An image whose pixels GDCM has compressed without loss."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        plain.write_bytes(dicom_bytes())
        compress(plain, packed, process)
        return packed.read_bytes()


def deep_sequences(depth: int = 200) -> bytes:
    """An image with a sequence in a sequence in a sequence ..."""
    item = pydicom.Dataset()
    for _ in range(depth):
        outer = pydicom.Dataset()
        outer.ReferencedImageSequence = [item]
        item = outer
    return dicom_bytes(ReferencedImageSequence=[item])


def odd_meta() -> bytes:
    """An image whose file-meta information has representations that the standard does not know."""
    return dicom_bytes().replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00ZZ", 1)


CODECS: dict[str, Callable[[], bytes]] = {
    "jpeg-ls dicom": lambda: compressed("JPEGLSLossless"),
    "jpeg lossless dicom": lambda: compressed("JPEGLosslessProcess14_1"),
    "jpeg 2000 dicom": lambda: compressed("JPEG2000Lossless"),
}


def nifti2() -> bytes:
    return bytes(nib.Nifti2Image(texture(24, 24, 4), np.eye(4)).to_bytes())


def colours() -> Image.Image:
    grey = Image.open(io.BytesIO(raster_bytes()))
    return Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_90), grey])


SEEDS: dict[str, Callable[[], bytes]] = {
    "dicom": dicom_bytes,
    "multi-frame dicom": multi_frame,
    "rle dicom": rle,
    "jpeg dicom": jpeg_dicom,
    "deep dicom": deep_sequences,
    "nifti": lambda: nifti_bytes(scl_slope=0.5, scl_inter=3),
    "colour nifti": lambda: nifti_bytes(np.zeros((8, 8, 4), [(channel, "u1") for channel in "RGB"])),
    "nifti 2": nifti2,
    "png": lambda: raster_bytes(colours()),
    "palette png": lambda: raster_bytes(colours().quantize(8), transparency=3),
    "deep png": deep_png,
    "tiff": lambda: raster_bytes(format_="TIFF"),
    "packed tiff": lambda: raster_bytes(colours(), "TIFF", compression="tiff_lzw"),
    "jpeg": lambda: raster_bytes(colours(), "JPEG"),
    "bmp": lambda: raster_bytes(colours(), "BMP"),
    "gif": lambda: raster_bytes(format_="GIF"),
}


def mutate(content: bytes, random: np.random.RandomState) -> bytes:
    """Damage a file as transfers, disks and other programs do."""
    damaged = bytearray(content)
    for _ in range(random.randint(1, 5)):
        # Headers are short, and what they say counts most.
        at = random.randint(min(len(damaged), 400 if random.rand() < 0.7 else len(damaged)))
        kind = random.randint(6)
        if kind == 0:
            damaged[at] ^= 1 << random.randint(8)
        elif kind == 1:
            damaged[at : at + 4] = random.bytes(len(damaged[at : at + 4]))
        elif kind == 2:
            damaged[at : at + 4] = random.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(damaged[at : at + 4])
        elif kind == 3:
            del damaged[at : at + random.randint(1, 9)]
        elif kind == 4:
            damaged[at:at] = damaged[at : at + random.randint(1, 99)]
        elif at > 8:
            del damaged[at:]
    return bytes(damaged)


def with_checksums(png: bytes) -> bytes:
    """Make the checksums of a PNG picture true, so that its damage is not known by them."""
    repaired, at = png[:8], 8
    while len(png) >= at + 12:
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        repaired += png[at:end] + zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return repaired


def mutants(seed: Callable[[], bytes], count: int = MUTATIONS) -> Iterator[bytes]:
    content, random = seed(), np.random.RandomState(0)
    yield content
    for _ in range(count):
        yield mutate(content, random)


def peak_memory() -> int:
    """The most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(file: Path) -> CaseImage | None:
    """Read a file as a run would; None where it is refused as it should be."""
    start = time.process_time()
    try:
        cases, problems = find_cases(file)
        messages = [problem.message for problem in problems]
        image = open_case(cases[0]) if cases else None
    except InputError as error:
        messages, image = [str(error)], None
    assert time.process_time() - start < LONGEST
    if image is None:
        assert len(messages) == 1
        assert str(file) in messages[0]
        assert "\n" not in messages[0]
        return None
    assert image.image.dtype == torch.float32
    assert image.image.ndim in (3, 4)
    assert 0 < image.image.numel() <= MOST_VALUES
    return image


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_file_is_read_or_refused_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    before, accepted = peak_memory(), 0
    for i, content in enumerate(mutants(SEEDS[name])):
        file = tmp_path / f"{i}.dcm"
        file.write_bytes(content)
        accepted += read(file) is not None
    assert accepted > 0
    assert peak_memory() - before < MOST_MEMORY


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_damaged_compressed_pixels_are_decoded_or_refused_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    accepted, slowest = 0, 0.0
    with PeakMemory() as memory:
        for i, content in enumerate(mutants(CODECS[name], MUTATIONS // 5)):
            (tmp_path / f"{i}.dcm").write_bytes(content)
            start = time.perf_counter()
            accepted += read(tmp_path / f"{i}.dcm") is not None
            slowest = max(slowest, time.perf_counter() - start)
    assert accepted > 0
    assert slowest < 6 * LONGEST  # waiting for another process counts, on a busy machine too
    assert memory.growth < MOST_MEMORY


def test_an_odd_representation_in_the_file_meta_information_is_refused_or_read(tmp_path: Path) -> None:
    with PeakMemory() as memory:
        (tmp_path / "a.dcm").write_bytes(odd_meta())
        read(tmp_path / "a.dcm")
    assert memory.growth < MOST_MEMORY


def test_a_damaged_file_that_is_packed_is_read_or_refused(tmp_path: Path) -> None:
    for i, content in enumerate(mutants(SEEDS["nifti"])):
        (tmp_path / f"{i}.nii.gz").write_bytes(gzip.compress(content, compresslevel=1))
        read(tmp_path / f"{i}.nii.gz")


@pytest.mark.parametrize("name", [name for name in SEEDS if "png" in name])
def test_a_damaged_png_with_true_checksums_is_read_or_refused(name: str, tmp_path: Path) -> None:
    before = peak_memory()
    for i, content in enumerate(mutants(SEEDS[name])):
        (tmp_path / f"{i}.png").write_bytes(with_checksums(content))
        read(tmp_path / f"{i}.png")
    assert peak_memory() - before < MOST_MEMORY


def test_damage_to_packed_bytes_is_always_noticed(tmp_path: Path) -> None:
    whole = gzip.compress(nifti_bytes())
    for i, content in enumerate(mutants(lambda: whole)):
        file = tmp_path / f"{i}.nii.gz"
        file.write_bytes(content)
        image = read(file)
        assert image is None or np.array_equal(image.image[0].numpy(), texture(24, 24, 4))


@pytest.mark.parametrize("name", [name for name in SEEDS if "dicom" not in name and name not in ("jpeg", "gif")])
def test_what_is_accepted_is_written_and_read_as_the_same(name: str, tmp_path: Path) -> None:
    for i, content in enumerate(mutants(SEEDS[name])):
        file = tmp_path / f"{i}.dcm"
        file.write_bytes(content)
        image = read(file)
        if image is not None and bool(image.image.isfinite().all()):
            again = read(image.write(image.image.as_tensor(), tmp_path / f"result {i}", PROVENANCE))
            assert again is not None
            assert torch.equal(again.image.as_tensor(), image.image.as_tensor())
