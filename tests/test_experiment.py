# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What experiment.mk trains, and when again: with a stand-in for Python that leaves files where training would."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in --model_dir) model=$2 ;; downstream) exit 0 ;; esac
    shift
done
touch "$model/checkpoint.pt"
case "$model" in */seed9) ;; *) touch "$model/model.pt" ;; esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs GNU Make")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "datalist.json").write_text('{"training_lq": []}')
    return folder


def make(tmp_path: Path, *settings: str) -> tuple[int, str]:
    """Number of trainings that were started, and what was printed."""
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    places = [f"RUN={python}", f"DATA={tmp_path / 'data'}", f"OUTPUT={tmp_path / 'out'}"]
    command = ["make", "-f", "experiment.mk", *places, "SEEDS=0", "ARMS=separate unrolled", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    return printed.count("run training"), printed


def test_bilevel_arms_share_their_warm_up_and_all_are_trained_once(tmp_path: Path, data: Path) -> None:
    arms = "ARMS=separate first_order unrolled"
    trainings, printed = make(tmp_path, arms)
    assert trainings == 4
    assert printed.count("--pause_after @warmup_epochs") == 1
    assert printed.count("--resume True") == 2
    assert "--hypergradient first_order --resume True" in printed
    assert "--hypergradient unrolled --resume True" in printed
    assert make(tmp_path, arms)[0] == 0


def test_other_settings_or_data_train_anew(tmp_path: Path, data: Path) -> None:
    make(tmp_path)
    assert make(tmp_path, "ARGS=--epochs 7")[0] == 3
    (data / "datalist.json").write_text('{"training_lq": [{"image": "another.png"}]}')
    assert make(tmp_path, "ARGS=--epochs 7")[0] == 3


def test_a_training_that_leaves_no_network_is_told(tmp_path: Path, data: Path) -> None:
    for arm in ("separate", "unrolled"):
        assert f"{arm}/seed9: the training left no model.pt" in make(tmp_path, "SEEDS=9", f"ARMS={arm}")[1]
