# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app on a real server: models, batch inference, training, and studies of a DICOMweb archive."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from tests.integration.servers import free_port, orthanc_settings, program
from torch.nn import functional as F

from scripts.api import Enhancer
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
LABEL_PYTHON = Path(os.environ.get("HQGNET_LABEL_PYTHON", ROOT / ".venv-label" / "bin" / "python"))
MODELS = ROOT / "bundle" / "models"
ORTHANC_PLUGIN = Path("/usr/lib/orthanc/libOrthancDicomWeb.so")
START_SECONDS, REQUEST_SECONDS, TRAINING_SECONDS = 400, 400, 900


class Server(NamedTuple):
    """A server of the app.

    Attributes:
        address: of its REST interface.
        studies: its folder of images.
        work_dir: its trainings.
    """

    address: str
    studies: Path
    work_dir: Path

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.address}{path}", timeout=REQUEST_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def infer(self, model: str, image: str, output: str = "image", **params: Any) -> requests.Response:
        return requests.post(
            f"{self.address}/infer/{model}",
            params={"image": image, "output": output},
            data={"params": json.dumps(params)},
            timeout=REQUEST_SECONDS,
        )

    def result(self, model: str, image: str, folder: Path, **params: Any) -> nib.Nifti1Image:
        """The NIfTI file that a model returns."""
        answer = self.infer(model, image, **params)
        assert answer.status_code == 200, answer.text
        file = folder / f"{model}.nii.gz"
        file.write_bytes(answer.content)
        return nib.load(file)

    def train(self, trainer: str, **params: Any) -> dict[str, Any]:
        """Train to the end, and return the last state of the task."""
        answer = requests.post(f"{self.address}/train/{trainer}", json=params, timeout=REQUEST_SECONDS)
        assert answer.status_code == 200, answer.text
        end = time.monotonic() + TRAINING_SECONDS
        while time.monotonic() < end:
            task: dict[str, Any] = self.get("/train/")
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task
            time.sleep(0.5)
        pytest.fail("the training does not end")

    @property
    def model(self) -> Path:
        """Folder of the network in use."""
        pointer = self.work_dir / "current"
        return self.work_dir / pointer.read_text().strip() if pointer.exists() else MODELS


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            requests.get(address, timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail(f"{address} does not answer: {log.read_text()[-3000:]}")


@contextmanager
def running(command: Sequence[str], probe: str, log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, env={**os.environ, **environment})
        try:
            wait_for(probe, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:  # it waits for a request of a test that failed
                process.kill()
                process.wait(timeout=20)


@contextmanager
def serving(folder: Path, studies: str, conf: dict[str, Path], environment: dict[str, str]) -> Iterator[Server]:
    """Start the app as "make label" does."""
    if not LABEL_PYTHON.is_file():
        pytest.skip(f'there is no environment of MONAI Label at {LABEL_PYTHON.parent}: "make .venv-label/.installed"')
    port = free_port()
    settings = {"bundle_python": Path(sys.executable), "work_dir": folder / "work", **conf}
    command = [str(LABEL_PYTHON), "-m", "monailabel.main", "start_server", "--app", str(copied_app(folder))]
    command += ["--studies", studies, "--host", "127.0.0.1", "--port", str(port)]
    command += [part for name, value in settings.items() for part in ("--conf", name, str(value))]
    environment = {
        # As many threads as in this process: with others the sums have another order, and the last bits differ.
        "OMP_NUM_THREADS": "1",
        "PATH": f"{LABEL_PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "true",
        **environment,
    }
    address = f"http://127.0.0.1:{port}"
    with running(command, f"{address}/info/", folder / "server.log", environment):
        yield Server(address, folder / "studies", folder / "work")


def copied_app(folder: Path) -> Path:
    """A copy, in which MONAI Label makes its folders."""
    app = folder / "label_app"
    shutil.copytree(ROOT / "label_app", app, ignore=shutil.ignore_patterns("model", "logs", "bin", "__pycache__"))
    (folder / "bundle").symlink_to(ROOT / "bundle", target_is_directory=True)
    return app


def volume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image in hundreds of units, and classes 0 to 3 by its values."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 7, 8, 3)))
    field = F.interpolate(coarse, size=(48, 56, 3), mode="trilinear")[0, 0].numpy()
    field = (field - field.min()) / (field.max() - field.min())
    return (900 * field + rng.normal(0, 15, field.shape)).clip(0).astype(np.int16), (field * 3.999).astype(np.uint8)


AFFINE = np.array([[-0.9, 0.1, 0, 20], [0.1, 1.1, 0, -30], [0, 0, 3.0, 7], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with four images, labels of three of them, and an HQ pool."""
    folder = tmp_path_factory.mktemp("label")
    for place in ("studies/labels/final", "hq"):
        (folder / place).mkdir(parents=True)
    for number in range(7):
        image, label = volume(number)
        domain = "studies" if number < 4 else "hq"
        nib.save(nib.Nifti1Image(image, AFFINE), folder / domain / f"P{number}.nii.gz")
        if number < 3:
            nib.save(nib.Nifti1Image(label, AFFINE), folder / "studies" / "labels" / "final" / f"P{number}.nii.gz")
    with serving(folder, str(folder / "studies"), {"hq_dir": folder / "hq"}, {}) as running_server:
        yield running_server


def enhanced_by_the_bundle(image: Path, folder: Path, guide: str | None = None, model: Path = MODELS) -> Path:
    return Enhancer.from_bundle(model, guide=guide)(image).save(folder / "expected")


def test_info_lists_the_models_with_their_types_and_nothing_else(server: Server) -> None:
    models = server.get("/info/")["models"]
    assert {name: model["type"] for name, model in models.items()} == {
        "enhance": "others",
        "segment": "segmentation",
        "enhance_segment": "segmentation",
    }
    assert models["enhance"]["config"]["guide"][:4] == ["prototype", "scanner_a", "scanner_b", "scanner_c"]
    assert models["segment"]["labels"] == {"class 1": 1, "class 2": 2, "class 3": 3}


def test_an_enhanced_image_is_that_of_the_bundle(server: Server, tmp_path: Path) -> None:
    source = nib.load(server.studies / "P0.nii.gz")
    result = server.result("enhance", "P0", tmp_path)
    expected = nib.load(enhanced_by_the_bundle(server.studies / "P0.nii.gz", tmp_path))
    assert result.get_data_dtype() == source.get_data_dtype() == np.int16
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    np.testing.assert_array_equal(result.get_fdata(), expected.get_fdata())
    assert len(np.unique(result.get_fdata())) > 100
    assert result.get_fdata().max() > 300


@pytest.mark.parametrize("guide", ["scanner_c", "P2"])
def test_a_guide_is_a_style_or_an_image_of_the_datastore(guide: str, server: Server, tmp_path: Path) -> None:
    result = server.result("enhance", "P0", tmp_path, guide=guide)
    named = guide if guide.startswith("scanner") else str(server.studies / f"{guide}.nii.gz")
    expected = nib.load(enhanced_by_the_bundle(server.studies / "P0.nii.gz", tmp_path, named))
    np.testing.assert_array_equal(result.get_fdata(), expected.get_fdata())


def test_labels_of_the_enhanced_image_lie_on_the_grid_of_the_original(server: Server, tmp_path: Path) -> None:
    source = nib.load(server.studies / "P0.nii.gz")
    labels = server.result("enhance_segment", "P0", tmp_path)
    assert labels.shape == source.shape
    np.testing.assert_allclose(labels.affine, source.affine, atol=1e-5)
    assert set(np.unique(labels.get_fdata())) <= {0, 1, 2, 3}


def test_enhancement_can_be_switched_off(server: Server, tmp_path: Path) -> None:
    plain = server.result("segment", "P0", tmp_path).get_fdata()
    switched_off = server.result("enhance_segment", "P0", tmp_path, enhance=False).get_fdata()
    np.testing.assert_array_equal(switched_off, plain)
    assert (server.result("enhance_segment", "P0", tmp_path).get_fdata() != plain).any()


@pytest.mark.parametrize(
    ("model", "image", "params", "status", "sentence"),
    [
        ("enhance", "P0", {"guide": "nobody"}, 400, 'There is no guide "nobody"'),
        ("enhance", "P0", {"guide": "/etc/passwd"}, 400, "There is no guide"),
        ("enhance", "nobody", {}, 404, 'There is no image "nobody"'),
        ("nothing", "P0", {}, 404, "no model 'nothing'"),
        ("enhance", "P0", {"send": True}, 400, "DICOMweb"),
        ("enhance", "P0", {"label_info": [{"name": "a"}]}, 400, "no segmentation"),
        ("enhance_segment", "P0", {"enhance": "perhaps"}, 400, '"enhance" is true or false'),
    ],
)
def test_errors_are_sentences_with_a_status(
    model: str, image: str, params: dict[str, Any], status: int, sentence: str, server: Server
) -> None:
    answer = server.infer(model, image, **params)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


def test_parameters_that_are_no_json_are_refused_with_a_sentence(server: Server) -> None:
    answer = requests.post(
        f"{server.address}/infer/enhance?image=P0", data={"params": "{broken"}, timeout=REQUEST_SECONDS
    )
    assert answer.status_code == 400
    assert "no JSON" in answer.json()["detail"]


def test_batch_inference_stores_enhanced_images_beside_the_originals(server: Server, tmp_path: Path) -> None:
    answer = requests.post(
        f"{server.address}/batch/infer/enhance",
        params={"images": "all", "run_sync": "true"},
        json={"result_extension": ".nii.gz"},
        timeout=REQUEST_SECONDS,
    )
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()) == ["P0", "P1", "P2", "P3"]
    stored = nib.load(server.studies / "labels" / "enhanced" / "P3.nii.gz").get_fdata()
    expected = nib.load(enhanced_by_the_bundle(server.studies / "P3.nii.gz", tmp_path)).get_fdata()
    np.testing.assert_array_equal(stored, expected)
    assert server.get("/datastore/?output=stats")["completed"] == 3


def weights(file: Path) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state.get("model", state)


def differ(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one)


SETTINGS = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_size": [48, 48]}


@pytest.mark.parametrize(
    ("trainer", "settings", "changed", "kept"),
    [
        ("segment", {}, ["downstream.pt"], ["model.pt"]),
        ("enhance", {"warmup_epochs": 1}, ["model.pt"], ["downstream.pt"]),
        ("enhance_segment", {"epochs": 2, "warmup_epochs": 1}, ["model.pt", "downstream.pt"], []),
    ],
)
def test_a_training_from_the_viewer_replaces_the_weights_and_is_in_mlflow(
    trainer: str, settings: dict[str, Any], changed: list[str], kept: list[str], server: Server, tmp_path: Path
) -> None:
    before = server.model
    task = server.train(trainer, **{**SETTINGS, **settings})
    assert task["status"] == "DONE", "\n".join(task["details"])
    after = server.model
    assert [name for name in changed if not differ(before / name, after / name)] == []
    assert [name for name in kept if differ(before / name, after / name)] == []
    stats = server.get("/info/")["train_stats"][trainer]
    assert stats["status"] == "DONE"
    client = MlflowClient(stats["mlflow"])
    (run,) = client.search_runs(
        [client.get_experiment_by_name("hqg-net").experiment_id], f"attributes.run_name = '{stats['run']}'"
    )
    assert run.info.status == "FINISHED"
    result = server.result("enhance", "P0", tmp_path).get_fdata()
    expected = nib.load(enhanced_by_the_bundle(server.studies / "P0.nii.gz", tmp_path, model=after)).get_fdata()
    np.testing.assert_array_equal(result, expected)


def test_a_training_that_fails_ends_in_error_with_a_sentence_and_leaves_the_weights(server: Server) -> None:
    before = server.model
    task = server.train("enhance", **{**SETTINGS, "patch_size": [4, 4]})
    assert task["status"] == "ERROR"
    assert "patch_size must be at least" in task["details"][-1]
    assert server.model == before


def test_a_colour_photograph_comes_back_in_colour(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    arguments = {"spatial_dims": 2, "in_channels": 3, "channels": [4, 8], "guidance_channels": [4]}
    torch.manual_seed(0)
    torch.save(HQGNet(**arguments).state_dict(), folder / "model.pt")
    ModelSpec(arguments, percentiles=(0, 100), window=(0, 255)).save(folder / "model.pt")
    (tmp_path / "studies").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "studies" / "photo.png")
    with serving(tmp_path, str(tmp_path / "studies"), {"model_dir": folder}, {}) as server:
        assert list(server.get("/info/")["models"]) == ["enhance"]
        answer = server.infer("enhance", "photo")
    assert answer.status_code == 200, answer.text
    (tmp_path / "result.png").write_bytes(answer.content)
    expected = Image.open(enhanced_by_the_bundle(tmp_path / "studies" / "photo.png", tmp_path, model=folder))
    result = Image.open(tmp_path / "result.png")
    assert (result.format, result.mode, result.size) == ("PNG", "RGB", (32, 40))
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


# --------------------------------------------------------------------------------------------------- a DICOMweb archive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    """Address of an Orthanc of its own, with DICOMweb."""
    orthanc = program("Orthanc")
    plugins = sorted(ORTHANC_PLUGIN.parent.glob(f"{ORTHANC_PLUGIN.name}*"))
    if not plugins:
        pytest.skip("Orthanc's DICOMweb plugin is not installed (Debian: orthanc-dicomweb)")
    port = free_port()
    settings = orthanc_settings(tmp_path, port, plugins[:1])
    address = f"http://127.0.0.1:{port}"
    with running([orthanc, str(settings)], f"{address}/system", tmp_path / "orthanc.log", {}):
        yield address


def series_of_the_study(archive: str) -> dict[str, dict[str, Any]]:
    """Tags of the series of the archive's only study, by UID."""
    (study,) = requests.get(f"{archive}/studies?expand", timeout=30).json()
    series = [requests.get(f"{archive}/series/{uid}", timeout=30).json() for uid in study["Series"]]
    return {item["MainDicomTags"]["SeriesInstanceUID"]: item for item in series}


def test_studies_of_an_archive_are_listed_enhanced_segmented_and_sent_back(
    archive: str, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "series"
    files = copied_slices(shared_data / "brain_mr_dicom" / "36459-FLAIRreg-76244", folder, 4)
    for file in files:
        requests.post(f"{archive}/instances", data=file.read_bytes(), timeout=30).raise_for_status()
    ((source, tags),) = series_of_the_study(archive).items()
    environment = {
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": "MR"}',
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache"),
    }
    with serving(tmp_path, f"{archive}/dicom-web", {}, environment) as server:
        assert source in server.get("/info/")["models"]["enhance"]["config"]["guide"]

        answer = server.infer("enhance", source, output="json", send=True)
        assert answer.status_code == 200, answer.text
        sent = answer.json()["series"]
        enhanced = series_of_the_study(archive)[sent]
        assert len(enhanced["Instances"]) == len(files)
        assert enhanced["MainDicomTags"]["SeriesDescription"].endswith("HQG-Net enhanced")

        labels = server.result("enhance_segment", source, tmp_path)
        info = [{"name": f"class {number}"} for number in (1, 2, 3)]
        with (tmp_path / "enhance_segment.nii.gz").open("rb") as stream:
            stored = requests.put(
                f"{server.address}/datastore/label",
                params={"image": source, "tag": "final"},
                data={"params": json.dumps({"label_info": info})},
                files={"label": ("label.nii.gz", stream)},
                timeout=REQUEST_SECONDS,
            )
        assert stored.status_code == 200, stored.text

        refused = server.infer("enhance", source, output="dicom_seg", label_info=info)
        assert (refused.status_code, "no segmentation" in refused.json()["detail"]) == (400, True)
        again = server.infer("enhance", sent)
        assert (again.status_code, "is a result of enhancement" in again.json()["detail"]) == (400, True)

    series = series_of_the_study(archive)
    assert sorted(item["MainDicomTags"]["Modality"] for item in series.values()) == ["MR", "MR", "SEG"]
    assert labels.shape == (int(tags_of(archive, tags, "Columns")), int(tags_of(archive, tags, "Rows")), len(files))

    expected = enhanced_by_the_bundle(folder, tmp_path)
    assert stored_pixels(archive, enhanced) == pixels_of(expected)


def copied_slices(series: Path, folder: Path, number: int) -> list[Path]:
    """Copies of the slices in the middle of a series."""
    numbers = {int(pydicom.dcmread(file, stop_before_pixels=True).InstanceNumber): file for file in series.iterdir()}
    middle = sorted(numbers)[(len(numbers) - number) // 2 :][:number]
    folder.mkdir()
    return [Path(shutil.copy(numbers[place], folder)) for place in middle]


def tags_of(archive: str, series: dict[str, Any], name: str) -> str:
    tags = requests.get(f"{archive}/instances/{series['Instances'][0]}/simplified-tags", timeout=30).json()
    return str(tags[name])


def stored_pixels(archive: str, series: dict[str, Any]) -> dict[str, bytes]:
    """Pixel data of a series in the archive, by the number of the instance."""
    answers = (requests.get(f"{archive}/instances/{uid}/file", timeout=30).content for uid in series["Instances"])
    datasets = [pydicom.dcmread(io.BytesIO(content)) for content in answers]
    return {str(dataset.InstanceNumber): dataset.pixel_array.tobytes() for dataset in datasets}


def pixels_of(folder: Path) -> dict[str, bytes]:
    datasets = [pydicom.dcmread(file) for file in folder.iterdir()]
    return {str(dataset.InstanceNumber): dataset.pixel_array.tobytes() for dataset in datasets}
