# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed pixels: what is decoded, and what becomes of codecs that never come to an end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2K, HTJ2KLossless
from tests.io.bad_files import dicom_bytes, texture
from tests.io.compression import HIGH_THROUGHPUT, compress
from tests.io.process_tree import PeakMemory

from scripts.errors import InputError
from scripts.io import dicom_isolation
from scripts.io.dicom import DICOMCase


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2K])
def test_high_throughput_jpeg_2000_is_decoded(syntax: str, tmp_path: Path) -> None:
    values = texture(24, 24)[:8, :8]
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(values, syntax=syntax, PixelData=encapsulate([HIGH_THROUGHPUT])))
    assert np.array_equal(DICOMCase.read([tmp_path / "a.dcm"]).image[0, ..., 0].numpy().T, values)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm", "GDCMJ2K_TextGBR.dcm", "693_J2KI.dcm"])
def test_what_itk_decodes_is_decoded_to_the_same_values(name: str) -> None:
    file = Path(str(get_testdata_file(name)))
    expected = itk.array_from_image(itk.imread(str(file)))
    assert np.array_equal(DICOMCase.read([file]).image.numpy().T.squeeze(), expected.squeeze())


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_12_bit_jpeg_that_ends_early_is_refused(share: float, tmp_path: Path) -> None:
    content = Path(str(get_testdata_file("JPGExtended.dcm"))).read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match='^cannot read "\\S+a.dcm": [^\n]+$'):
        DICOMCase.read([tmp_path / "a.dcm"])


@pytest.mark.parametrize("process", ["JPEGBaselineProcess1", "JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_jpeg_whose_data_ends_before_the_picture_does_is_refused(process: str, tmp_path: Path) -> None:
    values = np.random.RandomState(0).randint(0, 255, (24, 24)).astype(np.uint8)
    eight_bits: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": values.tobytes()}
    (tmp_path / "plain.dcm").write_bytes(dicom_bytes(values, **eight_bits))
    compress(tmp_path / "plain.dcm", tmp_path / "whole.dcm", process)
    whole = pydicom.dcmread(tmp_path / "whole.dcm")
    (stream,) = generate_frames(whole.PixelData, number_of_frames=1)
    assert DICOMCase.read([tmp_path / "whole.dcm"]).image.shape == (1, 24, 24, 1)
    start = stream.index(b"\xff\xda")
    whole.PixelData = encapsulate([stream[: start + (len(stream) - start) // 2] + b"\xff\xd9"])
    whole.save_as(tmp_path / "cut.dcm")
    with pytest.raises(InputError, match="are damaged or beyond the decoders"):
        DICOMCase.read([tmp_path / "cut.dcm"])


@pytest.fixture
def codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A decoder whose codec does what the file that is returned says."""
    real, stand_in, codec = dicom_isolation.DECODER, tmp_path / "decoder.py", tmp_path / "codec.py"
    stand_in.write_text(
        f"import sys; sys.path.insert(0, {str(real.parent)!r})\n"
        "import dicom_decoder\n"
        f"def decode(file, count, plugin):\n    exec(open({str(codec)!r}).read())\n    yield from ()\n"
        "dicom_decoder.decode = decode\n"
        "dicom_decoder.main()\n"
    )
    monkeypatch.setattr(dicom_isolation, "DECODER", stand_in)
    monkeypatch.setattr(dicom_isolation, "FREE_SECONDS", 0.2)
    decoder = dicom_isolation._Decoder()
    monkeypatch.setattr(dicom_isolation, "_decoder", lambda process: decoder)
    return codec


@pytest.mark.parametrize(
    "deed",
    ["while True: pass", "import time\ntime.sleep(60)", "import os\nos.abort()"],
)
def test_a_codec_that_hangs_or_breaks_down_is_ended(deed: str, codec: Path, tmp_path: Path) -> None:
    codec.write_text(deed)
    dicom_isolation._decoder(0)._started()
    start = time.perf_counter()
    with pytest.raises(ValueError, match="broke down, or took too much time or memory"):
        dicom_isolation.decode_isolated(tmp_path / "a.dcm", 1, 100)
    assert time.perf_counter() - start < 5


def test_a_codec_that_asks_for_all_memory_does_not_get_it(codec: Path, tmp_path: Path) -> None:
    codec.write_text("b'x' * 2**30")
    with PeakMemory() as memory, pytest.raises(ValueError, match=r"MemoryError|took too much"):
        dicom_isolation.decode_isolated(tmp_path / "a.dcm", 1, 100)
    assert memory.growth < 2**29
