# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How image files are named and stored."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Literal

from monai.config import PathLike

from .dicom_start import begins_without_preamble, says_its_representation
from .nifti_header import is_nifti_header

__all__ = ["ImageFormat", "content_format", "image_format", "image_stem", "natural_order", "other_content"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
RASTER_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")

ImageFormat = Literal["nifti", "dicom", "raster"]

SIGNATURES: dict[bytes, ImageFormat] = {
    b"\x89PNG\r\n\x1a\n": "raster",
    b"\xff\xd8\xff": "raster",
    b"GIF8": "raster",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "raster"),
}
GZIP_SIGNATURE = b"\x1f\x8b"


def content_format(file: Path) -> ImageFormat | None:
    """Tell how a file is stored by its first bytes; DICOM without preamble and value representations by its suffix too.

    Args:
        file: a regular file.

    Returns:
        ``"nifti"``, ``"dicom"``, ``"raster"`` (PNG, TIFF, JPEG, BMP, GIF), or None for anything else.

    Raises:
        OSError: when the file cannot be read.
    """
    with file.open("rb") as raw:
        start = raw.read(4096)
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith(GZIP_SIGNATURE):
        return "nifti" if is_nifti_header(_unpacked(start)) else None
    for signature, format_ in SIGNATURES.items():
        if start.startswith(signature):
            return format_
    # The signature of BMP is two letters; the size of the second header tells it from text.
    if start.startswith(b"BM") and start[14:18] in (bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 64, 108, 124)):
        return "raster"
    if is_nifti_header(start):
        return "nifti"
    if begins_without_preamble(start) and file.name.lower().endswith(DICOM_SUFFIXES):
        return "dicom"
    return "dicom" if says_its_representation(start) else None


def image_format(path: PathLike) -> ImageFormat | None:
    """Tell how a file is stored by its content or, where that tells nothing, by its suffix.

    So a damaged image is still an image, and its reader says what is wrong; it is not passed over.

    Args:
        path: a file.

    Returns:
        See :func:`content_format`; None also for a DICOMDIR, and for what is no regular file.
    """
    path = Path(path)
    name = path.name.lower()
    if name == "dicomdir" or not path.is_file():
        return None
    try:
        found = content_format(path)
    except OSError:  # the reader will say so
        found = None
    named: dict[ImageFormat, tuple[str, ...]] = {
        "nifti": NIFTI_SUFFIXES,
        "raster": RASTER_SUFFIXES,
        "dicom": DICOM_SUFFIXES,
    }
    return found or next((format_ for format_, suffixes in named.items() if name.endswith(suffixes)), None)


def other_content(file: Path) -> str:
    """Say in a clause why a file of a format that is none of images is not read, and what to do.

    Raises:
        OSError: when the file cannot be read.
    """
    if file.name.lower().endswith((".hdr", ".img")):
        return "Analyze and NIfTI images in two files are not supported: convert it to .nii.gz"
    with file.open("rb") as raw:
        start = raw.read(4096)
    unpacked = _unpacked(start) if start.startswith(GZIP_SIGNATURE) else b""
    if unpacked[128:132] == b"DICM" or says_its_representation(unpacked):
        return "it is a packed DICOM file: unpack it first, with gunzip for example"
    return "it is neither NIfTI, DICOM, PNG, TIFF, JPEG, BMP nor GIF: convert it, or leave it out"


def image_stem(path: PathLike) -> str:
    """Name of a file or of a series folder without the suffixes of image files (``scan.nii.gz`` is ``scan``)."""
    name = Path(path).name
    for suffix in sorted(NIFTI_SUFFIXES + DICOM_SUFFIXES + RASTER_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def natural_order(text: str) -> list[tuple[int, str]]:
    """Key by which ``slice10`` comes after ``slice9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _unpacked(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 540)
    except zlib.error:
        return b""
