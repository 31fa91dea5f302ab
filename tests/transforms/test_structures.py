# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch

from scripts.errors import InputError
from scripts.transforms import RandStructuresd

SHAPES = [(1, 40, 48), (3, 32, 32), (1, 20, 24, 16)]


def drawn(seed: int, image: torch.Tensor, **arguments: Any) -> torch.Tensor:
    transform = RandStructuresd("clean", prob=1.0, **arguments).set_random_state(seed)
    return transform({"clean": image})["clean"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_structure_covers_its_share_and_leaves_the_rest(seed: int, shape: tuple[int, ...]) -> None:
    image = torch.full(shape, 0.5)
    result = drawn(seed, image, number=(1, 1), share=(0.05, 0.05), width=(1e-6, 1e-6), mix=(1.0, 1.0))
    changed = (result != image).any(0)
    assert 0.03 <= changed.float().mean() <= 0.06
    assert result[:, changed].std() < 1e-6  # one value
    assert (image == 0.5).all()  # the cache is not written into


def test_results_stay_in_range_and_follow_from_the_seed() -> None:
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        result = drawn(seed, image)
        assert float(result.min()) >= 0
        assert float(result.max()) <= 1
        torch.testing.assert_close(result, drawn(seed, image), rtol=0, atol=0)
    assert not torch.equal(drawn(0, image), drawn(1, image))


def test_all_keys_get_the_same_structures_and_missing_ones_are_passed_by() -> None:
    transform = RandStructuresd(["clean", "guide", "absent"], prob=1.0).set_random_state(0)
    result = transform({"clean": torch.zeros(1, 24, 24), "guide": torch.zeros(1, 24, 24)})
    torch.testing.assert_close(result["clean"], result["guide"], rtol=0, atol=0)
    assert set(result) == {"clean", "guide"}


def test_the_probability_is_kept() -> None:
    image = torch.zeros(1, 16, 16)
    transform = RandStructuresd("clean", prob=0.25, mix=(1.0, 1.0)).set_random_state(0)
    changed = sum(bool((transform({"clean": image})["clean"] != image).any()) for _ in range(200))
    assert 30 <= changed <= 70


@pytest.mark.parametrize(
    "wrong", [{"number": (0, 2)}, {"share": (0.2, 0.1)}, {"share": (0.1, 1.0)}, {"mix": (0.5, 2.0)}]
)
def test_ranges_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="random structures"):
        RandStructuresd("clean", **wrong)
