# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from scripts.networks import DetailDiscriminator


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (1, 3, 33, 40), (1, 2, 24, 24, 24)])
@pytest.mark.parametrize("detail_levels", [0, 1, 2])
def test_features_end_with_one_logit_per_patch(shape: tuple[int, ...], detail_levels: int) -> None:
    network = DetailDiscriminator(len(shape) - 2, shape[1], 4, num_layers_d=2, detail_levels=detail_levels)
    features = network(torch.rand(shape))
    assert len(features) == 4
    assert features[-1].shape[:2] == (shape[0], 1)


def test_noise_is_learned_where_a_plain_discriminator_stays_at_chance() -> None:
    def loss_after_training(detail_levels: int) -> float:
        torch.manual_seed(0)
        network = DetailDiscriminator(2, 1, 8, num_layers_d=2, detail_levels=detail_levels)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.999))
        losses = []
        for _ in range(60):
            smooth = torch.nn.functional.interpolate(torch.rand(8, 1, 5, 5), size=32, mode="bicubic")
            clean, noisy = smooth[:4], smooth[4:] + 0.05 * torch.randn(4, 1, 32, 32)
            loss = 0.5 * ((network(clean)[-1] - 1).square().mean() + network(noisy)[-1].square().mean())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses[-10:]) / 10

    assert loss_after_training(1) < 0.5 * loss_after_training(0)


def test_details_pass_gradients_to_the_image() -> None:
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    DetailDiscriminator(2, 1, 4)(image)[-1].sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
