# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How much memory a file may ask for: small files that unpack to gigabytes are refused before they are unpacked."""

from __future__ import annotations

import zlib
from pathlib import Path

from .base import UnreadableError

__all__ = ["UNPACKS_FREELY", "check_unpacked_size", "inflated_size", "most_unpacked", "unpacked_as_label"]

UNPACKS_FREELY = 2**26
"""Bytes that any file may unpack to: a volume of 512×512×128 voxels of 16 bits, or a photograph of 22 megapixels."""

LARGEST_COMPRESSION = 200
"""Bytes of pixels in a byte of a larger file. Scans that are mostly air come to 50, nothing but empty ones to more."""

LABELS_UNPACK_FREELY = 2**29
"""Bytes that a label may unpack to where the size of its image is unknown: nearly all of it may be 0."""

BYTES_OF_A_CLASS = 8
"""The most that a file may spend on a voxel of a label."""

_CHUNK = 2**20


def unpacked_as_label(voxels: int | None) -> int:
    """Bytes that a label may unpack to, by the voxels of its image if these are known."""
    return LABELS_UNPACK_FREELY if voxels is None else BYTES_OF_A_CLASS * voxels


def most_unpacked(size: int) -> int:
    """Bytes that a file of ``size`` bytes may unpack to."""
    return max(UNPACKS_FREELY, LARGEST_COMPRESSION * size)


def check_unpacked_size(needed: int, size: int, allowed: int = 0) -> None:
    """Refuse a file whose header asks for more than a file of its size can hold.

    Args:
        needed: bytes that the stored values take, unpacked.
        size: bytes of the file.
        allowed: bytes that it may unpack to whatever its size.

    Raises:
        UnreadableError: with a clause that says so.
    """
    if needed > max(allowed, most_unpacked(size)):
        raise UnreadableError(
            f"it would unpack to {needed:.3g} bytes, {needed / max(1, size):.0f} times its size, which no image does: "
            "save it uncompressed if it is one"
        )


def inflated_size(file: Path, start: int) -> int:
    """Count the bytes that a deflated part of a file unpacks to; none of them is kept.

    Args:
        file: the file.
        start: where the part begins; it ends with the file.

    Raises:
        UnreadableError: as soon as there are more than the file may unpack to.
        zlib.error: when the compression is damaged.
    """
    most, count = most_unpacked(file.stat().st_size), 0
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with file.open("rb") as stream:
        stream.seek(start)
        while packed := inflater.unconsumed_tail or stream.read(_CHUNK):
            count += len(inflater.decompress(packed, _CHUNK))
            if count > most:
                raise UnreadableError(f"it would unpack to more than {most:.3g} bytes, which no image of its size does")
            if inflater.eof:
                break
    return count
