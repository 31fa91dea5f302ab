# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Entries of datalists: what stands in them, and whether four lists of them can be used."""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io import image_stem
from .copies import refuse_copies

__all__ = ["LISTS", "Datalist", "Entry", "check_lists", "paths_of", "read_entry"]

LISTS = ("training_lq", "training_hq", "validation", "testing")
"""Names of the four lists of a datalist."""

PATH_KEYS = ("image", "label", "reference", "guide")
REFERENCES = "references"
CLASS_IN_QUOTES = re.compile(r"\[.*\]|[-+.\d]+|true|false", re.IGNORECASE)
PARTS = {"training_lq": "training", "training_hq": "training", "validation": "validation", "testing": "testing"}

Entry = dict[str, Any]
Datalist = dict[str, list[Entry]]

logger = logging.getLogger(__name__)


def check_lists(lists: Datalist, source: str, fixed: Collection[str] = ()) -> None:
    """Refuse lists without training images, with missing files, or with a patient or an image in two parts.

    Patients get their names, and an image counts but once in a list, whatever its names.

    Args:
        lists: the four lists, with absolute paths; changed in place.
        source: names the lists in a sentence.
        fixed: lists in which an image may count several times, since others use them as they are.

    Raises:
        InputError: see :func:`scripts.data.datalist.load_datalist`.
    """
    _check_domains(lists, source)
    _check_files(lists)
    _name_patients(lists)
    _check_leakage(lists)
    refuse_copies(lists, PARTS, fixed)


def read_entry(entry: Any, where: str, folders: Sequence[Path]) -> Entry:
    """Check an entry of a list, and make its paths absolute.

    Args:
        entry: what stands there.
        where: names the entry in a sentence.
        folders: from which relative paths count; the first where one leads somewhere.

    Raises:
        InputError: when it cannot be used.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str) or not entry["image"]:
        raise InputError(f'{where} has no "image": write it as {{"image": "path"}}')
    known = (*PATH_KEYS, REFERENCES, "patient")
    result: Entry = {key: value for key, value in entry.items() if key not in known}
    for key in result:
        for meant in difflib.get_close_matches(key, known, n=1, cutoff=0.7):
            logger.warning('%s: "%s" is not used, "%s" would be', where, key, meant)
    for key in (*PATH_KEYS, REFERENCES):
        if entry.get(key) is not None:
            result[key] = _read_value(key, entry[key], f'"{key}" of {where}', folders)
    if entry.get("patient") is not None:
        result["patient"] = str(entry["patient"])
    return result


def _read_value(key: str, value: Any, name: str, folders: Sequence[Path]) -> Any:
    """Check what an entry has under a key of files: a path, paths by style, or a class in the place of a label."""
    if key == REFERENCES:
        if not isinstance(value, dict):
            raise InputError(f'{name} are not paths by style: write them as {{"style": "path"}}')
        return {style: _resolve(path, folders, name) for style, path in value.items()}
    if key == "label" and not isinstance(value, str):
        return _read_class(value, name)
    path = _resolve(value, folders, name)
    if key == "label" and not Path(path).exists() and CLASS_IN_QUOTES.fullmatch(value):
        _read_class(value, name)
    return path


def _resolve(path: Any, folders: Sequence[Path], name: str) -> str:
    """Return the first place where a path leads somewhere, or else the first of all."""
    if not isinstance(path, str):
        raise InputError(f"{name} is not a path in quotes")
    places = [Path(os.path.normpath(folder / Path(path).expanduser())) for folder in folders]
    return str(next((place for place in places if place.exists()), places[0]))


def _read_class(label: Any, name: str) -> int | list[int]:
    """Check a label that is no path: the class of an image, or a 0 or 1 for each class."""
    # True is a whole number to Python, and 1.0 equals 1: the type is what counts.
    if type(label) is int and label >= 0:
        return label
    if isinstance(label, list) and label and all(type(value) is int and value in (0, 1) for value in label):
        return label
    raise InputError(
        f"{name} is {json.dumps(label)}: give a path in quotes, or without quotes a class number of at least 0, "
        "or a list of a 0 or 1 for every class"
    )


def paths_of(entry: Entry) -> list[str]:
    """Return the keys of an entry's files."""
    return [key for key in PATH_KEYS if isinstance(entry.get(key), str)]


def _check_domains(lists: Datalist, source: str) -> None:
    for name, kind in (("training_lq", "low-quality"), ("training_hq", "high-quality")):
        if not lists[name]:
            raise InputError(f'{source} has no {kind} training images: add entries to "{name}"')


def _check_files(lists: Datalist) -> None:
    entries = [entry for name in LISTS for entry in lists[name]]
    paths = [entry[key] for entry in entries for key in paths_of(entry)]
    paths += [path for entry in entries for path in entry.get(REFERENCES, {}).values()]
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        more = f" (and {len(missing) - 1} more files of the datalist)" if len(missing) > 1 else ""
        raise InputError(f'there is no file "{missing[0]}"{more}: mend the path, or set --dataset_dir')


def _name_patients(lists: Datalist) -> None:
    images = {name: [entry["image"] for entry in lists[name] if "patient" not in entry] for name in LISTS}
    by_stem = all(len(set(map(image_stem, paths))) == len(set(paths)) for paths in images.values())
    for entry in (entry for name in LISTS for entry in lists[name]):
        entry.setdefault("patient", image_stem(entry["image"]) if by_stem else entry["image"])


def _check_leakage(lists: Datalist) -> None:
    seen: dict[str, str] = {}
    for name in LISTS:
        for patient in {entry["patient"]: None for entry in lists[name]}:
            first = seen.setdefault(patient, name)
            if PARTS[first] != PARTS[name]:
                raise InputError(
                    f'patient "{patient}" is both in {first} and in {name}: keep every patient in one of training, '
                    'validation and testing (entries of different patients with like names need a "patient" each)'
                )
