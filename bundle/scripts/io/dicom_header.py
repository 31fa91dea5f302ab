# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Headers of DICOM files, and errors that name the file."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from ..errors import InputError
from .limits import inflated_size

__all__ = [
    "IDENTITY_TAGS",
    "check_inflation",
    "is_deflated",
    "naming",
    "read_dataset",
    "read_header",
    "sop_class",
    "transfer_syntax",
    "words",
]

IDENTITY_TAGS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality")

# Words of the names of SOP classes, and what objects with such a name are to their owner.
_NO_IMAGES = (
    ("Whole Slide", "a whole-slide image, whose frames are tiles"),
    (" SR", "a structured report"),
    ("Report", "a structured report"),
    ("Key Object", "a note on other images (key object selection)"),
    ("Segmentation", "a segmentation"),
    ("Presentation State", "a presentation state"),
    ("RT ", "a radiotherapy object"),
    ("Waveform", "a waveform"),
    ("ECG", "a waveform"),
    ("Parametric Map", "a parametric map"),
    ("Spectroscopy", "a set of spectra"),
    ("Raw Data", "raw data"),
    ("Encapsulated", "a document"),
)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Name the file in whatever pydicom and its decoders raise on what they cannot read, and hush their warnings.

    Raises:
        InputError: for any exception inside.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except InvalidDicomError as error:
        raise InputError(f'cannot read "{file}": it is no DICOM file') from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[0] if lines else type(error).__name__).rstrip(".:")
        raise InputError(f'cannot read "{file}": {reason if len(reason) <= 200 else reason[:197] + "..."}') from error


def read_header(file: Path, tags: Sequence[str] = ()) -> FileDataset:
    """Read the header of an image, up to its pixel data.

    Args:
        file: a DICOM file; the preamble may be missing, as it is from old archives.
        tags: read those only, and what tells an image from other objects; all by default.

    Raises:
        InputError: when the file is not DICOM, ends within the header, or holds no image.
    """
    with naming(file), file.open("rb") as stream:
        check_inflation(file)
        specific = [*tags, "SOPClassUID", "Rows", "Columns"] if tags else None
        try:
            header = dcmread(
                stream, force=_starts_without_preamble(file), stop_before_pixels=True, specific_tags=specific
            )
        except (EOFError, struct.error) as error:
            raise ValueError("it ends in the middle of its header") from error
        end, size = stream.tell(), file.stat().st_size
        # Values that are not read are jumped over, also beyond the end.
        if end > size:
            raise ValueError("it ends in the middle of its header")
        reason = _why_not_an_image(header)
        if reason is not None:
            raise ValueError(reason)
        if end == size and not is_deflated(header):
            raise ValueError("it holds no pixel data")
        return header


def read_dataset(file: Path, tags: Sequence[str] = ()) -> FileDataset:
    """Read a file with its pixel data; see :func:`read_header` for the arguments and the errors."""
    with naming(file):
        check_inflation(file)
        return dcmread(file, force=_starts_without_preamble(file), specific_tags=list(tags) or None)


def _starts_without_preamble(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(4)
    # The first element of the file's meta information, or an element that a dataset begins with.
    return start[:4] in (
        b"\x02\x00\x00\x00",
        b"\x08\x00\x00\x00",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
        b"\x08\x00\x16\x00",
    )


def check_inflation(file: Path) -> int | None:
    """Bytes that the dataset of a deflated file unpacks to; None for any other file.

    pydicom unpacks such a file at once, header and pixels.

    Raises:
        UnreadableError: when that is more than a file of its size may unpack to.
    """
    with file.open("rb") as stream:
        read_preamble(stream, force=True)
        syntax = _read_file_meta_info(stream).get("TransferSyntaxUID")
        return inflated_size(file, stream.tell()) if syntax == DeflatedExplicitVRLittleEndian else None


def is_deflated(header: FileDataset) -> bool:
    """Tell whether a whole file, header included, is compressed."""
    return transfer_syntax(header) == DeflatedExplicitVRLittleEndian


def transfer_syntax(dataset: FileDataset) -> UID:
    """How a file is encoded; guessed as pydicom does where it does not say."""
    found = dataset.file_meta.get("TransferSyntaxUID")
    return UID(found) if found else ImplicitVRLittleEndian


def sop_class(header: FileDataset) -> UID | None:
    """Return the kind of object that a file says it holds."""
    found = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return UID(found) if found else None


def _why_not_an_image(header: FileDataset) -> str | None:
    """Tell in a clause why a file holds no image that could be enhanced; None where it may.

    Kinds of object that the standard does not know are given a try when they have rows and columns.
    """
    kind = sop_class(header)
    if kind == MediaStorageDirectoryStorage:
        return "it is a DICOMDIR, an index of other files"
    if kind is None:
        return "it does not say what it is (no SOP class)"
    slide = "Whole Slide" in kind.name
    standard = not kind.name.startswith("1.") and kind.type == "SOP Class"
    if standard and (slide or not ("Image Storage" in kind.name or "Enhanced US Volume" in kind.name)):
        for word, what in _NO_IMAGES:
            if word in kind.name:
                return f"it is {what}"
        return f"it is no image ({kind.name.removesuffix(' Storage')})"
    for tag in ("Rows", "Columns"):
        if not header.get(tag):
            return f"its header gives no {tag.lower()}"
    return None


def words(keyword: str) -> str:
    """An attribute's keyword as words: ``BitsStored`` is ``bits stored``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in keyword).strip()
