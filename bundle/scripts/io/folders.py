# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Going through folders of images, each but once, past what no user put there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from .formats import natural_order

__all__ = ["folder_identity", "is_of_the_system", "walk_folders"]

SYSTEM_NAMES = frozenset(
    ("__macosx", "$recycle.bin", "#recycle", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
    + ("dicomdir", "@eadir", "@tmp", "thumbs", "thumbnail", "thumbnails", "_thumbs", "_thumbnails")
)
"""Files and folders of operating systems, network storage and picture viewers, thumbnails among them."""


def is_of_the_system(name: str) -> bool:
    """Tell whether a file or a folder is hidden, or of a program and not of the user."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def folder_identity(folder: Path) -> tuple[int, int]:
    """What is the same of a folder under all its names.

    Raises:
        OSError: when there is no such folder.
    """
    status = folder.stat()
    return status.st_dev, status.st_ino


def walk_folders(
    root: Path,
    tell: Callable[[Path, OSError], None] | None = None,
    leave_out: Set[tuple[int, int]] = frozenset(),
    keep: Callable[[Path, list[Path]], list[Path]] = lambda folder, entries: entries,
) -> Iterator[tuple[Path, list[Path]]]:
    """Go through a folder and those below it in natural order, links included, each but once.

    Args:
        root: the folder.
        tell: is told of a folder that cannot be listed; without it the error is raised.
        leave_out: identities of folders to pass by.
        keep: which entries of a folder are gone through.

    Yields:
        A folder, and all in it that is no folder and not of the system, in natural order.
    """
    seen, pending = set(leave_out), [root]
    while pending:
        folder = pending.pop()
        try:
            if folder_identity(folder) in seen:
                continue
            seen.add(folder_identity(folder))
            entries = sorted(folder.iterdir(), key=lambda entry: natural_order(entry.name))
        except OSError as error:
            if tell is None:
                raise
            tell(folder, error)
            continue
        entries = keep(folder, [entry for entry in entries if not is_of_the_system(entry.name)])
        folders = [entry for entry in entries if os.path.isdir(entry)]
        yield folder, [entry for entry in entries if entry not in folders]
        pending += reversed(folders)
