# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run was made from: program, versions, source code, and data sets by their digests."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..model_spec import content_digest
from ..version import __version__
from .tracking_store import without_credentials

__all__ = ["data_digest", "dataset_inputs", "listed_files", "run_tags"]

CONTENT_LIMIT = 2 << 30
"""Bytes of a list up to which its digest is of the content: a few seconds of reading."""

_PATH_KEYS = ("image", "label", "reference", "guide")
_PACKAGE = Path(__file__).resolve().parents[1]

Entries = Sequence[Mapping[str, Any]]


def run_tags() -> dict[str, str]:
    """Return tags that say how a run was started: versions, command, and the commit of the code where there is one."""
    tags = {
        "version.bundle": __version__,
        "version.python": platform.python_version(),
        "command": without_credentials(shlex.join(sys.orig_argv)),
        # The names that MLflow's own start_run gives: its table of runs has columns for them.
        "mlflow.source.name": "hqg-net",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    for package in ("torch", "monai", "mlflow"):
        try:
            tags[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return tags | _commit(_PACKAGE)


def listed_files(entries: Entries) -> list[Path]:
    """Return the files, or folders of a series, that the entries of a datalist name, each once and in their order."""
    paths: dict[str, None] = {}
    for entry in entries:
        paths |= dict.fromkeys(entry[key] for key in _PATH_KEYS if isinstance(entry.get(key), str))
        paths |= dict.fromkeys(entry.get("references", {}).values())
    return [Path(path) for path in paths]


def data_digest(entries: Entries, content_limit: int = CONTENT_LIMIT) -> tuple[str, str]:
    """Return a digest of the entries of a datalist, and what it is of.

    Up to ``content_limit`` bytes it is of the entries, with the content of each file in the place of its path: the same
    data give the same digest wherever they lie and whatever their names. Beyond, names (below the common folder), sizes
    and times of change stand for the content.

    Args:
        entries: of a list, with absolute paths.
        content_limit: number of bytes.

    Returns:
        32 hexadecimal digits of the SHA-256, and ``"content"`` or ``"names, sizes and times"``.

    Raises:
        InputError: when a file cannot be read.
        OSError: likewise.
    """
    paths = listed_files(entries)
    files = {path: _files_below(path) for path in paths}
    of_content = sum(file.stat().st_size for below in files.values() for file in below) <= content_limit
    folder = _common_folder(paths)
    identities = {
        str(path): _content(path, tuple(map(_version, below)))
        if of_content
        else [_stamp(file, folder) for file in below]
        for path, below in files.items()
    }
    record = [_replaced(entry, identities) for entry in entries]
    digest = hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return digest, "content" if of_content else "names, sizes and times"


def _version(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file), found.st_size, found.st_mtime_ns


@cache
def _content(path: Path, _: tuple[tuple[str, int, int], ...]) -> str:
    """Return the digest of a path's content, which is read once as long as its files are the same."""
    return content_digest(path)


def dataset_inputs(lists: Mapping[str, Entries]) -> list[Any]:
    """Return MLflow's ``DatasetInput`` of every list that is not empty, with the list's name as its context.

    The data set is named for the folder that all files of the lists have in common; number of images, of patients and
    of labels, and what the digest is of, are its profile.

    Args:
        lists: entries by name, such as ``"training_lq"``.

    Raises:
        InputError: when a file cannot be read.
        OSError: likewise.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    folder = _common_folder([path for entries in lists.values() for path in listed_files(entries)])
    inputs = []
    for context, entries in lists.items():
        if not entries:
            continue
        digest, digest_of = data_digest(entries)
        profile = {
            "images": len(entries),
            "patients": len({entry.get("patient", entry["image"]) for entry in entries}),
            "labelled": sum("label" in entry for entry in entries),
            "digest_of": digest_of,
        }
        source = json.dumps({"uri": str(folder)})
        dataset = Dataset(folder.name or "data", digest, "local", source, profile=json.dumps(profile))
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return inputs


def _files_below(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()


def _stamp(file: Path, folder: Path) -> list[Any]:
    found = file.stat()
    return [os.path.relpath(file, folder), found.st_size, found.st_mtime_ns]


def _replaced(value: Any, identities: Mapping[str, Any]) -> Any:
    """Return an entry with the identity of each file in the place of its path."""
    if isinstance(value, Mapping):
        return {str(key): _replaced(part, identities) for key, part in value.items()}
    return identities.get(value, value) if isinstance(value, str) else value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return "unknown"


def _commit(folder: Path) -> dict[str, str]:
    """Return the commit of a folder's files, and whether they were changed since; nothing where Git has none."""
    try:
        # An installed package may lie in the repository of something else, which does not track it.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.modified": str(bool(changed))}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
