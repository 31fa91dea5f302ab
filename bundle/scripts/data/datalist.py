# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Datalists: which image belongs to which domain, which patient, and which part of the data.

Run it inside the bundle's folder: `python -m scripts.data.datalist --dataset_dir DIR --output_file FILE`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, run_command
from ..io import dicom_patient, image_format, image_stem, natural_order, read_json, write_json
from ..io.folders import walk_folders
from .companions import attach_companions
from .copies import drop_copies
from .entries import LISTS, Datalist, Entry, check_lists, paths_of, read_entry

__all__ = ["LISTS", "load_datalist", "make_datalist", "read_datalist", "write_datalist"]

logger = logging.getLogger(__name__)


def load_datalist(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    hq_data: str | os.PathLike[str] | Sequence[Any] | None = None,
    training: Sequence[Any] | None = None,
    validation: Sequence[Any] | None = None,
) -> Datalist:
    """Give the four lists of a data set, from its datalist file or, without one, from its folders.

    A program may hand over lists in place of a data set: low-quality training entries, and validation entries. The
    high-quality ones then come from ``hq_data``, or else from the data set.

    Args:
        dataset_dir: the data set's folder; ``""`` where lists are handed over.
        datalist: a datalist file; None means ``datalist.json`` in ``dataset_dir``, where there is one, and otherwise a
            split of the folders, see :func:`make_datalist`.
        validation_fraction: fraction of the LQ patients held out for validation (folders only).
        test_fraction: fraction of the LQ patients held out for the test (folders only).
        seed: seed of the split (folders only).
        hq_data: the high-quality images, in place of those of the data set: a folder of them, a datalist file (its list
            ``training_hq``, or a plain list), or a list of entries or paths.
        training: low-quality training entries, ``{"image": path}`` and perhaps ``"label"``, ``"patient"``, in place of
            those of the data set; there are then no test images.
        validation: validation entries, likewise. Defaults to those of the data set; none beside ``training``.

    Returns:
        ``{"training_lq": [...], "training_hq": [...], "validation": [...], "testing": [...]}``; every entry has
        ``"image"`` and ``"patient"``, and where there are any ``"label"`` and ``"reference"``. Paths are absolute.

    Raises:
        InputError: for a missing folder or file, an entry that cannot be used, an empty domain, or a patient in more
            than one of training, validation and testing.
    """
    if training is not None:
        return _hand_over(training, validation or [], hq_data, dataset_dir, datalist)
    lists = _load(dataset_dir, datalist, validation_fraction, test_fraction, seed)
    if hq_data is not None or validation is not None:
        lists["training_hq"] = lists["training_hq"] if hq_data is None else _high_quality(hq_data)
        lists["validation"] = lists["validation"] if validation is None else _given(validation, "validation")
        check_lists(lists, "the data set", fixed=() if validation is None else ("validation",))
    return lists


def _load(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Datalist:
    folder = _dataset_folder(dataset_dir)
    if datalist is None:
        default = folder / "datalist.json"
        file = default if default.is_file() else None
    else:
        candidates = [Path(datalist).expanduser().absolute(), folder / datalist]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise InputError(f'there is no datalist file "{datalist}": set --datalist to a file, or leave it out')
    if file is None:
        lists = make_datalist(folder, validation_fraction, test_fraction, seed)
    else:
        lists = read_datalist(file, folder)
    counts = ", ".join(
        f"{len(lists[name])} {name} ({len({entry['patient'] for entry in lists[name]})} patients)" for name in LISTS
    )
    logger.info("%s: %s", file or folder, counts)
    return lists


def _hand_over(
    training: Sequence[Any],
    validation: Sequence[Any],
    hq_data: str | os.PathLike[str] | Sequence[Any] | None,
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None,
) -> Datalist:
    """Give the four lists of a training whose low-quality images a program has handed over."""
    if hq_data is None and not str(dataset_dir):
        raise InputError(
            "there are no high-quality images beside the list that was handed over: set hq_data to a folder of them, "
            "to a datalist file, or to a list"
        )
    lists = {
        "training_lq": _given(training, "training_lq"),
        "training_hq": (
            _load(dataset_dir, datalist, 0.0, 0.0, 0)["training_hq"] if hq_data is None else _high_quality(hq_data)
        ),
        "validation": _given(validation, "validation"),
        "testing": [],
    }
    check_lists(lists, "the training", fixed=("training_lq", "validation"))
    # The dataset has the entries as they were handed over: one without a patient is known there by its path.
    own = {
        named["patient"]: str(entry["image"])
        for entry, named in zip(training, lists["training_lq"], strict=True)
        if entry.get("patient") is None
    }
    for entry in lists["training_hq"]:
        entry["patient"] = own.get(entry["patient"], entry["patient"])
    return lists


def _given(entries: Sequence[Any], name: str) -> list[Entry]:
    """Check entries that a program has handed over; relative paths count from the working directory."""
    return [
        read_entry({"image": entry} if isinstance(entry, str) else entry, f"entry {i} of {name}", [Path.cwd()])
        for i, entry in enumerate(entries)
    ]


def _high_quality(hq_data: str | os.PathLike[str] | Sequence[Any]) -> list[Entry]:
    """Give the entries of a pool of high-quality images: a folder, a datalist file, or a list."""
    if not isinstance(hq_data, (str, os.PathLike)):
        return _given(hq_data, "hq_data")
    place = Path(str(hq_data)).expanduser().absolute()
    if place.is_dir():
        return [_without_location(entry) for entry in _find_images(place)]
    content = read_json(place)
    entries = content.get("training_hq") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f'"{place}" has no list "training_hq": write it as {{"training_hq": [{{"image": "path"}}]}}')
    where = f'training_hq in the datalist "{place}"'
    return [read_entry(entry, f"entry {i} of {where}", [place.parent]) for i, entry in enumerate(entries)]


def read_datalist(file: str | os.PathLike[str], dataset_dir: str | os.PathLike[str] | None = None) -> Datalist:
    """Read a datalist file (JSON) and check it.

    Relative paths count from ``dataset_dir``, or else from the datalist's own folder. An entry may name its
    ``"patient"``; without that every image is a patient of its own, known by its file name (by its path, if two images
    of one list share a file name). Give ``"patient"`` whenever one has several images. Further keys of an entry are
    passed on.

    ``"guide"`` is a high-quality image of another patient that validation and evaluation guide the network by, in place
    of the prototype. ``"references"`` holds clean images by style, for the guidance experiment.

    A ``"label"`` is the path of an image of class numbers (segmentation), a whole number of at least 0: the image's
    class (classification), or a list of a 0 or 1 for every class (classification where several may be present).

    Args:
        file: the datalist file.
        dataset_dir: the data set's folder, default the datalist's.

    Returns:
        The four lists as described at :func:`load_datalist`.

    Raises:
        InputError: as described at :func:`load_datalist`.
    """
    file = Path(file).absolute()
    folders = [Path(dataset_dir).absolute(), file.parent] if dataset_dir is not None else [file.parent]
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f'the datalist "{file}" is not a JSON object with the lists {", ".join(LISTS)}')
    # Decathlon files also hold a name, a description and the like, which are no lists.
    unknown = [name for name, value in content.items() if name not in LISTS and isinstance(value, list)]
    if unknown:
        raise InputError(f'the datalist "{file}" has an unknown list "{unknown[0]}": use {", ".join(LISTS)}')
    lists: Datalist = {}
    for name in LISTS:
        entries = content.get(name, [])
        if not isinstance(entries, list):
            raise InputError(f'"{name}" in the datalist "{file}" is not a list of entries like {{"image": "..."}}')
        where = f'{name} in the datalist "{file}"'
        lists[name] = [read_entry(entry, f"entry {i} of {where}", folders) for i, entry in enumerate(entries)]
    check_lists(lists, f'the datalist "{file}"')
    return lists


def make_datalist(
    dataset_dir: str | os.PathLike[str],
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> Datalist:
    """Make the four lists from the folders ``lq/``, ``hq/`` and, where there are any, ``labels/`` and ``references/``.

    An entry is a NIfTI, DICOM, PNG, TIFF, JPEG, BMP or GIF file, or a folder below ``lq/`` or ``hq/`` that directly
    holds DICOM files (a series). Hidden files, thumbnails, and files of another kind, are passed over. An image that
    is there several times, by links or as a copy, counts once. A label or reference has the
    same path below its folder as its image, save for the suffix, or the same name; ``labels/lq/`` and ``labels/hq/``
    tell the domains apart where both use the same names. Labels and references that no image takes are pointed out,
    see :func:`scripts.data.companions.attach_companions`.

    *Patients.* What stands in a sub-folder of ``lq/`` or ``hq/`` belongs to the patient for whom the first sub-folder
    is named; a file or a series folder directly below ``lq/`` or ``hq/`` is a patient of its own, known by its name
    without suffix. DICOM files that lie loose there belong to the patient of their header. The same name in both
    domains means the same patient.

    *Split.* LQ patients are drawn for validation and test by ``seed``, whatever the order in which the folder is
    listed; with three patients or more each fraction above 0 gets at least one, with fewer nobody is held out. HQ
    images of held-out patients are not used.

    Args:
        dataset_dir: the data set's folder.
        validation_fraction: fraction of the LQ patients held out for validation.
        test_fraction: fraction of the LQ patients held out for the test.
        seed: seed of the split.

    Returns:
        The four lists as described at :func:`load_datalist`.

    Raises:
        InputError: for a missing or empty folder, or impossible fractions.
    """
    folder = _dataset_folder(dataset_dir)
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise InputError(
            f"the fractions held out for validation ({validation_fraction:g}) and test ({test_fraction:g}) must be 0 "
            "or more, and less than 1 together"
        )
    domains = {name: _find_images(folder / name) for name in ("lq", "hq")}
    drop_copies(domains)
    attach_companions(folder, domains)
    patients = sorted({entry["patient"] for entry in domains["lq"]})
    validation, testing = _draw(patients, validation_fraction, test_fraction, seed)
    held_out = validation | testing
    lists = {
        "training_lq": [entry for entry in domains["lq"] if entry["patient"] not in held_out],
        "training_hq": [entry for entry in domains["hq"] if entry["patient"] not in held_out],
        "validation": [entry for entry in domains["lq"] if entry["patient"] in validation],
        "testing": [entry for entry in domains["lq"] if entry["patient"] in testing],
    }
    for entry in lists["training_lq"]:
        entry.pop("reference", None)  # training is unpaired
    if not held_out:
        logger.info("%s: no patient is held out for validation or test (%d LQ patients)", folder, len(patients))
    left_out = len(domains["hq"]) - len(lists["training_hq"])
    if left_out:
        logger.info("%s: %d HQ images of held-out patients are left out of training", folder, left_out)
    if not lists["training_hq"]:
        raise InputError(f'every HQ image in "{folder / "hq"}" is of a held-out LQ patient: add HQ images of others')
    return {name: [_without_location(entry) for entry in entries] for name, entries in lists.items()}


def write_datalist(
    dataset_dir: str,
    output_file: str,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> None:
    """Write the datalist that the folders of a data set make, to look at and to edit.

    Classes of whole images have no folder: write them into the file, as "label": 1, or as "label": [0, 1, 1] where
    several may be present.

    Args:
        dataset_dir: folder with ``lq/``, ``hq/`` and, where there are any, ``labels/`` and ``references/``.
        output_file: the file to write; paths in it count from ``dataset_dir``.
        validation_fraction: fraction of the LQ patients held out for validation.
        test_fraction: fraction of the LQ patients held out for the test.
        seed: seed of the split.
    """
    folder = _dataset_folder(dataset_dir)
    lists = make_datalist(folder, validation_fraction, test_fraction, seed)
    for entry in (entry for entries in lists.values() for entry in entries):
        entry.update({key: Path(entry[key]).relative_to(folder).as_posix() for key in paths_of(entry)})
    file = Path(str(output_file)).expanduser()
    write_json(lists, file)
    print(f"{file}: " + ", ".join(f"{len(lists[name])} {name}" for name in LISTS))


def _dataset_folder(dataset_dir: str | os.PathLike[str]) -> Path:
    if not str(dataset_dir):
        raise InputError("there is no dataset folder: set --dataset_dir to the folder with your images")
    folder = Path(str(dataset_dir)).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f'there is no dataset folder "{folder}": set --dataset_dir to the folder with your images')
    return folder


def _find_images(root: Path) -> list[Entry]:
    if not root.is_dir():
        raise InputError(f'there is no folder "{root}": put {root.name.upper()} images there, or give a datalist')
    entries: list[Entry] = []
    for here, files in walk_folders(root):
        parents = here.relative_to(root).parts
        formats = {file.name: image_format(file) for file in files}
        if parents and "dicom" in formats.values():
            entries.append(_located(here, Path(*parents), parents[0]))
        for name, kind in formats.items():
            if kind is None or (parents and kind == "dicom"):
                continue
            location = Path(*parents, image_stem(name))
            loose = dicom_patient(here / name) if kind == "dicom" else image_stem(name)
            entries.append(_located(here / name, location, parents[0] if parents else loose))
    if not entries:
        raise InputError(f'"{root}" holds no images: put NIfTI, DICOM, PNG, TIFF, JPEG or BMP files there')
    return sorted(entries, key=lambda entry: natural_order(entry["image"]))


def _located(image: Path, location: Path, patient: str) -> Entry:
    return {"image": str(image), "location": location.as_posix(), "patient": patient}


def _without_location(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "location"}


def _draw(patients: Sequence[str], validation: float, testing: float, seed: int) -> tuple[set[str], set[str]]:
    if len(patients) < 3:
        return set(), set()
    numbers = [max(1, round(fraction * len(patients))) if fraction > 0 else 0 for fraction in (validation, testing)]
    while sum(numbers) >= len(patients):
        numbers[numbers.index(max(numbers))] -= 1
    shuffled = [patients[i] for i in np.random.RandomState(seed).permutation(len(patients))]
    return set(shuffled[: numbers[0]]), set(shuffled[numbers[0] : sum(numbers)])


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(write_datalist, "datalist.py", arguments)


if __name__ == "__main__":
    main()
