# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a DICOM file: how their pixels are stored, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from .dicom_header import check_inflation, naming, transfer_syntax
from .dicom_values import has_value, number, numbers, whole_number, words
from .limits import check_unpacked_size

__all__ = ["GEOMETRY_TAGS", "PIXEL_TAGS", "Frame", "PixelFormat", "bytes_of_frame", "describe_frames"]

LARGEST_IMAGE = 2**31  # pixels; far beyond any scanner, within reach of a damaged header

GEOMETRY_TAGS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
PIXEL_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "RealWorldValueMappingSequence",
)


class PixelFormat(NamedTuple):
    """How pixels are stored; one format for all files of a case.

    Attributes:
        rows: height.
        columns: width.
        photometric: photometric interpretation, such as ``"MONOCHROME2"``.
        bits_allocated: bits that a sample takes.
        bits_stored: bits of them that hold its value.
        high_bit: the highest of those, counted from 0.
        signed: whether values are in two's complement.
    """

    rows: int
    columns: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def colour(self) -> bool:
        """Whether pixels are colours, which are decoded to red, green and blue."""
        return not self.photometric.startswith("MONOCHROME")

    @property
    def channels(self) -> int:
        """Three for colour, one for grey."""
        return 3 if self.colour else 1

    @property
    def inverted(self) -> bool:
        """Whether the smallest value is shown white."""
        return self.photometric == "MONOCHROME1"

    @property
    def minimum(self) -> int:
        """The smallest value that fits."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The largest value that fits."""
        return self.minimum + (1 << self.bits_stored) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the same size."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @classmethod
    def of(cls, header: Dataset) -> PixelFormat:
        """Read the format from a header.

        Raises:
            ValueError: when it is missing, contradicts itself, or is none that an image can have.
        """
        missing = [tag for tag in ("Rows", "Columns", "BitsAllocated", "BitsStored") if not whole_number(header, tag)]
        if missing:
            raise ValueError(f"its header gives no {words(missing[0])}")
        photometric = str(header.get("PhotometricInterpretation") or "")
        samples = {"RGB": 3, "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1}.get(photometric)
        if samples is None and photometric in ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"):
            samples = 3
        if samples is None:
            raise ValueError(f'its photometric interpretation "{photometric}" is not supported')
        if whole_number(header, "SamplesPerPixel", 1) != samples:
            raise ValueError(
                f"it has {header.get('SamplesPerPixel')} samples per pixel where {photometric} has {samples}"
            )
        allocated, stored = whole_number(header, "BitsAllocated"), whole_number(header, "BitsStored")
        high_bit = whole_number(header, "HighBit") or stored - 1
        if allocated not in (8, 16, 32):
            raise ValueError(f"its pixels take {allocated} bits where 8, 16 or 32 are supported")
        if not 0 < stored <= high_bit + 1 <= allocated:
            raise ValueError(
                f"its header puts {stored} bits up to bit {high_bit} into {allocated}, which is impossible"
            )
        signed = bool(whole_number(header, "PixelRepresentation"))
        if photometric == "PALETTE COLOR":
            # Colours, not indices, are what is enhanced and stored; tables of 16 bits carry 8 of colour.
            allocated = stored = 8
            high_bit, signed = 7, False
        if photometric != "PALETTE COLOR" and samples == 3 and (signed or allocated > 16):
            raise ValueError(f"its colours are stored as {'signed' if signed else '32-bit'} numbers")
        rows, columns = whole_number(header, "Rows"), whole_number(header, "Columns")
        return cls(rows, columns, photometric, allocated, stored, high_bit, signed)


class Frame(NamedTuple):
    """One picture of a file, and where it lies.

    Attributes:
        file: the file.
        number: which of the file's pictures, from 0.
        slope: of the rescaling to real-world units.
        intercept: likewise.
        padding: smallest and largest stored value that mean "nothing recorded here".
        position: of the first pixel, in the patient's LPS millimetres.
        orientation: directions of a row and of a column, six cosines.
        spacing: millimetres between rows, and between columns.
        thickness: millimetres across the slice.
        scalable: whether the slope is a number of the file's own making, which a result may change.
    """

    file: Path
    number: int
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[int, int] | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None
    thickness: float | None = None
    scalable: bool = False


def describe_frames(header: FileDataset, file: Path) -> tuple[PixelFormat, list[Frame]]:
    """Tell how the pixels of a file are stored and where its pictures lie, and check both against the file's size.

    Args:
        header: from :func:`read_header`, with at least :data:`PIXEL_TAGS` and :data:`GEOMETRY_TAGS`.
        file: where the header is from.

    Raises:
        InputError: when the file holds no image, or one whose values or geometry cannot be told.
    """
    with naming(file):
        pixel_format = PixelFormat.of(header)
        count = _number_of_frames(header)
        _check_size(header, pixel_format, count, file)
        per_frame = header.get("PerFrameFunctionalGroupsSequence")
        if per_frame and len(per_frame) != count:
            raise ValueError(f"it describes {len(per_frame)} frames but holds {count}")
        padding = None if pixel_format.colour else _padding(header, pixel_format)
        return pixel_format, [_describe_frame(header, i, count, pixel_format, padding, file) for i in range(count)]


def _number_of_frames(header: Dataset) -> int:
    count = whole_number(header, "NumberOfFrames", 1)
    if count < 1:
        raise ValueError(f"its header says that it holds {count} frames")
    return count


def _check_size(header: FileDataset, pixel_format: PixelFormat, count: int, file: Path) -> None:
    pixels = pixel_format.rows * pixel_format.columns * count
    if pixels > LARGEST_IMAGE:
        raise ValueError(f"its header says that it holds {pixels:.2g} pixels, more than any image has")
    syntax = transfer_syntax(header)
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise ValueError(f'its transfer syntax "{syntax.name}" is unknown, so that its pixels cannot be decoded')
    size, needed = file.stat().st_size, bytes_of_frame(header) * count
    if syntax.is_encapsulated:
        if size < 10 * count:
            raise ValueError(f"its pixel data is cut short: the header promises {count} frames in {size} bytes")
        check_unpacked_size(needed * (3 if header.PhotometricInterpretation == "PALETTE COLOR" else 1), size)
        return
    unpacked = check_inflation(file)
    if (size if unpacked is None else unpacked) < needed:
        raise ValueError(
            f"its pixel data is cut short: the header promises {needed} bytes of pixels in "
            + (f"a file of {size} bytes" if unpacked is None else f"a file that unpacks to {unpacked}")
        )


def bytes_of_frame(header: Dataset) -> int:
    """Bytes that an uncompressed frame takes."""
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.get("SamplesPerPixel") or 1)
    return int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated) // 8


def _padding(header: Dataset, pixel_format: PixelFormat) -> tuple[int, int] | None:
    tags = [tag for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit") if has_value(header, tag)]
    values = [_as_stored(whole_number(header, tag), pixel_format) for tag in tags]
    return (min(values), max(values)) if "PixelPaddingValue" in tags else None


def _as_stored(value: int, pixel_format: PixelFormat) -> int:
    """A value that was written with the wrong sign, as the pixels have it."""
    whole = 1 << pixel_format.bits_allocated
    if pixel_format.signed and value >= whole // 2:
        return value - whole
    return value + whole if value < 0 and not pixel_format.signed else value


def _describe_frame(
    header: Dataset,
    index: int,
    count: int,
    pixel_format: PixelFormat,
    padding: tuple[int, int] | None,
    file: Path,
) -> Frame:
    if header.get("PerFrameFunctionalGroupsSequence"):
        plane, direction = _group(header, index, "PlanePosition"), _group(header, index, "PlaneOrientation")
        measures, transformation = (
            _group(header, index, "PixelMeasures"),
            _group(header, index, "PixelValueTransformation"),
        )
    else:
        # Without groups, what the header says of the place is true of a single frame only.
        plane = direction = measures = header if count == 1 else Dataset()
        transformation = header
    mapped = "RealWorldValueMappingSequence" in header or bool(_group(header, index, "RealWorldValueMapping"))
    if not pixel_format.colour and header.get("ModalityLUTSequence"):
        raise ValueError("its values go through a table (modality LUT), which cannot be undone for a result")
    slope, intercept = 1.0, 0.0
    if not pixel_format.colour:
        slope = number(transformation, "RescaleSlope", 1.0)
        intercept = number(transformation, "RescaleIntercept", 0.0)
        if slope == 0:
            raise ValueError("its rescale slope is 0, so that every value is the same")
    position = numbers(plane, "ImagePositionPatient", 3)
    orientation = numbers(direction, "ImageOrientationPatient", 6)
    return Frame(
        file=file,
        number=index,
        slope=slope,
        intercept=intercept,
        padding=padding,
        position=position,
        orientation=orientation,
        spacing=numbers(measures, "PixelSpacing", 2) if position and orientation else None,
        thickness=_thickness(measures),
        # A slope of 1 says that stored values are the units, and a second mapping would no longer be true.
        scalable=slope != 1 and not mapped,
    )


def _thickness(measures: Dataset) -> float | None:
    """Millimetres across a slice; None also for odd text, since only a slice on its own needs it."""
    try:
        found = numbers(measures, "SliceThickness", 1)
    except ValueError:
        return None
    return found[0] if found else None


def _group(header: Dataset, index: int, name: str) -> Dataset:
    """A frame's functional group: its own, or the one that all frames share, or an empty one."""
    shared, own = header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")
    for groups in ([own[index]] if own else []) + list((shared or [])[:1]):
        found = groups.get(f"{name}Sequence")
        if found:
            return found[0]
    return Dataset()
