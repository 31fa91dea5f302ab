# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.metrics import SSIMMetric

from scripts.losses import RestorationLoss


def test_it_is_l1_and_the_lack_of_similarity() -> None:
    a, b = torch.rand(2, 1, 2, 1, 24, 24)[:, 0]
    ssim = SSIMMetric(2, win_size=7)(a, b).mean()
    expected = (a - b).abs().mean() + 0.3 * (1 - ssim)
    torch.testing.assert_close(RestorationLoss(2)(a, b), expected)
    torch.testing.assert_close(RestorationLoss(2, ssim_weight=0.0)(a, b), (a - b).abs().mean())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_restored_image_costs_nothing(dims: int) -> None:
    image = torch.rand(1, 1, *[12] * dims)
    assert float(RestorationLoss(dims)(image, image)) == pytest.approx(0.0, abs=1e-6)
