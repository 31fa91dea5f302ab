# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The program in this process; tests/integration/test_wheel.py runs the installed one."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from tests.bundle.test_inference import AFFINE, phantom

from scripts.command_line import refuse_unknown, refuse_wrong_types
from scripts.errors import InputError
from scripts.program import CONFIGS, ENHANCING, PLACES, main, split_settings, taken_literally
from scripts.version import __version__


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs set the hook for errors and the handlers of the log of their process."""
    root = logging.getLogger()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A volume whose path MONAI would rewrite."""
    file = tmp_path / "scan #1" / "$volume @1.nii.gz"
    file.parent.mkdir()
    nib.save(nib.Nifti1Image(phantom(40, 48, 2).astype(np.int16), AFFINE), file)
    return file


# ------------------------------------------------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser()
    own.add_argument("place")
    own.add_argument("--samples", type=int)
    own.add_argument("--resume", action="store_true")
    return own


@pytest.mark.parametrize(
    ("arguments", "own", "settings"),
    [
        (["in", "--epochs", "5", "out"], ["in", "out"], {"epochs": 5}),
        (["--amp", "true", "in", "--samples", "8"], ["in", "--samples", "8"], {"amp": True}),
        (["in", "--loss#kl=0.5", "--learning-rate", "-1"], ["in"], {"loss#kl": 0.5, "learning_rate": -1}),
        (["--resume", "in"], ["--resume", "in"], {}),
        (["--resume", "True", "in"], ["--resume", "in"], {}),
        (["--resume", "False", "in"], ["in"], {}),
        (["in", "--amp", "--window", "[0,255]"], ["in"], {"amp": True, "window": [0, 255]}),
        (["in", "--window", "none", "--datalist", "2024"], ["in"], {"window": None, "datalist": "2024"}),
        (["in", "--task", "none", "--model_metric", "none"], ["in"], {"task": "none", "model_metric": None}),
        (["in", "--samples=8"], ["in", "--samples=8"], {}),
    ],
)
def test_settings_are_parted_from_the_arguments(arguments: list[str], own: list[str], settings: dict[str, Any]) -> None:
    assert split_settings(arguments, parser()) == (own, settings)


@pytest.mark.parametrize("text", ["scan #1", "$HOME", "@network", "%run", "a::b", "plain", "ü #\udce4", "it's $5 #2"])
def test_a_path_reaches_the_configuration_as_it_is(text: str) -> None:
    config = ConfigParser({"place": None, "used": "$@place + '!'"})
    config.update({"place": taken_literally(text)})
    assert config.get_parsed_content("place") == text
    assert config.get_parsed_content("used") == text + "!"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": "many"}, "--epochs takes a number, such as 12, not many"),
        ({"amp": "yes"}, "--amp takes True or False"),
        ({"amp": None}, "--amp takes True or False"),
        ({"batch_size": True}, "--batch_size takes a number"),
        ({"patch_size": 64}, r"--patch_size takes a list, such as \[96, 112\], not 64"),
        ({"early_stop#after_epoch": 3, "panels#max_cases": "all"}, "--panels#max_cases takes a number"),
    ],
)
def test_a_value_of_another_type_is_refused(setting: dict[str, Any], message: str) -> None:
    configuration = refuse_unknown(str(CONFIGS / "train.yaml"), {})
    with pytest.raises(InputError, match=message):
        refuse_wrong_types(configuration, setting)


def test_values_of_the_right_type_and_expressions_pass() -> None:
    values = {
        "epochs": 3,
        "amp": True,
        "window": [0, 255],
        "batch_size": "$2 * 2",
        "learning_rate": 1,
        "num_classes": 4,
    }
    configuration = refuse_unknown(str(CONFIGS / "train.yaml"), {})
    refuse_wrong_types(configuration, {**values, "loss_weights#kl": 0.5, "patch_size": None})


def test_places_are_settings_of_the_configurations() -> None:
    known = ConfigParser.load_config_files([str(CONFIGS / name) for name in ("train.yaml", "inference.yaml")])
    assert set(PLACES) <= set(known)
    assert ENHANCING.run_id in known


# --------------------------------------------------------------------------------------------------------- commands


def test_paths_with_signs_that_monai_rewrites_are_enhanced(scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "%out #2"
    arguments = ["enhance", str(scan.parent), str(output), "--device", "cpu", "--guide", str(scan)]
    assert main(arguments) == 0
    assert (output / scan.name).is_file()
    before = (output / scan.name).stat().st_mtime_ns
    assert main([*arguments, "--resume"]) == 0
    assert (output / scan.name).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["enhance", "/no/such", "OUT"], 2, "there is no file or folder"),
        (["enhance", "SCAN", "OUT", "--overlop", "0.5"], 2, "no setting --overlop: did you mean --overlap?"),
        (["enhance", "SCAN", "OUT", "--overlap", "half"], 2, "--overlap takes a number"),
        (["enhance", "SCAN", "OUT", "--guide", "scanner_z"], 2, 'no guide "scanner_z"'),
        (["enhance", "SCAN", "OUT", "--model_dir", "OUT"], 2, "no trained network"),
        (["enhance", "SCAN", "OUT", "--device", "cuda:77"], 2, "cannot be used"),
        (["calibrate", "SCAN", "OUT"], 2, "no trained network"),
        (["train", "/no/such", "OUT", "--mlflow", "False"], 1, "/no/such"),
        (["train", "/no/such", "OUT", "--overlay", "regression"], 1, 'no overlay "regression"'),
        (["train", "/no/such", "OUT", "--task", "regression"], 1, "task must be"),
        (["export", "OUT/model", "--model_dir", "OUT"], 1, "no trained network"),
        (["export", "SCAN"], 1, "is there already"),
        (["info", "--model_dir", "OUT"], 1, "no trained network"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    arguments: list[str], status: int, message: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"SCAN": str(scan), "OUT": str(tmp_path / "out"), "OUT/model": str(tmp_path / "out" / "model")}
    assert main([places.get(argument, argument) for argument in arguments]) == status
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ")
    assert message in told[-1]
    assert not any("Traceback" in line for line in told)


def test_info_tells_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["program"] == f"hqgnet {__version__}"
    assert told["styles"] == "scanner_a, scanner_b, scanner_c"
    assert told["scaling"].startswith("percentiles [0.5, 99.5]")
    assert "limits from 5 images" in told["calibration"]


@pytest.mark.parametrize("command", ["enhance", "train", "evaluate", "calibrate", "export", "info"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: hqgnet {command}" in capsys.readouterr().out


def test_help_shows_the_named_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    assert "epochs: 12" in told
    assert "of guided restoration" in told
    assert "_target_" not in told


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys, scripts.program as program\n"
        "for arguments in (['--version'], ['train', '--help']):\n"
        "    try: program.main(arguments)\n"
        "    except SystemExit: pass\n"
        "print(sorted({'torch', 'monai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parent, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"hqgnet {__version__}"
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "enhance" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["enhence"])
    assert ended.value.code == 2
