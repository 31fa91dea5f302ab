# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import pytest

from scripts import program, start_up


def test_a_hidden_package_is_missing_for_monai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(start_up.importlib, "import_module", lambda name: seen.append(sys.modules["wave"] is None))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    start_up.import_monai(["wave", "sys"])
    assert seen == [True]
    assert sys.modules["sys"] is sys
    monkeypatch.undo()
    assert importlib.import_module("wave").__name__ == "wave"


@pytest.mark.parametrize(
    ("name", "overlay", "settings", "more"),
    [
        ("enhance", None, {}, False),
        ("enhance", None, {"tracking_uri": "http://store"}, True),
        ("train", [], {}, True),
        ("train", [], {"mlflow": False}, False),
        ("train", ["own.yaml"], {"mlflow": False}, True),
    ],
)
def test_recorded_runs_and_own_configurations_get_the_whole_of_monai(
    name: str, overlay: Any, settings: dict[str, Any], more: bool
) -> None:
    options = argparse.Namespace() if overlay is None else argparse.Namespace(overlay=overlay)
    assert program._needs_more_of_monai(name, options, settings) is more
