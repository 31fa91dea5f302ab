# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial
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


@pytest.mark.parametrize("definition", [nn.Conv2d(1, 1, 1), partial(nn.LazyConv2d, dtype=torch.float64), nn.Identity])
def test_what_cannot_be_written_down_is_told(definition: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert describe_definition(definition) is None
    assert "cannot be written into model.json" in caplog.text


def test_a_network_that_is_built_already_is_taken_as_it_is() -> None:
    network = nn.Conv2d(1, 1, 1)
    assert build_network(network) is network


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match="gives a dict, and a network was wanted"):
        build_network(dict)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gives a Counter"):
        network_from_description({"_target_": "collections.Counter", "iterable": 3})
