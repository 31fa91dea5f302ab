# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The public commands, started by torchrun in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.bundle.conftest import TINY, UNET, as_arguments

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def torchrun(
    run_id: str, *arguments: str, processes: int = 2, restarts: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
            *(f"--max_restarts={restarts}", "-m", "monai.bundle", "run", run_id, *arguments),
        ],
        cwd=BUNDLE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.slow
def test_images_are_shared_among_processes(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    (tmp_path / "studies").mkdir()
    for number in range(3):
        Image.fromarray(random.randint(0, 255, (40, 48), np.uint8)).save(tmp_path / "studies" / f"{number}.png")
    arguments = ["--config_file", "configs/inference.yaml", "--device", "cpu"]
    arguments += ["--input_dir", str(tmp_path / "studies"), "--output_dir", str(tmp_path / "results")]
    process = torchrun("enhancing", *arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("3 done") == 1
    assert (tmp_path / "results" / "report.csv").read_text().count(",done,") == 3
    (tmp_path / "studies" / "3.png").write_bytes(b"nothing")
    process = torchrun("enhancing", *arguments, "--resume", "True")
    assert process.returncode == 1
    assert "3 done, " in process.stdout
    assert "1 failed" in process.stdout


def train(dataset_dir: Path, folder: Path, processes: int, **settings: object) -> subprocess.CompletedProcess[str]:
    configs = "['configs/train.yaml','configs/multi_gpu_train.yaml']"
    return torchrun("training", "--config_file", configs, *given(dataset_dir, folder, **settings), processes=processes)


def given(dataset_dir: Path, folder: Path, **settings: object) -> list[str]:
    places = {"dataset_dir": dataset_dir, "output_dir": folder, "model_dir": folder}
    return as_arguments({**TINY, **UNET, **places, **settings})


@pytest.mark.slow
def test_training_in_two_processes_is_resumed_in_one(dataset_dir: Path, tmp_path: Path) -> None:
    process = train(dataset_dir, tmp_path, 2, task="none", pause_after=1, batch_size=1)
    assert process.returncode == 0, process.stderr
    assert (process.stdout + process.stderr).count("epoch 1/2  restoration") == 1
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 2
    process = train(dataset_dir, tmp_path, 1, task="none", resume=True, batch_size=2)
    assert process.returncode == 0, process.stderr
    assert float(torch.load(tmp_path / "model.pt", weights_only=True)["prototype_mean"].abs().sum()) > 0


KILLER = """
import os, signal, threading, time

def wait_and_die():
    while not os.path.exists(os.environ["CHECKPOINT"]):
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0" and os.environ.get("RANK") == "1":
    threading.Thread(target=wait_and_die, daemon=True).start()
"""


@pytest.mark.slow
def test_processes_that_start_again_go_on_from_the_checkpoint(dataset_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    configs = ("--config_file", "['configs/train.yaml','configs/multi_gpu_train.yaml']")
    settings = given(dataset_dir, tmp_path / "out", task="none", resume="auto", batch_size=1, epochs=8)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    variables = {
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "CHECKPOINT": str(tmp_path / "out" / "checkpoint.pt"),
        "PYTHONPATH": path,
    }
    process = torchrun("training", *configs, *settings, restarts=1, **variables)
    assert process.returncode == 0, process.stderr
    log = process.stdout + process.stderr
    assert "resuming from" in log
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 16
    assert log.count("epoch 8/8  ") == 1


@pytest.mark.slow
def test_both_levels_are_trained_and_evaluated_in_two_processes(labelled_dir: Path, tmp_path: Path) -> None:
    process = train(labelled_dir, tmp_path, 2)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("Bi-level training (hypergradient first_order)") == 1
    assert (tmp_path / "downstream.pt").is_file()
    configs = "['configs/train.yaml','configs/evaluate.yaml','configs/multi_gpu_evaluate.yaml']"
    process = torchrun("evaluating", "--config_file", configs, *given(labelled_dir, tmp_path))
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("Downstream network (segmentation)") == 1
    assert "PSNR" in (tmp_path / "evaluation" / "evaluation.md").read_text()
