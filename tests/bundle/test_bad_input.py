# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Every mistake is told in one sentence that names the thing, before training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image
from tests.bundle.conftest import refused

from scripts.data.datalist import load_datalist
from scripts.engines import EnhancementTrainer

Run = Callable[..., ConfigWorkflow]


def sentence(run: Run, *arguments: Any, **overrides: Any) -> str:
    """What the run refuses; training must not have begun."""

    def started(self: EnhancementTrainer, *arguments: Any) -> None:
        raise AssertionError("training started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EnhancementTrainer, "_iteration", started)
        return refused(run, *arguments, **overrides)


def lq(dataset_dir: Path) -> Path:
    """A low-quality picture that is trained on."""
    return dataset_dir / "lq" / "patient0.png"


def write_nifti(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), path)


def test_missing_folder(run: Run) -> None:
    assert "/no/such/folder" in sentence(run, dataset_dir="/no/such/folder")


def test_no_folder_at_all(run: Run) -> None:
    assert "dataset_dir" in sentence(run, dataset_dir="")


@pytest.mark.parametrize("domain", ["lq", "hq"])
def test_empty_domain(run: Run, dataset_dir: Path, domain: str) -> None:
    for file in (dataset_dir / domain).iterdir():
        file.unlink()
    assert domain in sentence(run)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n but no more"])
def test_unreadable_file_is_named(run: Run, dataset_dir: Path, content: bytes) -> None:
    lq(dataset_dir).write_bytes(content)
    assert "patient0.png" in sentence(
        run, **{"all_datalists#validation_fraction": 0.0, "all_datalists#test_fraction": 0.0}
    )


def test_colour_in_one_domain_only(run: Run, dataset_dir: Path) -> None:
    for file in (dataset_dir / "hq").iterdir():
        Image.open(file).convert("RGB").save(file)
    told = sentence(run)
    assert "other" in told
    assert "3 channel" in told


def test_image_smaller_than_the_network_takes(run: Run, dataset_dir: Path) -> None:
    Image.open(lq(dataset_dir)).resize((6, 6)).save(lq(dataset_dir))
    told = sentence(run, **{"all_datalists#validation_fraction": 0.0, "all_datalists#test_fraction": 0.0})
    assert "patient0.png" in told
    assert "6" in told


def test_constant_image(run: Run, dataset_dir: Path) -> None:
    Image.new("L", (32, 32), 7).save(lq(dataset_dir))
    assert "patient0.png" in sentence(
        run, **{"all_datalists#validation_fraction": 0.0, "all_datalists#test_fraction": 0.0}
    )


def test_image_with_nan(run: Run, dataset_dir: Path) -> None:
    array = np.random.RandomState(0).rand(32, 32, 3)
    array[3, 4, 1] = np.nan
    write_nifti(dataset_dir / "lq" / "broken.nii.gz", array)
    assert "broken.nii.gz" in sentence(
        run, **{"all_datalists#validation_fraction": 0.0, "all_datalists#test_fraction": 0.0}
    )


def test_held_out_images_are_checked_before_training_too(run: Run, dataset_dir: Path) -> None:
    for file in (dataset_dir / "references").iterdir():
        Image.new("L", (32, 32), 7).save(file)
    assert "references" in sentence(run, **{"all_datalists#validation_fraction": 0.5})


@pytest.mark.parametrize("folder", ["lq", "references"])
def test_test_images_are_checked_before_training_too(run: Run, dataset_dir: Path, folder: str) -> None:
    (tested,) = load_datalist(dataset_dir)["testing"]
    (dataset_dir / folder / Path(tested["image"]).name).write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    told = sentence(run)
    assert folder in told
    assert Path(tested["image"]).name in told


def test_label_of_another_shape(run: Run, dataset_dir: Path) -> None:
    (dataset_dir / "labels").mkdir()
    for file in (dataset_dir / "lq").iterdir():
        Image.new("L", (32, 20), 1).save(dataset_dir / "labels" / file.name)
    told = sentence(run)
    assert "label" in told


def test_unknown_loss_weight(run: Run) -> None:
    told = sentence(run, loss_weights={"perceptual": 1.0})
    assert "perceptual" in told
    assert "wavelet" in told


def test_unknown_wavelet(run: Run) -> None:
    assert "daubechies99" in sentence(run, **{"loss#wavelet#wavelet": "daubechies99"})


def test_checkpoint_of_another_architecture(run: Run, tmp_path: Path) -> None:
    run(epochs=1)
    told = sentence(run, epochs=2, resume=True, network_channels=[4, 6, 10])
    assert "checkpoint.pt" in told
    assert "architecture" in told


def test_network_of_another_architecture_in_evaluation(run: Run) -> None:
    run(epochs=1)
    assert "architecture" in sentence(run, "evaluating", ("evaluate.yaml",), network_channels=[4, 6, 10])


def test_evaluation_without_a_trained_network(run: Run) -> None:
    assert "model.pt" in sentence(run, "evaluating", ("evaluate.yaml",))


def test_unknown_model_metric(run: Run) -> None:
    assert "fid" in sentence(run, model_metric="fid")


def test_patch_with_the_wrong_number_of_axes(run: Run) -> None:
    assert "patch_size" in sentence(run, patch_size=[32, 32, 32])


def test_patch_smaller_than_the_network_takes(run: Run) -> None:
    assert "patch_size" in sentence(run, patch_size=[4, 32])


def test_early_stop_without_a_metric_to_watch(run: Run) -> None:
    assert "early_stop#patience" in sentence(run, **{"early_stop#patience": 2}, model_metric=None)


@pytest.mark.parametrize("name", ["epochs", "steps_per_epoch", "batch_size", "val_interval"])
def test_counts_below_one(run: Run, name: str) -> None:
    assert name in sentence(run, **{name: 0})


def test_early_stop_without_a_reference_to_measure_by(run: Run, dataset_dir: Path) -> None:
    for file in (dataset_dir / "references").iterdir():
        file.unlink()
    assert "no ssim to watch" in sentence(run, **{"early_stop#patience": 2})


def test_no_loss_with_a_weight(run: Run) -> None:
    none = dict.fromkeys(("adversarial", "consistency", "wavelet", "multi_encoder", "restoration", "style", "kl"), 0.0)
    assert "nothing to minimise" in sentence(run, loss_weights=none)
    assert "nothing to minimise" in sentence(run, loss_weights={**none, "class_moments": 1.0})


@pytest.mark.parametrize("name", ["network_def#guided", "amp", "resume", "mlflow"])
def test_word_where_true_or_false_is_due(run: Run, name: str) -> None:
    assert "capital letter" in sentence(run, **{name: "false"})
