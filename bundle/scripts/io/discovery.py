# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Which images a folder, a file or a datalist holds, and opening them."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, without_controls
from .base import Case
from .datalist_file import read_json
from .dicom_series import find_series, series_name
from .folders import folder_identity, walk_folders
from .formats import ImageFormat, content_format, image_stem, natural_order, other_content

__all__ = ["Problem", "find_cases"]

COMPANION_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".md", ".xml", ".pdf", ".html", ".htm", ".bval", ".bvec")

LONGEST_NAME = 180
"""Bytes of a file name: file systems allow 255, of which suffixes and what marks other outputs need some."""

RESERVED_NAMES = {
    "report",
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)),
}


class Problem(NamedTuple):
    """Something that should have been an image, and is none.

    Attributes:
        source: a file or a folder.
        message: a sentence that names it and says why.
        passed_over: whether it may well lie beside images, as a structured report or a copy does, and is no failure.
    """

    source: Path
    message: str
    passed_over: bool = False


class _Found(NamedTuple):
    """An image, with the names that it may take.

    Attributes:
        location: its path below the input by its own name.
        folder: that of its folder, for a series of several files.
        format: how it is stored.
        files: see :class:`Case`.
    """

    location: Path
    folder: Path | None
    format: ImageFormat
    files: tuple[Path, ...]


def find_cases(
    input: str | Path | Sequence[str | Path],
    datalist: str | Path | None = None,
    output_dir: str | Path | None = None,
    follow_links: bool = False,
) -> tuple[list[Case], list[Problem]]:
    """Find the images to enhance.

    How a file is stored is told by its content, whatever its name: a DICOM file called ``scan.png`` is DICOM. In a
    folder and everything below it, every image is a case; DICOM files of one folder are sorted into
    series. A folder that links reach twice counts once, and links that lead out of the input are not followed unless
    asked for. Copies of a slice in a folder are taken once.

    Passed over are hidden files, thumbnails, what operating systems leave behind, ``DICOMDIR``, folders of results, and
    what often lies beside images: text, tables, JSON, XML, PDF and HTML files. DICOM objects of other kinds are passed
    over with a word. Every other file that is no image is a problem.

    *Names.* A case is called by its path below the input, without suffix; of several inputs each gives its own name to
    what is below it. A DICOM series of several files takes the name of its folder where that holds no other case, and
    the name of the series inside that folder otherwise. Letters that a file system may not take become ``_``, long
    names are cut, and what would have the same name is numbered. Names do not depend on the order in which a folder is
    listed.

    Args:
        input: a file, a folder, or several; with a datalist, the folder from which its paths count.
        datalist: a JSON file with the list ``"testing"``, or a plain list, of paths or of ``{"image": path}``. Relative
            paths count from ``input`` where they exist there, otherwise from the datalist's own folder.
        output_dir: passed over where it lies inside the input.
        follow_links: whether links in the input are followed that lead out of it.

    Returns:
        The cases in natural order of their names, and what is no case.

    Raises:
        InputError: when the input does not exist, or the datalist cannot be used.
    """
    # A folder called 2024 comes from a command line as a number.
    inputs = list(input) if isinstance(input, (list, tuple)) else [str(input)]
    roots = [Path(os.path.abspath(Path(str(root)).expanduser())) for root in inputs if str(root)]
    if datalist is None:
        missing = [root for root in roots if not os.path.lexists(root)]
        if missing or not roots:
            what = f'there is no file or folder "{missing[0]}"' if missing else "there is no input"
            raise InputError(f"{what}: set --input_dir to an image, or to a folder of images")
        by_name = len(roots) > 1
        places = [(root, Path(root.name) if by_name or not os.path.isdir(root) else Path()) for root in roots]
    else:
        places = _read_datalist(Path(datalist).expanduser().absolute(), roots)
    excluded = None if output_dir is None else Path(output_dir).expanduser()
    found: list[_Found] = []
    problems: list[Problem] = []
    for root, location in places:
        _search(root, location, excluded, follow_links, found, problems)
    distinct = list({image.files: image for image in reversed(found)}.values())
    return _named(distinct), sorted(set(problems), key=lambda problem: natural_order(str(problem.source)))


def _read_datalist(file: Path, roots: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The images of a datalist, each with its path below the folder from which it counts."""
    content = read_json(file)
    entries = content.get("testing") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(
            f'the datalist "{file}" has no list "testing": write it as {{"testing": [{{"image": "path"}}]}}'
        )
    places = []
    for index, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, dict) else entry
        if not isinstance(image, str) or not image:
            raise InputError(f'entry {index} of the datalist "{file}" has no "image": write it as {{"image": "path"}}')
        folders = [*roots, file.parent]
        paths = [Path(os.path.abspath(folder / Path(image).expanduser())) for folder in folders]
        at = next((i for i, path in enumerate(paths) if os.path.lexists(path)), len(paths) - 1)
        inside = paths[at].is_relative_to(folders[at])
        places.append((paths[at], paths[at].relative_to(folders[at]) if inside else Path(paths[at].name)))
    return list(dict.fromkeys(places))


def _search(
    root: Path,
    location: Path,
    excluded: Path | None,
    follow_links: bool,
    found: list[_Found],
    problems: list[Problem],
) -> None:
    """Add what a file or a folder holds; ``location`` is the path that names it."""
    if not os.path.isdir(root):
        _sort_files([root], location.parent, None, found, problems)
        return
    for folder, files in _walk(root, excluded, follow_links, problems):
        below = location / folder.relative_to(root)
        # Names of folders above the input tell nothing, unless there is nothing else to name a series by.
        named_by = below if below.parts else Path(root.name or "series")
        _sort_files(files, below, named_by, found, problems)


def _walk(
    root: Path, excluded: Path | None, follow_links: bool, problems: list[Problem]
) -> Iterator[tuple[Path, list[Path]]]:
    """Go through a folder and those below it; give the files that may be images."""
    left_out = {folder_identity(excluded)} if excluded is not None and os.path.isdir(excluded) else set()
    left_out.discard(folder_identity(root))

    def unreadable(folder: Path, error: OSError) -> None:
        problems.append(_unreadable(folder, f"the folder cannot be listed ({_reason(error)})"))

    inside = os.path.realpath(root)

    def leads_out(link: Path) -> bool:
        if follow_links or not link.is_symlink() or Path(os.path.realpath(link)).is_relative_to(inside):
            return False
        if os.path.exists(link):
            problems.append(_passed_over(link, "it is a link that leads out of the input: set --follow_links True"))
        return os.path.exists(link)

    def keep(folder: Path, entries: list[Path]) -> list[Path]:
        if folder != root and {"report", "report.csv", "report.html"} <= {entry.name for entry in entries}:
            return []
        return [entry for entry in entries if not leads_out(entry)]

    for folder, files in walk_folders(root, unreadable, left_out, keep):
        yield folder, [file for file in files if not _is_companion(file.name)]


def _sort_files(
    files: Sequence[Path], location: Path, folder: Path | None, found: list[_Found], problems: list[Problem]
) -> None:
    """Sort the files of one folder into cases; a series of several takes the name of ``folder``."""
    dicom = []
    for file in files:
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError("it is neither a file nor a folder")
            if not status.st_size:
                raise InputError("it is empty")
            format_ = content_format(file)
            if format_ is None:
                raise InputError(other_content(file))
        except (OSError, InputError) as error:
            problems.append(_unreadable(file, _reason(error)))
            continue
        if format_ == "dicom":
            dicom.append(file)
        else:
            found.append(_Found(location / image_stem(file), None, format_, (file,)))
    series, rejected = find_series(dicom) if dicom else ([], {})
    for file, rejection in rejected.items():
        found_there = _passed_over if rejection.harmless else _unreadable
        problems.append(found_there(file, rejection.reason))
    for members in series:
        if len(members) > 1 and folder is not None:
            found.append(_Found(location / series_name(members), folder, "dicom", members))
        else:
            found += [_Found(location / image_stem(members[0]), None, "dicom", members)]


def _named(found: Sequence[_Found]) -> list[Case]:
    """Give every image a name of its own that a file system takes."""
    inside = Counter(parent for image in found for parent in (image.location, *image.location.parents))
    wanted = []
    for image in sorted(found, key=lambda image: [natural_order(str(file)) for file in image.files]):
        alone = image.folder is not None and inside[image.location.parent] == 1
        location = image.folder if image.folder is not None and alone else image.location
        wanted.append((_safe_path(location), image))
    # Names that nobody else wants come first, so that a number does not take one of them.
    count = Counter(_folded(name) for name, _ in wanted)
    taken: set[str] = set()
    names: dict[int, str] = {}
    for index in sorted(range(len(wanted)), key=lambda index: count[_folded(wanted[index][0])] > 1):
        name, number = wanted[index][0], 1
        while _folded(name) in taken:
            number += 1
            name = f"{wanted[index][0]}_{number}"
        taken.add(_folded(name))
        names[index] = name
    cases = [Case(names[index], image.format, image.files) for index, (_, image) in enumerate(wanted)]
    return sorted(cases, key=lambda case: natural_order(case.name))


def _safe_path(location: Path) -> str:
    return "/".join(_safe_name(part) for part in location.parts)


def _safe_name(name: str) -> str:
    name = "".join("_" if _is_unsafe(letter) else letter for letter in name)
    # Spreadsheets run what begins like a formula, and programs take a hyphen for an option.
    name = f"_{name}" if name.startswith(("=", "+", "-", "@")) else name
    name = name.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(" .") or "_"
    return f"_{name}" if name.split(".")[0].lower() in RESERVED_NAMES else name


def _is_unsafe(letter: str) -> bool:
    return letter in '<>:"/\\|?*' or unicodedata.category(letter) in ("Cc", "Cs")


def _folded(name: str) -> str:
    """Return a name as file systems see it that know neither case nor kinds of accents."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_companion(name: str) -> bool:
    return name.lower().endswith(COMPANION_SUFFIXES)


def _unreadable(source: Path, reason: str) -> Problem:
    return Problem(source, without_controls(f'cannot read "{source}": {reason}'))


def _passed_over(source: Path, reason: str) -> Problem:
    return Problem(source, without_controls(f'passed over "{source}": {reason}'), passed_over=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is a link to nothing, or was removed"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
