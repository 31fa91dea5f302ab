# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Trainings that are killed at any moment, or whose disk is full, go on as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from tests.bundle.conftest import TINY, UNET, as_arguments, write_dataset, write_labels

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
EPOCHS, STEPS = 12, 6
KILLS = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with labels and references."""
    return write_labels(write_dataset(tmp_path_factory.mktemp("data"), high_quality=6))


def started(
    data: Path, output: Path, resume: bool = False, limit: Callable[[], None] | None = None, **settings: object
) -> subprocess.Popen[str]:
    """A training in a process of its own, which writes its log beside ``output``."""
    given = {**TINY, **UNET, "epochs": EPOCHS, "steps_per_epoch": STEPS, "mlflow": True, **settings}
    given |= {"dataset_dir": data, "output_dir": output, "resume": resume}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "monai.bundle",
            "run",
            "training",
            "--config_file",
            "configs/train.yaml",
            *as_arguments(given),
        ],
        cwd=BUNDLE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )


def finished(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    return printed


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a training that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole")
    finished(started(data, output))
    return output


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dictionaries and lists, with its place."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from leaves(value, f"{path}/{key}")
    if not isinstance(content, (dict, list)):
        yield path, content


def saved(output: Path) -> dict[str, Any]:
    """All that a training keeps, but for the identity of its MLflow run."""
    files = ["checkpoint.pt", "models/model.pt", "models/downstream.pt"]
    content: dict[str, Any] = {name: torch.load(output / name, weights_only=True) for name in files}
    content["checkpoint.pt"].pop("tracker", None)
    content["models/model.json"] = json.loads((output / "models" / "model.json").read_text()) | {"run_id": None}
    return dict(leaves(content))


def differences(first: Path, second: Path) -> list[str]:
    one, other = saved(first), saved(second)
    assert one.keys() == other.keys()
    return [
        name
        for name, value in one.items()
        if not (torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name])
    ]


def test_a_training_killed_at_random_moments_equals_one_that_never_stopped(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("HQGNET_KILL_SEED", "0"))
    moments = random.Random(seed)
    checkpoint = tmp_path / "checkpoint.pt"
    for kill in range(KILLS):
        process = started(data, tmp_path, resume=kill > 0)
        assert process.stdout is not None
        wanted, last = 1 + moments.randrange(2), time.monotonic()
        epoch_seconds = 0.0
        for line in process.stdout:
            if re.search(r"epoch \d+/\d+ took", line):
                epoch_seconds, last = time.monotonic() - last, time.monotonic()
                wanted -= 1
            if wanted < 0:  # one more epoch has begun, and a checkpoint has been written
                break
        time.sleep(moments.random() * epoch_seconds)
        process.kill()
        process.communicate()
        assert process.returncode == -9
        assert checkpoint.is_file()
        saved(tmp_path)  # all files are complete
    printed = finished(started(data, tmp_path, resume=True))
    assert "Traceback" not in printed
    assert differences(whole, tmp_path) == []
    assert not list(tmp_path.rglob(".*.unfinished"))

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (only,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert only.info.status == "FINISHED"
    assert [name for name in only.data.tags if name.startswith("resumed.")] == [
        f"resumed.{n + 1}" for n in range(KILLS)
    ]
    scores = client.get_metric_history(only.info.run_id, "validation/ssim")
    assert {entry.step for entry in scores} == set(range(1, EPOCHS + 1))
    assert len({(entry.step, entry.value) for entry in scores}) == EPOCHS  # an epoch done twice is the same
    assert not (tmp_path / "open_runs").exists()


def test_a_training_on_a_full_disk_ends_plainly_and_goes_on_later(data: Path, whole: Path, tmp_path: Path) -> None:
    untracked = {"mlflow": False}
    finished(started(data, tmp_path, pause_after=2, **untracked))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    room = len(before) - 1  # bytes of the largest file that the process may write

    process = started(
        data, tmp_path, True, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)), **untracked
    )
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert re.search(r'^error: ".*checkpoint.pt" cannot be written .*make room', printed, re.MULTILINE), printed
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.rglob(".*.unfinished"))

    finished(started(data, tmp_path, True, **untracked))
    assert differences(whole, tmp_path) == []
