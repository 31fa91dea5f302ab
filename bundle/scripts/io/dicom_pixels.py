# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding the pixels of a DICOM file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import encaps
from pydicom.dataset import FileDataset
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    RLELossless,
)

from .dicom_frames import PixelFormat, bytes_of_frame
from .dicom_header import naming, transfer_syntax
from .dicom_isolation import decode_isolated

__all__ = ["DATA_TAGS", "PALETTE_TAGS", "decode_frames"]

PALETTE_TAGS = tuple(
    f"{prefix}{colour}PaletteColorLookupTable{what}"
    for colour in ("Red", "Green", "Blue")
    for prefix, what in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
DATA_TAGS = (
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


def decode_frames(dataset: FileDataset, pixel_format: PixelFormat, count: int) -> Iterator[np.ndarray]:
    """Decode the pictures of a file one by one.

    Bits beyond the stored ones, where old files keep overlays, are cut off, and the sign is extended. Colour comes as
    8 or 16 bit red, green and blue, whatever it was stored as.

    Args:
        dataset: from :func:`read_dataset`, with :data:`PIXEL_TAGS`, :data:`PALETTE_TAGS` and :data:`DATA_TAGS`.
        pixel_format: the file's.
        count: how many pictures the file holds.

    Yields:
        Arrays of stored values, rows × columns or rows × columns × 3.

    Raises:
        InputError: when the pixel data is damaged, missing or of a kind that cannot be decoded.
    """
    # New in pydicom 3. Programs with an older one, such as MONAI Label, can import this package all the same.
    from pydicom.pixels.processing import apply_color_lut

    file = Path(str(dataset.filename))
    with naming(file):
        _check_pixel_data(dataset, pixel_format, count)
    syntax = transfer_syntax(dataset)
    palette = pixel_format.photometric == "PALETTE COLOR"
    in_high_bits = not palette and not syntax.is_encapsulated
    shift = pixel_format.high_bit + 1 - pixel_format.bits_stored if in_high_bits else 0
    decoded = _decoded(dataset, pixel_format, count, shift)
    for _ in range(count):
        with naming(file):
            array = _next_frame(decoded, dataset)
            if palette:
                array = apply_color_lut(array, dataset)
                array = array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)
        yield array >> shift if shift else array


def _decoded(dataset: FileDataset, pixel_format: PixelFormat, count: int, shift: int) -> Iterator[np.ndarray]:
    """Frames from a decoder that can be trusted with damaged data; ``shift`` bits too far up."""
    from pydicom.pixels.utils import iter_pixels

    syntax = transfer_syntax(dataset)
    options: dict[str, Any] = {"bits_stored": pixel_format.bits_stored + shift} if shift else {}
    if syntax.is_encapsulated and syntax != RLELossless:
        deep_colour = pixel_format.colour and pixel_format.bits_stored > 8
        by_pillow = syntax == JPEGBaseline8Bit or (syntax in JPEG2000TransferSyntaxes and not deep_colour)
        size = bytes_of_frame(dataset) * count
        yield from decode_isolated(Path(str(dataset.filename)), count, size, "pillow" if by_pillow else "")
        return
    # With indices, pydicom hands out arrays that it can write to, as it must to mend the sign of some codecs.
    yield from iter_pixels(dataset, indices=range(count), allow_excess_frames=False, **options)


def _next_frame(decoded: Iterator[np.ndarray], dataset: FileDataset) -> np.ndarray:
    syntax = transfer_syntax(dataset)
    try:
        return next(decoded)
    except Exception as error:
        if not syntax.is_encapsulated:
            raise
        raise ValueError(f"its pixels, compressed as {syntax.name}, are damaged or beyond the decoders") from error


def _check_pixel_data(dataset: FileDataset, pixel_format: PixelFormat, count: int) -> None:
    if "PixelData" not in dataset:
        floats = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        raise ValueError("its pixels are floating-point numbers" if floats else "it holds no pixel data")
    syntax, data = transfer_syntax(dataset), dataset.PixelData
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = syntax
    if not data:
        raise ValueError("its pixel data is empty")
    if not syntax.is_encapsulated:
        if len(data) < bytes_of_frame(dataset) * count:
            raise ValueError(
                f"its pixel data is cut short: {len(data)} of {bytes_of_frame(dataset) * count} bytes are there"
            )
    elif syntax != RLELossless:
        # Decoders allocate what the header says, so the header must agree with what was compressed.
        fragments = encaps.generate_fragments(data, endianness="<")
        size = _size_in_codestream(next((fragment for fragment in fragments if len(fragment) > 64), b""))
        if size is not None and size != (pixel_format.rows, pixel_format.columns):
            raise ValueError(
                f"its header says {pixel_format.rows}×{pixel_format.columns} pixels but the compressed image "
                f"is {size[0]}×{size[1]}"
            )


def _size_in_codestream(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream states."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start >= 0 and (start == 0 or data[4:8] == b"jP  "):
        width, height, left, top = struct.unpack(">4I", data[start + 8 : start + 24])
        return height - top, width - left
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xF7, *range(0xC0, 0xD0)) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">2H", data[at + 5 : at + 9])
            return (height, width) if height else None
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
