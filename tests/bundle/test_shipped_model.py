# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The weights that the bundle ships fit its configuration and do what the model card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from scripts.data.demo import make_demo_data
from scripts.handlers import load_model

BUNDLE = Path(__file__).parents[2] / "bundle"


def test_shipped_weights_fit_the_configured_network_and_hold_a_prototype() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.yaml"))
    network = parser.get_parsed_content("network_def")
    load_model(network, BUNDLE / "models" / "model.pt")
    assert float(network.prototype_mean.abs().sum()) > 0
    assert torch.isfinite(network(torch.rand(1, 1, 40, 50))).all()


def test_the_shipped_downstream_network_fits_the_configured_one() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.yaml"))
    parser.update({"bilevel": True, "classes": 4})
    network = parser.get_parsed_content("downstream_def")
    load_model(network, BUNDLE / "models" / "downstream.pt")
    assert network(torch.rand(1, 1, 48, 56)).shape == (1, 4, 48, 56)


@pytest.mark.slow
def test_shipped_weights_enhance_patients_of_another_seed(tmp_path: Path) -> None:
    make_demo_data(tmp_path / "data", patients=9, seed=7)
    workflow = ConfigWorkflow(
        config_file=[str(BUNDLE / "configs" / name) for name in ("train.yaml", "evaluate.yaml")],
        logging_file=False,
        run_id="evaluating",
        dataset_dir=str(tmp_path / "data"),
        output_dir=str(tmp_path / "output"),
        model_dir=str(BUNDLE / "models"),
        mlflow=False,
    )
    workflow.initialize()
    workflow.run()
    report = json.loads((tmp_path / "output" / "evaluation" / "evaluation.json").read_text())
    metrics = report["metrics"]
    assert metrics["psnr"]["gain"]["mean"] > 3.0
    assert metrics["ssim"]["enhanced"]["mean"] > 0.5 * (1 + metrics["ssim"]["input"]["mean"])
