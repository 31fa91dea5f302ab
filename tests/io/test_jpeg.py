# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.io.bad_files import texture

from scripts.errors import InputError
from scripts.io.raster import RasterCase

SIZE = 70


def jpeg(colour: bool = False, **options: Any) -> bytes:
    grey = Image.fromarray((texture(SIZE, SIZE) // 4).astype(np.uint8))
    file = io.BytesIO()
    (Image.merge("RGB", [grey, grey.rotate(90), grey]) if colour else grey).save(file, "JPEG", **options)
    return file.getvalue()


OPTIONS = [{}, {"progressive": True}, {"quality": 100}, {"restart_marker_blocks": 3}, {"optimize": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("behind", [b"", bytes(9), b"\xff\xd9", b"anything \xff\xda"], ids=repr)
def test_whole_pictures_are_read(options: dict[str, Any], colour: bool, behind: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(colour, **options) + behind)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(RasterCase.read(tmp_path / "a.jpg").image.numpy().T.squeeze(), np.asarray(image))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_picture_whose_data_ends_early_is_refused(
    options: dict[str, Any], colour: bool, share: float, tmp_path: Path
) -> None:
    whole = jpeg(colour, **options)
    data = whole.rindex(b"\xff\xda") + 20
    (tmp_path / "a.jpg").write_bytes(whole[: data + int(share * (len(whole) - data - 2))] + b"\xff\xd9")
    with pytest.raises(InputError, match="its data ends before the picture does"):
        RasterCase.read(tmp_path / "a.jpg")


def test_a_picture_that_claims_more_rows_is_refused(tmp_path: Path) -> None:
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 2] = (2 * SIZE).to_bytes(2, "big")
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="its data ends before the picture does"):
        RasterCase.read(tmp_path / "a.jpg")
