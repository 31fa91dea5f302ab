# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing many cases, none of which may stop the others."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from scripts.cases.base import Case, CaseImage, Provenance
from scripts.cases.discovery import Problem, open_case
from scripts.cases.enhancement import CaseEnhancer, EnhancedCase, measured
from scripts.cases.nifti import write_nifti
from scripts.errors import InputError, find_input_error
from scripts.reports.batch import BatchReport, CaseRecord, report_pictures
from scripts.reports.safety import judge_safety

__all__ = ["BatchEnhancement"]

logger = logging.getLogger(__name__)

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses; the last is the shell's for Ctrl-C."""

_PARTS = ("read", "network", "write", "report")
DEVIATION_SUFFIX = "_deviation"
_SUFFIXES = (".nii", ".nii.gz", ".dcm", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")


class BatchEnhancement:
    """Enhance every case, write the results, and report on each.

    A case that cannot be read, enhanced or written is reported, and the others go on. A result is written under another
    name and then renamed, so that there is never half of one.

    Args:
        cases: what to enhance.
        problems: what was found and is no case; counted as failed.
        enhancer: enhances one image.
        output_dir: where results and report go, laid out as the input was.
        provenance: what derived images say of the way they were made.
        report: of the cases.
        settings: what a result depends on besides its source; a case whose record has the same is not done again by
            ``resume``.
        details: what else the report says of the batch.
        resume: leave out the cases that an earlier run has done with the same weights and settings.
        output_format: ``"source"``, the format that each case came in, or ``"nifti"``.
        open_image: reads a case.
        progress: whether a progress bar is shown.

    Raises:
        InputError: when a result would take the place of an image that it is made from.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        problems: Sequence[Problem],
        enhancer: CaseEnhancer,
        output_dir: str | Path,
        provenance: Provenance,
        report: BatchReport,
        settings: Mapping[str, Any] | None = None,
        details: Mapping[str, str] | None = None,
        resume: bool = False,
        output_format: Literal["source", "nifti"] = "source",
        open_image: Callable[[Case], CaseImage] = open_case,
        progress: bool = True,
    ) -> None:
        if output_format not in ("source", "nifti"):
            raise InputError(f'output_format must be source or nifti, not "{output_format}".')
        self.cases = cases
        self.problems = problems
        self.enhancer = enhancer
        self.output_dir = Path(output_dir)
        self.provenance = provenance
        self.report = report
        self.settings = dict(settings or {})
        self.details = dict(details or {})
        self.resume = resume
        self.output_format = output_format
        self.open_image = open_image
        self.progress = progress
        self._refuse_overwriting()

    def run(self) -> int:
        """Enhance everything.

        Returns:
            The exit status: 0 all done, 1 some failed, 2 nothing done, 130 interrupted.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        names: list[str] = []
        done = to_check = slices = 0
        seconds = dict.fromkeys(_PARTS, 0.0)
        start = time.perf_counter()
        interrupted = False
        bar = tqdm(self.cases, desc="enhancing", unit="case", disable=not self.progress)
        try:
            for problem in self.problems:
                names.append(str(problem.source))
                self._add_failure(str(problem.source), str(problem.source), problem.message)
            for case in bar:
                bar.set_postfix_str(case.name[-40:], refresh=False)
                names.append(case.name)
                record, is_new = self._do(case)
                if is_new:
                    slices += record.slices
                    seconds = {part: seconds[part] + record.seconds.get(part, 0.0) for part in _PARTS}
                done += record.status == "done"
                to_check += record.verdict == "check"
        except KeyboardInterrupt:
            # The case at hand has no new record, only perhaps one of an earlier run.
            interrupted = True
        finally:
            bar.close()
            self._remove_partial()
        files = self.report.write(names, self.details)
        failed = len(names) - done - interrupted
        print(f"{done} done, {to_check} of them to be checked; {failed} failed; report: {files['html']}", flush=True)
        print(_throughput(slices, time.perf_counter() - start, seconds), flush=True)
        if interrupted:
            print(f"interrupted: {len(self.cases) - done} were not enhanced; --resume True goes on", flush=True)
            return INTERRUPTED
        return DONE if not failed and done else SOME_FAILED if done else NOTHING_DONE

    def _do(self, case: Case) -> tuple[CaseRecord, bool]:
        """Enhance one case, or find that an earlier run has done so.

        Returns:
            The record, which says what went wrong, and whether it was made now.
        """
        fingerprint: dict[str, Any] = {}
        try:
            fingerprint = self._fingerprint(case)
            earlier = self.report.find(case.name) if self.resume else None
            if earlier is not None and self._stands(earlier, fingerprint):
                return earlier, False
            return self._enhance(case, fingerprint), True
        except MemoryError:
            message = "there is not enough memory for it: set a smaller --window, or use a larger machine"
        except OSError as error:
            message = f"{error.strerror or error}" + (f': "{error.filename}"' if error.filename else "")
        # Whatever a library raises on one image, the others are enhanced.
        except Exception as error:
            # MONAI wraps what its transforms raise.
            input_error = find_input_error(error)
            logger.debug("%s failed", case.name, exc_info=input_error is None)
            reason = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
            message = f"{type(error).__name__}: {reason}" if input_error is None else str(input_error)
        finally:
            self._remove_partial()
        return self._add_failure(case.name, self._source(case), message, fingerprint), True

    def _enhance(self, case: Case, fingerprint: dict[str, Any]) -> CaseRecord:
        times = [time.perf_counter()]
        image = self.open_image(case)
        times.append(time.perf_counter())
        enhanced = self.enhancer(image)
        times.append(time.perf_counter())
        output = self._write(case, image, enhanced)
        times.append(time.perf_counter())
        values, places = measured(image, enhanced)
        verdict = judge_safety(values, self.report.thresholds)
        axis = image.slice_axis if enhanced.slice_axis is None else enhanced.slice_axis
        pictures = report_pictures(
            image.image, enhanced.result, image.padding, enhanced.deviation, axis, places, verdict
        )
        times.append(time.perf_counter())
        is_volume = image.image.ndim == 4
        seconds = dict(zip(_PARTS, (later - earlier for earlier, later in pairwise(times)), strict=True))
        record = CaseRecord(
            name=case.name,
            source=self._source(case),
            output=str(output.relative_to(self.output_dir)),
            verdict=verdict.label,
            reasons=verdict.reasons,
            measures=values,
            places=places,
            slice_axis=(2 if axis is None else axis) if is_volume else None,
            slices=image.image.shape[(2 if axis is None else axis) + 1] if is_volume else 1,
            plane=pictures.plane,
            marks=pictures.marks,
            seconds={"total": times[-1] - times[0], **seconds},
            fingerprint=fingerprint,
        )
        self.report.add(record, pictures.pictures)
        return record

    def _write(self, case: Case, image: CaseImage, enhanced: EnhancedCase) -> Path:
        """Write result and map under another name, then put them in their places."""
        place = self.output_dir / case.name
        place.parent.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(parents=True, exist_ok=True)
        targets = {self._partial / place.name: enhanced.result}
        if enhanced.deviation is not None:
            targets[self._partial / f"{place.name}{DEVIATION_SUFFIX}"] = enhanced.deviation
        written = []
        for number, (target, values) in enumerate(targets.items()):
            if self.output_format == "nifti":
                written.append(self._write_nifti(image, values, target))
            elif number == 0:
                written.append(image.write(values, target, self.provenance))
            else:
                written.append(image.write_deviation(values, target, self.provenance))
        outputs = [_moved(path, place.parent / path.name) for path in written]
        return outputs[0]

    def _write_nifti(self, image: CaseImage, values: torch.Tensor, target: Path) -> Path:
        if values.ndim != 4:
            raise InputError("it is no volume, which --output_format nifti is for: leave the format as it is")
        if not image.evenly_spaced:
            raise InputError(
                "its slices are missing or unevenly spaced, which NIfTI cannot say: leave the format as it is"
            )
        description = f"{self.provenance.software} {self.provenance.version} derived"
        return write_nifti(values, image.image.affine, target, description)

    def _add_failure(
        self, name: str, source: str, message: str, fingerprint: dict[str, Any] | None = None
    ) -> CaseRecord:
        record = CaseRecord(name, source, status="failed", message=message, fingerprint=fingerprint or {})
        self.report.add(record)
        tqdm.write(f"failed: {message if source in message else f'{source}: {message}'}", file=sys.stderr)
        return record

    def _fingerprint(self, case: Case) -> dict[str, Any]:
        """What a result depends on: files, weights, settings."""
        digest = hashlib.sha256()
        for file in sorted(case.files):
            state = file.stat()
            digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return {"files": digest.hexdigest(), "output_format": self.output_format, **self.settings}

    def _stands(self, record: CaseRecord, fingerprint: dict[str, Any]) -> bool:
        """Whether what an earlier run made is still there, and what this one would make."""
        made = None if record.output is None else self.output_dir / record.output
        return record.status == "done" and record.fingerprint == fingerprint and made is not None and made.exists()

    @staticmethod
    def _source(case: Case) -> str:
        return str(case.files[0] if len(case.files) == 1 else case.files[0].parent)

    @property
    def _partial(self) -> Path:
        # On the file system of the results, where renaming is one step; hidden, and one for each running process.
        return self.output_dir / f".partial-{os.getpid()}"

    def _remove_partial(self) -> None:
        if self._partial.exists():
            shutil.rmtree(self._partial)

    def _refuse_overwriting(self) -> None:
        sources = {path.resolve() for case in self.cases for path in case.files}
        folders = {path.parent for path in sources}
        for case in self.cases:
            place = (self.output_dir / case.name).resolve()
            taken = {place, *(place.with_name(f"{place.name}{suffix}") for suffix in _SUFFIXES)}
            if place in folders or not taken.isdisjoint(sources):
                raise InputError(
                    f'The result of "{self._source(case)}" would take the place of an original: '
                    "set --output_dir to another folder."
                )


def _throughput(slices: int, elapsed: float, seconds: Mapping[str, float]) -> str:
    """Tell how fast the run was, and where its time went."""
    if not slices or elapsed <= 0:
        return "nothing was left to do"
    shares = ", ".join(f"{part} {seconds[part] / elapsed:.0%}" for part in _PARTS)
    return f"{slices} slices in {elapsed:.1f} s, {slices / elapsed:.2f} slices/s: {shares}"


def _moved(path: Path, place: Path) -> Path:
    """Move a file or a folder to its place, in place of what is there."""
    if place.is_dir():
        # A folder cannot be replaced in one step.
        former = path.with_name(f"{path.name}.former")
        os.replace(place, former)
    os.replace(path, place)
    return place
