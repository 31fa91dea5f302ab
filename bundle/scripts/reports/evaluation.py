# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation report: held-out patients, input against enhanced image."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch.utils.data import DistributedSampler

from .. import processes
from ..handlers.metrics import QUALITY_METRICS, image_quality, output_cases
from ..handlers.panels import case_name, source_file
from ..tasks import Task
from .tables import markdown_table
from .task import TaskScores, count_patients, is_finite, spread

_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "haarpsi": "HaarPSI"}
_DIGITS = {"psnr": 2, "ssim": 3, "ms_ssim": 3, "haarpsi": 3}

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Return number of patients, and mean, spread and gain of each metric.

    Args:
        rows: one mapping per patient with ``"patient"`` and, where there is a reference, ``"input_{metric}"`` and
            ``"enhanced_{metric}"`` for the metrics psnr (dB), ssim and ms_ssim.

    Returns:
        ``"patients"``, ``"patients_with_reference"`` and, if that is not 0, ``"metrics"``: by metric the ``"mean"`` and
        ``"std"`` (sample standard deviation, 0 of a single patient) of ``"input"``, ``"enhanced"`` and ``"gain"`` (by
        patient), and ``"ssim_distance_closed"``: the share of the input's distance to an SSIM of 1 that is gone,
        :math:`(s_e - s_i) / (1 - s_i)` with the mean SSIM of input and enhanced image; None when the input is perfect.
    """
    metrics: dict[str, Any] = {}
    with_reference = 0
    for metric in QUALITY_METRICS:
        keys = f"input_{metric}", f"enhanced_{metric}"
        measured = [row for row in rows if all(is_finite(row.get(key)) for key in keys)]
        with_reference = max(with_reference, len(measured))
        if measured:
            before, after = ([float(row[key]) for row in measured] for key in keys)
            gain = [end - begin for begin, end in zip(before, after, strict=True)]
            metrics[metric] = {"input": spread(before), "enhanced": spread(after), "gain": spread(gain)}
    summary: dict[str, Any] = {"patients": len(rows), "patients_with_reference": with_reference}
    if metrics:
        summary["metrics"] = metrics
        distance = 1 - metrics["ssim"]["input"]["mean"]
        summary["ssim_distance_closed"] = metrics["ssim"]["gain"]["mean"] / distance if distance > 0 else None
    return summary


def summary_table(rows: Sequence[Row], task: TaskScores | None = None) -> str:
    """Return the report as plain text: a table of image quality and, with a task, one of the downstream network.

    The first has metric, LQ input, enhanced and gain, the second metric, LQ input, enhanced and reference.

    Args:
        rows: see :func:`summarize` and, with a task, :meth:`TaskScores.summarize`.
        task: what measured the downstream network.
    """
    summary = summarize(rows)
    lines = [_no_reference(summary["patients"])]
    if "metrics" in summary:
        lines = [*_text_table(_table_cells(summary)), *_remarks(summary)]
    if task is not None:
        scores = task.summarize(rows)
        lines += ["", f"Downstream network ({task.task.name})", ""]
        lines += [*(_text_table(task.table(scores)) if scores["metrics"] else []), *task.remarks(scores)]
    return "\n".join(lines)


def write_report(
    rows: Sequence[Row], output_dir: str | Path, notes: Sequence[str] = (), task: TaskScores | None = None
) -> dict[str, Path]:
    """Write ``evaluation.csv`` (a row per patient), ``evaluation.json`` (:func:`summarize`) and ``evaluation.md``.

    With a task, the csv has its columns, the json :meth:`TaskScores.summarize` under ``"task"``, and the md its table.

    Args:
        rows: see :func:`summarize` and, with a task, :meth:`TaskScores.summarize`.
        output_dir: folder of the files; it is made if missing.
        notes: sentences for the end of ``evaluation.md``.
        task: what measured the downstream network.

    Returns:
        The files by suffix: ``"csv"``, ``"json"`` and ``"md"``.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {suffix: folder / f"evaluation.{suffix}" for suffix in ("csv", "json", "md")}
    columns = ["patient", *(f"{state}_{metric}" for metric in QUALITY_METRICS for state in ("input", "enhanced"))]
    columns += [] if task is None else task.columns(rows)
    with paths["csv"].open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: row[key] for key in columns if key == "patient" or is_finite(row.get(key))})
    summary = summarize(rows)
    if task is not None:
        summary["task"] = task.summarize(rows)
    paths["json"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    paths["md"].write_text(_markdown(summary, notes, task), encoding="utf-8")
    return paths


class EvaluationReport:
    """Ignite handler of an evaluator: compare input and enhanced image with the reference, and write the report.

    With a task, it also compares what the downstream network makes of input, enhanced image and reference with the
    label, in a second table; cases without a label do not count there.

    At the end of the evaluation it writes the files of :func:`write_report` and prints the table and the places of the
    report, the pictures and the MLflow store. Cases with the same ``patient`` in the engine's output count as one
    patient, by their mean; without that key every case is a patient, named for its file. Without any reference it says
    so and reports the number of cases.

    Where several processes (:mod:`scripts.processes`) share the cases by a ``DistributedSampler`` of the evaluator's
    loader, the report has those of all, in the order of the data set. The first process alone writes it.

    Args:
        output_dir: folder of the report.
        spatial_dims: number of spatial dimensions of the network: volumes of a 2-D network are compared by slices.
        slice_axis: spatial axis of a volume along which its slices are stacked. Defaults to 2.
        panels_dir: folder of the pictures, to be named in the report.
        tracking_uri: MLflow store, to be named in the report.
        task: of the downstream network. Defaults to None: there is none to report on.
        class_names: what the classes are called, background included. Defaults to class0, class1 …
        surface_tolerance: of surface Dice, in mm, or in pixels of images without geometry. Defaults to 2.

    Raises:
        InputError: when class names and classes do not fit, see :class:`TaskScores`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        spatial_dims: int = 2,
        slice_axis: int = 2,
        panels_dir: str | Path | None = None,
        tracking_uri: str | None = None,
        task: Task | None = None,
        class_names: Sequence[str] | None = None,
        surface_tolerance: float = 2.0,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.panels_dir = panels_dir
        self.tracking_uri = tracking_uri
        self.task: TaskScores | None = None
        if task is not None:
            self.task = TaskScores(task, class_names, surface_tolerance)
        self.rows: list[dict[str, Any]] = []
        self._cases: list[tuple[int, str, str, dict[str, float]]] = []
        self._shared = False
        self._places: Iterator[int] = itertools.count()

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget the evaluation before."""
        self.rows, self._cases = [], []
        sampler = getattr(engine.state.dataloader, "sampler", None)
        self._shared = isinstance(sampler, DistributedSampler)
        self._places = iter(sampler) if isinstance(sampler, DistributedSampler) else itertools.count()
        if self.task is not None:
            self.task.reset()

    def iteration_completed(self, engine: Engine) -> None:
        """Measure this iteration's cases."""
        for case in output_cases(engine.state.output):
            values: dict[str, float] = {}
            reference = case.get("reference")
            if reference is not None:
                for state, key in (("input", "image"), ("enhanced", "pred")):
                    quality = image_quality(case[key], reference, self.spatial_dims, self.slice_axis)
                    values |= {f"{state}_{metric}": value for metric, value in quality.items()}
            if self.task is not None:
                values |= self.task.measure(case)
            place = next(self._places)
            name = case_name(case, default=f"case {place + 1}")
            # Files of one name in two folders are two patients unless the data say otherwise.
            identity = name if case.get("patient") not in (None, "") else source_file(case) or name
            self._cases.append((place, identity, name, values))

    def completed(self, engine: Engine) -> None:
        """Write the report and print the table."""
        if self._shared:
            shares = processes.gathered(self._cases)
            self._cases = sorted((case for share in shares for case in share), key=lambda case: case[0])
            if self.task is not None:
                self.task.gather()
        self.rows = self._patients()
        if not processes.is_first():
            return
        notes = [f"Report: {self.output_dir}"]
        if self.panels_dir:
            notes.append(f"Pictures: {self.panels_dir}")
        if self.tracking_uri:
            is_local = self.tracking_uri.startswith("sqlite:")
            command = f" (mlflow ui --backend-store-uri {self.tracking_uri})" if is_local else ""
            notes.append(f"MLflow store: {self.tracking_uri}{command}")
        write_report(self.rows, self.output_dir, notes[1:], self.task)
        print("\n".join(["", summary_table(self.rows, self.task), "", *notes]), flush=True)
        logger.info("Evaluation report of %d patients: %s", len(self.rows), self.output_dir)

    def _patients(self) -> list[dict[str, Any]]:
        """Return a row per patient, in the order of their first cases."""
        groups: dict[str, list[dict[str, float]]] = {}
        names: dict[str, str] = {}
        for _, identity, name, values in self._cases:
            groups.setdefault(identity, []).append(values)
            names[identity] = name
        shared = [name for name in names.values() if list(names.values()).count(name) > 1]
        rows: list[dict[str, Any]] = []
        for identity, cases in groups.items():
            row: dict[str, Any] = {"patient": identity if names[identity] in shared else names[identity]}
            for key in sorted({key for values in cases for key in values}):
                found = [values[key] for values in cases if is_finite(values.get(key))]
                if found:
                    row[key] = statistics.fmean(found)
            rows.append(row)
        return rows


def _no_reference(patients: int) -> str:
    return (
        f"{count_patients(patients)} enhanced. None has a reference image, so PSNR, SSIM, MS-SSIM and HaarPSI "
        "cannot be computed: judge by the pictures."
    )


def _table_cells(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = [("Metric", "LQ input", "Enhanced", "Gain")]
    for metric, values in summary["metrics"].items():
        digits = _DIGITS[metric]
        before, after, gain = (values[state] for state in ("input", "enhanced", "gain"))
        cells.append(
            (
                _TITLES[metric],
                f"{before['mean']:.{digits}f} ± {before['std']:.{digits}f}",
                f"{after['mean']:.{digits}f} ± {after['std']:.{digits}f}",
                f"{gain['mean']:+.{digits}f}",
            )
        )
    return cells


def _remarks(summary: Mapping[str, Any]) -> list[str]:
    with_reference, patients = summary["patients_with_reference"], summary["patients"]
    remarks = [f"Mean ± standard deviation over {count_patients(with_reference)}."]
    if with_reference < patients:
        remarks.append(f"{count_patients(patients - with_reference)} without a reference image left out.")
    closed = summary["ssim_distance_closed"]
    if closed is not None:
        remarks.append(f"Share of the SSIM distance to 1 that is closed: {100 * closed:.0f} %.")
    return remarks


def _markdown(summary: Mapping[str, Any], notes: Sequence[str], task: TaskScores | None) -> str:
    lines = ["# Evaluation", ""]
    if "metrics" in summary:
        lines += [*markdown_table(_table_cells(summary)), "", *(f"- {remark}" for remark in _remarks(summary))]
    else:
        lines.append(_no_reference(summary["patients"]))
    if task is not None:
        scores = summary["task"]
        lines += ["", f"## Downstream network ({task.task.name})", ""]
        lines += [*markdown_table(task.table(scores)), ""] if scores["metrics"] else []
        lines += [f"- {remark}" for remark in task.remarks(scores)]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _text_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with aligned columns and a ruled heading."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]
