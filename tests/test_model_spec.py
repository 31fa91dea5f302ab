# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import InputError
from scripts.model_spec import NETWORK_SETTINGS, ModelSpec
from scripts.networks import HQGNet

CONTENT: dict[str, Any] = {"version": 2, "network": {}, "percentiles": [0, 99.5], "window": None, "slice_axis": 2}


def load(folder: Path, **changes: Any) -> ModelSpec:
    (folder / "model.pt").touch()
    (folder / "model.json").write_text(json.dumps({**CONTENT, **changes}))
    return ModelSpec.load(folder / "model.pt")


def test_the_settings_of_the_network_are_its_arguments() -> None:
    assert tuple(inspect.signature(HQGNet).parameters) == NETWORK_SETTINGS


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"depth": 3}, 'model.json" has the setting "depth" of the network, which this version does not know'),
        ([1], "says nothing of the network"),
        (None, "says nothing of the network"),
    ],
)
def test_a_network_that_cannot_be_built_is_told_in_a_sentence(network: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, network=network)


def test_a_key_of_a_later_version_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, comment="mine").slice_axis == 2


@pytest.mark.parametrize("place", ["models", "output/models"])
def test_a_network_in_a_folder_below_is_pointed_out(tmp_path: Path, place: str) -> None:
    file = tmp_path / place / "model.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(InputError, match=f'there is one in "{file.parent}", which --model_dir would take'):
        ModelSpec.load(tmp_path / "model.pt")
