# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI images that give back their header, bit for bit."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError, SpatialImage

from ..errors import InputError
from .base import PATIENT_SPACE, SPACE, CaseImage, Provenance, UnreadableError, coarse_axis
from .nifti_header import MAGIC, is_nifti_header
from .storage import real_values, stored_values

__all__ = ["NiftiCase", "write_nifti"]

Header = nib.Nifti1Header | nib.Nifti2Header

GZIP_MAGIC = b"\x1f\x8b"
HEADER_TYPES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}

SCALAR_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOUR_TYPES = {128: 3, 2304: 4}
"""Bytes of a voxel of the types RGB24 and RGBA32."""

COMPLEX_TYPES = (32, 1792, 2048)
FLOAT32 = 16

UNPACKS_FREELY = 2**30
LARGEST_COMPRESSION = 100
CHUNK = 2**24


class _Content(NamedTuple):
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


class NiftiCase(CaseImage):
    """A two- or three-dimensional NIfTI image (``.nii``, ``.nii.gz``; NIfTI-1 and NIfTI-2).

    Values are those of the file with ``scl_slope`` and ``scl_inter`` applied, as float32. Colour (RGB24, and RGBA32
    whose alpha is kept for writing) and vectors along the fifth axis become channels.

    What is written has the source's header to the last bit, but for ``descrip``: affine matrices and their codes,
    units, ``dim_info``, intent, calibration, stored type, slope and intercept; likewise its extensions. Values are
    rounded to the stored type, those that the result leaves alone stay the same to the last bit, and the same result
    is the same file.

    Use :meth:`read`.
    """

    def __init__(self, image: MetaTensor, slice_axis: int | None, content: _Content, suffix: str) -> None:
        self.image = image
        self.slice_axis = slice_axis
        self._content = content
        self._suffix = suffix

    @classmethod
    def read(cls, file: Path) -> NiftiCase:
        """Read a file; whether it is compressed is told by its content.

        Nothing is reserved for values that the file does not hold, and a compressed file that would unpack to much
        more than images do is refused.

        Args:
            file: the file.

        Raises:
            InputError: naming the file and the reason: no NIfTI, cut short, a time series, complex values, a header
                that contradicts itself.
        """
        try:
            content = _read(file)
            return cls._of(content, str(file), ".nii" if file.name.lower().endswith(".nii") else ".nii.gz")
        except (OSError, EOFError, zlib.error, UnreadableError, HeaderDataError, MemoryError) as error:
            raise InputError(f'cannot read "{file}": {_why(error)}') from error

    @classmethod
    def of_nibabel(cls, image: SpatialImage) -> NiftiCase:
        """Take an image of nibabel as if it were read from the NIfTI file that it would be saved in.

        Args:
            image: where it came from a file and its values were not replaced, what the file stores is taken.

        Raises:
            InputError: see :meth:`read`.
        """
        name = image.get_filename() or "the image"
        try:
            content = _in_memory(image)
            return cls._of(content, name, ".nii" if name.lower().endswith(".nii") else ".nii.gz")
        except (OSError, EOFError, zlib.error, UnreadableError, HeaderDataError, MemoryError) as error:
            raise InputError(f'cannot take the nibabel image "{name}": {_why(error)}') from error

    @classmethod
    def _of(cls, content: _Content, name: str, suffix: str) -> NiftiCase:
        affine = _affine(content.header, content.stored.shape[1:])
        stored = content.stored[:3] if content.interleaved else content.stored
        values = torch.from_numpy(real_values(stored, *_scaling(content.header)))
        meta = {ImageMetaKey.FILENAME_OR_OBJ: name, SPACE: PATIENT_SPACE}
        image = MetaTensor(values, affine=torch.from_numpy(affine), meta=meta)
        return cls(image, _slice_axis(content.header, affine, values.ndim - 1), content, suffix)

    def as_nibabel(self, result: torch.Tensor) -> nib.Nifti1Image:
        """Return a result as an image of nibabel, with the header, the stored type and the scaling of the source."""
        header = self._content.header
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        return kind.from_bytes(self._encoded(result, header))

    def write(self, result: torch.Tensor, target: Path, provenance: Provenance | None) -> Path:
        """Write a result as ``target.nii.gz``, or ``target.nii`` where the source is named so.

        Args:
            result: see :meth:`CaseImage.write`.
            target: likewise.
            provenance: ``descrip`` names the software, its version and the model; it stays where None.

        Returns:
            The file.
        """
        header = self._content.header
        if provenance is not None:
            header = _described(header, provenance.sentence())
        return _write(self._encoded(result, header), target.with_name(target.name + self._suffix))

    def _encoded(self, result: torch.Tensor, header: Header) -> bytes:
        """Bytes of a file that stores a result as the source stores its values."""
        _, extensions, source, interleaved = self._content
        values = result.detach().cpu().numpy()
        stored = stored_values(values, source[: len(values)], *_scaling(header))
        if len(source) > len(stored):
            stored = np.concatenate([stored, source[len(stored) :]])
        order = stored if interleaved else np.moveaxis(stored, 0, -1)
        return bytes(header.binaryblock + extensions + order.tobytes(order="F"))

    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        """Write a map of standard deviations as float32, with the geometry of the source.

        Args:
            deviation: see :meth:`CaseImage.write_deviation`.
            target: see :meth:`write`.
            provenance: likewise.

        Returns:
            The file.
        """
        header = _described(self._content.header, f"{provenance.sentence()}, standard deviation")
        values = deviation.detach().cpu().numpy()[0].astype(header.endianness + "f4")
        header["dim"][4:] = 1
        header["dim"][0] = values.ndim
        header["datatype"], header["bitpix"], header["vox_offset"] = FLOAT32, 32, header.single_vox_offset
        header["scl_slope"], header["scl_inter"] = 1, 0
        header["cal_min"], header["cal_max"] = 0, 0
        header["intent_code"], header["intent_name"] = 0, b""
        content = header.binaryblock + bytes(4) + values.tobytes(order="F")
        return _write(content, target.with_name(target.name + self._suffix))


def write_nifti(
    values: torch.Tensor | np.ndarray, affine: torch.Tensor | np.ndarray, target: Path, description: str = ""
) -> Path:
    """Write an image that has no NIfTI header yet as ``target.nii.gz``; the same input gives the same bytes.

    Args:
        values: (C, *spatial), uint8, int16 or float32, which is the stored type; several channels are stored as a
            vector along the fifth axis.
        affine: 4×4, voxels to RAS millimetres, true of every slice.
        target: place without suffix.
        description: at most 79 letters; the rest is cut off.

    Returns:
        The file.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype not in (np.uint8, np.int16, np.float32):
        raise ValueError(f"values are stored as uint8, int16 or float32, not {array.dtype}")
    channels, spatial = array.shape[0], array.shape[1:]
    if channels == 1:
        array = array[0]
    else:
        array = np.moveaxis(array, 0, -1).reshape(*spatial, *(1,) * (4 - len(spatial)), channels)
    matrix = np.asarray(affine, dtype=np.float64)
    image = nib.Nifti1Image(array, matrix)
    image.set_sform(matrix, 1)
    image.set_qform(matrix, 1)
    if not np.allclose(image.get_qform(), matrix, atol=1e-3):
        image.set_qform(None, 0)  # a quaternion cannot tell of a tilted gantry
    if channels > 1:
        image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = _ascii(description)
    return _write(image.to_bytes(), target.with_name(target.name + ".nii.gz"))


def _read(file: Path) -> _Content:
    size = file.stat().st_size
    with file.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not packed:
            return _read_unpacked(raw, size, size)
        with gzip.open(raw) as unpacked:
            content = _read_unpacked(cast("BinaryIO", unpacked), max(UNPACKS_FREELY, LARGEST_COMPRESSION * size), None)
            unpacked.read(CHUNK)  # at its end the checksum is compared
            return content


def _in_memory(image: SpatialImage) -> _Content:
    """Content of the file that an image of nibabel would be saved in, with the values as they are stored."""
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
    return _read_unpacked(stream, size, size)


def _read_unpacked(stream: BinaryIO, limit: int, size: int | None) -> _Content:
    """Read an image from a stream which cannot, or should not, hold more than ``limit`` bytes."""
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
    if not (length <= offset <= limit and offset.is_integer()):
        raise UnreadableError(f"its header is damaged: its values cannot begin at byte {offset:g}")
    count = int(np.prod((*shape, channels, bytes_of_colour or 1), dtype=object))
    needed = int(offset) + count * dtype.itemsize
    if needed > limit:
        if size is None:
            raise UnreadableError(f"it would unpack to {needed:.3g} bytes, which no image of its size does")
        raise UnreadableError(f"it is cut short: {size} of {needed} bytes are there")
    extensions = bytes(_read_exactly(stream, int(offset) - length))
    flat = np.frombuffer(_read_exactly(stream, count * dtype.itemsize), dtype)
    if bytes_of_colour:
        stored = flat.reshape((bytes_of_colour, *shape), order="F")
    else:
        stored = np.moveaxis(flat.reshape((*shape, channels), order="F"), -1, 0)
    return _Content(header, extensions, stored, bool(bytes_of_colour))


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


def _affine(header: Header, shape: tuple[int, ...]) -> np.ndarray:
    """The affine matrix as nibabel takes it: sform, or else qform, or else the voxel sizes alone."""
    checked = header.copy()
    if not np.isfinite(checked["pixdim"][:4]).all():
        raise UnreadableError("its voxel sizes are not finite: mend pixdim in its header")
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        checked["pixdim"][1:4][checked["pixdim"][1:4] == 0] = 1
    silent = logging.getLogger(f"{__name__}.header")
    silent.disabled = True
    checked.check_fix(logger=silent, error_level=40)
    try:
        affine = np.array(checked.get_best_affine(), np.float64)
    except ValueError as error:
        raise UnreadableError("its orientation is no rotation: mend the quaternion (qform) in its header") from error
    with np.errstate(all="ignore"):
        sizes = voxel_sizes(affine)
        unit = affine[:3, :3] / sizes
    # A matrix whose axes lie in one plane, or have no length, places voxels on top of each other.
    if not np.isfinite(affine).all() or not np.isfinite(unit).all() or abs(np.linalg.det(unit)) < 1e-3:
        raise UnreadableError("its affine matrix cannot be inverted: mend sform or qform in its header")
    return affine


def _scaling(header: Header) -> tuple[float, float]:
    slope, intercept = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))


def _slice_axis(header: Header, affine: np.ndarray, spatial_dims: int) -> int | None:
    if spatial_dims < 3:
        return None
    axis = header.get_dim_info()[2]
    if axis is not None:
        return int(axis)
    return coarse_axis(voxel_sizes(affine))


def _described(header: Header, description: str) -> Header:
    header = header.copy()
    header["descrip"] = _ascii(description)
    return header


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")[:79]


def _write(content: bytes, file: Path) -> Path:
    with file.open("xb") as raw:
        if file.suffix != ".gz":
            raw.write(content)
            return file
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
            packed.write(content)
    return file


def _why(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return f"its compression is damaged, or it is cut short ({error})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
