# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI images that give back their header, bit for bit."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError, SpatialImage

from ..errors import InputError
from .base import PATIENT_SPACE, SPACE, CaseImage, Provenance, UnreadableError, coarse_axis
from .nifti_content import Header, NiftiContent, content_of, read_content
from .storage import real_values, stored_values, values_cut, widened_scaling

__all__ = ["NiftiCase", "write_nifti"]

FLOAT32 = 16


class NiftiCase(CaseImage):
    """A two- or three-dimensional NIfTI image (``.nii``, ``.nii.gz``; NIfTI-1 and NIfTI-2).

    Values are those of the file with ``scl_slope`` and ``scl_inter`` applied, as float32. Colour (RGB24, and RGBA32
    whose alpha is kept for writing) and vectors along the fifth axis become channels.

    What is written has the source's header to the last bit, but for ``descrip``: affine matrices and their codes,
    units, ``dim_info``, intent, calibration, stored type, slope and intercept; likewise its extensions. Values are
    rounded to the stored type, those that the result leaves alone stay the same to the last bit, and the same result
    is the same file. Where values do not fit the stored type, slope and intercept are widened.

    Use :meth:`read`.
    """

    def __init__(self, image: MetaTensor, slice_axis: int | None, content: NiftiContent, suffix: str) -> None:
        self.image = image
        self.slice_axis = slice_axis
        self._content = content
        self._suffix = suffix

    @classmethod
    def read(cls, file: Path, allowed: int = 0) -> NiftiCase:
        """Read a file; whether it is compressed is told by its content.

        Nothing is reserved for values that the file does not hold, and a compressed file that would unpack to much
        more than images do is refused.

        Args:
            file: the file.
            allowed: bytes that it may unpack to in any case, as a label that is nearly all 0 does.

        Raises:
            InputError: naming the file and the reason: no NIfTI, cut short, a time series, complex values, a header
                that contradicts itself.
        """
        try:
            content = read_content(file, allowed)
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
            content = content_of(image)
            return cls._of(content, name, ".nii" if name.lower().endswith(".nii") else ".nii.gz")
        except (OSError, EOFError, zlib.error, UnreadableError, HeaderDataError, MemoryError) as error:
            raise InputError(f'cannot take the nibabel image "{name}": {_why(error)}') from error

    @classmethod
    def _of(cls, content: NiftiContent, name: str, suffix: str) -> NiftiCase:
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
        """Bytes of a file that stores a result as the source stores its values, with a wider slope where needed."""
        _, extensions, source, interleaved = self._content
        values = self.with_missing(result).detach().cpu().numpy()
        scaling = _scaling(header)
        wide = scaling if interleaved else widened_scaling(values, source.dtype, *scaling)
        if wide == scaling:
            stored = stored_values(values, source[: len(values)], *scaling)
        else:
            header = header.copy()
            header["scl_slope"], header["scl_inter"] = wide
            # No value stays what it was.
            stored = stored_values(values, np.zeros_like(source), *_scaling(header))
        if len(source) > len(stored):
            stored = np.concatenate([stored, source[len(stored) :]])
        order = stored if interleaved else np.moveaxis(stored, 0, -1)
        return bytes(header.binaryblock + extensions + order.tobytes(order="F"))

    def values_cut(self, result: torch.Tensor) -> int:
        """See :meth:`CaseImage.values_cut`: only colour is cut, since a header has a slope for anything else."""
        header, _, source, interleaved = self._content
        values = result.detach().cpu().numpy()
        return values_cut(values, source[: len(values)], *_scaling(header)) if interleaved else 0

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


def check_evenly_spaced(case: CaseImage, advice: str) -> None:
    """Refuse a volume whose grid NIfTI cannot say.

    Args:
        case: the image.
        advice: what to do instead.

    Raises:
        InputError: when slices are missing or unevenly spaced.
    """
    if case.image.ndim == 4 and not case.evenly_spaced:
        raise InputError(f"its slices are missing or unevenly spaced, which NIfTI cannot say: {advice}")


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
