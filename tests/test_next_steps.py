# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from scripts.next_steps import what_next

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "my models" / "model.pt"
    file.parent.mkdir()
    file.touch()
    return file


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("/usr/bin/hqgnet", ["hqgnet", "enhance", "INPUT", "OUTPUT"]),
        ("/site-packages/monai/bundle/__main__.py", ["python", "-m", "monai.bundle", "run", "enhancing"]),
    ],
)
def test_the_command_to_type_next_names_the_model(
    model_file: Path, program: str, start: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    place, command = what_next(4, 4, model_file).split(". Enhance images with it: ")
    assert place == f'The trained network is "{model_file}"'
    words = shlex.split(command)
    assert words[: len(start)] == start
    assert words[-2:] == ["--model_dir", str(model_file.parent)]


def test_the_configuration_is_named_as_it_is_seen_from_here(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, config in ((BUNDLE, "configs/inference.yaml"), (model_file.parent, f"{BUNDLE}/configs/inference.yaml")):
        monkeypatch.chdir(folder)
        words = shlex.split(what_next(4, 4, model_file))
        assert words[words.index("--config_file") + 1] == config


def test_a_training_that_stopped_says_how_it_goes_on(model_file: Path) -> None:
    assert what_next(2, 4, model_file).startswith(
        "Training stopped after epoch 2 of 4, and goes on with --resume True."
    )


def test_a_training_that_kept_nothing_says_so(tmp_path: Path) -> None:
    assert what_next(4, 4, tmp_path / "model.pt") == "No network has been kept yet."
