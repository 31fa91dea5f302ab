# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from scripts.errors import InputError
from scripts.handlers import RunTracker
from scripts.handlers.tracking_store import OpenRuns, default_store, require_mlflow, runs_page, without_credentials


def test_missing_mlflow_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="pip install mlflow.*--mlflow False"):
        RunTracker(tmp_path)


def test_passwords_of_addresses_are_left_out() -> None:
    text = "postgresql://me:p:w@host/db and sqlite:////data/a@b.db"
    assert without_credentials(text) == "postgresql://***@host/db and sqlite:////data/a@b.db"


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://me:pw@host:5000/", "http://***@host:5000/#/experiments/3/runs?workflowType=machine_learning"),
        ("sqlite:////a/b.db", "mlflow ui --backend-store-uri sqlite:////a/b.db, then http://127.0.0.1:5000/#/exp"),
    ],
)
def test_page_of_the_runs(uri: str, page: str) -> None:
    assert runs_page(uri, "3").startswith(page)


def test_run_of_a_living_process_is_not_abandoned(tmp_path: Path) -> None:
    open_runs = OpenRuns(tmp_path)
    open_runs.enter("abc")
    assert OpenRuns(tmp_path).abandoned() == []
    with pytest.raises(InputError, match="Another process is writing"):
        OpenRuns(tmp_path).enter("abc")
    open_runs.forget("abc")
    open_runs.leave()
    assert not open_runs.folder.exists()


def test_run_of_a_killed_process_is_abandoned(tmp_path: Path) -> None:
    code = "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire()"
    folder = tmp_path / "open_runs"
    folder.mkdir()
    command = [sys.executable, "-c", f"{code}; print(flush=True); time.sleep(60)", str(folder / "abc.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert OpenRuns(tmp_path).abandoned() == []
        process.send_signal(signal.SIGKILL)
    assert OpenRuns(tmp_path).abandoned() == ["abc"]


@pytest.mark.parametrize("before", [None, "sqlite:///before.db"])
def test_default_store_is_put_back(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if before is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    with default_store("sqlite:///other.db"):
        assert mlflow.get_tracking_uri() == "sqlite:///other.db"
    assert os.environ.get("MLFLOW_TRACKING_URI") == before
    assert mlflow.is_tracking_uri_set() == (before is not None)
