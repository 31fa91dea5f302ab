# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A batch that several processes share."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from tests.several_processes import in_processes

from scripts.errors import InputError
from scripts.inference import BatchEnhancement, EnhancedCase
from scripts.inference.results import ResultFolder
from scripts.inference.runs import find_inputs
from scripts.io import Case, CaseImage, Provenance, open_case
from scripts.reports import BatchReport


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    folder = tmp_path / "studies"
    for name in ("a/one", "a/two", "b/five", "b/four", "b/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(0, 255, (20, 24), np.uint8)).save(folder / f"{name}.png")
    return folder


def halved(case: CaseImage) -> EnhancedCase:
    return EnhancedCase(case.image.as_tensor() / 2, None, None)


def run(studies: Path, killed_at: str = "", **settings: Any) -> tuple[int, list[str]]:
    """Do this process's share; return the status and the cases that were opened."""
    opened: list[str] = []

    def opening(case: Case) -> CaseImage:
        opened.append(case.name)
        if case.name == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return open_case(case)

    output = studies.parent / "results"
    cases, problems = find_inputs(str(studies), None, str(output))
    enhancer: Any = halved
    provenance = Provenance("HQG-Net", "1.0", "abc")
    work = BatchEnhancement(
        *(cases, problems, enhancer, output, provenance, BatchReport(output)),
        progress=False,
        open_image=opening,
        **settings,
    )
    return work.run(), opened


def rows(studies: Path) -> list[tuple[str, str]]:
    with (studies.parent / "results" / "report.csv").open() as file:
        return [(row["name"], row["status"]) for row in csv.DictReader(file)]


NAMES = ["a/one", "a/two", "b/five", "b/four", "b/three"]


def test_every_case_is_done_once_and_one_report_has_them_all(studies: Path) -> None:
    assert in_processes(lambda: run(studies)) == [(0, NAMES[::2]), (0, NAMES[1::2])]
    assert rows(studies) == [(name, "done") for name in NAMES]
    results = studies.parent / "results"
    assert {path.name for path in results.iterdir()} == {"a", "b", "report", "report.csv", "report.html"}
    shared = {name: (results / f"{name}.png").read_bytes() for name in NAMES}
    assert run(studies) == (0, NAMES)
    assert shared == {name: (results / f"{name}.png").read_bytes() for name in NAMES}


def test_the_first_process_has_the_status_of_all(studies: Path) -> None:
    (studies / "a" / "two.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (first, _), (second, _) = in_processes(lambda: run(studies))
    assert (first, second) == (1, 0)
    assert sorted(status for _, status in rows(studies)) == ["done"] * 4 + ["failed"]


def test_a_killed_process_loses_no_finished_case_and_resuming_completes(studies: Path) -> None:
    (status, _), killed = in_processes(lambda: run(studies, killed_at="b/four"))
    assert (status, killed) == (1, None)
    assert rows(studies) == [(name, "done") for name in NAMES if name != "b/four"]
    assert in_processes(lambda: run(studies, resume=True), 3) == [(0, ["b/four"]), (0, []), (0, [])]
    assert rows(studies) == [(name, "done") for name in NAMES]


def test_more_processes_than_cases_are_no_mistake(studies: Path) -> None:
    for name in NAMES[1:]:
        (studies / f"{name}.png").unlink()
    assert in_processes(lambda: run(studies), 3) == [(0, ["a/one"]), (0, []), (0, [])]


def test_a_process_that_outlived_its_run_keeps_others_out(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock1"), pytest.raises(InputError, match="Another run"), ResultFolder(tmp_path).opened():
        pass
    with ResultFolder(tmp_path).opened():
        assert not (tmp_path / ".lock1").exists()
