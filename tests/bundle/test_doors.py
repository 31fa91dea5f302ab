# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Programs of MONAI's ecosystem open the bundle, wherever it lies, and get what the batch program gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, load
from monai.transforms import SaveImaged
from PIL import Image
from tests.bundle.conftest import refused
from tests.io.bad_files import dicom_bytes

from scripts.errors import InputError
from scripts.experiments.demo import make_demo_data
from scripts.io import find_cases, open_case, write_dicom_series
from scripts.io.dicom import DICOMCase
from scripts.networks import HQGNet

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundle"
SCHEMA = ROOT / "tests" / "schema" / "meta_schema_20240725.json"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A sagittal NIfTI volume with an empty slice and a bright voxel, two DICOM series in one folder, and a picture."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.RandomState(0)
    values = (400 * random.rand(4, 40, 34)).astype(np.int16)
    values[0], values[2, 20, 20] = 7, 9000
    affine = np.array([[4.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), folder / "volume.nii.gz")
    for name in ("first", "second"):
        write_dicom_series(folder / name, (300 * random.rand(24, 20, 3)).astype(np.int16), np.eye(4), name, name)
    (folder / "both").mkdir()
    for name in ("first", "second"):
        for file in (folder / name).iterdir():
            file.rename(folder / "both" / f"{name}_{file.name}")
        (folder / name).rmdir()
    Image.fromarray((250 * random.rand(30, 26)).astype(np.uint8)).save(folder / "picture.png")
    return folder


def run(run_id: str, output: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> ConfigWorkflow:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the runs install their own
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        run_id=run_id,
        device="cpu",
        output_dir=str(output),
        reproducible_uids=True,
        **settings,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    return workflow


def contents(folder: Path) -> dict[str, torch.Tensor]:
    cases, problems = find_cases(folder)
    assert not problems
    return {case.name: open_case(case).image.as_tensor() for case in cases}


@pytest.mark.parametrize("guide", [None, "scanner_b"])
def test_monais_workflow_writes_the_voxels_of_the_batch_program(
    guide: str | None, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id in ("run", "enhancing"):
        run(run_id, tmp_path / run_id, monkeypatch, input_dir=str(images), guide=guide)
    shutil.rmtree(tmp_path / "enhancing" / "report")
    ours, theirs = contents(tmp_path / "enhancing"), contents(tmp_path / "run")
    assert set(ours) == set(theirs)
    assert len(ours) == 4
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_list_handed_over_is_enhanced_and_a_second_run_replaces_its_own_results_alone(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"dataset#data": [{"image": str(images / "picture.png")}]}
    workflow = run("run", tmp_path / "out", monkeypatch, **given)
    workflow.run()
    assert [file.name for file in (tmp_path / "out").glob("*.*")] == ["picture.png"]
    assert "is in the way" in refused(run, "run", tmp_path / "out", monkeypatch, **given)


@pytest.mark.parametrize(
    ("settings", "sentence"), [({}, "--dataset_dir"), ({"dataset_dir": "images", "output_dir": ""}, "--output_dir")]
)
def test_the_workflow_says_what_it_lacks(
    settings: dict[str, str], sentence: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.chdir(images.parent)
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        **{"output_dir": str(tmp_path / "out"), **settings},
    )
    workflow.initialize()
    assert sentence in refused(workflow.run)


def test_programs_that_write_results_themselves_can_leave_ours_out() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    parser.read_meta(str(BUNDLE / "configs" / "metadata.json"))
    restore, save = parser.get_parsed_content("postprocessing").transforms
    assert isinstance(save, SaveImaged)  # by which MONAI Label knows it
    assert "SaveImage" in type(save).__name__  # and MONAI Deploy
    assert not isinstance(restore, SaveImaged)


@pytest.mark.parametrize("name", ["train", "inference"])
def test_the_json_files_are_the_yaml_files(name: str) -> None:
    yaml, json_ = (ConfigParser.load_config_file(BUNDLE / "configs" / f"{name}.{kind}") for kind in ("yaml", "json"))
    assert json_ == yaml, "make json"


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_monai_loads_the_network_with_its_weights(kind: str) -> None:
    network = load("bundle", bundle_dir=ROOT, workflow_type=kind, device="cpu")
    assert isinstance(network, HQGNet)
    weights = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("size", [(64, 64), (97, 115)])
def test_the_scripted_network_is_that_of_the_weights_at_every_size(size: tuple[int, int]) -> None:
    network = load("bundle", bundle_dir=ROOT, device="cpu").eval()
    image = torch.rand(1, 1, *size)
    scripted = torch.jit.load(BUNDLE / "models" / "model.ts")
    torch.testing.assert_close(scripted(image), network(image), msg=lambda text: f"{text}\nmake weights")


def test_both_runs_follow_links_and_take_nan_for_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (400 * np.random.RandomState(1).rand(24, 20, 2)).astype(np.float32)
    values[:6] = np.nan
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "scan.nii.gz")
    (tmp_path / "images" / "link.nii.gz").symlink_to(tmp_path / "scan.nii.gz")
    results = []
    for run_id in ("enhancing", "run"):
        places = {"input_dir": str(tmp_path / "images"), "follow_links": True, "nan_as_padding": True}
        run(run_id, tmp_path / run_id, monkeypatch, **places)
        results.append(np.asarray(nib.load(tmp_path / run_id / "link.nii.gz").dataobj))
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(np.isnan(results[0]), np.isnan(values))
    assert not np.array_equal(results[0][6:], values[6:])
    # What NaN means is one of the settings that a result depends on.
    run("enhancing", tmp_path / "enhancing", monkeypatch, **{**places, "nan_as_padding": False, "resume": True})
    assert "not finite" in (tmp_path / "enhancing" / "report.csv").read_text()


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_network_runs(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    calls: list[object] = []
    monkeypatch.setattr(HQGNet, "forward", lambda *arguments, **settings: calls.append(arguments))
    message = refused(run, "run", tmp_path / "file" / "out", monkeypatch, input_dir=str(images))
    assert "cannot be written to: Not a directory" in message
    assert calls == []


def test_an_image_whose_result_cannot_be_written_is_refused_before_the_network_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(HQGNet, "forward", lambda *arguments, **settings: calls.append(arguments))
    monkeypatch.setattr(DICOMCase, "check_writable", refuse)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    message = refused(run, "run", tmp_path / "out", monkeypatch, input_dir=str(tmp_path / "a.dcm"))
    assert "its header cannot be encoded" in message
    assert calls == []


def refuse(case: DICOMCase) -> None:
    raise InputError("its header cannot be encoded")


@pytest.mark.slow
def test_every_door_opens_from_elsewhere(tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "zip", ROOT, "bundle")
    shutil.unpack_archive(tmp_path / "packed.zip", tmp_path / "unpacked")
    bundle = tmp_path / "unpacked" / "bundle"
    make_demo_data(tmp_path / "data", patients=9, seed=7)
    images = tmp_path / "data" / "test" / "lq"
    for place in ("output", "elsewhere"):
        (tmp_path / place).mkdir()
    arguments = [bundle, images, tmp_path / "data", SCHEMA, tmp_path / "output"]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("open_doors.py")), *map(str, arguments)],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(bundle)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == 0
    assert found["types"] == ["HQGNet", "HQGNet"]
    assert found["prototype"] > 0
    assert found["shape"] == [2, 1, 97, 115]
    assert max(found["differences"]) < 1e-5
    output = tmp_path / "output"
    for kind in ("enhancing", "guided_enhancing"):
        shutil.rmtree(output / kind / "report")
    results, batch, guided, guided_batch = (
        contents(output / kind) for kind in ("run", "enhancing", "guided_run", "guided_enhancing")
    )
    assert set(results) == set(batch) == {case.name for case in find_cases(images)[0]}
    assert all(torch.equal(results[name], batch[name]) for name in results)
    assert len(guided) == 1
    for name, values in guided.items():
        assert torch.equal(values, guided_batch[name])
        assert not torch.equal(values, results[name])
    # The file stores whole numbers, what MONAI Deploy gets has not been rounded yet.
    first = find_cases(images)[0][0]
    written = open_case(find_cases(output / "run" / f"{first.name}.nii.gz")[0][0]).image.as_tensor()
    assert float((torch.load(output / "deploy.pt") - written).abs().max()) <= 0.5
    assert torch.load(output / "train.yaml" / "models" / "model.pt", weights_only=True)
    assert not list((tmp_path / "elsewhere").iterdir())
