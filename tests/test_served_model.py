# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts import served_model
from scripts.api import Enhancer
from scripts.errors import InputError
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet
from scripts.served_model import ServedEnhancer, pinned_requirements

NETWORK = {"spatial_dims": 2, "in_channels": 1, "channels": [4, 6, 8], "guidance_channels": [4, 6]}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for coronal slices, with the style "sharp" beside the prototype."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = HQGNet(**NETWORK)
    with torch.no_grad():  # the cue has no effect on a network as it begins
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    torch.save(network.state_dict(), folder / "model.pt")
    cue = torch.randn(len(network.prototype_mean)).tolist()
    styles = {"sharp": {"mean": cue, "std": [1.0] * len(cue)}}
    ModelSpec(NETWORK, (0.5, 99.5), slice_axis=1, styles=styles).save(folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def served(model_dir: Path) -> ServedEnhancer:
    return ServedEnhancer(model_dir)


def images(count: int) -> np.ndarray:
    return (100 + 900 * np.random.RandomState(0).rand(count, 1, 32, 36)).astype(np.float32)


def test_each_image_of_a_batch_is_enhanced_as_the_python_call_does(served: ServedEnhancer, model_dir: Path) -> None:
    batch, enhance = images(2), Enhancer.from_bundle(model_dir)
    expected = np.stack([enhance(image).image.as_tensor().numpy() for image in batch])
    np.testing.assert_array_equal(served.predict(batch), expected)


def test_slices_of_a_volume_are_scaled_together_along_the_axis_of_training(
    served: ServedEnhancer, model_dir: Path
) -> None:
    batch = images(3) * np.array([1, 2, 3], np.float32).reshape(3, 1, 1, 1)
    volume = Enhancer.from_bundle(model_dir)(np.moveaxis(batch, 0, 2)).image.as_tensor().numpy()
    np.testing.assert_array_equal(served.predict(batch, {"volume": True}), np.moveaxis(volume, 2, 0))


def test_style_is_followed_for_one_call(served: ServedEnhancer) -> None:
    before = served.predict(images(1), {"guide": ""})
    assert not np.array_equal(served.predict(images(1), {"guide": "sharp"}), before)
    np.testing.assert_array_equal(served.predict(images(1)), before)


def test_requests_side_by_side_keep_their_own_style(served: ServedEnhancer) -> None:
    batch, guides = images(4), ["", "sharp"] * 3
    alone = {guide: served.predict(batch, {"guide": guide}) for guide in ("", "sharp")}
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda guide: served.predict(batch, {"guide": guide}), guides))
    for guide, result in zip(guides, together, strict=True):
        np.testing.assert_array_equal(result, alone[guide])


@pytest.mark.parametrize("guide", ["blunt", "/etc/hostname"])
def test_guide_that_is_no_style_is_refused_even_where_it_is_a_file(served: ServedEnhancer, guide: str) -> None:
    with pytest.raises(InputError, match="the model has sharp"):
        served.predict(images(1), {"guide": guide})


def test_signature_takes_any_size_and_the_example_fits(model_dir: Path) -> None:
    spec = ModelSpec.load(model_dir / "model.pt")
    (tensor,) = served_model._signature(spec).inputs.inputs
    assert (tensor.shape, tensor.type) == ((-1, 1, -1, -1), np.dtype(np.float32))
    example = served_model._example(spec)
    assert example.shape == (1, 1, *[HQGNet(**NETWORK).minimum_size] * 2)
    assert ServedEnhancer(model_dir).predict(example).shape == example.shape


def test_requirements_are_pinned_to_versions_of_the_package_index() -> None:
    pins = dict(pin.split("==") for pin in pinned_requirements())
    assert {"torch", "monai", "mlflow", "numpy", "pydicom"} <= set(pins)
    assert all(re.fullmatch(r"[\w.]+", pin) for pin in pins.values())
    assert torch.__version__.split("+")[0] == pins["torch"]


def test_copied_code_has_a_name_of_its_own_and_all_that_the_package_reads(tmp_path: Path) -> None:
    with served_model._copied_code(tmp_path) as code:
        files = {file.relative_to(code).as_posix() for file in code.rglob("*") if file.is_file()}
        assert re.fullmatch(r"hqgnet_[0-9a-f]{12}", code.name)
    assert {"served_model.py", "configs/metadata.json", "reports/batch.html"} <= files
    assert not any("__pycache__" in file for file in files)


def test_failure_leaves_no_model_that_looks_ready(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[str] = []
    client = SimpleNamespace(
        get_run=lambda run_id: SimpleNamespace(info=SimpleNamespace(experiment_id="1")),
        create_logged_model=lambda *args, **kwargs: SimpleNamespace(model_id="m-1", artifact_location="file:///x"),
        log_outputs=lambda *args: None,
        finalize_logged_model=lambda model_id, status: statuses.append(status),
    )
    monkeypatch.setattr(served_model, "pinned_requirements", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        served_model.log_enhancer(client, "run", model_dir / "model.pt")
    assert statuses == ["FAILED"]
