# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from scripts.errors import InputError
from scripts.handlers.panels import ImagePanels, compose_panel, difference_colours, display_plane

RAS = np.diag([1.0, 1.0, 1.0, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume_with_mark(affine: np.ndarray, mark: tuple[int, int, int], shape: tuple[int, ...] = (5, 6, 7)) -> MetaTensor:
    pixels = torch.zeros(1, *shape)
    pixels[(0, *mark)] = 1
    return MetaTensor(pixels, affine=torch.as_tensor(affine))


def place_of_mark(plane: np.ndarray) -> tuple[int, int]:
    row, column = np.argwhere(plane == 1)[0]
    return int(row), int(column)


# The mark is at the patient's right, anterior and superior end of the middle slice.
@pytest.mark.parametrize(
    ("slice_axis", "mark", "shape"),
    [(2, (4, 5, 3), (6, 5)), (1, (4, 3, 6), (7, 5)), (0, (2, 5, 6), (7, 6))],
)
@pytest.mark.parametrize("affine", [RAS, LPS], ids=["RAS", "LPS"])
def test_anterior_or_superior_is_up_and_right_or_anterior_is_left(
    affine: np.ndarray, slice_axis: int, mark: tuple[int, int, int], shape: tuple[int, int]
) -> None:
    size = (5, 6, 7)
    if affine is LPS:
        mark = (size[0] - 1 - mark[0], size[1] - 1 - mark[1], mark[2])
    if slice_axis == 1:
        mark = (mark[0], size[1] // 2, mark[2])
    plane, _ = display_plane(volume_with_mark(affine, mark), slice_axis)
    assert plane.shape == shape
    assert place_of_mark(plane) == (0, 0)


def test_middle_slice_of_a_volume_is_shown() -> None:
    pixels = torch.arange(5.0).expand(1, 3, 3, 5)
    plane, _ = display_plane(pixels, slice_axis=2)
    assert (plane == 2).all()


@pytest.mark.parametrize("original_affine", [RAS, LPS], ids=["read by PIL", "read by ITK"])
def test_photograph_comes_out_as_it_was_taken(original_affine: np.ndarray) -> None:
    taken = np.arange(12).reshape(3, 4) / 11
    image = MetaTensor(
        torch.tensor(taken.T[None]),
        affine=torch.as_tensor(original_affine),
        meta={"filename_or_obj": "eye.png", "original_affine": original_affine},
    )
    np.testing.assert_allclose(display_plane(image)[0], taken, atol=1e-6)


def test_colour_image_keeps_its_channels_last() -> None:
    assert display_plane(torch.rand(3, 8, 10))[0].shape == (10, 8, 3)


def test_spacing_follows_the_rows_and_columns() -> None:
    volume = volume_with_mark(np.diag([1.0, 2.0, 5.0, 1.0]), (0, 0, 0))
    assert display_plane(volume, slice_axis=0)[1] == (5.0, 2.0)


def test_signs_of_a_difference_have_their_own_colours() -> None:
    red_below, red_zero, red_above = difference_colours(np.array([[-0.25, 0.0, 0.25]]), limit=0.5)[0]
    assert red_below[2] > red_below[0]
    assert red_zero.tolist() == [0, 0, 0]
    assert red_above[0] > red_above[2]


def test_differences_beyond_the_limit_have_the_strongest_colour() -> None:
    beyond, at = difference_colours(np.array([[3.0, 0.5]]), limit=0.5)[0]
    assert beyond.tolist() == at.tolist()


@pytest.mark.parametrize(
    ("keys", "columns"), [((), 3), (("guide",), 4), (("reference",), 5), (("guide", "reference"), 6)]
)
def test_columns_are_those_that_exist(keys: tuple[str, ...], columns: int) -> None:
    case: dict[str, Any] = dict.fromkeys(("image", "pred", *keys), np.zeros((240, 240)))
    assert compose_panel([case]).width == columns * (240 + 8) + 8


def test_small_pixels_are_repeated_not_blended() -> None:
    checkerboard = np.indices((12, 12)).sum(axis=0) % 2
    panel = np.asarray(compose_panel([{"image": checkerboard, "pred": checkerboard}], size=120))
    left = panel[:, 8:128]
    rows = np.flatnonzero((left == 255).all(axis=-1).sum(axis=1) == 60)
    assert len(rows) == 120


def test_pixels_keep_the_proportions_of_the_patient() -> None:
    case = {"image": np.ones((10, 20)), "pred": np.ones((10, 20)), "spacing": (4.0, 1.0)}
    panel = np.asarray(compose_panel([case], size=240))
    white = (panel[:, 8:128] == 255).all(axis=-1)
    assert white.all(axis=1).sum() == 240


def test_cases_without_reference_leave_a_gap() -> None:
    plane = np.ones((24, 24))
    both = [{"image": plane, "pred": plane, "reference": plane}, {"image": plane, "pred": plane}]
    assert compose_panel(both).width == compose_panel(both[:1]).width


def test_diverged_network_can_be_drawn() -> None:
    assert compose_panel([{"image": np.zeros((8, 8)), "pred": np.full((8, 8), np.nan)}]).size > (0, 0)


def test_panel_without_cases_is_refused() -> None:
    with pytest.raises(InputError, match="at least one case"):
        compose_panel([])


def run(panels: ImagePanels, outputs: list[Any], max_epochs: int = 1) -> None:
    engine = Engine(lambda engine, batch: batch)
    panels.attach(engine)
    engine.run(outputs, max_epochs=max_epochs)


def test_one_picture_per_interval_named_for_its_epoch(tmp_path: Path) -> None:
    output = [{"image": torch.rand(1, 8, 8), "pred": torch.rand(1, 8, 8)}]
    run(ImagePanels(tmp_path / "panels", interval=2), [output], max_epochs=4)
    assert sorted(path.name for path in (tmp_path / "panels").iterdir()) == [
        "panel_epoch_0002.png",
        "panel_epoch_0004.png",
    ]


def test_rows_end_at_max_cases(tmp_path: Path) -> None:
    heights = []
    for count in (2, 5):
        output = {"image": torch.rand(count, 1, 8, 8), "pred": torch.rand(count, 1, 8, 8)}
        run(ImagePanels(tmp_path, max_cases=2, prefix=f"{count}"), [output])
        heights.append(Image.open(tmp_path / f"{count}_epoch_0001.png").height)
    assert heights[0] == heights[1]


def test_pictures_draw_no_random_numbers(tmp_path: Path) -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    run(ImagePanels(tmp_path), [[{"image": torch.zeros(1, 8, 8), "pred": torch.zeros(1, 8, 8)}]])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


@pytest.mark.parametrize("arguments", [{"interval": 0}, {"max_cases": 0}, {"difference_limit": 0.0}])
def test_argument_out_of_range_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ImagePanels(tmp_path, **arguments)
