# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What `hqgnet export` writes, held to the network itself."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, trt_export

from scripts.errors import InputError
from scripts.exporting import export_onnx, export_torchscript, load_stand_alone, onnx_package
from scripts.model_spec import ModelSpec, content_digest
from scripts.networks import HQGNet

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
BOUND = 1e-4
STYLES = {name: {"mean": [place] * 16, "std": [1.0] * 16} for name, place in (("scanner_a", -1.5), ("scanner_b", 2.0))}
NETWORKS: dict[str, dict[str, Any]] = {
    "half resolution": {"channels": (8, 16, 32), "reduction": 2},
    "colour, full resolution": {"channels": (8, 16), "in_channels": 3, "head": "residual"},
    "3-D": {"spatial_dims": 3, "channels": (4, 8), "reduction": 2},
}
SIZES = {
    2: [(97, 115), (64, 64), (17, 31), (16, 16), (33, 200)],
    3: [(17, 19, 23), (16, 16, 16), (9, 30, 12), (24, 20, 21), (8, 8, 8)],
}


def save_model(folder: Path, network: dict[str, Any]) -> Path:
    """Save a network whose result depends on its cue, with two styles."""
    torch.manual_seed(0)
    network = {"spatial_dims": 2, "in_channels": 1, **network}
    built = HQGNet(**network)
    for name, weight in built.named_parameters():
        if "scale_and_shift" in name or "full_resolution.second" in name or "final" in name:
            torch.nn.init.normal_(weight, std=0.1)
    built.prototype_mean.normal_()
    torch.save(built.state_dict(), folder / "model.pt")
    ModelSpec(network, (0.5, 99.5), styles=STYLES).save(folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture(params=NETWORKS)
def model_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_model(tmp_path, NETWORKS[request.param])


def images(model_file: Path, batch: int = 1) -> list[torch.Tensor]:
    spec = HQGNet(**ModelSpec.load(model_file).network)
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(batch, spec.in_channels, *size, generator=generator) for size in SIZES[spec.spatial_dims]]


@pytest.mark.slow
@torch.no_grad()
def test_torchscript_is_the_network_at_every_size_and_in_every_style(model_file: Path) -> None:
    export_torchscript(model_file, model_file.with_name("model.ts"), CONFIGS)
    scripted, eager = torch.jit.load(model_file.with_name("model.ts")), load_stand_alone(model_file)
    for image in images(model_file, 2):
        results = [eager(image, style=style) for style in range(3)]
        assert min((one - other).abs().max() for one, other in zip(results, results[1:], strict=False)) > 1e-3
        for style, expected in enumerate(results):
            torch.testing.assert_close(scripted(image, None, style), expected, atol=BOUND, rtol=0)
        torch.testing.assert_close(scripted(image), eager.network(image), atol=BOUND, rtol=0)
        torch.testing.assert_close(scripted(image, image), eager.network(image, image), atol=BOUND, rtol=0)


@torch.no_grad()
def test_torchscript_has_the_styles_inside_and_their_names(tmp_path: Path) -> None:
    model_file = save_model(tmp_path, {"channels": (4, 8), "reduction": 2})
    export_torchscript(model_file, tmp_path / "model.ts", CONFIGS)
    extra = {"metadata.json": "", "inference.json": ""}
    scripted = torch.jit.load(tmp_path / "model.ts", _extra_files=extra)
    image, cue = torch.rand(1, 1, 33, 29), torch.tensor(STYLES["scanner_b"]["mean"])[None]
    expected = load_stand_alone(model_file).network.enhance_with_cue(image, cue)
    torch.testing.assert_close(scripted(image, None, 2), expected, atol=BOUND, rtol=0)
    assert json.loads(extra["metadata.json"])["styles"] == ["prototype", "scanner_a", "scanner_b"]
    assert json.loads(extra["inference.json"]) == json.loads((CONFIGS / "inference.json").read_text())


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_mend(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == package else json)
    with pytest.raises(InputError, match=rf"the package {package}: pip install onnx onnxruntime onnxscript"):
        export_onnx(tmp_path / "model.pt", tmp_path / "model.onnx")


@pytest.mark.slow
def test_onnx_is_the_network_at_every_size_and_in_every_style(model_file: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: hqg-net[onnx]")
    export_onnx(model_file, model_file.with_name("model.onnx"))
    session = runtime.InferenceSession(model_file.with_name("model.onnx"), providers=["CPUExecutionProvider"])
    eager = load_stand_alone(model_file)

    def result(image: torch.Tensor, **given: Any) -> torch.Tensor:
        return torch.from_numpy(session.run(["pred"], {"image": image.numpy(), **given})[0])

    with torch.no_grad():
        for image in [*images(model_file), *images(model_file, 2)]:
            torch.testing.assert_close(result(image), eager.network(image), atol=BOUND, rtol=0)
            for style in range(3):
                expected = eager(image, style=style)
                torch.testing.assert_close(result(image, style=np.array([style])), expected, atol=BOUND, rtol=0)
            cue, code = torch.randn(1, 16), torch.randn(1, 16)
            expected = eager.network.enhance_with_cue(image, cue, code)
            given = {"cue": cue.numpy(), "code": code.numpy()}
            torch.testing.assert_close(result(image, **given), expected, atol=BOUND, rtol=0)
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["styles"]) == ["prototype", "scanner_a", "scanner_b"]
    assert described["weights"] == content_digest(model_file)


@pytest.mark.slow
def test_the_encoder_runs_once_in_the_exported_network(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed: hqg-net[onnx]")
    model_file = save_model(tmp_path, {"channels": (4, 8)})
    export_onnx(model_file, tmp_path / "model.onnx")
    exported = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node].count("Conv")
    enhancer = load_stand_alone(model_file).network.enhancer
    assert exported == sum(isinstance(module, torch.nn.Conv2d) for module in enhancer.modules())


def test_the_arguments_for_tensorrt_are_those_of_monais_command() -> None:
    arguments = ConfigParser.load_config_file(CONFIGS / "tensorrt.yaml")
    assert set(arguments) <= set(inspect.signature(trt_export).parameters)
    assert arguments["net_id"] in ConfigParser.load_config_file(CONFIGS / "inference.yaml")
    assert all((CONFIGS.parent / arguments[name]).is_file() for name in ("ckpt_file", "meta_file", "config_file"))


def test_a_package_that_is_there_is_imported() -> None:
    assert onnx_package("json") is json
