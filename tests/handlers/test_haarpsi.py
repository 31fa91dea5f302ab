# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from scripts.handlers.haarpsi import haarpsi

# Of piq 0.8.0, haarpsi(x, y, data_range=1.0, reduction="none"), for the pairs of noisy_pairs().
OF_PIQ = [0.6602, 0.6649, 0.6601, 0.6560]


def noisy_pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for shape in ((2, 1, 64, 64), (1, 1, 65, 96), (1, 1, 96, 113)):
        x = torch.nn.functional.avg_pool2d(torch.rand(shape, generator=generator), 3, 1, 1)
        pairs.append((x, (x + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1)))
    return pairs


def test_values_are_those_of_another_implementation() -> None:
    found = torch.cat([haarpsi(y, x) for x, y in noisy_pairs()])
    assert found.tolist() == pytest.approx(OF_PIQ, abs=1e-4)


def test_equal_images_have_one_and_noise_takes_from_it() -> None:
    x, y = noisy_pairs()[0]
    assert haarpsi(x, x).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert (haarpsi((x + y) / 2, x) > haarpsi(y, x)).all()


def test_two_images_without_any_detail_are_alike() -> None:
    assert haarpsi(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)).tolist() == pytest.approx([1.0], abs=1e-4)


def test_channels_count_alike() -> None:
    x, y = noisy_pairs()[0]
    both = haarpsi(torch.cat([x, y], dim=1), torch.cat([x, x], dim=1))
    torch.testing.assert_close(both, (haarpsi(x, x) + haarpsi(y, x)) / 2)
