# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Headers of DICOM files, and errors that name the file."""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections import defaultdict
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
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ..errors import InputError, named, without_controls
from .base import NoImageError
from .dicom_kind import KIND_TAGS, objection_to
from .dicom_start import begins_without_preamble
from .limits import inflated_size

__all__ = [
    "IDENTITY_TAGS",
    "Faults",
    "check_inflation",
    "dataset_digest",
    "is_deflated",
    "naming",
    "read_dataset",
    "read_header",
    "transfer_syntax",
]

IDENTITY_TAGS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality")


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
        reason = without_controls(lines[0] if lines else type(error).__name__).rstrip(".:")
        raise InputError(f'cannot read "{file}": {reason if len(reason) <= 200 else reason[:197] + "..."}') from error


class Faults:
    """What is wrong with the files of a series, so that one sentence tells it of all."""

    def __init__(self) -> None:
        self._files: dict[str, list[Path]] = defaultdict(list)
        self._kinds: set[type[InputError]] = set()

    @contextmanager
    def of(self, file: Path) -> Iterator[None]:
        """Note why a file cannot be read, and go on."""
        try:
            yield
        except InputError as error:
            self._kinds.add(type(error))
            self._files[str(error).removeprefix(f'cannot read "{file}": ')].append(file)

    def __len__(self) -> int:
        return sum(map(len, self._files.values()))

    def tell(self) -> None:
        """Tell of all that was noted, if anything was.

        Raises:
            InputError: naming, for each reason, the files; a :class:`NoImageError` where all of them are others.
        """
        if self._files:
            kind = NoImageError if self._kinds == {NoImageError} else InputError
            raise kind("; ".join(f"cannot read {named(files)}: {why}" for why, files in self._files.items()))


def read_header(file: Path, tags: Sequence[str] = ()) -> FileDataset:
    """Read the header of an image, up to its pixel data.

    Args:
        file: a DICOM file; the preamble may be missing, as it is from old archives.
        tags: read those only, and what tells an image from other objects; all by default.

    Raises:
        NoImageError: when the file holds an object of another kind.
        InputError: when the file is not DICOM, ends within the header, or lacks what an image has.
    """
    with naming(file), file.open("rb") as stream:
        check_inflation(file)
        specific = [*tags, *KIND_TAGS] if tags else None
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
        objection = objection_to(header)
        if objection is not None:
            kind = NoImageError if objection.is_other_object else InputError
            raise kind(f'cannot read "{file}": {without_controls(objection.reason)}')
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
        return begins_without_preamble(stream.read(8))


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


def dataset_digest(file: Path) -> str:
    """Digest of what a file holds behind its file-meta information, which every program that passes it on writes anew.

    Raises:
        OSError: when it cannot be read.
    """
    with file.open("rb") as stream:
        read_preamble(stream, force=True)
        digest = hashlib.sha256(str(_read_file_meta_info(stream).get("TransferSyntaxUID")).encode())
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def is_deflated(header: FileDataset) -> bool:
    """Tell whether a whole file, header included, is compressed."""
    return transfer_syntax(header) == DeflatedExplicitVRLittleEndian


def transfer_syntax(dataset: FileDataset) -> UID:
    """How a file is encoded; where it does not say, as pydicom found it to be."""
    found = dataset.file_meta.get("TransferSyntaxUID")
    if found:
        return UID(found)
    implicit, little_endian = dataset.original_encoding
    if implicit or implicit is None:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
