# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image
from tests.bundle.conftest import CONFIGS, refused

from scripts.handlers import load_downstream

Run = Callable[..., ConfigWorkflow]
MODES = ("none", "first_order", "finite_difference", "unrolled", "implicit")

pytestmark = pytest.mark.usefixtures("labelled_dir")


def write_datalist(folder: Path, **lists: list[dict[str, Any]]) -> None:
    (folder / "datalist.json").write_text(json.dumps(lists))


def pictures(folder: Path, domain: str, labels: list[Any]) -> list[dict[str, Any]]:
    files = sorted((folder / domain).glob("*.png"))
    return [
        {"image": str(file), **({} if label is None else {"label": label})}
        for file, label in zip(files, labels, strict=False)
    ]


@pytest.mark.parametrize("mode", MODES)
def test_labels_switch_bilevel_training_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    workflow = run(hypergradient=mode, **{"bilevel#settings#neumann_step_size": 1e-4})
    # Enhancement sees label maps as well, but not in separate training.
    assert ("label" in workflow.parser.get_parsed_content("train#dataset")[0]) == (mode != "none")
    printed = capsys.readouterr().out.splitlines()
    kind = "Separate" if mode == "none" else "Bi-level"
    assert printed[0].startswith(f"{kind} training (hypergradient {mode}): enhancement and a segmentation network")
    # usable on its own
    assert load_downstream(tmp_path / "model_dir" / "model.pt")(torch.rand(1, 1, 16, 16)).shape == (1, 2, 16, 16)


def test_the_cost_of_a_step_is_measured(run: Run, tmp_path: Path) -> None:
    short = {"epochs": 1, "steps_per_epoch": 4, "warmup_epochs": 0}
    workflow = run("measuring", ("costs.yaml",), hypergradient="unrolled", **short)
    assert not workflow.parser.get_parsed_content("calibrates")  # of the network in model_dir, which is another
    run("measuring", ("costs.yaml",), task="none", **short)
    for name in ("unrolled", "enhancement"):
        assert json.loads((tmp_path / "output_dir" / f"{name}.json").read_text())["steps"] == 2
    assert not (tmp_path / "model_dir").exists()


def test_costs_are_those_of_whole_steps_and_not_of_restoration_alone() -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.yaml", "costs.yaml")])
    assert (parser["restoration_epochs"], parser["warmup_epochs"]) == (0, 0)


def test_broken_labels_are_not_read_without_a_task(run: Run, labelled_dir: Path) -> None:
    next((labelled_dir / "labels" / "lq").glob("*.png")).write_bytes(b"broken")
    run(task="none")


def test_the_best_enhancement_is_kept_where_no_validation_image_has_a_label(run: Run, labelled_dir: Path) -> None:
    lq = pictures(labelled_dir, "lq", [str(labelled_dir / "labels" / "lq" / f"patient{i}.png") for i in range(4)])
    rest = [
        {
            "image": str(labelled_dir / kind / f"patient{i}.png"),
            "reference": str(labelled_dir / "references" / f"patient{i}.png"),
        }
        for i in (4, 5)
        for kind in ("lq",)
    ]
    write_datalist(labelled_dir, training_lq=lq, training_hq=pictures(labelled_dir, "hq", [None] * 4), validation=rest)
    workflow = run()
    assert workflow.parser.get_parsed_content("best_by") == "ssim"


def test_without_a_task_labels_change_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = tmp_path / "model_dir" / "downstream.pt"
    earlier.parent.mkdir()
    earlier.write_bytes(b"of an earlier training")
    run(task="none", overwrite=True)
    assert capsys.readouterr().out.startswith("Training enhancement only: task is none")
    assert not earlier.exists()


def test_images_without_a_label_take_part_in_enhancement_alone(
    run: Run, labelled_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("patient0", "patient1"):
        (labelled_dir / "labels" / "lq" / f"{name}.png").unlink()
    run(**{"all_datalists#validation_fraction": 0, "all_datalists#test_fraction": 0})
    assert "with the labels of 4 of 6 low-quality and 4 of 4 high-quality training images" in capsys.readouterr().out


def test_the_rates_of_those_who_join_late_fall_after_the_warm_up(run: Run) -> None:
    names = ("d_optimizer", "downstream_optimizer")
    after = {}
    for epochs in (2, 3):
        parser = run(epochs=epochs, warmup_epochs=2 if epochs == 3 else 1, pause_after=2, overwrite=True).parser
        after[epochs] = [parser.get_parsed_content(name).param_groups[0] for name in names]
    assert all(group["lr"] < group["initial_lr"] for group in after[2])
    assert all(group["lr"] == group["initial_lr"] for group in after[3])


def test_without_frozen_networks_the_warm_up_is_restoration_alone(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run(**{"bilevel#settings#frozen_task_networks": 0})
    assert "frozen_task" not in caplog.text
    assert "epoch 1/2  restoration" in caplog.text
    assert "epoch 2/2  discriminator" in caplog.text


def test_a_paused_bilevel_run_goes_on_as_if_nothing_had_been(run: Run, tmp_path: Path) -> None:
    def weights(name: str) -> dict[str, torch.Tensor]:
        state = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        modules = ("network", "ema_network", "downstream_network", "downstream_ema_network", "frozen_task_networks")
        return {f"{module}.{key}": value for module in modules for key, value in state[module].items()}

    settings = {"epochs": 4, "hypergradient": "unrolled"}
    run(output_dir=str(tmp_path / "whole"), **settings)
    run(output_dir=str(tmp_path / "half"), pause_after=2, overwrite=True, **settings)
    run(output_dir=str(tmp_path / "half"), resume=True, **settings)
    whole, half = weights("whole"), weights("half")
    assert [name for name in whole if not torch.equal(whole[name], half[name])] == []


def test_evaluation_reports_image_quality_and_task(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    run("evaluating", ("evaluate.yaml",))
    printed = capsys.readouterr().out
    assert "PSNR" in printed
    assert "Downstream network" in printed
    assert "Dice" in printed


def test_evaluation_does_without_a_downstream_network(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(task="none")
    run("evaluating", ("evaluate.yaml",))
    printed = capsys.readouterr().out
    assert "Downstream network" not in printed
    assert "The downstream network is left out: there is no" in printed
    run("evaluating", ("evaluate.yaml",), task="none")
    assert "left out" not in capsys.readouterr().out


def test_both_sides_are_tracked(run: Run, tmp_path: Path) -> None:
    run(mlflow=True, **{"tracker#experiment_name": "trial"}, hypergradient="unrolled")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'output_dir' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trial")
    assert experiment is not None
    (trained,) = client.search_runs([experiment.experiment_id])
    logged = {"loss/task", "loss/downstream", "loss/response", "validation/dice", "validation/dice_class1"}
    assert logged <= set(trained.data.metrics)


def test_the_downstream_experiment_compares_trained_arms(
    run: Run, tmp_path: Path, labelled_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lq = pictures(labelled_dir, "lq", [str(labelled_dir / "labels" / "lq" / f"patient{i}.png") for i in range(6)])
    hq = pictures(labelled_dir, "hq", [str(labelled_dir / "labels" / "hq" / f"other{i}.png") for i in range(4)])
    write_datalist(labelled_dir, training_lq=lq[:4], training_hq=hq, validation=lq[4:5], testing=lq[5:])
    for arm, mode in (("separate", "none"), ("first_order", "first_order")):
        run(model_dir=str(tmp_path / "arms" / arm / "seed0"), hypergradient=mode, overwrite=True)
    settings = {"arms_dir": str(tmp_path / "arms"), "seeds": [0], "label_budgets": [None, 2], "downstream_steps": 2}
    run("downstream", ("downstream.yaml",), **settings)
    printed = capsys.readouterr().out
    for line in ("| raw ", "| separate ", "| first_order ", "Transfer", "Retrained", "Cooperative"):
        assert line in printed


def test_a_dynunet_is_an_overlay(run: Run) -> None:
    run(overlays=("dynunet.yaml",), **{"downstream_def#filters": [4, 6, 8]}, hypergradient="unrolled")


def test_the_classification_overlay_does_without_labels(run: Run, labelled_dir: Path) -> None:
    lq, hq = pictures(labelled_dir, "lq", [None] * 6), pictures(labelled_dir, "hq", [None] * 4)
    write_datalist(labelled_dir, training_lq=lq[:4], training_hq=hq, validation=lq[4:5], testing=lq[5:])
    run(overlays=("classification.yaml",))


@pytest.mark.parametrize(
    ("labels", "overrides"),
    [
        ([0, 1, 0, 1, 0, 1], {}),
        (
            [[1, 0], [1, 1], [0, 1], [0, 0], [1, 1], [0, 1]],
            {"hypergradient": "unrolled", "downstream_def#norm": "instance"},
        ),
    ],
)
def test_classification_is_an_overlay(
    run: Run,
    labelled_dir: Path,
    tmp_path: Path,
    labels: list[Any],
    overrides: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    lq, hq = pictures(labelled_dir, "lq", labels), pictures(labelled_dir, "hq", labels)
    write_datalist(labelled_dir, training_lq=lq[:2], training_hq=hq, validation=lq[2:4], testing=lq[4:])
    run(overlays=("classification.yaml",), **overrides)
    run("evaluating", overlays=("classification.yaml", "evaluate.yaml"), **overrides)
    printed = capsys.readouterr().out.splitlines()
    inputs, enhanced = next(line.split()[1:3] for line in printed if line.startswith("AUC "))
    assert 0 <= float(inputs) <= 1
    assert 0 <= float(enhanced) <= 1
    assert load_downstream(tmp_path / "model_dir" / "model.pt")(torch.rand(2, 1, 32, 32)).shape == (2, 2)


def write_classes(labelled_dir: Path) -> None:
    labels: list[Any] = [0, 1, 0, 1, 0, 1]
    lq, hq = pictures(labelled_dir, "lq", labels), pictures(labelled_dir, "hq", labels)
    write_datalist(labelled_dir, training_lq=lq[:4], training_hq=hq, validation=lq[4:5], testing=lq[5:])


@pytest.mark.parametrize("val_interval", [1, 10])
def test_saved_batch_statistics_are_those_of_the_saved_weights(
    run: Run, labelled_dir: Path, tmp_path: Path, val_interval: int
) -> None:
    write_classes(labelled_dir)
    run(overlays=("classification.yaml",), val_interval=val_interval)
    saved = load_downstream(tmp_path / "model_dir" / "model.pt").state_dict()
    counts = {int(value) for name, value in saved.items() if name.endswith("num_batches_tracked")}
    assert counts == {64}


def test_batch_normalisation_is_refused_where_its_statistics_would_move(run: Run, labelled_dir: Path) -> None:
    write_classes(labelled_dir)
    message = refused(run, overlays=("classification.yaml",), hypergradient="finite_difference")
    assert "BatchNorm2d" in message


# --------------------------------------------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hypergradient": "exact"}, "finite_difference or unrolled or implicit, not 'exact'"),
        ({"bilevel#settings#inner_steps": 0}, "inner_steps"),
        ({"bilevel#settings#inner_steps": -1}, "inner_steps"),
        ({"bilevel#settings#inner_steps": 1.5}, "whole number"),
        ({"bilevel#settings#guide_weight": -1}, "guide_weight"),
        ({"bilevel#settings#finite_difference_epsilon": 0}, "finite_difference_epsilon"),
        ({"bilevel#settings#neumann_terms": -1}, "neumann_terms"),
        ({"bilevel#settings#neumann_step_size": 0}, "neumann_step_size"),
        ({"bilevel#settings#damping": -0.1}, "damping"),
        ({"early_stop#patience": 0}, "early_stop#patience"),
        ({"num_classes": 1}, "2 classes or more"),
        ({"task": "detection"}, "task must be segmentation, classification or none"),
        ({"task": "classification"}, "Add configs/classification.yaml"),
        ({"downstream_def#out_channels": 5}, "make num_classes and the network's output channels agree"),
        ({"downstream_def#norm": "batch", "hypergradient": "unrolled"}, 'norm="instance"'),
        ({"bilevel#feature_layers": ["encoder"]}, 'UNet has no layer "encoder"'),
        ({"model_metric": "auc"}, "model_metric must be"),
        ({"model_metric": "hausdorff95"}, "model_metric must be"),
        ({"warmup_epochs": 2}, "leaves none of the epochs (2) for bi-level training"),
        ({"bilevel#settings#lower_batch_size": 0}, "lower_batch_size"),
        ({"bilevel#settings#upper_batch_size": 0}, "upper_batch_size"),
        ({"bilevel#settings#frozen_task_networks": -1}, "frozen_task_networks must be a whole number of 0 or more"),
        ({"bilevel#settings#frozen_task_steps": 0}, "must be a whole number of 1 or more"),
        ({"bilevel#settings#frozen_task_batch_size": 0}, "must be a whole number of 1 or more"),
        ({"bilevel#settings#warmup_objective": "task"}, 'Unknown warmup_objective "task"'),
        ({"epochs": 5, "warmup_epochs": 3, "val_interval": 3}, "val_interval 3 leaves no validation after the warm-up"),
    ],
)
def test_wrong_settings_are_refused_before_training(run: Run, overrides: dict[str, Any], message: str) -> None:
    assert message in refused(run, **overrides)


def test_a_label_value_outside_the_classes_is_refused(run: Run, labelled_dir: Path) -> None:
    file = next((labelled_dir / "labels" / "lq").glob("*.png"))
    pixels = torch.zeros(32, 32, dtype=torch.uint8).numpy()
    pixels[0, 0] = 7
    Image.fromarray(pixels).save(file)
    assert "holds the values 0, 7 but classes go from 0 to 1" in refused(run, num_classes=2)


def test_labels_of_a_single_patient_leave_a_half_empty(run: Run, labelled_dir: Path) -> None:
    labels = sorted((labelled_dir / "labels" / "lq").glob("*.png"))
    for file in labels[1:]:
        file.unlink()
    assert "two patients or more, and 1 has" in refused(
        run, **{"all_datalists#validation_fraction": 0, "all_datalists#test_fraction": 0}
    )
