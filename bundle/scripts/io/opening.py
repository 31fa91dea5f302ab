# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading an image, whatever its format."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from ..errors import InputError, without_controls
from .base import Case, CaseImage
from .dicom import DICOMCase
from .dicom_series import find_series
from .formats import ImageFormat, content_format, image_format, other_content
from .limits import unpacked_as_label
from .nifti import NiftiCase
from .raster import RasterCase

__all__ = ["open_case", "open_image", "opener"]

logger = logging.getLogger(__name__)


def open_case(case: Case) -> CaseImage:
    """Read the image of a case.

    Args:
        case: as :func:`scripts.io.find_cases` found it.

    Raises:
        InputError: when it cannot be read; the sentence names the file and says why.
    """
    return _read(case.format, case.files)


def opener(nan_as_padding: bool = False) -> Callable[[Case], CaseImage]:
    """Return :func:`open_case`, or a function like it that takes NaN for background.

    Args:
        nan_as_padding: see :meth:`CaseImage.take_nan_as_padding`.
    """

    def open_with_background(case: Case) -> CaseImage:
        image = open_case(case)
        image.take_nan_as_padding()
        return image

    return open_with_background if nan_as_padding else open_case


def open_image(
    path: str | os.PathLike[str] | Sequence[str | Path], is_label: bool = False, voxels: int | None = None
) -> CaseImage:
    """Read one file, a folder that holds one DICOM series, or the files of one DICOM series.

    Args:
        path: the file, the folder or the files.
        is_label: whether the values are classes: then a palette's indices are the values, not its colours, and the
            file may be compressed to any degree, as it is where nearly all is 0.
        voxels: how many the image of a label has, where that is known: the label may not unpack to more.

    Raises:
        InputError: when it cannot be read; the sentence names the file or the folder and says why.
    """
    if isinstance(path, (list, tuple)):
        return _read("dicom", [Path(file).expanduser() for file in path])
    path = Path(cast("str | os.PathLike[str]", path)).expanduser()
    if not path.exists():
        raise InputError(f'cannot read "{path}": there is no such file or folder')
    if path.is_dir():
        return _read("dicom", _series_in(path))
    kind = image_format(path)
    if kind is None:
        raise InputError(f'cannot read "{path}": {other_content(path)}')
    return _read(kind, (path,), is_label, voxels)


def _read(kind: ImageFormat, files: Sequence[Path], is_label: bool = False, voxels: int | None = None) -> CaseImage:
    if kind == "dicom":
        return DICOMCase.read(files)
    (file,) = files
    allowed = unpacked_as_label(voxels) if is_label else 0
    return NiftiCase.read(file, allowed) if kind == "nifti" else RasterCase.read(file, is_label, allowed)


def _series_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of the one series that a folder holds."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    files = [file for file in files if file.name.lower() != "dicomdir" and content_format(file) == "dicom"]
    series, rejected = find_series(files)
    for file, rejection in rejected.items():
        if not rejection.harmless:
            raise InputError(without_controls(f'cannot read "{file}": {rejection.reason}'))
        logger.warning("%s", without_controls(f'passed over "{file}": {rejection.reason}'))
    if len(series) != 1:
        mend = "put each into a folder of its own" if series else "give a folder with the files of one series"
        raise InputError(f'"{folder}" holds {len(series)} DICOM series or single images where one is needed: {mend}')
    return series[0]
