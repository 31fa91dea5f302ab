# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs as bytes of a file: PNG, TIFF, JPEG, BMP and GIF."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from .png import PNG_SIGNATURE

__all__ = [
    "BITS_PER_SAMPLE",
    "SAMPLE_FORMAT",
    "SOFTWARE",
    "Content",
    "directory",
    "encode",
    "picture_of",
    "saved",
]

PNG_UP = 2
LONGEST_SEGMENT = 65533
"""Bytes of metadata that JPEG can hold together."""

BITS_PER_SAMPLE, SAMPLE_FORMAT, SOFTWARE, ICC_PROFILE = 258, 339, 305, 34675
PACKED_BITS = 12


class Content(NamedTuple):
    """Content of a file.

    Attributes:
        format: Pillow's name of it.
        suffix: of the files to write.
        stored: (C, columns, rows).
        alpha: (columns, rows), of the type of ``stored``; None for an opaque image.
        bits: of a sample, where they are fewer than those of its type: 12; 0 otherwise.
        is_binary: whether it stores single bits, 0 and 255 in ``stored``.
        options: how Pillow is to save it, metadata included.
        chunks: metadata of a PNG file.
    """

    format: str
    suffix: str
    stored: np.ndarray
    alpha: np.ndarray | None
    bits: int
    is_binary: bool
    options: dict[str, Any]
    chunks: tuple[tuple[bytes, bytes], ...]


def encode(samples: np.ndarray, content: Content, software: str | None) -> bytes:
    """Encode samples (rows, columns, channels) as the source was."""
    options = dict(content.options)
    exif = options.pop("exif", Image.Exif())
    if content.format == "PNG":
        return _png(samples, content, exif, software)
    if content.format == "TIFF":
        profile = options.pop("icc_profile", None)
        named = {SOFTWARE: software} if software else {}
        tags = {**options.pop("tiffinfo"), **named, **({ICC_PROFILE: profile} if profile else {})}
        if content.bits or not _is_known_to_pillow(samples):
            return _tiff(samples, tags, content.bits)
        options["tiffinfo"] = directory(tags)
    elif content.format == "JPEG":
        if software:
            exif[SOFTWARE] = software
        options["exif"] = exif.tobytes()
        if len(options["exif"]) > LONGEST_SEGMENT:
            del options["exif"]
    elif content.format == "GIF":
        options = {"comment": software} if software else {}
    return saved(picture_of(samples, content.is_binary), content.format, **options)


def _is_known_to_pillow(samples: np.ndarray) -> bool:
    return samples.dtype == np.uint8 or (samples.shape[-1] == 1 and samples.dtype in (np.uint16, np.int32, np.float32))


def picture_of(samples: np.ndarray, is_binary: bool = False) -> Image.Image:
    """Samples (rows, columns, channels) of a type that Pillow knows as its picture; of single bits, where said so."""
    picture = Image.fromarray(np.ascontiguousarray(samples[..., 0] if samples.shape[-1] == 1 else samples))
    return picture.convert("1", dither=Image.Dither.NONE) if is_binary else picture


def saved(picture: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of a file that Pillow makes of a picture."""
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def _png(samples: np.ndarray, content: Content, exif: Image.Exif, software: str | None) -> bytes:
    if _is_known_to_pillow(samples):
        picture = saved(picture_of(samples, content.is_binary), "PNG", compress_level=4)
    else:
        picture = _deep_png(samples)
    keep_profile = "icc_profile" in content.options
    chunks = [(kind, data) for kind, data in content.chunks if kind != b"iCCP" or keep_profile]
    chunks += [(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))] if len(exif) else []
    chunks += [(b"tEXt", b"Software\0" + software.encode("latin-1", "replace"))] if software else []
    after_header = len(PNG_SIGNATURE) + len(_chunk(b"IHDR", bytes(13)))
    return picture[:after_header] + b"".join(_chunk(*chunk) for chunk in chunks) + picture[after_header:]


def _deep_png(samples: np.ndarray) -> bytes:
    """16-bit PNG of 2 to 4 channels, every row stored as the difference to the one above."""
    rows = samples.astype(">u2").reshape(len(samples), -1).view(np.uint8)
    filtered = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    lines = np.concatenate([np.full((len(rows), 1), PNG_UP, np.uint8), filtered], axis=1)
    colour_type = {2: 4, 3: 2, 4: 6}[samples.shape[-1]]
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), 16, colour_type, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 4)
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tiff(samples: np.ndarray, tags: dict[int, Any], bits: int) -> bytes:
    """TIFF of types that Pillow does not write: 16-bit colour, and whole numbers with a sign, of 12 or of 32 bits."""
    rows, columns, channels = samples.shape
    values = _packed(samples[..., 0]) if bits == PACKED_BITS else samples.astype(samples.dtype.newbyteorder("<"))
    data = zlib.compress(values.tobytes(), 4)
    structure = {
        256: columns,
        257: rows,
        BITS_PER_SAMPLE: (bits or 8 * samples.dtype.itemsize,) * channels,
        259: 8,  # deflate
        262: 2 if channels > 2 else 1,  # colour, or grey whose zero is black
        273: 0,  # the values follow the directory
        277: channels,
        278: rows,
        279: len(data),
        SAMPLE_FORMAT: ({"u": 1, "i": 2}[samples.dtype.kind],) * channels,
    }
    if channels in (2, 4):
        structure[338] = 2  # an alpha that the colours are not multiplied with
    return b"II*\0" + struct.pack("<I", 8) + directory({**tags, **structure}).tobytes(8) + data


def _packed(samples: np.ndarray) -> np.ndarray:
    """Two samples of 12 bits in three bytes; every row begins with a byte."""
    pairs = np.pad(samples, ((0, 0), (0, samples.shape[1] % 2))).reshape(len(samples), -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8)
    return np.ascontiguousarray(data.reshape(len(samples), -1)[:, : (12 * samples.shape[1] + 7) // 8])


def directory(tags: dict[int, Any]) -> TiffImagePlugin.ImageFileDirectory_v2:
    """A directory of TIFF with these tags."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag, value in tags.items():
        directory[tag] = value
    return directory
