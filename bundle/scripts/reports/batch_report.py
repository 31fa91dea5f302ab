# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The report of a batch: a table for programs, ``report.csv``, and a page for readers, ``report.html``."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import jinja2
import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from PIL import Image

from ..errors import InputError
from ..files import atomic_write
from ..visualize import display_plane, enlarged, grey_or_colour
from .safety import MEASURES, Limit, SafetyThresholds, Verdict, robust_range

__all__ = ["PICTURES", "BatchReport", "CasePictures", "CaseRecord", "report_pictures", "report_plane"]

PICTURES = ("before", "after", "uncertainty")
"""Pictures that a case may have."""

PICTURE_SIZE = 512
"""Longest side, in pixels, of a picture in the report."""

UNCERTAINTY_OF_FULL_COLOUR = 0.05
"""Standard deviation, as a share of the input's intensity range, that is shown in the strongest colour."""

_SECONDS = ("total", "read", "network", "write", "report")
_PLACES = ("new_structure", "lost_structure")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
# Black adds nothing where pictures are laid over one another by "screen".
_HEAT = np.array([[0, 0, 0], [120, 20, 0], [225, 90, 0], [255, 215, 60]], dtype=np.float64)
_TEMPLATE = "batch.html"

Picture = npt.NDArray[np.uint8]


@dataclass
class CaseRecord:
    """What became of one case.

    Attributes:
        name: unique within the batch.
        source: file or folder that the case was read from, as it was given.
        output: result, relative to the output folder; None where there is none.
        outputs: all that lies in the output folder for the case, with its size in bytes: the result, the map of
            uncertainty; of a failed case, what an earlier run has left.
        status: ``"done"`` or ``"failed"``.
        message: why it failed, one sentence.
        verdict: ``"ok"`` or ``"check"``; None of a failed case.
        reasons: of the verdict.
        measures: by name of :data:`scripts.reports.safety.MEASURES`.
        places: voxel, an index per spatial axis counted from 0, of ``"new_structure"`` and ``"lost_structure"``.
        slice_axis: spatial axis of a volume's slices; None of a plane image.
        slices: number of slices; 1 of a plane image.
        plane: the slice that the pictures show; None of a plane image.
        marks: of the places that lie in that slice, distance from the left and the top, as shares of the picture.
        seconds: what it took: ``"total"``, ``"read"``, ``"network"``, ``"write"`` and ``"report"`` (measures and
            pictures).
        fingerprint: what a caller wants to know of the case when it meets it again; anything that JSON can hold.
    """

    name: str
    source: str
    output: str | None = None
    outputs: dict[str, int] = field(default_factory=dict)
    status: Literal["done", "failed"] = "done"
    message: str = ""
    verdict: Literal["ok", "check"] | None = None
    reasons: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)
    slice_axis: int | None = None
    slices: int = 1
    plane: int | None = None
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: numbers that are not finite become None."""
        content = asdict(self)
        for key in ("measures", "seconds"):
            content[key] = {name: value if math.isfinite(value) else None for name, value in content[key].items()}
        return content

    @classmethod
    def from_dict(cls, content: Any) -> CaseRecord:
        """Restore what :meth:`to_dict` returned.

        Raises:
            InputError: when the content is something else.
        """
        if not isinstance(content, Mapping) or set(content) != {entry.name for entry in fields(cls)}:
            raise InputError("This is no record of a case: enhance the case again.")
        values = dict(content)
        try:
            values["reasons"] = [str(reason) for reason in values["reasons"]]
            values["outputs"] = {str(output): int(size) for output, size in values["outputs"].items()}
            for key in ("measures", "seconds"):
                values[key] = {
                    str(name): math.nan if value is None else float(value) for name, value in values[key].items()
                }
            values["places"] = {name: tuple(int(index) for index in place) for name, place in values["places"].items()}
            values["marks"] = {
                name: (float(mark[0]), float(mark[1])) for name, mark in values["marks"].items() if name in _PLACES
            }
            values["slices"] = int(values["slices"])
            values["fingerprint"] = dict(values["fingerprint"])
        except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            raise InputError("The record of a case is damaged: enhance the case again.") from error
        texts = (values["name"], values["source"], values["message"])
        numbers = (values["slice_axis"], values["plane"])
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(values["output"], (str, type(None)))
            or not all(number is None or type(number) is int for number in numbers)
            or values["status"] not in ("done", "failed")
            or values["verdict"] not in ("ok", "check", None)
        ):
            raise InputError("The record of a case is damaged: enhance the case again.")
        return cls(**values)


class CasePictures(NamedTuple):
    """What the report shows of one case.

    Attributes:
        pictures: colours, (rows, columns, 3), by name of :data:`PICTURES`.
        plane: the slice they show; None of a plane image.
        marks: see :class:`CaseRecord`.
    """

    pictures: dict[str, Picture]
    plane: int | None
    marks: dict[str, tuple[float, float]]


def report_plane(
    image: torch.Tensor,
    low: float,
    high: float,
    slice_axis: int | None = None,
    plane: int | None = None,
    size: int = PICTURE_SIZE,
) -> Picture:
    """Return a picture of a case for the report, turned as readers expect it, in the proportions of the patient.

    Args:
        image: case, (C, *spatial); see :func:`scripts.visualize.display_plane`.
        low: intensity that is black.
        high: intensity that is white.
        slice_axis: spatial axis along which a volume's slices are stacked; None: the last.
        plane: slice of a volume to show; None: the middle one.
        size: longest side of the picture. Larger images are made smaller; pixels of smaller ones are repeated.

    Returns:
        Colours, (rows, columns, 3).
    """
    values, spacing = _oriented(image, slice_axis, plane)
    return _sized(grey_or_colour((values - low) / max(high - low, 1e-12)), spacing, size)


def report_pictures(
    before: torch.Tensor,
    after: torch.Tensor,
    padding: torch.Tensor | None = None,
    deviation: torch.Tensor | None = None,
    slice_axis: int | None = None,
    places: Mapping[str, Sequence[int]] | None = None,
    verdict: Verdict | None = None,
    size: int = PICTURE_SIZE,
) -> CasePictures:
    """Return the pictures of a case: input and result in the same window, and the uncertainty.

    The window is the robust range of the input. A volume is shown by its middle slice or, when it is to be checked, by
    that of its strongest new or lost structure, whichever is beyond its limit (new structure, if both or none are).
    Uncertainty is to be laid over the result. It runs from black over red to yellow with the square root, so that small
    values show, up to :data:`UNCERTAINTY_OF_FULL_COLOUR` of the window.

    Args:
        before: the input, (C, *spatial); its metadata, where there are any, hold for all.
        after: the result, of the same shape.
        padding: (1, *spatial), bool, true where the input holds no image.
        deviation: (1, *spatial) or (C, *spatial), standard deviation of the result.
        slice_axis: spatial axis along which a volume's slices are stacked; None: the last.
        places: see :class:`CaseRecord`.
        verdict: on the case; one that asks for a check shows the slice that is to be checked.
        size: longest side of a picture.
    """
    places = places or {}
    is_volume = before.ndim == 4
    axis = 2 if slice_axis is None else slice_axis
    plane = None
    if is_volume:
        plane = before.shape[axis + 1] // 2
        if verdict is not None and verdict.label == "check":
            suspects = [name for name in _PLACES if name in places]
            suspects.sort(key=lambda name: name not in verdict.exceeded)
            plane = places[suspects[0]][axis] if suspects else plane
    low, high = robust_range(before, padding)

    def shown(values: torch.Tensor) -> torch.Tensor:
        plain = values.as_tensor() if isinstance(values, MetaTensor) else values
        return MetaTensor(plain, meta=before.meta) if isinstance(before, MetaTensor) else plain

    pictures = {
        "before": report_plane(before, low, high, axis, plane, size),
        "after": report_plane(shown(after), low, high, axis, plane, size),
    }
    if deviation is not None:
        values, spacing = _oriented(shown(deviation.float().mean(0, keepdim=True)), axis, plane)
        share = np.nan_to_num(values / max((high - low) * UNCERTAINTY_OF_FULL_COLOUR, 1e-12)).clip(0, 1) ** 0.5
        stops = np.linspace(0, 1, len(_HEAT))
        heat = np.stack([np.interp(share, stops, _HEAT[:, channel]) for channel in range(3)], axis=-1)
        pictures["uncertainty"] = _sized(heat.round().astype(np.uint8), spacing, size)
    marks = {}
    for name in _PLACES:
        place = places.get(name)
        if place is not None and (not is_volume or place[axis] == plane):
            marks[name] = _mark(before, tuple(place), axis, plane)
    return CasePictures(pictures, plane, marks)


class BatchReport:
    """Collect the cases of a batch on disk, one record and a few pictures each, and write the report.

    Nothing of a case stays in memory. Every file is written beside its place and then renamed, so that a batch which
    was cut off leaves whole files only; what the folder holds of a case is the record of :meth:`find` to resume by.

    Args:
        output_dir: folder of the results. The report is ``report.csv`` and ``report.html`` in it; the records are
            below ``report/``.
        thresholds: of the model, to be shown beside the measures; None: the model has none.
    """

    def __init__(self, output_dir: str | Path, thresholds: SafetyThresholds | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.thresholds = thresholds
        self.folder = self.output_dir / "report"

    def add(self, record: CaseRecord, pictures: Mapping[str, Picture] | None = None) -> None:
        """Store a case, in place of what was stored of the same name.

        Args:
            record: what became of it.
            pictures: colours, (rows, columns, 3), by name of :data:`PICTURES`; None: none.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        pictures = pictures or {}
        for kind in PICTURES:
            path = self._path(record.name, f"_{kind}.jpg")
            if kind in pictures:
                encoded = io.BytesIO()
                Image.fromarray(pictures[kind]).save(encoded, "JPEG", quality=85, subsampling=0, optimize=True)
                with _replacing(path, "wb") as file:
                    file.write(encoded.getvalue())
            else:
                path.unlink(missing_ok=True)
        # Last: a record says that all of its case is there.
        with _replacing(self._path(record.name, ".json"), "w") as file:
            json.dump(record.to_dict(), file, indent=1)

    def find(self, name: str) -> CaseRecord | None:
        """Return the record of a case, or None where there is none that can be read.

        Args:
            name: of the case.
        """
        try:
            record = CaseRecord.from_dict(json.loads(self._path(name, ".json").read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            return None
        return record if record.name == name else None

    def write(
        self,
        names: Iterable[str],
        details: Mapping[str, str] | None = None,
        title: str = "Enhanced images",
        created: datetime | None = None,
    ) -> dict[str, Path]:
        """Write ``report.csv`` and ``report.html`` of the cases that were added.

        Args:
            names: cases in the order of the report; those without a record are left out.
            details: what else a reader should know of the batch, such as the model and its settings.
            title: of the page.
            created: date of the report; None: now.

        Returns:
            The files by suffix: ``"csv"`` and ``"html"``.
        """
        names = list(dict.fromkeys(names))
        self.output_dir.mkdir(parents=True, exist_ok=True)
        paths = {suffix: self.output_dir / f"report.{suffix}" for suffix in ("csv", "html")}
        counts = dict.fromkeys(("all", "ok", "check", "failed"), 0)
        with _replacing(paths["csv"], "w") as file:
            writer = csv.writer(file)
            writer.writerow(_columns())
            for record in self._records(names):
                writer.writerow(_row(record))
                counts["all"] += 1
                counts[_state(record)] += 1
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = environment.get_template(_TEMPLATE).generate(
            title=title,
            details=dict(details or {}),
            created=(created or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M"),
            counts=counts,
            calibrated=None if self.thresholds is None else self.thresholds.cases,
            done=(self._card(record) for record in self._records(names) if record.status == "done"),
            failed=(record for record in self._records(names) if record.status == "failed"),
            measures=list(MEASURES.values()),
            uncertainty_scale=f"{100 * UNCERTAINTY_OF_FULL_COLOUR:.0f} %",
        )
        with _replacing(paths["html"], "w") as file:
            file.writelines(page)
        return paths

    def _records(self, names: Sequence[str]) -> Iterator[CaseRecord]:
        for name in names:
            record = self.find(name)
            if record is not None:
                yield record

    def _card(self, record: CaseRecord) -> dict[str, Any]:
        """Return what the page shows of a case."""
        pictures = {}
        for kind in PICTURES:
            with suppress(OSError):
                content = self._path(record.name, f"_{kind}.jpg").read_bytes()
                with Image.open(io.BytesIO(content)) as picture:
                    width, height = picture.size
                encoded = base64.b64encode(content).decode("ascii")
                pictures[kind] = {"uri": f"data:image/jpeg;base64,{encoded}", "width": width, "height": height}
        return {
            "record": record,
            "state": _state(record),
            "pictures": pictures if {"before", "after"} <= set(pictures) else {},
            "measures": self._measure_rows(record),
            "places": {name: _place(record, name) for name in _PLACES if name in record.places},
        }

    def _measure_rows(self, record: CaseRecord) -> list[dict[str, Any]]:
        rows = []
        limits = {} if self.thresholds is None else self.thresholds.limits
        for name, measure in MEASURES.items():
            value, limit = record.measures.get(name), limits.get(name)
            if value is None:
                continue
            digits = measure.digits
            rows.append(
                {
                    "title": measure.title,
                    "explanation": measure.explanation,
                    "value": f"{value:.{digits}f}" if math.isfinite(value) else "not measurable",
                    "limit": _limit_text(limit, measure.digits),
                    "exceeded": limit is not None and not limit.holds(value),
                }
            )
        return rows

    def _path(self, name: str, ending: str) -> Path:
        # Readable, valid on every file system, and as unique as the name itself.
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[-60:]
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self.folder / f"{readable}-{digest}{ending}"


def _limit_text(limit: Limit | None, digits: int) -> str:
    lower, upper = (None, None) if limit is None else limit
    if lower is None:
        return "none" if upper is None else f"≤ {upper:.{digits}f}"
    return f"≥ {lower:.{digits}f}" if upper is None else f"{lower:.{digits}f} to {upper:.{digits}f}"


def _columns() -> list[str]:
    return [
        *("name", "source", "output", "status", "verdict", "reasons", "message", "slices"),
        *(f"seconds_{part}" for part in _SECONDS),
        *MEASURES,
        *(f"{name}_place" for name in _PLACES),
    ]


def _row(record: CaseRecord) -> list[str]:
    texts = (record.name, record.source, record.output or "", record.status, record.verdict or "")
    numbers = [record.seconds.get(part) for part in _SECONDS] + [record.measures.get(name) for name in MEASURES]
    return [
        *(_cell(text) for text in (*texts, "; ".join(record.reasons), record.message)),
        str(record.slices),
        *("" if number is None or not math.isfinite(number) else f"{number:.6g}" for number in numbers),
        *(" ".join(str(index) for index in record.places.get(name, ())) for name in _PLACES),
    ]


def _cell(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _state(record: CaseRecord) -> str:
    return "failed" if record.status == "failed" else record.verdict or "check"


def _place(record: CaseRecord, name: str) -> str:
    place = record.places[name]
    voxel = ", ".join(str(index) for index in place)
    if record.slice_axis is None or len(place) <= record.slice_axis:
        return f"pixel ({voxel}), counted from 0"
    return f"slice {place[record.slice_axis] + 1} of {record.slices}, voxel ({voxel}), counted from 0"


def _oriented(
    image: torch.Tensor, slice_axis: int | None, plane: int | None
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    axis = 2 if slice_axis is None else slice_axis
    if image.ndim == 4:
        index = image.shape[axis + 1] // 2 if plane is None else plane
        image = image.narrow(axis + 1, index, 1)
    return display_plane(image, axis)


def _sized(pixels: Picture, spacing: tuple[float, float], size: int) -> Picture:
    stretch = np.asarray(spacing) / min(spacing)
    height, width = (float(length) for length in np.asarray(pixels.shape[:2]) * stretch)
    longest = max(height, width)
    if longest <= size:
        return np.asarray(enlarged(pixels, spacing, int(size // longest * longest)))
    shape = max(1, round(width * size / longest)), max(1, round(height * size / longest))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))


def _mark(image: torch.Tensor, place: tuple[int, ...], axis: int, plane: int | None) -> tuple[float, float]:
    """Return where the picture shows a voxel, as shares of width and height."""
    sides = list(image.shape[1:])
    index = [0, *place]
    if plane is not None:
        # One slice suffices, and is turned in the same way.
        sides[axis], index[axis + 1] = 1, 0
    flag: torch.Tensor = torch.zeros(1, *sides)
    flag[tuple(index)] = 1
    if isinstance(image, MetaTensor):
        flag = MetaTensor(flag, meta=image.meta)
    values, _ = display_plane(flag, axis)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (int(column) + 0.5) / values.shape[1], (int(row) + 0.5) / values.shape[0]


@contextmanager
def _replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    """Open a file that takes its place only when it is complete."""
    # Names of files need not be valid Unicode.
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with atomic_write(path) as unfinished, unfinished.open(mode, **text) as file:
        yield file
