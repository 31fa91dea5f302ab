# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from scripts.engines import EnhancementEvaluator
from scripts.inferers import EnhancementInferer
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


def test_an_image_is_enhanced_under_the_mean_cue_of_its_guides_slices() -> None:
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5)
    for modulation in network.enhancer.modulation:
        nn.init.normal_(modulation.norm.scale_and_shift.weight)
    batch = {"image": torch.rand(1, 1, 16, 16, 2), "guide": torch.rand(1, 1, 20, 18, 3)}
    evaluator = EnhancementEvaluator("cpu", [batch], network, EnhancementInferer(2))
    evaluator.run()
    (output,) = evaluator.state.output
    network.eval()
    with torch.no_grad():
        cue = network.encode_guide(batch["guide"][0].movedim(-1, 0))[0].mean(0, keepdim=True)
        expected = network.enhance_with_cue(batch["image"][..., 1], cue)
        by_prototype = network(batch["image"][..., 1])
    torch.testing.assert_close(output["pred"][..., 1], expected[0])
    assert not torch.allclose(output["pred"][..., 1], by_prototype[0], atol=1e-3)
