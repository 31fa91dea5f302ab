# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from scripts.errors import InputError
from scripts.networks import build_network, describe_definition, network_from_description

DEFINITION = partial(UNet, spatial_dims=2, in_channels=1, out_channels=3, channels=(4, 8), strides=(2,))


def test_a_network_is_built_anew_from_its_description() -> None:
    described = describe_definition(DEFINITION)
    assert described is not None
    assert described["channels"] == [4, 8]
    again = network_from_description(described)
    again.load_state_dict(build_network(DEFINITION).state_dict())
    assert again(torch.zeros(1, 1, 8, 8)).shape == (1, 3, 8, 8)


def test_a_class_without_arguments_is_a_definition_too() -> None:
    assert describe_definition(nn.Identity) == {"_target_": "torch.nn.modules.linear.Identity"}


@pytest.mark.parametrize(
    "definition",
    [
        nn.Conv2d(1, 1, 1),
        partial(nn.Conv2d, 1, 1, kernel_size=1),
        partial(nn.LazyConv2d, dtype=torch.float64),
        type("Nameless", (nn.Module,), {}),
    ],
)
def test_what_cannot_be_written_down_is_told(definition: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert describe_definition(definition) is None
    assert "model.json cannot say how the downstream network is built" in caplog.text


def test_a_network_that_is_built_already_is_taken_as_it_is() -> None:
    network = nn.Conv2d(1, 1, 1)
    assert build_network(network) is network


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match="gives a dict, and a network was wanted"):
        build_network(dict)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"_target_": "os.system", "command": "touch here"}, "os.system is no class of networks"),
        ({"_target_": "collections.Counter"}, "no class of networks"),
        ({}, "None is no class of networks"),
        ({"_target_": "torch.nn.Conv2d", "sides": 3}, "Conv2d cannot be built as described: .*sides"),
        ({"_target_": "torch.nn.Flatten", "start_dim": "$open('here', 'w')", "end": 0}, "cannot be built"),
    ],
)
def test_a_description_builds_networks_and_does_nothing_else(
    described: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        network_from_description(described)
    assert not list(tmp_path.iterdir())
