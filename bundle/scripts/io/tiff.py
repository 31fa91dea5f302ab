# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What Pillow does not tell of a TIFF file: stacks in one directory, what zero means, and 16-bit colour in tiles."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from .base import UnreadableError

__all__ = ["black_is_zero", "check_directory", "kind_of_tiff", "packed_bits", "samples_of_tiff"]

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, PHOTOMETRIC, DESCRIPTION, ORIENTATION = 258, 262, 270, 274
WHITE_IS_ZERO = 0
PACKED_BITS = 12


def check_directory(file: Path, image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a stack that programs for microscopes keep in one directory, of which Pillow sees the first page only.

    Raises:
        UnreadableError: with a clause that says how many pages there are.
    """
    pages = max(_pages_described(image), _pages_found(file))
    if pages > 1:
        raise UnreadableError(f"it holds {pages} pages: save each page as a file, or the stack as NIfTI")


def _pages_described(image: TiffImagePlugin.TiffImageFile) -> int:
    """Pages by the description that ImageJ or tifffile writes."""
    description = str(image.tag_v2.get(DESCRIPTION, ""))
    if description.startswith("ImageJ="):
        found = re.search(r"^images=([0-9]{1,9})", description, re.MULTILINE)
        return int(found[1]) if found else 1
    if description.startswith("{"):
        try:
            shape = [int(length) for length in json.loads(description)["shape"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return 1
        return max(1, int(np.prod(shape, dtype=object)) // (image.width * image.height * len(image.getbands())))
    return 1


def _pages_found(file: Path) -> int:
    """Pages by all that tifffile knows of such programs."""
    try:
        with _opened(file) as tiff:
            page = tiff.pages.first
            return max(1, *(int(np.prod(series.shape, dtype=object)) // max(1, page.size) for series in tiff.series))
    except Exception:  # whatever a damaged file leads tifffile to; Pillow says what is wrong with it
        return 1


@contextmanager
def _opened(file: Path) -> Iterator[tifffile.TiffFile]:
    log = logging.getLogger("tifffile")
    former, log.disabled = log.disabled, True
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff
    finally:
        log.disabled = former


def packed_bits(image: Image.Image) -> int:
    """Bits of a sample where they are fewer than those of its type, 12; 0 otherwise."""
    bits = image.tag_v2.get(BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
    return PACKED_BITS if tuple(bits) == (PACKED_BITS,) else 0


def black_is_zero(samples: np.ndarray, image: Image.Image, bits: int) -> np.ndarray:
    """Turn samples round that are white where they are 0, as Pillow does with 8 bits only.

    Args:
        samples: as Pillow reads them.
        image: the file.
        bits: from :func:`packed_bits`.

    Raises:
        UnreadableError: for numbers that have no largest one.
    """
    if image.tag_v2.get(PHOTOMETRIC) != WHITE_IS_ZERO or image.mode in ("1", "L", "P"):  # type: ignore[attr-defined]
        return samples
    if samples.dtype.kind != "u":
        raise UnreadableError("its zero is white, though its numbers have no end: save it with black as zero")
    most = (1 << bits) - 1 if bits else np.iinfo(samples.dtype).max
    return (most - samples).astype(samples.dtype)


def samples_of_tiff(file: Path) -> np.ndarray | None:
    """Samples (rows, columns, channels) of a picture of colours, upright as Pillow has them.

    None where tifffile cannot decode them alone.
    """
    try:
        with _opened(file) as tiff:
            page = tiff.pages.first
            if 0 in page.databytecounts:
                return None  # tifffile would make black of a part that is missing
            samples = np.asarray(page.asarray())
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, -1)
            turned = _upright(samples, int(page.tags.valueof(ORIENTATION, 1)))
            return np.ascontiguousarray(turned.astype(samples.dtype.newbyteorder("=")))
    except Exception:  # whatever damaged data or a missing decoder leads to: another reader is asked
        return None


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn samples as the file asks for: where its first row and its first column are to be shown."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples[::-1] if orientation in (3, 4, 7, 8) else samples


def kind_of_tiff(file: Path) -> str | None:
    """Say in a clause what kind of TIFF a file is that Pillow does not know; None where it is none, or damaged."""
    try:
        with file.open("rb") as raw:
            if raw.read(4) not in SIGNATURES:
                return None
        with _opened(file) as tiff:
            page = tiff.pages.first
            names = [str(getattr(value, "name", value)) for value in (page.photometric, page.compression)]
            kind = f"{page.samplesperpixel} samples of {page.bitspersample} bits, {names[0]}, compression {names[1]}"
            return f"it is a TIFF of a kind that is not supported ({kind}): save it as grey or RGB of 8 or 16 bits"
    except Exception:  # whatever a damaged file leads tifffile to
        return None
