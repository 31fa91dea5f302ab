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
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import jinja2
from PIL import Image

from ..files import atomic_write
from .case_pictures import PICTURES, UNCERTAINTY_OF_FULL_COLOUR, Picture
from .case_record import PLACES, CaseRecord
from .measures import MEASURES
from .safety_limits import Limit, SafetyThresholds

__all__ = ["BatchReport"]

_SECONDS = ("total", "read", "network", "write", "report")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_TEMPLATE = "batch.html"


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
        counts = dict.fromkeys(("all", "ok", "check", "failed", "passed over"), 0)
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
            passed_over=(record for record in self._records(names) if record.status == "passed over"),
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
            "places": {name: _place(record, name) for name in PLACES if name in record.places},
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
        *("name", "source", "output", "status", "verdict", "reasons", "message", "slices", "clipped"),
        *(f"seconds_{part}" for part in _SECONDS),
        *MEASURES,
        *(f"{name}_place" for name in PLACES),
    ]


def _row(record: CaseRecord) -> list[str]:
    texts = (record.name, record.source, record.output or "", record.status, record.verdict or "")
    numbers = [record.seconds.get(part) for part in _SECONDS] + [record.measures.get(name) for name in MEASURES]
    return [
        *(_cell(text) for text in (*texts, "; ".join(record.reasons), record.message)),
        *(str(record.slices), str(record.clipped)),
        *("" if number is None or not math.isfinite(number) else f"{number:.6g}" for number in numbers),
        *(" ".join(str(index) for index in record.places.get(name, ())) for name in PLACES),
    ]


def _cell(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _state(record: CaseRecord) -> str:
    return (record.verdict or "check") if record.status == "done" else record.status


def _place(record: CaseRecord, name: str) -> str:
    place = record.places[name]
    voxel = ", ".join(str(index) for index in place)
    if record.slice_axis is None or len(place) <= record.slice_axis:
        return f"pixel ({voxel}), counted from 0"
    return f"slice {place[record.slice_axis] + 1} of {record.slices}, voxel ({voxel}), counted from 0"


@contextmanager
def _replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    """Open a file that takes its place only when it is complete."""
    # Names of files need not be valid Unicode.
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with atomic_write(path) as unfinished, unfinished.open(mode, **text) as file:
        yield file
