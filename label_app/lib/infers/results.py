# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of results, which the server removes once they are sent."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import SimpleITK

from ..bundle import BundleError

__all__ = ["convert", "new_place"]

EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha")


def new_place() -> Path:
    """Return a place, without suffix, where nothing is."""
    return Path(tempfile.gettempdir()) / f"hqgnet-{uuid.uuid4().hex}"


def convert(file: Path, extension: object) -> Path:
    """Convert a volume to the format that a viewer asks for; values, type and geometry stay.

    Args:
        file: the result. Photographs stay in their format.
        extension: of the format; None leaves it.

    Returns:
        The file that is there now.

    Raises:
        BundleError: for a format that cannot hold volumes.
    """
    if not file.name.endswith((".nii", ".nii.gz")) or not extension or file.name.endswith(f"{extension}"):
        return file
    if extension not in EXTENSIONS:
        file.unlink()
        raise BundleError(f'"result_extension" is one of {", ".join(EXTENSIONS)}, not "{extension}".')
    stem = file.name.removesuffix(".gz").removesuffix(".nii")
    converted = file.with_name(f"{stem}{extension}")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(file)), str(converted), useCompression=True)
    file.unlink()
    return converted
