# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from scripts.engines import EnhancementEvaluator
from scripts.networks import HQGNet


def evaluated(downstream: nn.Module, **arguments: bool) -> dict[str, torch.Tensor]:
    """What the evaluator puts out for one image with its reference, through networks that begin in training mode."""
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5)
    batch = {"image": torch.rand(1, 1, 16, 16), "reference": torch.rand(1, 1, 16, 16), "fname": "P000"}
    evaluator = EnhancementEvaluator("cpu", [batch], network, SimpleInferer(), downstream.train(), **arguments)
    evaluator.run()
    (output,) = evaluator.state.output
    return output


def test_the_downstream_network_reads_in_evaluation_mode() -> None:
    output = evaluated(nn.Dropout(0.5))
    assert torch.equal(output["task_pred"], output["pred"])


@pytest.mark.parametrize("read_originals", [False, True])
def test_it_reads_input_and_reference_where_that_is_asked_for(read_originals: bool) -> None:
    output = evaluated(nn.Identity(), read_originals=read_originals)
    assert ("task_image" in output, "task_reference" in output) == (read_originals, read_originals)
    assert "fname" not in output
