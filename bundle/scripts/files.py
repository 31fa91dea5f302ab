# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the bundle lies, and files that are complete or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["PLACES", "atomic_write", "bundle_root", "feed_digest", "remove_unfinished"]

PLACES = ("input_dir", "dataset_dir", "output_dir", "model_dir", "datalist", "guide")
"""Settings that name files and folders, whatever these look like: a folder may be called 2024, $HOME or scan #1."""


def bundle_root() -> str:
    """Return the folder of the bundle, which holds ``configs`` and ``models``, as an absolute path.

    It is found from the place of this package and not from the working directory: the package's own folder where the
    package was installed, the folder around it in a bundle.
    """
    package = Path(__file__).absolute().parent
    return str(package if (package / "configs").is_dir() else package.parent)


def feed_digest(digest: Any, path: Path) -> None:
    """Update a digest of :mod:`hashlib` by the content of a file, a part at a time.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)


_UNFINISHED = ".unfinished"


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left of :func:`atomic_write`; no other process may be writing there."""
    for file in folder.glob(f".*{_UNFINISHED}"):
        file.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file under another name, and rename it when it is complete.

    The other name belongs to this process, so several processes may write the same file.

    Args:
        path: the file; its folder is made if missing.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
