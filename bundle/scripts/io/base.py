# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Common parts of all image formats: a case to enhance, and the image that was read from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey

from ..errors import InputError
from .formats import ImageFormat

__all__ = [
    "PATIENT_SPACE",
    "PIXEL_SPACE",
    "SPACE",
    "Case",
    "CaseImage",
    "NoImageError",
    "Provenance",
    "UnreadableError",
    "coarse_axis",
]

SPACE = "axis_space"
"""Key in the metadata of an image: how its axes lie. It travels with the image to panels and reports."""

PIXEL_SPACE = "pixel"
"""The first axis runs to the right of the picture, the second downwards: photographs, radiographs, films."""

PATIENT_SPACE = "patient"
"""The affine maps voxels to the patient's RAS millimetres."""


CLEARLY_LARGER = 1.2


class Case(NamedTuple):
    """One image to enhance, in the files that it came in.

    Attributes:
        name: unique within a run; a relative path without suffix, which places the result below the output folder.
        format: how the files are stored.
        files: one file, or those of a DICOM series.
    """

    name: str
    format: ImageFormat
    files: tuple[Path, ...]


class Provenance(NamedTuple):
    """Origin of a derived image, as its file tells it.

    Attributes:
        software: name of the software.
        version: of the software.
        model: identifies the weights, such as the first digits of the file's SHA-256.
        settings: what else the result depends on, in words.
        reproducible: whether identifiers follow from the source, the model and the settings, so that the same run makes
            the same ones; random otherwise.
    """

    software: str
    version: str
    model: str
    settings: str = ""
    reproducible: bool = False

    def sentence(self, kind: str = "derived") -> str:
        """Return the origin in one line; ``kind`` is the sort of image."""
        return f"{self.software} {self.version} {kind}, model {self.model}"


class NoImageError(InputError):
    """A whole object that is no image, such as a structured report: it may lie beside images, and is passed over."""


class UnreadableError(Exception):
    """Why a file cannot be read, to follow its name in a sentence."""


class CaseImage(ABC):
    """An image in real-world units that can write a result in its own format, at its own place.

    Attributes:
        image: (C, *spatial), float32, in real-world units: Hounsfield units for CT, what rescale slope and intercept
            say elsewhere. Spatial axes of volumes are (columns, rows, slices), those of photographs (columns, rows), as
            ITK and nibabel order them; ``affine`` maps voxels to RAS millimetres. ``meta["axis_space"]`` is
            :data:`PATIENT_SPACE`, or :data:`PIXEL_SPACE` where the affine says nothing.
        padding: (1, *spatial), bool, true where the scanner recorded nothing (DICOM's pixel padding), never everywhere;
            None: nowhere.
        missing: (1, *spatial), bool, true where the file has no number (NaN) and that is padding; None: nowhere.
        slice_axis: spatial axis along which the slices of a volume were acquired; None where the file does not say, and
            for images without one.
        evenly_spaced: whether ``affine`` is true of every slice.
        full_scale: black and white of 8-bit pictures, 0 and 255; None for images without such a convention.
    """

    image: MetaTensor
    padding: torch.Tensor | None = None
    missing: torch.Tensor | None = None
    slice_axis: int | None = None
    evenly_spaced: bool = True
    full_scale: tuple[float, float] | None = None

    def without_padding(self) -> MetaTensor:
        """Return the image with its smallest recorded value in place of pixel padding.

        Networks see this image, in training and in inference: padding, often far below any signal, would stretch the
        scaling. So it counts as the darkest of what was recorded.
        """
        if self.padding is None:
            return self.image
        values = self.image.as_tensor()
        recorded = values[:, ~self.padding[0]]
        return MetaTensor(torch.where(self.padding, recorded.min(), values)).copy_meta_from(self.image)

    def take_nan_as_padding(self) -> None:
        """Take voxels without a number for background that the scanner did not record.

        ``image`` has the smallest recorded value in their place, ``padding`` knows them, and a result that is written
        has no number there either.

        Raises:
            InputError: when no voxel has a number.
        """
        values = self.image.as_tensor()
        missing = values.isnan().any(0, keepdim=True)
        if not bool(missing.any()):
            return
        if bool(missing.all()):
            name = self.image.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
            what = f'cannot read "{name}"' if name else "the image cannot be taken"
            raise InputError(f"{what}: none of its values is a number")
        least = values[:, ~missing[0]].min()
        self.missing = missing
        self.padding = missing if self.padding is None else self.padding | missing
        self.image = MetaTensor(torch.where(missing, least, values)).copy_meta_from(self.image)

    def with_missing(self, result: torch.Tensor) -> torch.Tensor:
        """Return a result without numbers where :meth:`take_nan_as_padding` found none."""
        return result if self.missing is None else result.masked_fill(self.missing, torch.nan)

    @abstractmethod
    def write(self, result: torch.Tensor, target: Path, provenance: Provenance | None) -> Path:
        """Write a result in the format, the stored type and the geometry of the source.

        Args:
            result: (C, *spatial) on the grid and in the units of ``image``; where the format has a slope, it is
                widened to hold them all; otherwise values beyond the stored type are cut to its range.
            target: where, without suffix; the folder exists, the target does not.
            provenance: how the result was made. None, which DICOM refuses, leaves descriptions as they are.

        Returns:
            The file or the folder that was made: ``target`` with the suffix of the format.
        """

    def check_writable(self) -> None:
        """Refuse, before any work is done, an image whose result could not be written.

        Raises:
            InputError: naming the file and the reason.
        """
        return

    def values_cut(self, result: torch.Tensor) -> int:
        """Count the values that :meth:`write` would cut to the range of the stored type.

        A value that is at the end of the range in the source already does not count: nothing is lost by cutting it.

        Args:
            result: see :meth:`write`.
        """
        return 0

    @abstractmethod
    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        """Write a map of standard deviations beside the result.

        Args:
            deviation: (1, *spatial), not negative, in the units of ``image``; kept to a relative precision of 1e-4 of
                its maximum.
            target: see :meth:`write`.
            provenance: likewise.

        Returns:
            The file or the folder that was made.
        """


def coarse_axis(sizes: np.ndarray) -> int | None:
    """Return the axis along which voxels are clearly longer than along the other two; None where there is none."""
    largest = int(np.argmax(sizes))
    return largest if sizes[largest] > CLEARLY_LARGER * np.delete(sizes, largest).max() else None
