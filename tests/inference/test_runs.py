# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import command_line
from scripts.command_line import end_command
from scripts.errors import InputError
from scripts.inference import runs
from scripts.io import Case, Problem

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the runs install their own


@pytest.mark.parametrize(("input_dir", "output_dir", "message"), [("", "x", "what to enhance"), ("x", "", "where")])
def test_inference_needs_images_and_a_place(input_dir: str, output_dir: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        runs.begin_inference(input_dir, None, output_dir, {})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("--samples", "two"), "--samples takes a number, such as 0, not two"),
        (("--overlap", "abc"), "--overlap takes a number"),
        (("--guide", "2024"), '--guide 2024 is no text for the command line: write "./2024"'),
        (("--output_dir", "2024"), "--output_dir 2024 is no text"),
    ],
)
def test_values_of_a_wrong_type_are_refused_in_one_sentence(
    setting: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ["-m", "run", "enhancing", "--config_file", str(CONFIGS / "inference.yaml"), "--input_dir", "2024"]
    monkeypatch.setattr(sys, "argv", [*program, *setting])
    monkeypatch.setattr(command_line, "_is_monais_command", lambda: True)
    with pytest.raises(InputError, match=message):
        runs.begin_inference("in", None, "out", {})


def test_the_evaluator_refuses_what_only_the_batch_program_does() -> None:
    runs.begin_evaluator("out", {"amp": False}, {"samples": 0, "segment": False, "tracking_uri": None})
    with pytest.raises(InputError, match="--samples, --segment: the run enhancing does that"):
        runs.begin_evaluator("out", {}, {"samples": 8, "segment": True, "resume": False})


@pytest.mark.parametrize(("folder", "supplied"), [("models", True), ("output/models", False)])
def test_the_log_says_whether_the_network_is_the_supplied_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, folder: str, supplied: bool
) -> None:
    file = f"{tmp_path}/{folder}/model.pt"
    with caplog.at_level(logging.INFO):
        runs.say_network(file, str(tmp_path))
    assert f'The network is "{file}"' in caplog.text
    assert ("It came with the bundle; --model_dir takes one of your own" in caplog.text) is supplied


def test_without_an_input_there_is_nothing_yet() -> None:
    assert runs.find_inputs("") == ([], [])


def test_links_that_lead_out_of_the_input_are_followed_where_asked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "a.png")
    cases, problems = runs.find_inputs(str(tmp_path / "in"))
    assert (cases, len(problems)) == ([], 1)
    cases, problems = runs.find_inputs(str(tmp_path / "in"), follow_links=True)
    assert ([case.name for case in cases], problems) == (["link"], [])


def test_a_series_of_several_files_is_one_entry() -> None:
    cases = [Case("a", "nifti", (Path("a.nii"),)), Case("b/c", "dicom", (Path("1.dcm"), Path("2.dcm")))]
    assert runs.dataset_entries(cases) == [
        {"image": "a.nii", "name": "a"},
        {"image": ["1.dcm", "2.dcm"], "name": "b/c"},
    ]


def test_what_is_no_image_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runs.check_dataset([1], [Problem(Path("x"), "x is no image")])
    assert "x is no image" in caplog.text


def test_only_monais_command_ends_with_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bundle/program.py"])
    assert end_command(2) == 2
    monkeypatch.setattr("sys.argv", ["/site-packages/monai/bundle/__main__.py"])
    with pytest.raises(SystemExit) as ended:
        end_command(2)
    assert ended.value.code == 2
