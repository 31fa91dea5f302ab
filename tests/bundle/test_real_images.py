# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The runs on real images whose figures stand in docs/results.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from scripts.experiments.controlled import make_experiment

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"


def run(run_id: str, overlays: tuple[str, ...] = (), **overrides: Any) -> None:
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in ("train.yaml", *overlays)],
        logging_file=False,
        run_id=run_id,
        mlflow=False,
        **overrides,
    )
    workflow.initialize()
    workflow.run()


@pytest.mark.slow
def test_hippocampus_slices_of_held_out_patients_gain_in_ssim(shared_data: Path, tmp_path: Path) -> None:
    """A third of the patients degraded and labelled, a third clean, a third held out with both."""
    clean = shared_data / "hippocampus"
    ranges = {"bias_strength_range": (0.05, 0.15), "noise_std_range": (0.03, 0.07)}
    make_experiment(clean / "images", clean / "labels", tmp_path, **ranges)

    places = {
        "dataset_dir": str(tmp_path),
        "output_dir": str(tmp_path / "output"),
        "model_dir": str(tmp_path / "model"),
    }
    run("training", **places, patch_size=[32, 48], epochs=9, restoration_epochs=3, warmup_epochs=5)
    run("evaluating", ("evaluate.yaml",), **places, patch_size=[32, 48])
    metrics = json.loads((tmp_path / "output" / "evaluation" / "evaluation.json").read_text())["metrics"]
    assert metrics["ssim"]["gain"]["mean"] > 0.03


@pytest.mark.slow
def test_fundus_photographs_train_in_colour_at_128(shared_data: Path, tmp_path: Path) -> None:
    for file in sorted((shared_data / "eyeq_usable" / "image").iterdir()):
        write_field_of_view(file, tmp_path / "lq" / f"{file.stem}.png")
    for file in sorted((shared_data / "drive" / "images").iterdir()):
        write_field_of_view(file, tmp_path / "hq" / f"drive_{file.stem}.png")
    for file in sorted((shared_data / "drimdb_good").iterdir()):
        write_field_of_view(file, tmp_path / "hq" / f"{file.stem}.png", skipped_rows=30)  # a timestamp

    places = {
        "dataset_dir": str(tmp_path),
        "output_dir": str(tmp_path / "output"),
        "model_dir": str(tmp_path / "model"),
    }
    run(
        "training",
        **places,
        channels=3,
        window=[0, 255],
        patch_size=[128, 128],
        epochs=1,
        restoration_epochs=0,
        steps_per_epoch=10,
        val_interval=1,
    )
    assert list((tmp_path / "output" / "pictures").glob("*.png"))
    state = torch.load(tmp_path / "model" / "model.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state.values())


def write_field_of_view(source: Path, target: Path, skipped_rows: int = 0) -> None:
    """The central square of the lit field of view, 128x128."""
    pixels = np.asarray(Image.open(source).convert("RGB"))[skipped_rows:]
    lit = pixels.max(axis=2) > 25
    rows, columns = (np.flatnonzero(lit.mean(axis=axis) > 0.05) for axis in (1, 0))
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    target.parent.mkdir(parents=True, exist_ok=True)
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    square.resize((128, 128), Image.Resampling.LANCZOS).save(target)
