# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What Pillow does not tell of a PNG file: chunks to keep, and rows that are missing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from .base import UnreadableError

__all__ = ["PNG_SIGNATURE", "check_rows", "png_metadata"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
METADATA = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt")
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by the type of its colours."""

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass of an interlaced picture, and steps between them."""

_CHUNK = 2**20


def png_metadata(file: Path) -> tuple[tuple[bytes, bytes], ...]:
    """Kinds and contents of the chunks that say how to show an image, or what it is."""
    return tuple(_chunks(file, METADATA))


def check_rows(file: Path) -> None:
    """Refuse a file whose compressed part ends before the last row: Pillow would make the others black.

    Raises:
        UnreadableError: with a clause that says so.
        zlib.error: when the compression is damaged.
    """
    header = next((data for _, data in _chunks(file, (b"IHDR",))), b"")
    width, height, bits, colours, _, _, interlaced = struct.unpack(">2I5B", header)
    needed = 0
    for left, top, step, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // step), -(-(height - top) // down)
        needed += rows * (1 + -(-columns * bits * SAMPLES[colours] // 8)) if columns > 0 < rows else 0
    found, inflater = 0, zlib.decompressobj()
    for _, data in _chunks(file, (b"IDAT",)):
        while data and not inflater.eof and found < needed:
            found += len(inflater.decompress(data, _CHUNK))
            data = inflater.unconsumed_tail
    if found < needed:
        raise UnreadableError(f"it is damaged: its rows take {needed} bytes, and {found} are there")


def _chunks(file: Path, kinds: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the chunks of some kinds."""
    with file.open("rb") as raw:
        raw.seek(len(PNG_SIGNATURE))
        while len(start := raw.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind in kinds:
                yield kind, raw.read(length)
                length = 0
            raw.seek(length + 4, io.SEEK_CUR)
