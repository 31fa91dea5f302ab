# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.bundle.test_inference import AFFINE, phantom
from tests.test_exporting import save_model

from scripts.errors import InputError
from scripts.experiments.export_speed import ScriptedEngine, export_speed
from scripts.networks import HQGNet


@torch.no_grad()
def test_the_scripted_engine_is_the_network() -> None:
    network = HQGNet(channels=(4, 8)).eval()
    engine, image, cue = ScriptedEngine(network.enhancer), torch.rand(2, 1, 21, 18), torch.randn(1, 16)
    code = engine.encode_image(image)
    torch.testing.assert_close(code, network.encode_image(image))
    torch.testing.assert_close(engine.enhance_with_cue(image, cue), network.enhance_with_cue(image, cue))
    mean = code.mean(0, keepdim=True)
    torch.testing.assert_close(engine.enhance_with_cue(image, cue, mean), network.enhance_with_cue(image, cue, mean))


def test_no_rounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeats is a number of rounds"):
        export_speed(str(tmp_path), repeats=0)


@pytest.mark.slow
def test_the_table_has_every_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.inference.engines.compiled", lambda network, arguments: network)  # takes minutes
    monkeypatch.setattr("shutil.which", lambda name: name)
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: hqg-net[onnx]")
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(phantom(20, 24, 2).astype(np.int16), AFFINE), tmp_path / "images" / "scan.nii.gz")
    save_model(tmp_path, {"channels": (2, 4)})
    export_speed(str(tmp_path / "images"), str(tmp_path), repeats=1)
    heading, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line[:1] == "|"]
    assert [row[0].strip() for row in rows] == ["PyTorch", "TorchScript", "ONNX Runtime", "torch.compile"]
    assert all(float(value) > 0 for row in rows for value in row[1:4])
    assert rows[0][4].split() == ["1.00", "/", "1.00", "/", "1.00"]
    assert len(heading) == 5
