# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import TrainProperties
from PIL import Image
from tests.bundle.conftest import refused

from scripts.engines import EnhancementTrainer
from scripts.model_spec import ModelSpec

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundle" / "configs"

Run = Callable[..., ConfigWorkflow]


@pytest.mark.parametrize(("val_interval", "pictures"), [(1, 2), (10, 1)])
def test_training_leaves_a_network_a_checkpoint_and_pictures(
    run: Run, tmp_path: Path, val_interval: int, pictures: int
) -> None:
    run(val_interval=val_interval)
    state = torch.load(tmp_path / "model_dir" / "model.pt", weights_only=True)
    assert float(state["prototype_mean"].abs().sum()) > 0
    assert (tmp_path / "output_dir" / "checkpoint.pt").is_file()
    assert len(list((tmp_path / "output_dir" / "pictures").glob("*.png"))) == pictures


def test_lists_handed_over_train_without_a_data_set(run: Run, labelled_dir: Path, tmp_path: Path) -> None:
    files = sorted((labelled_dir / "lq").iterdir())
    entries = [{"image": str(file), "label": str(labelled_dir / "labels" / "lq" / file.name)} for file in files]
    given = {"train#dataset#data": entries[:4], "validate#dataset#data": entries[4:]}
    pool = {"dataset_dir": "", "hq_data": str(labelled_dir / "hq")}
    for task in ("none", "segmentation"):
        workflow = run(
            task=task, model_dir=str(tmp_path / task), output_dir=str(tmp_path / f"{task}-output"), **pool, **given
        )
        assert workflow.check_properties() == []
        assert (tmp_path / task / "downstream.pt").exists() == (task != "none")


def test_training_describes_the_network_and_calibrates_the_report(run: Run, tmp_path: Path) -> None:
    run(**{"all_datalists#validation_fraction": 0.5})
    description = ModelSpec.load(tmp_path / "model_dir" / "model.pt")
    assert description.network["channels"] == [4, 6, 8]
    assert description.thresholds is not None
    assert description.thresholds["cases"] == 3


def test_runs_are_named_training_and_run(run: Run) -> None:
    run("run", epochs=1)


def test_monais_train_properties_are_there(run: Run) -> None:
    workflow = run(epochs=1)
    assert workflow.check_properties() == []
    for name, described in TrainProperties.items():
        if described["required"]:
            assert getattr(workflow, name) is not None, name


def test_the_first_part_has_few_settings_and_the_file_is_short() -> None:
    text = (CONFIGS / "train.yaml").read_text()
    first_part = yaml.safe_load(text.split("# ================", 1)[0])
    assert 25 <= len(set(first_part) - {"imports"}) <= 34
    assert len(text.splitlines()) <= 220


def test_resumed_run_equals_one_that_never_stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(name: str) -> dict[str, torch.Tensor]:
        state: dict[str, Any] = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        modules = ("network", "ema_network", "discriminator")
        return {f"{module}.{key}": value for module in modules for key, value in state[module].items()}

    def interrupted(self: EnhancementTrainer, engine: Any, batch: Any) -> Any:
        if self.state.epoch == 3:
            raise KeyboardInterrupt
        return iteration(self, engine, batch)

    iteration = EnhancementTrainer._iteration
    run(epochs=4, output_dir=str(tmp_path / "whole"))
    shutil.rmtree(tmp_path / "model_dir")
    monkeypatch.setattr(EnhancementTrainer, "_iteration", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(epochs=4, output_dir=str(tmp_path / "half"))
    monkeypatch.setattr(EnhancementTrainer, "_iteration", iteration)
    run(epochs=4, output_dir=str(tmp_path / "half"), resume=True)
    whole, half = weights("whole"), weights("half")
    assert [name for name in whole if not torch.equal(whole[name], half[name])] == []


def test_evaluation_reports_every_held_out_patient(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    run("evaluating", ("evaluate.yaml",))
    printed = capsys.readouterr().out
    assert "PSNR" in printed
    assert (tmp_path / "output_dir" / "evaluation" / "evaluation.csv").is_file()
    assert list((tmp_path / "output_dir" / "evaluation" / "pictures").glob("test_*.png"))


def test_runs_are_tracked_with_losses_metrics_settings_and_files(run: Run, tmp_path: Path) -> None:
    run(mlflow=True, **{"tracker#experiment_name": "trial"})
    run("evaluating", ("evaluate.yaml",), mlflow=True, **{"tracker#experiment_name": "trial"})
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'output_dir' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trial")
    assert experiment is not None
    evaluated, trained = client.search_runs([experiment.experiment_id])
    assert {trained.info.status, evaluated.info.status} == {"FINISHED"}
    assert {"loss/wavelet", "loss/total", "validation/ssim", "learning_rate/network_guidance"} <= set(
        trained.data.metrics
    )
    assert trained.data.params["batch_size"] == "2"
    assert trained.data.params["discriminator_def.channels"] == "4"
    assert trained.data.params["bilevel.settings.task_weight"] == "2.0"  # the default
    files = {file.path for file in client.list_artifacts(trained.info.run_id)}
    assert {"model.pt", "model.json", "checkpoint.pt", "configuration.yaml", "panels"} <= files
    assert {tag.value for given in trained.inputs.dataset_inputs for tag in given.tags} == {
        *("training_lq", "training_hq", "validation")
    }
    (logged,) = trained.outputs.model_outputs
    assert client.get_logged_model(logged.model_id).status == "READY"
    assert "ssim" in evaluated.data.metrics
    assert "evaluation" in {file.path for file in client.list_artifacts(evaluated.info.run_id)}
    assert evaluated.data.tags["mlflow.parentRunId"] == trained.info.run_id
    assert ModelSpec.load(tmp_path / "model_dir" / "model.pt").run_id == trained.info.run_id


def test_resumed_training_completes_its_mlflow_run(run: Run, tmp_path: Path) -> None:
    run(mlflow=True, pause_after=1)
    run(mlflow=True, resume=True, learning_rate=5e-4, **{"all_datalists#validation_fraction": 0.5})
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'output_dir' / 'mlflow.db'}")
    (only,) = client.search_runs(["1"])
    assert only.info.status == "FINISHED"
    assert only.data.tags["resumed.1"] == "after epoch 1; learning_rate: 0.001 -> 0.0005"
    assert {entry.step for entry in client.get_metric_history(only.info.run_id, "validation/ssim")} == {1, 2}
    assert only.data.metrics["calibration/cases"] == 3
    assert len(only.outputs.model_outputs) == 1


def test_training_stops_early_when_nothing_improves(run: Run) -> None:
    rates = dict.fromkeys(("learning_rate", "guidance_learning_rate", "d_optimizer#lr"), 0.0)
    workflow = run(epochs=8, **rates, **{"early_stop#patience": 2, "early_stop#min_delta": 1e-4})
    assert workflow.trainer.state.epoch == 4  # the first is the warm-up


def test_the_guidance_encoder_learns_at_its_own_rate(run: Run) -> None:
    parser = run(guidance_learning_rate=1e-5).parser
    network, optimizer = parser.get_parsed_content("network"), parser.get_parsed_content("optimizer")
    enhancer, guidance = (group["params"] for group in optimizer.param_groups)
    assert {id(weight) for weight in enhancer + guidance} == {id(weight) for weight in network.parameters()}
    assert {id(weight) for weight in guidance} == {id(weight) for weight in network.guidance.parameters()}
    assert [group["initial_lr"] for group in optimizer.param_groups] == [1e-3, 1e-5]


def test_datasets_without_references_or_held_out_patients_train(run: Run, dataset_dir: Path, tmp_path: Path) -> None:
    for file in sorted((dataset_dir / "lq").iterdir())[2:]:
        file.unlink()
    for file in (dataset_dir / "references").iterdir():
        file.unlink()
    run()
    assert (tmp_path / "model_dir" / "model.pt").is_file()


def test_without_references_nothing_is_measured_and_the_last_line_says_what_to_do(
    run: Run, dataset_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(dataset_dir / "references")
    with caplog.at_level(logging.INFO):
        run()
    assert not re.search(r"\bnan\b", caplog.text)
    assert "the network of epoch 2 is kept" in caplog.text
    captured = capsys.readouterr()
    assert f"--model_dir {tmp_path / 'model_dir'}" in captured.out.splitlines()[-1]
    assert "\r" not in captured.err


def test_colour_pictures_train(run: Run, dataset_dir: Path, tmp_path: Path) -> None:
    for file in dataset_dir.rglob("*.png"):
        Image.open(file).convert("RGB").save(file)
    run(channels=3, window=[0, 255])
    assert (tmp_path / "model_dir" / "model.pt").is_file()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_volumes_train_by_slices_or_whole(run: Run, tmp_path: Path, spatial_dims: int) -> None:
    random = np.random.RandomState(0)
    for domain in ("lq", "hq"):
        (tmp_path / "volumes" / domain).mkdir(parents=True)
        for number in range(4):
            image = nib.Nifti1Image(random.rand(33, 30, 17).astype(np.float32), np.diag([1, 1, 2, 1]))
            nib.save(image, tmp_path / "volumes" / domain / f"{domain}{number}.nii.gz")
    run(
        dataset_dir=str(tmp_path / "volumes"),
        spatial_dims=spatial_dims,
        patch_size=[16] * spatial_dims if spatial_dims == 3 else [32, 32],
        **{"loss#wavelet#level_weights": [0.1, 1.0]},
    )


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        ("bundle", ("--config_file", "configs/train.yaml")),
        pytest.param(
            *(".", ("--config_file", "bundle/configs/train.yaml", "--bundle_root", "bundle")), marks=pytest.mark.slow
        ),
    ],
)
def test_command_tells_a_mistake_in_one_sentence_from_either_folder(folder: str, arguments: tuple[str, ...]) -> None:
    result = command("training", *arguments, "--dataset_dir", "/no/such/folder", cwd=ROOT / folder)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")][0].count("/no/such/folder") == 1


def test_earlier_results_stay_unless_a_word_allows_it(run: Run, tmp_path: Path) -> None:
    run(epochs=1)
    weights = (tmp_path / "model_dir" / "model.pt").read_bytes()
    assert "--overwrite True" in refused(run, epochs=1, seed=1)
    assert (tmp_path / "model_dir" / "model.pt").read_bytes() == weights
    run(epochs=1, seed=1, overwrite=True)
    assert (tmp_path / "model_dir" / "model.pt").read_bytes() != weights


def test_weights_go_below_the_output_folder(tmp_path: Path) -> None:
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "train.yaml") | {"output_dir": str(tmp_path)})
    assert parser.get_parsed_content("model_file") == str(tmp_path / "models" / "model.pt")
