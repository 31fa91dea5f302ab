# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.errors import InputError, find_input_error

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


def run(lines: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    code = f"from scripts.errors import *\n{lines}"
    return subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(BUNDLE)}, cwd=tmp_path, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "raising",
    [
        "raise InputError('no such folder')",
        "raise RuntimeError('a') from InputError('no such folder')",
        "try:\n    raise InputError('no such folder')\nexcept ValueError:\n    raise RuntimeError('a')",
        "raise InputError('Caught InputError in worker 0.\\nTraceback\\nscripts.errors.InputError: no such folder')",
    ],
    ids=["plain", "cause", "context", "from a worker process"],
)
def test_an_input_error_anywhere_in_the_chain_is_shown_as_one_line(raising: str, tmp_path: Path) -> None:
    result = run(f"show_input_errors_plainly()\n{raising}", tmp_path)
    assert (result.stdout, result.stderr, result.returncode) == ("", "error: no such folder\n", 1)


def test_the_exit_status_can_be_chosen(tmp_path: Path) -> None:
    result = run("show_input_errors_plainly(status=2)\nraise InputError('no such folder')", tmp_path)
    assert (result.stderr, result.returncode) == ("error: no such folder\n", 2)


def test_ctrl_c_is_told_in_a_word(tmp_path: Path) -> None:
    result = run("show_input_errors_plainly()\nraise KeyboardInterrupt", tmp_path)
    assert (result.stderr, result.returncode) == ("interrupted\n", 130)


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    result = run("show_input_errors_plainly()\nraise KeyError('x')", tmp_path)
    assert "Traceback" in result.stderr
    assert result.returncode == 1


def test_import_leaves_the_exception_hook_alone(tmp_path: Path) -> None:
    assert "Traceback" in run("raise InputError('no such folder')", tmp_path).stderr


def test_installing_the_hook_twice_installs_it_once(tmp_path: Path) -> None:
    lines = "import sys\nshow_input_errors_plainly()\nhook = sys.excepthook\nshow_input_errors_plainly()\n"
    assert run(f"{lines}assert hook is sys.excepthook", tmp_path).returncode == 0


def test_a_chain_that_runs_in_a_circle_is_searched_once() -> None:
    first, second = KeyError(), KeyError()
    first.__context__, second.__cause__ = second, first
    assert find_input_error(first) is None


def test_an_input_error_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
