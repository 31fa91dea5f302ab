# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that are one image: the same file under several names, and copies of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import feed_digest

__all__ = ["drop_copies", "refuse_copies", "same_images"]

Datalist = dict[str, list[dict[str, Any]]]

logger = logging.getLogger(__name__)

_ENDS = 4096
"""Bytes at the beginning and the end of a file by which most files differ."""


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
        feed_digest(digest, file)
        digests.append(digest.digest())
    return tuple(sorted(digests))


def refuse_copies(lists: Datalist, parts: Mapping[str, str], fixed: Collection[str] = ()) -> None:
    """Refuse an image in two parts of the data, whatever its names, and let one count but once in a list.

    Args:
        lists: of a datalist; changed in place.
        parts: the part of the data, such as ``"training"``, that each list belongs to.
        fixed: lists that stay as they are, since others use them.

    Raises:
        InputError: naming the image and the lists.
    """
    of_image: dict[str, tuple[str, str]] = {}
    images = [entry["image"] for name in lists for entry in lists[name]]
    same = same_images(image for image in images if Path(image).exists())
    for name in lists:
        seen: set[str] = set()
        kept: list[dict[str, Any]] = []
        for entry in lists[name]:
            original: str = same.get(entry["image"], str(entry["image"]))
            first, path = of_image.setdefault(original, (name, entry["image"]))
            if parts[first] != parts[name]:
                raise InputError(
                    f'"{path}" of {first} and "{entry["image"]}" of {name} are the same image: keep it in one of '
                    "training, validation and testing"
                )
            if name not in fixed and original in seen:
                logger.warning('"%s" is the same image as "%s": it counts once', entry["image"], path)
                continue
            seen.add(original)
            kept.append(entry)
        lists[name] = kept


def drop_copies(domains: Datalist) -> None:
    """Let an image count but once in a domain, and be of one patient in both.

    Args:
        domains: entries by domain; changed in place.
    """
    same = same_images(entry["image"] for entries in domains.values() for entry in entries)
    patients: dict[str, str] = {}
    for name, entries in domains.items():
        seen: set[str] = set()
        kept: list[dict[str, Any]] = []
        for entry in entries:
            original: str = same.get(entry["image"], str(entry["image"]))
            if original in seen:
                logger.warning('"%s" is the same image as "%s": it counts once', entry["image"], original)
                continue
            if original != entry["image"]:
                logger.warning('"%s" is the same image as "%s": one patient', entry["image"], original)
            seen.add(original)
            entry["patient"] = patients.setdefault(original, entry["patient"])
            kept.append(entry)
        domains[name] = kept
