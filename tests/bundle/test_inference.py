# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancing files with the supplied network, by the public command and by the same run in this process."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image
from tests.bundle.conftest import refused
from tests.io.bad_files import make_bad_folder

from scripts.io import write_dicom_series
from scripts.model_spec import ModelSpec

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def command(*arguments: str, run_id: str = "enhancing") -> list[str]:
    config = ["--config_file", "configs/inference.yaml", "--device", "cpu"]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, *config, *arguments]


def enhance(*arguments: str, run_id: str = "enhancing") -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, from inside the bundle."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments, run_id=run_id), cwd=BUNDLE, env=environment, capture_output=True, text=True, check=False
    )


def enhance_here(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> int:
    """Do what the command does, in this process, which need not import MONAI again; return the exit status."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the run installs its own
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.yaml"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        run_id="enhancing",
        device="cpu",
        **settings,
    )
    status: int = workflow.run()[-1]
    return status


def phantom(*size: int) -> np.ndarray:
    """A bright ellipsoid with a darker core on a dim background, from 0 to about 900."""
    grid = np.meshgrid(*(np.linspace(-1, 1, length) for length in size), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    noise = np.random.RandomState(0).rand(*size)
    return 600.0 * (radius < 0.8) - 250.0 * (radius < 0.3) + 300 * noise


AFFINE = np.array([[1.5, 0.0, 0.0, -30.0], [0.0, 1.4, 0.0, -35.0], [0.0, 0.0, 4.8, 12.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NIfTI volume, a DICOM series and a 16-bit picture."""
    folder = tmp_path_factory.mktemp("clinic") / "studies"
    (folder / "anna").mkdir(parents=True)
    volume = nib.Nifti1Image(phantom(40, 48, 4).astype(np.int16), AFFINE)
    volume.header.set_xyzt_units("mm", "sec")
    nib.save(volume, folder / "anna" / "t1.nii.gz")
    write_dicom_series(folder / "ben", phantom(40, 48, 4).astype(np.int16), AFFINE, "ben", "ben")
    Image.fromarray(phantom(48, 40).astype(np.uint16)).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def results(studies: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """What the command makes of the studies, with maps of uncertainty."""
    output = studies.parent / "results"
    return output, enhance("--input_dir", str(studies), "--output_dir", str(output), "--samples", "2")


def test_every_study_is_enhanced_in_its_own_format(
    results: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    output, process = results
    assert process.returncode == 0, process.stderr
    assert "3 done" in process.stdout
    made = {str(path.relative_to(output)) for path in output.iterdir()}
    assert made >= {"anna", "ben", "ben_deviation", "photo.png", "photo_deviation.tif", "report.csv", "report.html"}
    assert {path.name for path in (output / "anna").iterdir()} == {"t1.nii.gz", "t1_deviation.nii.gz"}


def test_nifti_keeps_geometry_units_and_type(
    studies: Path, results: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    before, after = nib.load(studies / "anna/t1.nii.gz"), nib.load(results[0] / "anna/t1.nii.gz")
    assert before.affine.tobytes() == after.affine.tobytes()
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert after.get_data_dtype() == np.int16
    change = after.get_fdata() - before.get_fdata()
    assert 1 < np.abs(change).mean() < 300


def test_a_series_comes_out_as_a_derived_series_of_the_same_study(
    studies: Path, results: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    names = sorted(path.name for path in (studies / "ben").iterdir())
    assert sorted(path.name for path in (results[0] / "ben").iterdir()) == names
    before, after = (pydicom.dcmread(folder / "ben" / names[0]) for folder in (studies, results[0]))
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert after.ImageType[0] == "DERIVED"
    assert after.ImagePositionPatient == before.ImagePositionPatient


def test_the_same_study_in_two_formats_is_enhanced_alike(
    results: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    output, _ = results
    nifti = nib.load(output / "anna/t1.nii.gz")
    slices = [pydicom.dcmread(path) for path in sorted((output / "ben").iterdir())]
    slices.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
    dicom = np.stack([dataset.pixel_array.T for dataset in slices], axis=-1).astype(float)
    values = nifti.get_fdata()
    # DICOM stores columns to the patient's left and rows to the back.
    np.testing.assert_allclose(dicom[::-1, ::-1], values, atol=1)


def test_the_report_judges_every_study(results: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    table = (results[0] / "report.csv").read_text().splitlines()
    assert len(table) == 4
    columns = table[0].split(",")
    assert {"verdict", "structure", "uncertainty"} <= set(columns)
    assert all(name in (results[0] / "report.html").read_text() for name in ("anna/t1", "ben", "photo"))


def test_a_folder_of_everything_ends_with_the_good_files_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_bad_folder(tmp_path / "studies")
    places = {"input_dir": str(tmp_path / "studies"), "output_dir": str(tmp_path / "results")}
    assert enhance_here(monkeypatch, **places) == 1
    with (tmp_path / "results" / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Colour is not for the supplied network, which the report says of each.
    done = {row["source"] for row in rows if row["status"] == "done"}
    for name, expectation in expected.items():
        source = str(tmp_path / "studies" / name)
        messages = [row["message"] for row in rows if row["source"].startswith(source) and row["status"] != "done"]
        if expectation.stage == "passed over":
            assert not messages
        elif expectation.stage == "good":
            assert source in done or all("channel(s)" in message for message in messages), (name, messages)
        else:
            assert any(expectation.message in message for message in messages), (name, messages)
    assert len(done) >= 10


def test_what_is_done_is_not_done_again(
    studies: Path, results: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = results[0]
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*") if "report" not in str(path)}
    places = {"input_dir": str(studies), "output_dir": str(output)}
    assert enhance_here(monkeypatch, **places, samples=2, resume=True) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_guide_of_ones_own_changes_the_result(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = tmp_path / "guide.png"
    Image.fromarray((phantom(64, 64) < 400).astype(np.uint8) * 200).save(guide)
    source = str(studies / "photo.png")
    for name, further in (("stored", {}), ("own", {"guide": str(guide)})):
        assert enhance_here(monkeypatch, input_dir=source, output_dir=str(tmp_path / name), **further) == 0
    stored, own = (np.asarray(Image.open(tmp_path / name / "photo.png"), float) for name in ("stored", "own"))
    assert np.abs(stored - own).max() > 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"input_dir": ""}, "--input_dir"),
        ({"output_dir": ""}, "--output_dir"),
        ({"input_dir": "/no/such/folder"}, "/no/such/folder"),
        ({"model_dir": "/no/models"}, "no trained network"),
        ({"samples": 1}, "samples"),
        ({"resume": "true"}, "capital letter"),
        ({"guide": "/no/guide.png"}, "/no/guide.png"),
        ({"window": 0}, "window"),
        ({"output_format": "bmp"}, "output_format"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_told_in_one_sentence(
    settings: dict[str, Any], sentence: str, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"bundle_root": str(BUNDLE), "input_dir": str(studies), "output_dir": str(tmp_path / "out")}
    assert sentence in refused(enhance_here, monkeypatch, **{**usual, **settings})
    assert not (tmp_path / "out").exists()


def test_a_mistake_ends_with_status_2(tmp_path: Path) -> None:
    process = enhance("--input_dir", "/no/such/folder", "--output_dir", str(tmp_path / "out"))
    assert process.returncode == 2
    assert process.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in process.stderr


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    source, output = tmp_path / "studies", tmp_path / "results"
    source.mkdir()
    Image.fromarray(phantom(256, 256).astype(np.uint16)).save(source / "0.png")
    for number in range(1, 200):
        shutil.copy(source / "0.png", source / f"{number}.png")
    arguments = command("--input_dir", str(source), "--output_dir", str(output))
    process = subprocess.Popen(
        arguments,
        cwd=BUNDLE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and what they start does too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 120
    while not list(output.glob("*.png")) and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in printed
    assert (output / "report.html").is_file()
    assert not list(output.glob(".partial*"))
    for file in output.glob("*.png"):
        Image.open(file).load()


def test_calibration_of_the_users_images_is_stored_with_the_model(studies: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE / "models", tmp_path / "models")
    before = json.loads((tmp_path / "models" / "model.json").read_text())
    arguments = ("--input_dir", str(studies), "--model_dir", str(tmp_path / "models"), "--samples", "2")
    process = enhance(*arguments, run_id="calibrating")
    assert process.returncode == 0, process.stderr
    after = ModelSpec.load(tmp_path / "models" / "model.pt")
    assert after.thresholds is not None
    assert after.thresholds["cases"] == 3
    assert "uncertainty" in after.thresholds["limits"]
    assert after.network == before["network"]
