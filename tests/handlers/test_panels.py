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
from PIL import Image

from scripts.errors import InputError
from scripts.handlers.panels import ImagePanels, compose_panel, difference_colours


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
