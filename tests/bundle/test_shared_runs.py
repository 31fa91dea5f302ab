# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The configurations of train.yaml, run by several processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from tests.several_processes import in_processes

from scripts import processes
from scripts.engines import EnhancementTrainer
from scripts.handlers import load_downstream

Run = Callable[..., ConfigWorkflow]
TRAIN = ("multi_gpu_train.yaml",)
EVALUATE = ("evaluate.yaml", "multi_gpu_evaluate.yaml")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("labelled_dir")]


def share(number: int) -> dict[str, Any]:
    """Settings of one of so many processes, which together take batches of two."""
    own = 2 // number
    return {
        "batch_size": own,
        "train#trainer#unpaired_images": own,
        "bilevel#settings#lower_batch_size": own,
        "bilevel#settings#upper_batch_size": own,
        "bilevel#settings#frozen_task_batch_size": 2,
        "model_metric": "psnr",
        "epochs": 3,
    }


def checkpoint(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return state


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = checkpoint(folder)
    networks = ("network", "ema_network", "discriminator", "downstream_network", "downstream_ema_network")
    return {f"{name}.{key}": value for name in networks for key, value in state[name].items()}


def die_in_iteration(number: int) -> None:
    """Let the second of two processes be killed in that iteration, when it has given S its step of it."""
    terms = EnhancementTrainer.discriminator_terms

    def deadly(self: EnhancementTrainer, *images: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.state.iteration == number and processes.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return terms(self, *images)

    EnhancementTrainer.discriminator_terms = deadly  # type: ignore[method-assign]


def test_a_killed_training_is_resumed_and_ends_as_if_nothing_had_been(run: Run, tmp_path: Path) -> None:
    def train(name: str, number: int, **settings: Any) -> str:
        places = {place: str(tmp_path / name) for place in ("output_dir", "model_dir")}
        run("training", TRAIN, **{**share(number), **places, **settings})
        return "done"

    def train_and_die(name: str) -> str:
        die_in_iteration(4)
        with pytest.raises(RuntimeError, match=r"workflow\.train"):
            train(name, 2)
        return "lost the other"

    assert in_processes(lambda: train("whole", 2)) == ["done"] * 2
    for name in ("in two", "in one"):
        assert in_processes(lambda name=name: train_and_die(name)) == ["lost the other", None]
        assert checkpoint(tmp_path / name)["trainer"]["iteration"] == 2
    assert in_processes(lambda: train("in two", 2, resume=True)) == ["done"] * 2
    train("in one", 1, resume=True)

    whole, in_two, in_one = (weights(tmp_path / name) for name in ("whole", "in two", "in one"))
    assert [name for name in whole if not torch.equal(whole[name], in_two[name])] == []
    best = {name: checkpoint(tmp_path / name)["model_saver"]["best"] for name in ("whole", "in two", "in one")}
    assert best["in two"] == best["whole"]
    # One process draws other noise for the cues.
    assert best["in one"] == pytest.approx(best["whole"], abs=0.1)
    for name in ("network", "downstream_network"):
        change, moved = (
            sum(float((other[key] - whole[key]).square().sum()) for key in whole if key.startswith(f"{name}."))
            for other in (in_one, {**whole, **begin(tmp_path, run, name)})
        )
        assert change < 0.05 * moved


def begin(tmp_path: Path, run: Run, name: str) -> dict[str, torch.Tensor]:
    """Return the weights of a network after the first epoch."""
    places = {place: str(tmp_path / f"begun {name}") for place in ("output_dir", "model_dir")}
    run("training", TRAIN, **{**share(1), **places, "pause_after": 1})
    return {key: value for key, value in weights(tmp_path / f"begun {name}").items() if key.startswith(f"{name}.")}


@pytest.mark.parametrize("tested", [3, 1])
def test_evaluation_in_two_processes_writes_the_tables_of_one(
    run: Run, tmp_path: Path, labelled_dir: Path, tested: int
) -> None:
    lists = {
        name: [
            {
                "image": str(labelled_dir / domain / f"{file}{number}.png"),
                "label": str(labelled_dir / "labels" / domain / f"{file}{number}.png"),
                **({"reference": str(labelled_dir / "references" / f"{file}{number}.png")} if domain == "lq" else {}),
            }
            for number in numbers
        ]
        for name, domain, file, numbers in (
            ("training_lq", "lq", "patient", range(2)),
            ("validation", "lq", "patient", (2,)),
            ("testing", "lq", "patient", range(3, 3 + tested)),
            ("training_hq", "hq", "other", range(4)),
        )
    }
    (labelled_dir / "datalist.json").write_text(json.dumps(lists))
    run()

    def evaluated(name: str, *overlays: str) -> dict[str, str]:
        run("evaluating", overlays, report_dir=str(tmp_path / name))
        return {file.name: file.read_text() for file in sorted((tmp_path / name).glob("evaluation.*"))}

    def without_places(report: dict[str, str]) -> dict[str, list[str]]:
        return {name: [line for line in text.splitlines() if "Pictures" not in line] for name, text in report.items()}

    alone = evaluated("alone", EVALUATE[0])
    assert alone.keys() == {"evaluation.csv", "evaluation.json", "evaluation.md"}
    shared, second = in_processes(lambda: evaluated(f"shared{processes.rank()}", *EVALUATE))
    assert without_places(shared) == without_places(alone)
    assert second == {}
    assert (tmp_path / "shared0" / "pictures").is_dir()
    assert not (tmp_path / "shared1").exists()


def test_classification_with_batch_normalisation_in_two_processes(run: Run, tmp_path: Path, labelled_dir: Path) -> None:
    lists = {
        name: [{"image": str(labelled_dir / domain / f"{file}{number}.png"), "label": number % 2} for number in numbers]
        for name, domain, file, numbers in (
            ("training_lq", "lq", "patient", range(2)),
            ("validation", "lq", "patient", (2,)),
            ("testing", "lq", "patient", range(3, 6)),
            ("training_hq", "hq", "other", range(4)),
        )
    }
    (labelled_dir / "datalist.json").write_text(json.dumps(lists))
    in_processes(lambda: run("training", ("classification.yaml", *TRAIN), epochs=2) and None)
    saved = load_downstream(tmp_path / "model_dir" / "model.pt").state_dict()
    assert {int(value) for name, value in saved.items() if name.endswith("num_batches_tracked")} == {64}

    def scores(name: str, *overlays: str) -> dict[str, Any]:
        run("evaluating", ("classification.yaml", *overlays), report_dir=str(tmp_path / name))
        file = tmp_path / name / "evaluation.json"
        return json.loads(file.read_text())["task"] if file.is_file() else {}

    alone = scores("alone", EVALUATE[0])
    assert alone["images"] == {"input": 3, "enhanced": 3}
    assert in_processes(lambda: scores(f"shared{processes.rank()}", *EVALUATE)) == [alone, {}]
