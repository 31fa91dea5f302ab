# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a NIfTI file stores, and its header."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from .base import UnreadableError
from .limits import check_unpacked_size, most_unpacked
from .nifti_header import MAGIC, is_nifti_header

__all__ = ["Header", "NiftiContent", "content_of", "read_content"]

Header = nib.Nifti1Header | nib.Nifti2Header

GZIP_MAGIC = b"\x1f\x8b"
HEADER_TYPES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}

SCALAR_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOUR_TYPES = {128: 3, 2304: 4}
"""Bytes of a voxel of the types RGB24 and RGBA32."""

COMPLEX_TYPES = (32, 1792, 2048)

CHUNK = 2**24


class NiftiContent(NamedTuple):
    """Content of a NIfTI file.

    Attributes:
        header: as it stands in the file.
        extensions: bytes between the header and the values.
        stored: (C, *spatial), in the byte order of the file.
        interleaved: whether the channels of a voxel lie side by side in the file.
    """

    header: Header
    extensions: bytes
    stored: np.ndarray
    interleaved: bool


def read_content(file: Path, allowed: int = 0) -> NiftiContent:
    """Read a file; whether it is compressed is told by its content.

    Args:
        file: the file.
        allowed: bytes that it may unpack to in any case, as a label that is nearly all 0 does.

    Raises:
        UnreadableError: saying what is wrong with it.
        OSError: when it cannot be read, or its compression is damaged (also EOFError and zlib.error).
    """
    size = file.stat().st_size
    with file.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not packed:
            return _read_unpacked(raw, None, size)
        with gzip.open(raw) as unpacked:
            content = _read_unpacked(cast("BinaryIO", unpacked), size, None, allowed)
            unpacked.read(CHUNK)  # at its end the checksum is compared
            return content


def content_of(image: SpatialImage) -> NiftiContent:
    """Return the content of the file that an image of nibabel would be saved in, with the values as they are stored.

    Raises:
        UnreadableError: see :func:`read_content`.
    """
    if not isinstance(image, nib.Nifti1Image):  # NIfTI-2 is one, and so are pairs of files
        image = nib.Nifti1Image.from_image(image)
    source: Any = image.dataobj  # an array, or a proxy of what a file stores
    is_proxy = nib.is_proxy(source)
    values = source.get_unscaled() if is_proxy else np.asanyarray(source)
    slope, intercept = (source.slope, source.inter) if is_proxy else (1.0, 0.0)
    values = values.astype(np.uint8) if values.dtype == bool else values
    kind = nib.Nifti2Header if isinstance(image.header, nib.Nifti2Header) else nib.Nifti1Header
    header = kind.from_header(image.header)
    header.extensions = type(image.header.extensions)(image.header.extensions)
    header["vox_offset"], header["magic"] = 0, header.single_magic
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_slope_inter(slope, intercept)
    stream = io.BytesIO()
    header.write_to(stream)
    stream.seek(int(header["vox_offset"]))
    stream.write(values.astype(values.dtype.newbyteorder(header.endianness)).tobytes(order="F"))
    size = stream.tell()
    stream.seek(0)
    return _read_unpacked(stream, None, size)


def _read_unpacked(stream: BinaryIO, packed: int | None, size: int | None, allowed: int = 0) -> NiftiContent:
    """Read an image from a stream.

    Args:
        stream: at its beginning.
        packed: bytes of the file, for one that is compressed.
        size: bytes of the stream, for one that is not.
        allowed: see :func:`read_content`.
    """
    start = stream.read(348)
    if not is_nifti_header(start):
        raise UnreadableError("it is no NIfTI file, whatever its name" if start else "it is empty")
    length = 540 if start[4:8] == MAGIC[540][1][:4] else 348
    start += stream.read(length - 348)
    if len(start) < length:
        raise UnreadableError("it is cut short: its header is not complete")
    header = HEADER_TYPES[length](binaryblock=start, check=False)
    if int(header["sizeof_hdr"]) != length:
        raise UnreadableError("its header is damaged: it tells a wrong length of itself")
    shape, channels = _shape(header)
    dtype, bytes_of_colour = _stored_type(header)
    if bytes_of_colour and channels > 1:
        raise UnreadableError("it holds vectors of colours: split it into one image each")
    offset = float(header["vox_offset"])
    if not (length <= offset <= (size or most_unpacked(packed or 0)) and offset.is_integer()):
        raise UnreadableError(f"its header is damaged: its values cannot begin at byte {offset:g}")
    count = int(np.prod((*shape, channels, bytes_of_colour or 1), dtype=object))
    needed = int(offset) + count * dtype.itemsize
    if packed is not None:
        check_unpacked_size(needed, packed, allowed)
    elif size is not None and needed > size:
        raise UnreadableError(f"it is cut short: {size} of {needed} bytes are there")
    extensions = bytes(_read_exactly(stream, int(offset) - length))
    flat = np.frombuffer(_read_exactly(stream, count * dtype.itemsize), dtype)
    if bytes_of_colour:
        stored = flat.reshape((bytes_of_colour, *shape), order="F")
    else:
        stored = np.moveaxis(flat.reshape((*shape, channels), order="F"), -1, 0)
    return NiftiContent(header, extensions, stored, bool(bytes_of_colour))


def _read_exactly(stream: BinaryIO, count: int) -> bytearray:
    """Read so many bytes, growing with what is really there."""
    content = bytearray()
    while len(content) < count:
        part = stream.read(min(CHUNK, count - len(content)))
        if not part:
            raise UnreadableError(f"it is cut short: {count - len(content)} bytes are missing")
        content += part
    return content


def _shape(header: Header) -> tuple[tuple[int, ...], int]:
    """Spatial shape (two or three axes) and number of channels."""
    dims = [int(length) for length in header["dim"]]
    ndim, lengths = dims[0], dims[1 : dims[0] + 1]
    if not 1 <= ndim <= 7 or any(length < 1 for length in lengths):
        raise UnreadableError(f"its header is damaged: it tells of {ndim} axes of lengths {lengths}")
    if ndim == 1:
        raise UnreadableError("it is a row of values, no image")
    if ndim >= 4 and lengths[3] > 1:
        raise UnreadableError(
            f"it holds {lengths[3]} volumes: split it into volumes, "
            "or store along the fifth axis what are channels of one volume"
        )
    if any(length > 1 for length in lengths[5:]):
        raise UnreadableError(f"it has {ndim} axes of lengths {lengths}: split it into volumes")
    return tuple(lengths[:3]), lengths[4] if ndim >= 5 else 1


def _stored_type(header: Header) -> tuple[np.dtype, int]:
    """Type of a number in the file, and how many make a coloured voxel (0: voxels have no colour)."""
    code = int(header["datatype"])
    if code in COLOUR_TYPES:
        return np.dtype("u1"), COLOUR_TYPES[code]
    if code in COMPLEX_TYPES:
        raise UnreadableError("it holds complex values: save their magnitude")
    if code not in SCALAR_TYPES:
        raise UnreadableError(f"it stores its values in a type that is not supported ({code}): convert it to float32")
    return np.dtype(SCALAR_TYPES[code]).newbyteorder(header.endianness), 0
