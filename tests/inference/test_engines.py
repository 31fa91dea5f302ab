# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.bundle.test_inference import AFFINE, phantom

from scripts.errors import InputError
from scripts.inference import OnnxEngine, describe_settings, find_engine
from scripts.inferers import ConsistentInferer
from scripts.networks import HQGNet
from scripts.program import main

MODEL = Path(__file__).resolve().parents[2] / "bundle" / "models" / "model.pt"
CPU = torch.device("cpu")


class RecordingEngine:
    """The network, with a mark on what it was asked for."""

    def __init__(self, network: HQGNet) -> None:
        self.network = network
        self.calls: list[str] = []

    def enhance_with_cue(self, *given: Any) -> torch.Tensor:
        self.calls.append("enhance")
        return self.network.enhance_with_cue(*given)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append("encode")
        return self.network.encode_image(image)


@pytest.mark.parametrize(
    ("shape", "window", "calls"),
    [
        ((1, 1, 20, 17), None, ["enhance"]),
        ((1, 1, 20, 17, 3), None, ["encode", "encode", "enhance", "enhance"]),
        ((1, 1, 40, 17), 32, []),
    ],
)
def test_the_engine_computes_whole_planes_and_the_network_tiles(
    shape: tuple[int, ...], window: int | None, calls: list[str]
) -> None:
    network = HQGNet(channels=(4, 8)).eval()
    engine = RecordingEngine(network)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    result = ConsistentInferer(2, window=window, batch_size=2, engine=engine)(image, network)
    assert engine.calls == calls
    assert torch.equal(result, ConsistentInferer(2, window=window, batch_size=2)(image, network))


def test_torch_needs_no_engine() -> None:
    assert find_engine("torch", "no/such/model.pt", "", CPU, amp=True) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "onnx"}, 'backend must be one of torch, compiled, onnxruntime, tensorrt, not "onnx"'),
        ({"amp": True}, "no mixed precision"),
        ({"device": torch.device("cuda:0")}, "runs on cpu, not on cuda"),
        ({"backend": "tensorrt"}, "runs on cuda, not on cpu"),
    ],
)
def test_settings_that_an_engine_cannot_follow_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_engine(**{"backend": "onnxruntime", "model_file": MODEL, "output_dir": "", "device": CPU, **settings})


def test_a_missing_onnx_runtime_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    nib.save(nib.Nifti1Image(phantom(20, 24, 2).astype(np.int16), AFFINE), tmp_path / "scan.nii.gz")
    arguments = ["enhance", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out"), "--backend", "onnxruntime"]
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "This needs the package onnxruntime: pip install onnx onnxruntime onnxscript." in capsys.readouterr().err


def test_the_network_has_to_be_exported_where_nothing_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", json)
    with pytest.raises(InputError, match='model.onnx": make it with hqgnet export'):
        find_engine("onnxruntime", MODEL, "", CPU)


def test_only_another_backend_is_described() -> None:
    assert describe_settings(None, 0, 0, backend="onnxruntime") == describe_settings(None, 0, 0) + ", by onnxruntime"
    sizes = describe_settings(None, 0, 0, pixel_size=[[2.0, 2.0], [0.9, 1.2]])
    assert sizes == describe_settings(None, 0, 0) + ", pixels of training 2 x 0.9 to 1.2 mm"


# --------------------------------------------------------------------------------------------------- with ONNX Runtime


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The supplied network, with its export beside it."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: hqg-net[onnx]")
    folder = tmp_path_factory.mktemp("models")
    for file in (MODEL, MODEL.with_suffix(".json")):
        (folder / file.name).write_bytes(file.read_bytes())
    assert main(["export", str(folder / "model"), "--model_dir", str(folder)]) == 0
    assert (folder / "model.ts").is_file()
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(phantom(37, 45, 3).astype(np.float32), AFFINE), file)
    return file


def voxels(file: Path) -> np.ndarray:
    return np.asarray(nib.load(file).dataobj, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[], ["--guide", "scanner_c"], ["--guide", "SCAN", "--samples", "2"]])
def test_the_images_are_those_of_pytorch(exported: Path, scan: Path, tmp_path: Path, settings: list[str]) -> None:
    settings = [str(scan) if setting == "SCAN" else setting for setting in settings]
    for backend in ("torch", "onnxruntime"):
        where = ["--model_dir", str(exported), "--device", "cpu", "--backend", backend]
        assert main(["enhance", str(scan), str(tmp_path / backend), *where, *settings]) == 0
    span = np.ptp(voxels(scan))
    for file in (tmp_path / "torch").glob("*.nii.gz"):
        difference = np.abs(voxels(file) - voxels(tmp_path / "onnxruntime" / file.name)).max()
        assert 0 < difference < 1e-4 * span  # not to the last bit: another program computed it


def test_a_compiled_network_is_one_of_its_own() -> None:
    first, second = (find_engine("compiled", MODEL, "", CPU) for _ in range(2))
    assert isinstance(first, HQGNet)
    assert first is not second
    assert not first.training
    assert first.enhancer.encoder._compiled_call_impl is not None


@pytest.mark.slow
def test_the_export_is_made_once_beside_the_results(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: hqg-net[onnx]")
    made = []
    for _ in range(2):
        find_engine("onnxruntime", MODEL, tmp_path, CPU)
        (file,) = tmp_path.glob(".network-*.onnx")
        made.append(file.stat().st_mtime_ns)
    assert made[0] == made[1]


@pytest.mark.slow
def test_an_export_of_other_weights_is_refused(exported: Path, tmp_path: Path) -> None:
    weights = torch.load(MODEL, weights_only=True)
    torch.save(weights | {"prototype_mean": weights["prototype_mean"] + 1}, tmp_path / "model.pt")
    for name in ("model.json", "model.onnx"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    with pytest.raises(InputError, match="was made of other weights"):
        find_engine("onnxruntime", tmp_path / "model.pt", "", CPU)


@pytest.mark.slow
def test_a_file_that_is_no_network_and_a_provider_that_is_not_there_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="cannot be read as an exported network"):
        OnnxEngine(tmp_path / "model.onnx")
    with pytest.raises(InputError, match="has no TensorrtExecutionProvider"):
        OnnxEngine(exported / "model.onnx", ("TensorrtExecutionProvider",))
