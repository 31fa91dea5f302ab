# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a DICOM file says of its pictures, and the pictures themselves."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from ..errors import InputError
from .dicom_isolation import decode_isolated

__all__ = [
    "Frame",
    "PixelFormat",
    "decode_frames",
    "describe_frames",
    "naming",
    "read_dataset",
    "read_header",
    "sop_class",
    "transfer_syntax",
]

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
)
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
        missing = [tag for tag in ("Rows", "Columns", "BitsAllocated", "BitsStored") if not header.get(tag)]
        if missing:
            raise ValueError(f"its header gives no {_words(missing[0])}")
        photometric = str(header.get("PhotometricInterpretation") or "")
        samples = {"RGB": 3, "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1}.get(photometric)
        if samples is None and photometric in ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"):
            samples = 3
        if samples is None:
            raise ValueError(f'its photometric interpretation "{photometric}" is not supported')
        if int(header.get("SamplesPerPixel") or 1) != samples:
            raise ValueError(
                f"it has {header.get('SamplesPerPixel')} samples per pixel where {photometric} has {samples}"
            )
        allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
        high_bit = int(header.get("HighBit") or stored - 1)
        if allocated not in (8, 16, 32):
            raise ValueError(f"its pixels take {allocated} bits where 8, 16 or 32 are supported")
        if not 0 < stored <= high_bit + 1 <= allocated:
            raise ValueError(
                f"its header puts {stored} bits up to bit {high_bit} into {allocated}, which is impossible"
            )
        signed = bool(header.get("PixelRepresentation") or 0)
        if photometric == "PALETTE COLOR":
            # Colours, not indices, are what is enhanced and stored; tables of 16 bits carry 8 of colour.
            allocated = stored = 8
            high_bit, signed = 7, False
        if photometric != "PALETTE COLOR" and samples == 3 and (signed or allocated > 16):
            raise ValueError(f"its colours are stored as {'signed' if signed else '32-bit'} numbers")
        return cls(int(header.Rows), int(header.Columns), photometric, allocated, stored, high_bit, signed)


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
        if end == size and not _is_deflated(header):
            raise ValueError("it holds no pixel data")
        return header


def read_dataset(file: Path, tags: Sequence[str] = ()) -> FileDataset:
    """Read a file with its pixel data; see :func:`read_header` for the arguments and the errors."""
    with naming(file):
        return dcmread(file, force=_starts_without_preamble(file), specific_tags=list(tags) or None)


def _starts_without_preamble(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(4)
    # The first element of the file's meta information, or one of those that a dataset begins with.
    return start[:4] in (
        b"\x02\x00\x00\x00",
        b"\x08\x00\x00\x00",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
        b"\x08\x00\x16\x00",
    )


def _is_deflated(header: FileDataset) -> bool:
    return transfer_syntax(header) == DeflatedExplicitVRLittleEndian


def transfer_syntax(dataset: FileDataset) -> UID:
    """How a file is encoded; guessed as pydicom does where it does not say."""
    found = dataset.file_meta.get("TransferSyntaxUID")
    return UID(found) if found else ImplicitVRLittleEndian


def sop_class(header: FileDataset) -> UID | None:
    """What kind of object a file says that it holds."""
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
        for words, what in _NO_IMAGES:
            if words in kind.name:
                return f"it is {what}"
        return f"it is no image ({kind.name.removesuffix(' Storage')})"
    for tag in ("Rows", "Columns"):
        if not header.get(tag):
            return f"its header gives no {tag.lower()}"
    return None


def _words(keyword: str) -> str:
    """An attribute's keyword as words: ``BitsStored`` is ``bits stored``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in keyword).strip()


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
    value = header.get("NumberOfFrames")
    count = 1 if value in (None, "") else int(value)
    if count < 1:
        raise ValueError(f"its header says that it holds {count} frames")
    return count


def _check_size(header: FileDataset, pixel_format: PixelFormat, count: int, file: Path) -> None:
    pixels = pixel_format.rows * pixel_format.columns * count
    if pixels > LARGEST_IMAGE:
        raise ValueError(f"its header says that it holds {pixels:.2g} pixels, more than any image has")
    size, syntax = file.stat().st_size, transfer_syntax(header)
    if _is_deflated(header):
        return
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise ValueError(f'its transfer syntax "{syntax.name}" is unknown, so that its pixels cannot be decoded')
    needed = _bytes_of(header) * count if not syntax.is_encapsulated else 10 * count
    if size < needed:
        what = f"{needed} bytes of pixels" if not syntax.is_encapsulated else f"{count} frames"
        raise ValueError(f"its pixel data is cut short: the header promises {what} in a file of {size} bytes")


def _bytes_of(header: Dataset) -> int:
    """Bytes that an uncompressed frame takes."""
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.get("SamplesPerPixel") or 1)
    return int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated) // 8


def _padding(header: Dataset, pixel_format: PixelFormat) -> tuple[int, int] | None:
    limits = [header.get(tag) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    values = [_as_stored(int(limit), pixel_format) for limit in limits if limit not in (None, "")]
    return (min(values), max(values)) if values and limits[0] not in (None, "") else None


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
    if not pixel_format.colour and header.get("ModalityLUTSequence"):
        raise ValueError("its values go through a table (modality LUT), which cannot be undone for a result")
    slope, intercept = 1.0, 0.0
    if not pixel_format.colour:
        slope = _number(transformation, "RescaleSlope", 1.0)
        intercept = _number(transformation, "RescaleIntercept", 0.0)
        if slope == 0:
            raise ValueError("its rescale slope is 0, so that every value is the same")
    thickness = measures.get("SliceThickness")
    return Frame(
        file=file,
        number=index,
        slope=slope,
        intercept=intercept,
        padding=padding,
        position=_numbers(plane, "ImagePositionPatient", 3),
        orientation=_numbers(direction, "ImageOrientationPatient", 6),
        spacing=_numbers(measures, "PixelSpacing", 2),
        thickness=None if thickness in (None, "") else float(thickness),
    )


def _group(header: Dataset, index: int, name: str) -> Dataset:
    """A frame's functional group: its own, or the one that all frames share, or an empty one."""
    shared = header.get("SharedFunctionalGroupsSequence")
    for groups in (header.PerFrameFunctionalGroupsSequence[index], *(shared or [])[:1]):
        found = groups.get(f"{name}Sequence")
        if found:
            return found[0]
    return Dataset()


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    value = dataset.get(keyword)
    number = default if value in (None, "") else float(value)
    if not math.isfinite(number):
        raise ValueError(f"its {_words(keyword)} is {number}")
    return number


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value = dataset.get(keyword)
    if value in (None, "") or len(value) == 0:
        return None
    numbers = tuple(float(number) for number in value)
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"its {_words(keyword)} is not {count} numbers")
    return numbers


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
    syntax = transfer_syntax(dataset)
    options: dict[str, Any] = {"bits_stored": pixel_format.bits_stored + shift} if shift else {}
    deep_colour = pixel_format.colour and pixel_format.bits_stored > 8
    if syntax == JPEGBaseline8Bit or (syntax in JPEG2000TransferSyntaxes and not deep_colour):
        options["decoding_plugin"] = "pillow"
    elif syntax.is_encapsulated and syntax != RLELossless:
        yield from decode_isolated(Path(str(dataset.filename)), count)
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
        if len(data) < _bytes_of(dataset) * count:
            raise ValueError(
                f"its pixel data is cut short: {len(data)} of {_bytes_of(dataset) * count} bytes are there"
            )
    elif syntax != RLELossless:
        # Decoders allocate what the header says, so the header must agree with what was compressed.
        size = _size_in_codestream(next((f for f in generate_fragments(data, endianness="<") if len(f) > 64), b""))
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
