# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The weights that the bundle ships fit its configuration and do what the model card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from scripts.api import Enhancer
from scripts.experiments.demo import make_demo_data
from scripts.handlers import load_downstream, load_model
from scripts.io import find_cases, open_case
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet
from scripts.reports import SafetyThresholds

BUNDLE = Path(__file__).parents[2] / "bundle"


def enhance_patients(folder: Path, **settings: Any) -> None:
    """Make patients of another seed in ``folder/data``, and enhance the test patients into ``folder/results``."""
    make_demo_data(folder / "data", patients=9, seed=7)
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.yaml"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        run_id="enhancing",
        input_dir=str(folder / "data" / "test" / "lq"),
        output_dir=str(folder / "results"),
        device="cpu",
        **settings,
    )
    assert workflow.run()[-1] == 0


def test_shipped_weights_fit_the_configured_network_and_hold_a_prototype() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.yaml"))
    network = parser.get_parsed_content("network_def")
    load_model(network, BUNDLE / "models" / "model.pt")
    assert float(network.prototype_mean.abs().sum()) > 0
    assert torch.isfinite(network(torch.rand(1, 1, 40, 50))).all()


def test_the_shipped_downstream_network_is_the_configured_one() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.yaml"))
    parser["task_def"] = {"_target_": "scripts.tasks.SegmentationTask", "num_classes": 4}
    described = ModelSpec.load(BUNDLE / "models" / "model.pt").downstream
    task, definition = (parser.get_parsed_content(name) for name in ("task_def", "downstream_def"))
    assert described == task.describe(definition)
    network = load_downstream(BUNDLE / "models" / "model.pt")
    assert network(torch.rand(1, 1, 48, 56)).shape == (1, 4, 48, 56)


@pytest.mark.slow
def test_new_studies_are_segmented_too(tmp_path: Path) -> None:
    enhance_patients(tmp_path, guide="scanner_a", segment=True)
    labels = tmp_path / "data" / "test" / "labels"
    for file in labels.iterdir():
        # A DICOM series has its own axes, and its segmentation lies on them.
        found, wanted = (
            nibabel.as_closest_canonical(nibabel.load(place))
            for place in (tmp_path / "results" / file.name.replace(".nii.gz", "_segmentation.nii.gz"), file)
        )
        np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-3)
        classes, true = np.asarray(found.dataobj), np.asarray(wanted.dataobj)
        assert 2 * np.count_nonzero((classes == 3) & (true == 3)) > 0.7 * np.count_nonzero([classes == 3, true == 3])


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
    assert metrics["psnr"]["gain"]["mean"] > 4.5  # the two patients' targets are T1-like, as their inputs are
    assert metrics["ssim"]["enhanced"]["mean"] > 0.5 * (1 + metrics["ssim"]["input"]["mean"])


@pytest.mark.slow
def test_slices_of_an_enhanced_volume_flicker_no_more_than_those_of_the_original(tmp_path: Path) -> None:
    enhance_patients(tmp_path)
    sources = {case.name: case for case in find_cases(tmp_path / "data" / "test" / "lq")[0]}
    results = [case for case in find_cases(tmp_path / "results")[0] if case.name in sources]
    assert len(results) == len(sources) > 0
    for case in results:
        after = open_case(case).image
        before = open_case(sources[case.name]).image
        # Brightness of whole slices, where a network that sees slice by slice would flicker: its second difference, in
        # units of the volume's own contrast.
        flicker = [float(image.mean((0, 1, 2)).diff(n=2).abs().mean() / image.std()) for image in (before, after)]
        assert flicker[1] <= flicker[0]


def test_the_shipped_description_is_that_of_the_weights() -> None:
    description = ModelSpec.load(BUNDLE / "models" / "model.pt")
    load_model(HQGNet(**description.network), BUNDLE / "models" / "model.pt")
    assert description.thresholds is not None
    assert SafetyThresholds.from_dict(description.thresholds).cases == 5


@pytest.mark.slow
def test_an_image_of_half_the_pixel_size_is_enhanced_as_the_image_itself(tmp_path: Path) -> None:
    make_demo_data(tmp_path / "data", patients=9, seed=7)
    image = open_case(find_cases(tmp_path / "data" / "test" / "lq")[0][0]).image
    half = np.diag([0.5, 0.5, 1, 1])
    own, finer = (
        nibabel.Nifti1Image(
            torch.nn.functional.interpolate(image[None].as_tensor(), scale_factor=scale, mode="trilinear")[
                0, 0
            ].numpy(),
            image.affine.numpy() @ affine,
        )
        for scale, affine in (((1, 1, 1), np.eye(4)), ((2, 2, 1), half))
    )
    enhancer = Enhancer.from_bundle(BUNDLE, guide="scanner_a")
    brightest = float(image.quantile(0.995))
    wanted = enhancer(own).image

    def difference() -> float:
        result = torch.nn.functional.avg_pool3d(enhancer(finer).image.as_tensor(), (2, 2, 1))
        return float((result - wanted).abs().mean()) / brightest

    assert difference() < 0.03
    enhancer._enhancer.inferer.pixel_size = None
    assert difference() > 0.06
