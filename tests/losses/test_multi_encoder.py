# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from torch import nn

from scripts.losses import MultiEncoderLoss
from scripts.networks import with_frozen_weights


def test_equal_features_cost_nothing() -> None:
    features = {"a": [torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)]}
    assert float(MultiEncoderLoss()(features, features)) == 0.0


def test_contrast_and_brightness_of_features_cost_nothing() -> None:
    features = torch.rand(2, 3, 8, 8)
    loss = MultiEncoderLoss(eps=1e-12)({"a": [3.0 * features + 1.0]}, {"a": [features]})
    assert float(loss) < 1e-5


def test_moved_content_costs() -> None:
    features = torch.rand(2, 3, 8, 8)
    assert float(MultiEncoderLoss()({"a": [features.roll(2, dims=2)]}, {"a": [features]})) > 0.1


def test_finest_levels_are_skipped_but_never_the_coarsest() -> None:
    fine, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4)
    loss = MultiEncoderLoss(skip_levels=1)
    assert float(loss({"a": [torch.rand(1, 2, 8, 8), coarse]}, {"a": [fine, coarse]})) == 0.0
    assert float(loss({"a": [torch.rand(1, 2, 8, 8)]}, {"a": [fine]})) > 0.0


def test_every_encoder_counts_the_same() -> None:
    a, b = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 8, 8)
    alone = MultiEncoderLoss()({"x": [a]}, {"x": [b]})
    both = MultiEncoderLoss()({"x": [a], "y": [b]}, {"x": [b], "y": [b]})
    torch.testing.assert_close(both, alone / 2)


def test_no_gradient_reaches_the_targets() -> None:
    target = torch.rand(1, 2, 8, 8, requires_grad=True)
    pred = torch.rand(1, 2, 8, 8, requires_grad=True)
    MultiEncoderLoss()({"a": [pred]}, {"a": [target]}).backward()
    assert target.grad is None
    assert pred.grad is not None


def test_gradient_agrees_with_finite_differences() -> None:
    target = [torch.rand(1, 2, 3, 3, dtype=torch.float64)]
    pred = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: MultiEncoderLoss()({"a": [x]}, {"a": target}), pred)


def test_judge_passes_gradients_to_its_input_and_none_to_its_weights() -> None:
    encoder, image = nn.Conv2d(1, 2, 3), torch.rand(1, 1, 8, 8, requires_grad=True)
    with_frozen_weights(encoder, image).sum().backward()
    assert encoder.weight.grad is None
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
