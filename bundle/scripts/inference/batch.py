# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing many cases, none of which may stop the others."""

from __future__ import annotations

import hashlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from .. import processes
from ..errors import InputError, find_input_error, kind_and_reason, without_controls
from ..io import Case, CaseImage, Problem, Provenance, open_case
from ..io.nifti import NiftiCase, check_evenly_spaced, write_nifti
from ..reports import BatchReport, CaseRecord, judge_cut, judge_safety, report_pictures
from .case_enhancer import CaseEnhancer, EnhancedCase, measured
from .case_segmenter import CaseSegmenter, check_grid_of_classes, write_classes
from .results import ResultFolder

__all__ = ["INTERRUPTED", "BatchEnhancement"]

logger = logging.getLogger(__name__)

DONE, SOME_FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses; the last is the shell's for Ctrl-C."""

_PARTS = ("read", "network", "write", "report")
DEVIATION_SUFFIX, SEGMENTATION_SUFFIX = "_deviation", "_segmentation"


class BatchEnhancement:
    """Enhance every case, write the results, and report on each.

    A case that cannot be read, enhanced or written is reported, and the others go on. See :class:`ResultFolder` for
    what may be replaced. After :meth:`run`, ``counts`` says how many are done, to be checked, and failed.

    Several processes (:mod:`scripts.processes`) share the work: of N processes, number r takes every N-th case, from
    r on. All need the same ``cases`` and ``problems``. The first reports on all of them.

    Args:
        cases: what to enhance.
        problems: what was found and is no case; counted as failed, unless it may lie beside images.
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
        segmenter: gives every voxel of a result its class. Defaults to None: nothing is segmented.
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
        segmenter: CaseSegmenter | None = None,
        progress: bool = True,
    ) -> None:
        if output_format not in ("source", "nifti"):
            raise InputError(f'output_format must be source or nifti, not "{output_format}".')
        self.cases = cases
        self.problems = problems
        self.enhancer = enhancer
        self.results = ResultFolder(output_dir)
        self.provenance = provenance
        self.report = report
        self.settings = dict(settings or {})
        self.details = dict(details or {})
        self.resume = resume
        self.output_format = output_format
        self.open_image = open_image
        self.segmenter = segmenter
        self.progress = progress
        self.counts: dict[str, int] = {}
        self.results.refuse_originals(cases)

    def run(self) -> int:
        """Enhance everything.

        Returns:
            The exit status: 0 all done, 1 some failed, 2 nothing done, 130 interrupted. Of several processes the first
            has the status of all, and the others 0 unless they are interrupted, or another process is lost: torchrun
            ends all processes as soon as one has another status.

        Raises:
            InputError: when the output folder cannot be used.
        """
        if not self.cases and not self.problems:
            raise InputError("The input holds no image: set --input_dir to an image, or to a folder of images.")
        with self.results.opened(), _terminated_as_interrupted():
            return self._run()

    def _run(self) -> int:
        tally = _Tally()
        names: list[str] = []
        interrupted = False
        own = slice(processes.rank(), None, processes.count())
        hidden = not self.progress or not processes.is_first()
        bar = tqdm(self.cases[own], desc="enhancing", unit="case", disable=hidden)
        try:
            for problem in self.problems[own]:
                names.append(str(problem.source))
                tell = self._passed_over if problem.passed_over else self._failed
                tally.add(tell(str(problem.source), str(problem.source), problem.message))
            for case in bar:
                bar.set_postfix_str(case.name[-40:], refresh=False)
                tally.add(*self._do(case))
                names.append(case.name)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            bar.close()
        tally.stop()
        if processes.count() == 1:
            return self._report(tally, names, interrupted)
        return self._report_together(tally, interrupted)

    def _report_together(self, own: _Tally, interrupted: bool) -> int:
        """Report on the cases of all processes, in the order in which one process would have done them."""
        names = [*(str(problem.source) for problem in self.problems), *(case.name for case in self.cases)]
        try:
            if not interrupted:
                whole = _Tally.of_all(processes.gathered(own))
                return self._report(whole, names) if processes.is_first() else DONE
        except KeyboardInterrupt:
            interrupted = True
        except processes.LostProcessError:
            print("another process of this run was lost; --resume True does what it had left", flush=True)
        # Nobody knows who is the last: everyone reports on what lies in the folder by now.
        status = self._report(own, names, interrupted)
        return status if status != DONE else SOME_FAILED

    def _report(self, tally: _Tally, names: Sequence[str], interrupted: bool = False) -> int:
        """Write the report, and say how it went; return the exit status."""
        try:
            page = self.report.write(names, self.details)["html"]
            where = f"report: {page}"
        except OSError as error:
            where = f"the report could not be written: {error.strerror or error}"
            tally.failed += 1
        self.counts = {"done": tally.done, "to_check": tally.to_check, "failed": tally.failed}
        passed_over = f"; {tally.passed_over} passed over" if tally.passed_over else ""
        print(
            f"{tally.done} done, {tally.to_check} of them to be checked; {tally.failed} failed{passed_over}; {where}",
            flush=True,
        )
        print(tally.throughput(), flush=True)
        if interrupted:
            left = len(self.cases) + len(self.problems) - tally.done - tally.failed - tally.passed_over
            what = f"{left} were not enhanced" if processes.count() == 1 else f"process {processes.rank()} was not done"
            print(f"interrupted: {what}; --resume True goes on", flush=True)
            return INTERRUPTED
        return DONE if not tally.failed and tally.done else SOME_FAILED if tally.done else NOTHING_DONE

    def _do(self, case: Case) -> tuple[CaseRecord, bool]:
        """Enhance one case, or find that an earlier run has done so.

        Returns:
            The record, which says what went wrong, and whether it was made now.
        """
        earlier = self.report.find(case.name)
        try:
            fingerprint = self._fingerprint(case)
            if self.resume and earlier is not None and self._stands(earlier, fingerprint):
                return earlier, False
            return self._enhance(case, fingerprint, earlier.outputs if earlier else ()), True
        except OSError as error:
            message = f"{error.strerror or error}" + (f': "{error.filename}"' if error.filename else "")
        # Whatever a library raises on one image, the others are enhanced.
        except Exception as error:
            # MONAI wraps what its transforms raise.
            input_error = find_input_error(error)
            logger.debug("%s failed", case.name, exc_info=input_error is None)
            message = str(input_error) if input_error is not None else _told(error)
        finally:
            self.results.discard_partial()
        return self._failed(case.name, self._source(case), message), True

    def _enhance(self, case: Case, fingerprint: dict[str, Any], own: Collection[str]) -> CaseRecord:
        times = [time.perf_counter()]
        image = self.open_image(case)
        if self._makes_nifti(image):
            _check_nifti(image)
        else:
            image.check_writable()
        if self.segmenter is not None:
            check_grid_of_classes(image)
        times.append(time.perf_counter())
        enhanced, classes = self.segmenter.enhance(image) if self.segmenter else (self.enhancer(image), None)
        times.append(time.perf_counter())
        made = self._make(case, image, enhanced, classes)
        times.append(time.perf_counter())
        values, places = measured(image, enhanced)
        cut = 0 if self._makes_nifti(image) else image.values_cut(enhanced.result)
        verdict = judge_cut(judge_safety(values, self.report.thresholds), cut, enhanced.result.numel())
        axis = enhanced.slice_axis
        pictures = report_pictures(
            image.image, enhanced.result, image.padding, enhanced.deviation, axis, places, verdict
        )
        outputs = self.results.claim(case.name, made, own)
        # From here until its new record is written, no earlier record vouches for what lies in the case's places.
        unsure = CaseRecord(case.name, self._source(case), status="failed", message="it was interrupted")
        self.report.add(replace(unsure, outputs=dict.fromkeys([*own, *outputs], 0)))
        self.results.settle(made, outputs, own)
        times.append(time.perf_counter())
        seconds = dict(zip(_PARTS, (later - before for before, later in pairwise(times)), strict=True))
        record = CaseRecord(
            name=case.name,
            source=self._source(case),
            output=outputs[0],
            outputs=self.results.sizes(outputs),
            verdict=verdict.label,
            reasons=verdict.reasons,
            measures=values,
            places=places,
            clipped=cut,
            slice_axis=axis,
            slices=1 if axis is None else image.image.shape[axis + 1],
            plane=pictures.plane,
            marks=pictures.marks,
            seconds={"total": times[-1] - times[0], **seconds},
            fingerprint=fingerprint,
        )
        self.report.add(record, pictures.pictures)
        return record

    def _make(self, case: Case, image: CaseImage, enhanced: EnhancedCase, classes: torch.Tensor | None) -> list[Path]:
        """Write result, map and classes, not yet in their places."""
        target = self.results.partial(case.name)
        deviation, segmentation = (
            target.with_name(f"{target.name}{suffix}") for suffix in (DEVIATION_SUFFIX, SEGMENTATION_SUFFIX)
        )
        if self._makes_nifti(image):
            made = [self._make_nifti(image, enhanced.result, target, "derived")]
            if enhanced.deviation is not None:
                made.append(self._make_nifti(image, enhanced.deviation, deviation, "standard deviation"))
        else:
            made = [image.write(enhanced.result, target, self.provenance)]
            if enhanced.deviation is not None:
                made.append(image.write_deviation(enhanced.deviation, deviation, self.provenance))
        if classes is not None:
            made.append(write_classes(classes, image, segmentation, self.provenance.sentence("segmentation")))
        return made

    def _makes_nifti(self, image: CaseImage) -> bool:
        """Whether the result has to be NIfTI; a NIfTI source writes that itself, with its header."""
        return self.output_format == "nifti" and not isinstance(image, NiftiCase)

    def _make_nifti(self, image: CaseImage, values: torch.Tensor, target: Path, kind: str) -> Path:
        return write_nifti(values, image.image.affine, target, self.provenance.sentence(kind))

    def _failed(self, name: str, source: str, message: str) -> CaseRecord:
        earlier = self.report.find(name)
        kept = self.results.sizes(earlier.outputs) if earlier else {}
        if kept:
            message += "; what an earlier run made of it is still there"
        record = CaseRecord(name, source, outputs=kept, status="failed", message=message)
        told = message if source in message else f"{source}: {message}"
        tqdm.write(f"failed: {without_controls(told)}", file=sys.stderr)
        try:
            self.report.add(record)
        except OSError as error:
            tqdm.write(f"failed: the report of {source}: {error.strerror or error}", file=sys.stderr)
        return record

    def _passed_over(self, name: str, source: str, message: str) -> CaseRecord:
        record = CaseRecord(name, source, status="passed over", message=message)
        tqdm.write(message, file=sys.stderr)
        with suppress(OSError):  # the next case says so
            self.report.add(record)
        return record

    def _fingerprint(self, case: Case) -> dict[str, Any]:
        """Return everything that a result depends on: files, weights, settings."""
        digest = hashlib.sha256()
        for file in sorted(case.files):
            state = file.stat()
            digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return {"files": digest.hexdigest(), "output_format": self.output_format, **self.settings}

    def _stands(self, record: CaseRecord, fingerprint: dict[str, Any]) -> bool:
        """Whether what an earlier run made is still there, and what this one would make."""
        is_there = self.results.sizes(record.outputs) == record.outputs
        return record.status == "done" and record.fingerprint == fingerprint and is_there

    @staticmethod
    def _source(case: Case) -> str:
        return str(case.files[0] if len(case.files) == 1 else case.files[0].parent)


def _check_nifti(image: CaseImage) -> None:
    """Refuse what NIfTI cannot hold."""
    if image.image.ndim != 4:
        raise InputError("it is no volume, which --output_format nifti is for: leave the format as it is")
    check_evenly_spaced(image, "leave the format as it is")


@dataclass
class _Tally:
    """Progress of a run: finished cases, and time by kind of work."""

    done: int = 0
    failed: int = 0
    passed_over: int = 0
    to_check: int = 0
    slices: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_PARTS, 0.0))
    elapsed: float = 0.0
    processes: int = 1
    start: float = field(default_factory=time.perf_counter)

    def add(self, record: CaseRecord, is_new: bool = True) -> None:
        self.done += record.status == "done"
        self.failed += record.status == "failed"
        self.passed_over += record.status == "passed over"
        self.to_check += record.verdict == "check"
        if is_new and record.status == "done":
            self.slices += record.slices
            self.seconds = {part: self.seconds[part] + record.seconds.get(part, 0.0) for part in _PARTS}

    def stop(self) -> None:
        self.elapsed = time.perf_counter() - self.start

    @classmethod
    def of_all(cls, tallies: Sequence[_Tally]) -> _Tally:
        """Sum those of all processes, which ran side by side."""
        whole = cls(processes=len(tallies), elapsed=max(tally.elapsed for tally in tallies))
        for tally in tallies:
            whole.done += tally.done
            whole.failed += tally.failed
            whole.passed_over += tally.passed_over
            whole.to_check += tally.to_check
            whole.slices += tally.slices
            whole.seconds = {part: whole.seconds[part] + tally.seconds[part] for part in _PARTS}
        return whole

    def throughput(self) -> str:
        if not self.slices:
            return "nothing was enhanced"
        shares = ", ".join(f"{part} {self.seconds[part] / self.elapsed / self.processes:.0%}" for part in _PARTS)
        return f"{self.slices} slices in {self.elapsed:.1f} s, {self.slices / self.elapsed:.2f} slices/s: {shares}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end a run as Ctrl-C does; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _told(error: Exception) -> str:
    """A library's error in one clause."""
    reason = kind_and_reason(error)[:300]
    if any(sign in reason.lower() for sign in ("memoryerror", "out of memory", "can't allocate memory")):
        return "there is not enough memory for it: set a smaller --window, or use a larger machine"
    return reason
