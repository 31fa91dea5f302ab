# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from monai.transforms import Compose, RandFlipd, RandSpatialCropd

from scripts.data import SeededSamples


def transforms(*keys: str) -> Compose:
    keys = keys or ("image", "label")
    return Compose([RandSpatialCropd(keys, (8, 8), random_size=False), RandFlipd(keys, prob=0.5, spatial_axis=0)])


def test_draws_of_two_sets_are_alike() -> None:
    raw = [{"image": torch.rand(1, 12, 12), "label": torch.full((1, 12, 12), float(n))} for n in range(3)]
    enhanced = [{"image": 1 - entry["image"], "label": entry["label"]} for entry in raw]
    draws = [SeededSamples(items, 9, seed=4, random_transforms=transforms()) for items in (raw, enhanced)]
    assert all(torch.allclose(draws[0][i]["image"], 1 - draws[1][i]["image"]) for i in range(9))
    assert sorted(int(draws[0][i]["label"].flatten()[0]) for i in range(3, 6)) == [0, 1, 2]


def test_every_place_and_every_seed_has_an_augmentation_of_its_own() -> None:
    items = [{"image": torch.rand(1, 40, 40), "label": torch.zeros(1, 40, 40)}]
    streams = [SeededSamples(items, 3, seed, transforms()) for seed in (0, 1)]
    crops = {tuple(draws[place]["image"].flatten().tolist()) for draws in streams for place in range(3)}
    assert len(crops) == 6


def test_a_label_that_is_no_image_is_left_as_it_is() -> None:
    items = [{"image": torch.rand(1, 40, 40), "label": torch.tensor(3)}]
    draw = SeededSamples(items, 1, seed=0, random_transforms=transforms("image"), vary_label=False)[0]
    assert draw["image"].shape == (1, 8, 8)
    assert int(draw["label"]) == 3
