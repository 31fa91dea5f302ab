# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("labelled_dir")]


@pytest.mark.parametrize("hypergradient", ["first_order", "unrolled"])
def test_bilevel_training_of_compiled_networks_learns_the_same(
    run: Callable[..., ConfigWorkflow], tmp_path: Path, hypergradient: str
) -> None:
    traced = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(len(inputs))
        return graph.forward

    for name, overlays in (("plain", ()), ("compiled", ("compiled.yaml",))):
        settings = {"compiling": {"backend": backend}} if overlays else {}
        places = {place: str(tmp_path / name) for place in ("output_dir", "model_dir")}
        run("training", overlays, hypergradient=hypergradient, **places, **settings)
    torch._dynamo.reset()
    assert traced
    plain, compiled = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, atol=1e-4, rtol=1e-3, msg=name)
