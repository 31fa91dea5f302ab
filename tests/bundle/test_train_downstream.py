# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from tests.bundle.conftest import refused

from scripts.model_spec import ModelSpec

Run = Callable[..., ConfigWorkflow]
ALONE = ("training_downstream", ("train_downstream.yaml",))


def weights(file: Path) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state.get("model", state)


@pytest.mark.usefixtures("labelled_dir")
def test_the_downstream_network_is_trained_beside_an_enhancement_that_stays(run: Run, tmp_path: Path) -> None:
    run(task="none", epochs=1)
    models = tmp_path / "model_dir"
    enhancement = (models / "model.pt").read_bytes()
    run(*ALONE)
    assert (models / "model.pt").read_bytes() == enhancement
    downstream = ModelSpec.load(models / "model.pt").downstream
    assert downstream is not None
    assert (downstream["task"], downstream["num_classes"]) == ("segmentation", 2)
    first = weights(models / "downstream.pt")

    # At a rate of 0 the weights are those that it begins with.
    start = str((models / "downstream.pt").rename(models / "start.pt"))
    run(*ALONE, downstream_start=start, reads_enhanced=False, **{"downstream_optimizer#lr": 0.0})
    second = weights(models / "downstream.pt")
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.usefixtures("labelled_dir")
def test_the_downstream_network_of_another_training_stays_without_a_word(run: Run, tmp_path: Path) -> None:
    run(task="none", epochs=1)
    earlier = tmp_path / "model_dir" / "downstream.pt"
    earlier.write_bytes(b"hours of training")
    for words, message in (({}, "--overwrite True"), ({"resume": True}, "cannot be resumed")):
        assert message in refused(run, *ALONE, **words)
    assert earlier.read_bytes() == b"hours of training"


def test_without_labels_it_is_refused(run: Run) -> None:
    run(task="none", epochs=1)
    assert "no entry of training_lq has one" in refused(run, *ALONE)
