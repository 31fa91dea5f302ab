# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from scripts.errors import InputError
from scripts.inferers import ConsistentInferer
from scripts.source_tone import with_tone_of


def smooth(*shape: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(1, shape[0], 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, shape[1:], mode="bicubic").clamp(0.1, 0.9)


def test_a_clean_image_of_another_tone_gets_the_tone_of_the_noisy_source() -> None:
    clean = smooth(2, 128, 128)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    toned = with_tone_of(noisy, 0.3 + 0.5 * clean)
    torch.testing.assert_close(toned, clean, atol=0.02, rtol=0)


def test_a_contrast_that_is_turned_round_stays_and_gets_the_mean() -> None:
    clean = smooth(1, 64, 64)
    toned = with_tone_of(0.8 * clean, 1 - clean)
    assert float(toned.mean()) == pytest.approx(0.8 * float(clean.mean()), abs=0.02)
    assert float(torch.corrcoef(torch.stack([toned.flatten(), clean.flatten()]))[0, 1]) < -0.9


@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (1, 1, 8, 8, 4)])
def test_small_and_constant_images_and_volumes_are_taken(shape: tuple[int, ...]) -> None:
    flat = with_tone_of(torch.full(shape, 0.4), torch.full(shape, 0.7))
    torch.testing.assert_close(flat, torch.full(shape, 0.4))
    assert with_tone_of(torch.rand(shape), torch.rand(shape)).shape == shape


def test_another_tone_is_refused() -> None:
    with pytest.raises(InputError, match='tone is "input": set it to guide or source'):
        ConsistentInferer(2, tone="input")
