# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What other programs write into TIFF, and 16-bit PNG with a transparent colour."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from tests.io.bad_files import png_chunk, png_of

from scripts.errors import InputError
from scripts.io import Provenance
from scripts.io.raster import RasterCase
from scripts.transforms import ReadImaged

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")
SAMPLES = np.random.RandomState(0).randint(0, 65536, (36, 33, 3)).astype(np.uint16)
GREY = SAMPLES[..., 0]


def result_of(file: Path, change: int = 0) -> Path:
    case = RasterCase.read(file)
    return case.write(case.image.as_tensor() + change, file.with_name("result"), PROVENANCE)


def read(file: Path) -> np.ndarray:
    """(rows, columns, channels)"""
    return RasterCase.read(file).image.numpy().T


@pytest.mark.parametrize(
    "options",
    [{"imagej": True}, {}, {"metadata": {"axes": "ZYX"}}, {"ome": True}, {"imagej": True, "compression": None}],
    ids=str,
)
def test_a_stack_is_refused_however_it_is_stored(options: dict[str, object], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY] * 5), **options)
    with pytest.raises(InputError, match="it holds 5 pages: save each page as a file, or the stack as NIfTI"):
        RasterCase.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "description", ["ImageJ=1.53\nimages=7\nslices=7\n", '{"shape": [7, 36, 33]}', '{"shape": [1, 7, 36, 33]}']
)
def test_a_stack_in_one_directory_is_refused_by_its_description(description: str, tmp_path: Path) -> None:
    data = np.stack([GREY] * 7)
    tifffile.imwrite(tmp_path / "a.tif", data[0], description=description, metadata=None)
    with (tmp_path / "a.tif").open("ab") as raw:
        raw.write(data[1:].tobytes())
    with pytest.raises(InputError, match="it holds 7 pages"):
        RasterCase.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "description", ["ImageJ=1.53\nimages=1\n", '{"shape": [36, 33]}', "images=7", '{"shape": 7}', "{"]
)
def test_a_single_page_with_a_description_is_read(description: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, description=description, metadata=None)
    assert np.array_equal(read(tmp_path / "a.tif")[..., 0], GREY)


@pytest.mark.parametrize(("dtype", "byteorder"), [("u1", "<"), ("u1", ">"), ("u2", "<")])
def test_what_is_white_where_it_is_zero_is_turned_round(dtype: str, byteorder: str, tmp_path: Path) -> None:
    values = (GREY >> (8 if dtype == "u1" else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite", byteorder=byteorder)
    expected = np.iinfo(dtype).max - values
    assert np.array_equal(read(tmp_path / "a.tif")[..., 0], expected)
    with tifffile.TiffFile(result_of(tmp_path / "a.tif")) as tiff:
        page = tiff.pages.first
        assert (page.photometric.name, page.dtype) == ("MINISBLACK", np.dtype(dtype))
        assert np.array_equal(page.asarray(), expected)


@pytest.mark.parametrize(("dtype", "byteorder"), [("u2", ">"), ("u4", "<"), ("f4", "<")])
def test_what_cannot_be_turned_round_is_refused(dtype: str, byteorder: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype), photometric="miniswhite", byteorder=byteorder)
    with pytest.raises(InputError, match="kind that is not supported .*MINISWHITE|its zero is white"):
        RasterCase.read(tmp_path / "a.tif")


def save_12_bits(file: Path, values: np.ndarray) -> None:
    """Write two samples in three bytes, in rows that begin with a byte."""
    rows = []
    for row in values:
        bits = "".join(f"{value:012b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    data = b"".join(rows)
    height, width = values.shape
    entries = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122)]
    entries += [(277, 3, 1), (278, 4, height), (279, 4, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    file.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data)


@pytest.mark.parametrize("columns", [32, 33])
def test_12_bits_stay_12_bits(columns: int, tmp_path: Path) -> None:
    values = GREY[:, :columns] >> 4
    save_12_bits(tmp_path / "a.tif", values)
    assert np.array_equal(read(tmp_path / "a.tif")[..., 0], values)
    result = result_of(tmp_path / "a.tif")
    assert np.array_equal(read(result)[..., 0], values)
    with Image.open(result) as written:
        assert written.tag_v2[258] == (12,)  # type: ignore[attr-defined]


def test_12_bits_are_cut_to_12_bits_and_counted(tmp_path: Path) -> None:
    save_12_bits(tmp_path / "a.tif", np.array([[0, 4094, 4095, 7]]))
    case = RasterCase.read(tmp_path / "a.tif")
    assert case.values_cut(case.image.as_tensor() + 2) == 1
    assert read(result_of(tmp_path / "a.tif", 2))[..., 0].tolist() == [[2, 4095, 4095, 9]]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_in_tiles_is_read_and_comes_back(
    planar: str, compression: str | None, channels: int, tmp_path: Path
) -> None:
    samples = SAMPLES if channels == 3 else np.dstack([SAMPLES, GREY])
    stored = samples if planar == "contig" else np.moveaxis(samples, -1, 0)
    options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        tile=(16, 16),
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        **options,
    )
    assert np.array_equal(read(tmp_path / "a.tif"), samples[..., :3])
    assert np.array_equal(tifffile.imread(result_of(tmp_path / "a.tif")), samples)


@pytest.mark.parametrize(
    ("values", "photometric", "kind"),
    [
        (GREY.astype(np.float64), "minisblack", "1 samples of 64 bits, MINISBLACK, compression NONE"),
        (GREY.astype(np.complex64), "minisblack", "1 samples of 64 bits"),
        (np.dstack([GREY] * 5), "minisblack", "5 samples of 16 bits"),
    ],
)
def test_a_kind_that_is_not_supported_is_named(values: np.ndarray, photometric: str, kind: str, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric=photometric, planarconfig="contig" if values.ndim == 3 else None
    )
    with pytest.raises(InputError, match=f"it is a TIFF of a kind that is not supported .{kind}.*: save it as grey"):
        RasterCase.read(tmp_path / "a.tif")


@pytest.mark.parametrize("samples", [GREY, SAMPLES], ids=["grey", "colour"])
def test_a_transparent_colour_of_16_bits_becomes_alpha(samples: np.ndarray, tmp_path: Path) -> None:
    transparent = tuple(int(value) for value in np.atleast_1d(samples[3, 4]))
    colour = png_chunk(b"tRNS", np.array(transparent, ">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png_of(samples, colour))
    assert np.array_equal(read(tmp_path / "a.png").squeeze(), samples)
    result = RasterCase.read(result_of(tmp_path / "a.png"))
    alpha = result._content.alpha
    assert alpha is not None
    assert np.array_equal(alpha.T == 0, np.all(np.atleast_3d(samples) == transparent, axis=-1))
    assert np.array_equal(result.image.numpy().T.squeeze(), samples)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
def test_16_bit_colour_stands_upright_as_8_bits_do(
    orientation: int, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    tags = [(274, "H", 1, orientation, True)]
    for name, samples in (("deep", SAMPLES), ("plain", (SAMPLES >> 8).astype(np.uint8))):
        tifffile.imwrite(tmp_path / f"{name}.tif", samples, photometric="rgb", tile=tile, extratags=tags)
    with Image.open(tmp_path / "plain.tif") as image:
        shown = np.asarray(image)
    assert np.array_equal(read(tmp_path / "deep.tif").astype(int) >> 8, shown)
    assert np.array_equal(read(result_of(tmp_path / "deep.tif")).astype(int) >> 8, shown)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_training_sees_photographs_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    picture = Image.fromarray((GREY >> 8).astype(np.uint8)[:20, :30])
    exif = Image.Exif()
    exif[274] = orientation
    picture.save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as source:
        shown = np.asarray(ImageOps.exif_transpose(source))
    item = ReadImaged(["image", "label"])({"image": tmp_path / f"a.{suffix}", "label": tmp_path / f"a.{suffix}"})
    assert np.array_equal(item["image"][0].numpy().T, shown)
    assert np.array_equal(item["label"][0].numpy().T, shown)
