# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from lib.bundle import Bundle, BundleError, ModelFolder

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def model(folder: Path, downstream: bool = False) -> Path:
    """A folder with what a training leaves; the content does not matter here."""
    folder.mkdir(parents=True)
    (folder / "model.pt").write_text(folder.name)
    described: dict[str, Any] = {"version": 2, "downstream": {"task": "segmentation"} if downstream else None}
    (folder / "model.json").write_text(json.dumps(described))
    if downstream:
        (folder / "downstream.pt").write_text(folder.name)
    return folder


def test_the_supplied_network_is_in_use_until_a_training_has_succeeded(tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "work", model(tmp_path / "supplied"))
    assert models.current == tmp_path / "supplied"
    trained = model(models.new_run("enhance") / "models")
    assert models.current == tmp_path / "supplied"
    models.use(trained)
    assert models.current == trained


def test_a_training_that_left_no_network_changes_nothing(tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "work", model(tmp_path / "supplied"))
    with pytest.raises(BundleError, match="left no network"):
        models.use(models.new_run("enhance") / "models")
    assert models.current == tmp_path / "supplied"


def test_the_downstream_network_outlives_a_training_of_the_enhancement(tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "work", model(tmp_path / "supplied", downstream=True))
    models.use(model(models.new_run("enhance") / "models"))
    assert models.segments
    assert (models.current / "downstream.pt").read_text() == "supplied"


def test_a_network_that_is_gone_is_told_of(tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "work", model(tmp_path / "supplied"))
    models.new_run("enhance")
    (models.root / "current").write_text("runs/gone")
    with pytest.raises(BundleError, match="where no model.pt is"):
        _ = models.current


def test_trainings_in_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    models = ModelFolder(tmp_path / "work", tmp_path)
    assert models.new_run("segment") != models.new_run("segment")
    models.new_run("enhance_segment")
    newest = models.newest_run("segment")
    assert newest is not None
    assert "enhance" not in newest.name


def test_a_wrong_interpreter_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="make venv"):
        Bundle(BUNDLE, tmp_path / "python")


def test_mistakes_and_faults_of_the_bundle_s_program_are_told_apart(tmp_path: Path) -> None:
    bundle = Bundle(BUNDLE, Path(sys.executable))
    with pytest.raises(BundleError, match="There is no trained network") as mistake:
        bundle.ask("enhance", image="x.nii.gz", output=str(tmp_path / "y"), model_dir=str(tmp_path))
    assert mistake.value.is_input
    with pytest.raises(BundleError, match="TypeError") as fault:
        bundle.ask("enhance")
    assert not fault.value.is_input
