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
    case "$1" in
        --model_dir) model=$2 ;;
        --resume) resume=$2 ;;
        downstream) exit 0 ;;
        checking) echo "no labels"; exit "${CHECKED:-0}" ;;
    esac
    shift
done
echo "resume $resume"
if [ "$resume" = True ] && [ "$(grep -c trained "$model/checkpoint.pt")" -ge 2 ]; then
    echo "it has been trained for 18 epochs already" && exit 1
fi
echo trained >> "$model/checkpoint.pt"
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
    for arm in ("first_order", "unrolled"):
        assert f"--hypergradient {arm} --resume" in printed
        assert "resume True" in (tmp_path / "out" / "arms" / arm / "seed0" / "log.txt").read_text()
        assert (tmp_path / "out" / "arms" / arm / "seed0" / "checkpoint.pt").read_text() == "trained\ntrained\n"
    assert (tmp_path / "out" / "arms" / "separate" / "seed0" / "checkpoint.pt").read_text() == "trained\n"
    for first in ("warmup", "arms/separate"):
        assert "resume False" in (tmp_path / "out" / first / "seed0" / "log.txt").read_text()
    assert printed.count("--calibrates False") == trainings
    assert make(tmp_path, arms)[0] == 0


def test_without_a_warm_up_there_is_none_to_share(tmp_path: Path, data: Path) -> None:
    trainings, printed = make(tmp_path, "ARGS=--epochs 3 --warmup_epochs 0")
    assert trainings == 2
    assert "pause_after" not in printed


def test_an_interrupted_training_goes_on(tmp_path: Path, data: Path) -> None:
    make(tmp_path)
    arm, compared = (tmp_path / "out" / folder / "seed0" for folder in ("arms/unrolled", "compared"))
    checkpoint = arm / "checkpoint.pt"
    assert checkpoint.read_text() == "trained\ntrained\n"  # the warm-up and the rest

    def interrupt(text: str | None) -> None:
        for file in (arm / ".trained", compared / ".compared", checkpoint):
            file.unlink()
        if text is not None:
            checkpoint.write_text(text)

    # Before its first epoch, after some, after the last: the last one has nothing left to train.
    for text in (None, "trained\n"):
        interrupt(text)
        assert make(tmp_path)[0] == 1
        assert checkpoint.read_text() == "trained\ntrained\n"
        assert "resume True" in (arm / "log.txt").read_text()
    interrupt("trained\ntrained\n")
    assert "make: ***" not in make(tmp_path)[1]
    assert "already" in (arm / "log.txt").read_text()
    assert "resume True" in (arm / "log-before.txt").read_text()


def test_what_other_settings_left_is_not_gone_on_from(tmp_path: Path, data: Path) -> None:
    make(tmp_path)
    (tmp_path / "out" / "arms" / "separate" / "seed0" / "downstream.pt").touch()
    assert make(tmp_path, "ARGS=--epochs 7")[0] == 3
    for arm, trained in (("separate", 1), ("unrolled", 2)):
        folder = tmp_path / "out" / "arms" / arm / "seed0"
        assert (folder / "checkpoint.pt").read_text().count("trained") == trained
        assert not (folder / "downstream.pt").exists()


def test_what_is_wrong_is_told_before_training(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKED", "1")
    trainings, printed = make(tmp_path)
    assert trainings == 0
    assert "no labels" in printed
    trainings, printed = make(tmp_path, "ARMS=separate first_ordr")
    assert trainings == 0
    assert "ARMS are separate, first_order, finite_difference, unrolled and implicit, not first_ordr" in printed


def test_other_settings_or_data_train_anew(tmp_path: Path, data: Path) -> None:
    make(tmp_path)
    assert make(tmp_path, "ARGS=--epochs 7")[0] == 3
    (data / "datalist.json").write_text('{"training_lq": [{"image": "another.png"}]}')
    assert make(tmp_path, "ARGS=--epochs 7")[0] == 3


def test_a_training_that_leaves_no_network_is_told(tmp_path: Path, data: Path) -> None:
    for arm in ("separate", "unrolled"):
        assert f"{arm}/seed9: the training left no model.pt" in make(tmp_path, "SEEDS=9", f"ARMS={arm}")[1]
