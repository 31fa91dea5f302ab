# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that are one image: the same file under several names, and copies of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

__all__ = ["same_images"]

_ENDS = 4096
"""Bytes at the beginning and the end of a file by which most files differ."""

_PART = 2**20


def same_images(images: Iterable[str]) -> dict[str, str]:
    """Find images that are the same as an earlier one, byte for byte.

    Files are compared by their size first, by their ends next, and in full only where those agree; links lead to the
    files that they stand for. A folder with a DICOM series is the same as another if its files are, whatever their
    names.

    Args:
        images: paths of files and of folders.

    Returns:
        For each image that was there before, the earlier one.
    """
    unique = list(dict.fromkeys(images))
    files = {image: _files(Path(image)) for image in unique}
    same: dict[str, str] = {}
    groups = [[image for image in unique if any(_sizes(files[image]))]]  # empty files are no images at all
    for sign in (_sizes, _ends, _contents):
        groups = [part for group in groups for part in _parted(group, files, sign) if len(part) > 1]
    for group in groups:
        same.update(dict.fromkeys(group[1:], group[0]))
    return same


def _parted(
    group: Sequence[str], files: dict[str, list[Path]], sign: Callable[[Sequence[Path]], object]
) -> list[list[str]]:
    parts: dict[object, list[str]] = {}
    for image in group:
        parts.setdefault(sign(files[image]), []).append(image)
    return list(parts.values())


def _files(image: Path) -> list[Path]:
    if image.is_dir():
        return [entry.resolve() for entry in image.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    return [image.resolve()]


def _sizes(files: Sequence[Path]) -> tuple[int, ...]:
    return tuple(sorted(file.stat().st_size for file in files))


def _ends(files: Sequence[Path]) -> tuple[bytes, ...]:
    found = []
    for file in files:
        with file.open("rb") as raw:
            start = raw.read(_ENDS)
            raw.seek(max(0, file.stat().st_size - _ENDS))
            found.append(hashlib.sha256(start + raw.read()).digest())
    return tuple(sorted(found))


def _contents(files: Sequence[Path]) -> tuple[bytes, ...]:
    digests = []
    for file in files:
        digest = hashlib.sha256()
        with file.open("rb") as raw:
            while part := raw.read(_PART):
                digest.update(part)
        digests.append(digest.digest())
    return tuple(sorted(digests))
