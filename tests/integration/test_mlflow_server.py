# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A real MLflow server on loopback: training into it, its registry, its artifacts, and its scoring server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events
from mlflow import MlflowClient
from mlflow.entities import Run
from monai.bundle import ConfigWorkflow
from tests.bundle.conftest import CONFIGS, TINY, UNET, write_picture
from tests.integration.servers import free_port

from scripts.handlers import RunTracker

pytestmark = pytest.mark.integration

NAME = "enhancer-of-the-test"


@contextmanager
def started(command: list[str], health: str, log: Path, **environment: str) -> Iterator[None]:
    """Run a server until it has answered once, and to the end of the block."""
    # MLflow starts the web server by its name, as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "PATH": path}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            stdout=stream,
            stderr=stream,
            cwd=log.parent,
            env={**os.environ, **own, **environment},
            start_new_session=True,
        )
        try:
            for _ in range(360):
                if process.poll() is not None:
                    pytest.fail(f"The server ended: {log.read_text()[-2000:]}")
                try:
                    with urlopen(health, timeout=1):
                        break
                except OSError:
                    time.sleep(0.5)
            else:
                pytest.fail(f"The server did not answer within three minutes: {log.read_text()[-2000:]}")
            yield
        finally:
            # The server has worker processes: they make up a session of their own, which ends as a whole.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/served"]
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        with started(command, f"http://127.0.0.1:{port}/health", folder / "server.log"):
            yield f"http://127.0.0.1:{port}"


class Training(NamedTuple):
    """A training that was tracked by the server, and what was downloaded from there."""

    run: Run
    output_dir: Path
    downloaded: Path


@pytest.fixture(scope="module")
def training(server: str, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("training")
    for number in range(6):
        write_picture(folder / "dataset" / "lq" / f"patient{number}.png", number, contrast=0.5)
        write_picture(folder / "dataset" / "hq" / f"other{number}.png", 10 + number)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(sys, "excepthook", sys.excepthook)  # the runs install their own
        workflow = ConfigWorkflow(
            config_file=str(CONFIGS / "train.yaml"),
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            run_id="training",
            **{**TINY, **UNET, "epochs": 1, "warmup_epochs": 0, "mlflow": True},
            **{name: str(folder / name) for name in ("output_dir", "model_dir")},
            **{"dataset_dir": str(folder / "dataset"), "all_datalists#validation_fraction": 0.5},
            **{"tracker#tracking_uri": server, "tracker#registered_model": NAME},
        )
        workflow.initialize()
        workflow.run()
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("hqg-net")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    downloaded = folder / "downloaded"
    downloaded.mkdir()
    client.download_artifacts(run.info.run_id, "", str(downloaded))
    return Training(run, folder / "output_dir", downloaded)


def enhanced_by_the_bundle(model_dir: Path, images: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Store images as NIfTI, and return what the bundle's own inference makes of them."""
    (folder / "in").mkdir(parents=True)
    for name, image in images.items():
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "in" / f"{name}.nii")
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(sys, "excepthook", sys.excepthook)
        workflow = ConfigWorkflow(
            config_file=str(CONFIGS / "inference.yaml"),
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            run_id="enhancing",
            device="cpu",
            input_dir=str(folder / "in"),
            output_dir=str(folder / "out"),
            model_dir=str(model_dir),
        )
        workflow.initialize()
        workflow.run()
    return {name: np.asanyarray(nib.load(folder / "out" / f"{name}.nii").dataobj) for name in images}


def picture(columns: int, rows: int, seed: int) -> np.ndarray:
    """A greyscale image in units of its own, 200 to 3200."""
    return (200 + 3000 * np.random.RandomState(seed).rand(columns, rows)).astype(np.float32)


@pytest.mark.parametrize(("error", "status"), [(None, "FINISHED"), (RuntimeError("out of memory"), "FAILED")])
def test_server_holds_run_metrics_parameters_and_artifacts(
    server: str, tmp_path: Path, error: BaseException | None, status: str
) -> None:
    def step(engine: Engine, batch: object) -> dict[str, dict[str, float]]:
        if error is not None and engine.state.iteration == 3:
            raise error
        return {"losses": {"total": 1.0}}

    checkpoint = tmp_path / "model.pt"
    engine = Engine(step)
    tracker = RunTracker(
        tmp_path, server, status, parameters={"seed": 0}, artifacts=[checkpoint], configuration={"lr": 0.1}
    )
    tracker.attach(engine)
    engine.add_event_handler(Events.STARTED, lambda engine: checkpoint.write_bytes(b"weights"))
    with nullcontext() if error is None else pytest.raises(RuntimeError):
        engine.run(range(4), max_epochs=1)
    client = MlflowClient(server)
    assert tracker.run_id is not None
    run = client.get_run(tracker.run_id)
    assert run.info.status == status
    assert run.data.params["seed"] == "0"
    assert "loss/total" in run.data.metrics
    assert {file.path for file in client.list_artifacts(tracker.run_id)} == {"configuration.yaml", "model.pt"}
    downloaded = client.download_artifacts(tracker.run_id, "model.pt", str(tmp_path / "served"))
    assert Path(downloaded).read_bytes() == b"weights"


def test_registry_lists_the_version_of_the_training(server: str, training: Training) -> None:
    versions = MlflowClient(server).search_model_versions(f"name = '{NAME}'")
    assert [(version.version, version.run_id) for version in versions] == [("1", training.run.info.run_id)]
    assert training.run.info.status == "FINISHED"


def test_downloaded_artifacts_and_the_scoring_server_enhance_alike_in_source_units(
    server: str, training: Training, tmp_path: Path
) -> None:
    images = {"small": picture(32, 36, 0), "wide": picture(60, 41, 1)}
    expected = enhanced_by_the_bundle(training.downloaded, images, tmp_path)
    port = free_port()
    command = ["models", "serve", "--model-uri", f"models:/{NAME}/1", "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with started(command, f"http://127.0.0.1:{port}/ping", tmp_path / "serve.log", MLFLOW_TRACKING_URI=server):
        for name, image in images.items():
            request = Request(
                f"http://127.0.0.1:{port}/invocations",
                json.dumps({"inputs": image[None, None].tolist()}).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urlopen(request, timeout=60) as answer:
                    assert answer.status == 200
                    served = np.asarray(json.load(answer)["predictions"], dtype=np.float32)
            except HTTPError as error:
                pytest.fail(error.read().decode()[-2000:])
            assert served.shape == (1, 1, *image.shape)
            np.testing.assert_array_equal(served[0, 0], expected[name])
            assert 200 <= float(np.median(served)) <= 3200
