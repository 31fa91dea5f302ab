# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import torch

from scripts.data import warn_of_small_patches


@pytest.mark.parametrize(
    ("shape", "patch", "warned"),
    [
        ((450, 900), (128, 128), "128 x 128 are 4 % of an image of 450 x 900"),
        ((450, 900), (224, 448), None),
        ((64, 64), (96, 112), None),  # padded to the crop
        ((96, 112, 300), (96, 112), None),  # slices of a volume
        ((256, 256, 200), (64, 64, 32), "64 x 64 x 32 are 1 % of an image of 256 x 256 x 200"),
    ],
)
def test_crops_that_are_a_small_part_of_the_images_are_told(
    shape: tuple[int, ...], patch: tuple[int, ...], warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_small_patches([{"image": torch.zeros(1, *shape)}] * 3, patch)
    assert (warned is None) == (not caplog.records)
    assert warned is None or warned in caplog.text


def test_the_image_in_the_middle_decides(caplog: pytest.LogCaptureFixture) -> None:
    sizes = (64, 64, 1000)
    with caplog.at_level(logging.WARNING):
        warn_of_small_patches(({"image": torch.zeros(1, size, size)} for size in sizes), (64, 64))
    assert not caplog.records
