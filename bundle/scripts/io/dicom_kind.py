# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Which DICOM objects are images that can be enhanced slice by slice."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, MediaStorageDirectoryStorage

__all__ = ["KIND_TAGS", "Objection", "objection_to", "sop_class"]

_TILES = (0x0019, 0x100A)
_SIZE_OF_TILE = (0x0051, 0x100B)

KIND_TAGS: tuple[Any, ...] = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "AcquisitionMatrix",
    "SegmentationType",
    "SegmentSequence",
    "ContentSequence",
    "DoseGridScaling",
    "WaveformSequence",
    (_TILES[0] << 16) + _TILES[1],
    (_SIZE_OF_TILE[0] << 16) + _SIZE_OF_TILE[1],
)
"""Attributes by which :func:`objection_to` tells."""

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

# Attributes that no image has, and what their owners are.
_SIGNS = {
    "SegmentationType": "a segmentation",
    "SegmentSequence": "a segmentation",
    "ContentSequence": "a structured report",
    "DoseGridScaling": "a radiotherapy object",
    "WaveformSequence": "a waveform",
}

_IMAGE_MODALITIES = (
    "AR BDUS BI CR CT DG DX ES FA FS GM HC IO IVOCT IVUS LEN LP LS MA MG MR MS NM OAM OCT OP OPM OPT OPTBSV OPTENF OT "
    "PA PT PX RF RG RTIMAGE SC TG US VF XA XC"
)
"""Modalities of which an object of a kind that the library does not know may be an image."""


class Objection(NamedTuple):
    """Why an object is not enhanced.

    Attributes:
        reason: a clause.
        is_other_object: whether it is a whole object of another kind, and no image that lacks something.
    """

    reason: str
    is_other_object: bool = True


def sop_class(header: FileDataset) -> UID | None:
    """Return the kind of object that a file says it holds."""
    found = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return UID(found) if found else None


def objection_to(header: FileDataset) -> Objection | None:
    """Tell why a file holds no image that could be enhanced slice by slice; None where it may.

    Kinds of object that the library does not know are given a try when they look like images in all they say.

    Args:
        header: with at least :data:`KIND_TAGS`.
    """
    kind = sop_class(header)
    if kind == MediaStorageDirectoryStorage:
        return Objection("it is a DICOMDIR, an index of other files")
    if kind is None:
        return Objection("it does not say what it is (no SOP class)", is_other_object=False)
    known = kind.name != str(kind) and kind.type == "SOP Class"
    other = (_other_known(kind) if known else None) or _other_by_its_signs(header)
    if other is not None:
        return Objection(f"it is {other}")
    if not known and str(header.get("Modality") or "") not in _IMAGE_MODALITIES.split():
        return Objection(f"it is an object of an unknown kind ({kind}), and its modality is none of images")
    for tag in ("Rows", "Columns"):
        if not header.get(tag):
            return Objection(f"its header gives no {tag.lower()}", is_other_object=False)
    if not known and not header.get("PhotometricInterpretation"):
        return Objection(f"it is an object of an unknown kind ({kind}) without a photometric interpretation")
    if _is_mosaic(header):
        return Objection(
            "it is a mosaic, whose slices lie side by side in one picture: split it first, with dcm2niix for example",
            is_other_object=False,
        )
    return None


def _other_known(kind: UID) -> str | None:
    slide = "Whole Slide" in kind.name
    if not slide and ("Image Storage" in kind.name or "Enhanced US Volume" in kind.name):
        return None
    for word, what in _NO_IMAGES:
        if word in kind.name:
            return what
    return f"no image ({kind.name.removesuffix(' Storage')})"


def _other_by_its_signs(header: Dataset) -> str | None:
    if str(header.get("Modality") or "") == "SEG":
        return "a segmentation"
    return next((what for sign, what in _SIGNS.items() if sign in header), None)


def _is_mosaic(header: Dataset) -> bool:
    """Tell whether slices lie side by side, as Siemens stores them.

    The word in the image type is not enough, since multi-frame images of newer software keep it: the picture must also
    be larger than what was acquired.
    """
    kinds = header.get("ImageType") or []
    words = [kinds] if isinstance(kinds, str) else [str(kind) for kind in kinds]
    if "MOSAIC" not in words or "NumberOfFrames" in header:
        return False
    tiles = _private_numbers(header, _TILES)
    if tiles:
        return tiles[0] > 1
    matrix = [int(n) for n in header.get("AcquisitionMatrix") or [] if n] or _private_numbers(header, _SIZE_OF_TILE)
    return bool(matrix) and min(header.Rows, header.Columns) >= 2 * max(matrix)


def _private_numbers(header: Dataset, tag: tuple[int, int]) -> list[int]:
    """Numbers in a private attribute, which may come as bytes."""
    value = header[tag].value if tag in header else None
    if isinstance(value, bytes) and tag == _TILES:
        return [int.from_bytes(value[:2], "little")] if value else []
    text = value.decode("latin-1") if isinstance(value, bytes) else str("" if value is None else value)
    return [int(number) for number in re.findall(r"[0-9]{1,5}", text)]
