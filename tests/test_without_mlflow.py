# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run does without: MLflow, which only tracked runs need, and other packages that take long to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "bundle" / "scripts").rglob("*.py"))

PROGRAM = """
import sys
from scripts import start_up
start_up.import_monai(getattr(start_up, sys.argv[3]))
sys.modules["mlflow"] = None          # as if it were not installed: an import of it fails
import torch
from monai.bundle import ConfigWorkflow
import scripts.workflow
from scripts.engines import Adam
from scripts.errors import InputError
workflow = ConfigWorkflow(
    config_file="bundle/configs/inference.yaml", meta_file="bundle/configs/metadata.json", logging_file=False,
    run_id="enhancing", device="cpu", input_dir=sys.argv[1], output_dir=sys.argv[2],
)
workflow.initialize()
workflow.run()
weight = torch.nn.Parameter(torch.ones(1))
weight.grad = torch.ones(1)
optimizer = Adam([weight])
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
slow = {"itk", "matplotlib", "pandas", "scipy.signal", "torch._dynamo", *getattr(start_up, sys.argv[3])}
print("imported:", sorted(slow & {name for name, module in sys.modules.items() if module is not None}))
settings = dict(mlflow=False, task="none", downstream_task="segmentation", device="cpu")
scripts.workflow.begin(settings)
try:
    scripts.workflow.begin({**settings, "mlflow": True})
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("unused", ["UNUSED", "UNUSED_BY_INFERENCE"])
def test_inference_and_untracked_training_import_neither_mlflow_nor_what_takes_long(
    tmp_path: Path, unused: str
) -> None:
    picture = Image.linear_gradient("L").resize((32, 32))
    picture.save(tmp_path / "image.png")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "image.png"), str(tmp_path / "out"), unused],
        cwd=ROOT,
        env={"PYTHONPATH": "bundle", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "image.png").is_file()
    imported, refused = done.stdout.splitlines()[-2:]
    assert imported == "imported: []"
    assert "pip install mlflow" in refused


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_what_takes_long_when_it_is_imported(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {node for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)}
    names = [
        name.split(".")[0]
        for node in ast.walk(tree)
        if node not in inside and isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    slow = {"itk", "matplotlib", "mlflow", "nilearn", "pandas", "skimage"}
    assert not (slow if "experiments" in path.parts else {*slow, "scipy"}) & set(names)
