# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Labels and references, which lie beside the images of a data set's folders under the same names."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io import image_format, image_stem
from ..io.folders import walk_folders

__all__ = ["attach_companions"]

Entry = dict[str, Any]

logger = logging.getLogger(__name__)

LABELS, REFERENCES = "labels", "references"
OTHER_NAMES = {
    LABELS: ("label", "mask", "masks", "segmentation", "segmentations", "annotation", "annotations", "seg")
    + ("labelstr", "ground_truth", "groundtruth"),
    REFERENCES: ("reference", "clean", "target", "targets"),
}
"""What other data sets call the folders."""
_ENDING = re.compile(
    r"([_.\- ](mask|label|seg|segmentation|gt|groundtruth|annotation|manual\d?|reference|clean)s?|_\d{4})$",
    re.IGNORECASE,
)


def attach_companions(folder: Path, domains: Mapping[str, Sequence[Entry]]) -> None:
    """Add ``"label"`` and, to low-quality images, ``"reference"`` to the entries that have one.

    Files that no image takes are pointed out in a warning, with names that differ by a common ending only, such as
    ``_mask`` of a label or ``_0000`` of an image; so is a folder that other data sets call their labels, ``masks``
    say.

    Args:
        folder: of the data set.
        domains: entries of the low-quality (``"lq"``) and of the high-quality images, each with its path below its
            folder as ``"location"``; changed in place.
    """
    labels = folder / LABELS
    told_apart = any((labels / name).is_dir() for name in domains)
    files: set[str] = set()
    for name, entries in domains.items():
        files |= _attach(entries, "label", labels / name if told_apart else labels)
    if told_apart:
        files |= set(_files_by_location(labels, without=[labels / name for name in domains]).values())
    images = [entry for entries in domains.values() for entry in entries]
    _tell_unmatched(files, "label", images)
    low = domains["lq"]
    _tell_unmatched(_attach(low, "reference", folder / REFERENCES), "reference", low)
    _tell_other_names(folder)


def _attach(entries: Sequence[Entry], key: str, root: Path) -> set[str]:
    """Add the files below ``root`` to the entries: by their path below it, or by a name that only one of each has.

    Returns:
        All files below ``root``.
    """
    by_location = _files_by_location(root)
    by_name: dict[str, list[str]] = {}
    for location, path in by_location.items():
        by_name.setdefault(Path(location).name, []).append(path)
    entries_of_name = Counter(Path(entry["location"]).name for entry in entries)
    for entry in entries:
        name = Path(entry["location"]).name
        unique = len(by_name.get(name, [])) == 1 and entries_of_name[name] == 1
        found = by_location.get(entry["location"]) or (by_name[name][0] if unique else None)
        if found is not None:
            entry[key] = found
    return set(by_location.values())


def _files_by_location(root: Path, without: Sequence[Path] = ()) -> dict[str, str]:
    """Return the files below a folder, and the folders of series, by their path below it without suffix."""
    found: dict[str, str] = {}
    for here, files in walk_folders(root) if root.is_dir() else ():
        if any(here.is_relative_to(other) for other in without):
            continue
        formats = {file.name: image_format(file) for file in files}
        kinds = {"nifti", "raster"} if here != root else {"nifti", "raster", "dicom"}
        paths = [here] if here != root and "dicom" in formats.values() else []
        paths += [here / name for name, kind in formats.items() if kind in kinds]
        for path in paths:
            found[(path.relative_to(root).parent / image_stem(path)).as_posix()] = str(path)
    return found


def _tell_unmatched(files: set[str], key: str, entries: Sequence[Entry]) -> None:
    """Point out files that no entry took."""
    left = sorted(files - {entry[key] for entry in entries if key in entry})
    if not left:
        return
    shown = ", ".join(f'"{file}"' for file in left[:3]) + (", ..." if len(left) > 3 else "")
    plural = "s match" if len(left) > 1 else " matches"
    logger.warning("%d %s%s no image: %s. %s", len(left), key, plural, shown, _hint(left, key, entries))


def _hint(files: Sequence[str], key: str, entries: Sequence[Entry]) -> str:
    images = {_without_ending(Path(entry["location"]).name): entry["image"] for entry in entries if key not in entry}
    for file in files:
        image = images.get(_without_ending(image_stem(file)))
        if image is not None:
            return f'Give "{Path(file).name}" and its image "{Path(image).name}" the same name, and others likewise.'
    return f"A {key} has the name of its image."


def _without_ending(name: str) -> str:
    return _ENDING.sub("", name).lower()


def _tell_other_names(folder: Path) -> None:
    """Point out folders that look like labels or references, and are not read."""
    for other in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for name, others in OTHER_NAMES.items():
            if other.name.lower() in others:
                logger.warning('"%s" is not read: call it "%s" if it holds the %s.', other, name, name)
