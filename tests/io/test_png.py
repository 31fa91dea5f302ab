# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.io.bad_files import SIZE, png_chunk, png_of, raster_bytes

from scripts.errors import InputError
from scripts.io.png import PASSES
from scripts.io.raster import RasterCase


def shortened(png: bytes, rows: int) -> bytes:
    """A PNG picture with fewer rows than its header says, and no checksum that would tell."""
    data = zlib.decompress(png[41 : 41 + int.from_bytes(png[33:37], "big")])
    cut = zlib.compress(data[: rows * len(data) // SIZE])
    return png[:33] + png_chunk(b"IDAT", cut) + png[-12:]


def test_a_png_picture_that_lacks_rows_is_refused(tmp_path: Path) -> None:
    whole = raster_bytes()
    (tmp_path / "a.png").write_bytes(shortened(whole, SIZE))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(Image.open(io.BytesIO(whole))))
    assert RasterCase.read(tmp_path / "a.png").image.shape == (1, SIZE, SIZE)
    (tmp_path / "b.png").write_bytes(shortened(whole, SIZE - 1))
    with pytest.raises(InputError, match=f"it is damaged: its rows take {SIZE * SIZE + SIZE} bytes, and"):
        RasterCase.read(tmp_path / "b.png")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (33, 17)])
@pytest.mark.parametrize("name", ["grey", "colour"])
def test_interlaced_png_pictures_are_read(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    channels = {"grey": 1, "colour": 3}[name]
    samples = np.random.RandomState(0).randint(0, 255, (*size[::-1], channels), np.uint8)
    passes = [samples[top::down, left::step] for left, top, step, down in PASSES]
    (tmp_path / "a.png").write_bytes(png_of(samples, passes=passes))
    found = RasterCase.read(tmp_path / "a.png").image.numpy()
    assert np.array_equal(found, samples.transpose(2, 1, 0))
