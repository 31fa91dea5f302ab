# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from scripts.errors import find_input_error

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"

TINY_NETWORKS: dict[str, Any] = {
    "patch_size": [32, 32],
    "network_channels": [4, 6, 8],
    "guidance_channels": [4, 6],
    "discriminator_def#channels": 4,
    "discriminator_def#num_layers_d": 2,
}
# Two steps of a tiny network on 32x32 pictures.
TINY: dict[str, Any] = {
    "device": "cpu",
    "epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 2,
    "val_interval": 1,
    **TINY_NETWORKS,
    "restoration_epochs": 1,
    "warmup_epochs": 1,
    "bilevel#settings#frozen_task_steps": 2,
    "mlflow": False,
}
UNET = {"downstream_def#channels": [4, 6]}


def write_picture(path: Path, seed: int, contrast: float = 1.0, size: int = 32, colour: bool = False) -> None:
    """A grey or RGB picture: a bright square at a place of its own on noise."""
    random = np.random.RandomState(seed)
    pixels = 40 + 20 * random.rand(size, size, 3)
    place = 1 + seed % max(1, size - 18)
    pixels[place : place + 14, place : place + 12] += 140 * contrast
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels.astype(np.uint8))
    (picture if colour else picture.convert("L")).save(path)


def write_dataset(folder: Path, high_quality: int = 4) -> Path:
    """Six low-quality pictures with references and some high-quality ones, as folders."""
    for number in range(6):
        write_picture(folder / "lq" / f"patient{number}.png", number, contrast=0.5)
        write_picture(folder / "references" / f"patient{number}.png", number)
    for number in range(high_quality):
        write_picture(folder / "hq" / f"other{number}.png", 10 + number)
    return folder


def write_labels(folder: Path) -> Path:
    """A mask of the square for every picture of a data set."""
    for file in [*folder.glob("lq/*.png"), *folder.glob("hq/*.png")]:
        mask = np.asarray(Image.open(file).convert("L")) > 100
        label = folder / "labels" / file.parent.name / file.name
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8)).save(label)
    return folder


def as_arguments(settings: Mapping[str, object]) -> list[str]:
    """Settings as the words of a command line."""
    return [text for name, value in settings.items() for text in (f"--{name}", str(value).replace(" ", ""))]


def refused(do: Callable[..., object], *arguments: Any, **settings: Any) -> str:
    """The sentence with which something is refused, however MONAI wraps it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps it, see find_input_error
        do(*arguments, **settings)
    error = find_input_error(caught.value)
    assert error is not None, caught.value
    assert "\n" not in str(error)
    return str(error)


_load_config_file = ConfigParser.load_config_file


@cache
def _parsed(file: Path, changed: int) -> dict[str, Any]:
    return _load_config_file(file)


@pytest.fixture(scope="module", autouse=True)
def _configurations_are_parsed_once() -> Iterator[None]:
    """Parsing train.yaml takes as long as a run that is refused: each state of a file is parsed once, and copied."""

    def copied(filepath: str | Path, **settings: Any) -> dict[str, Any]:
        file = Path(filepath).resolve()
        if settings or not file.is_file():
            return _load_config_file(filepath, **settings)
        return deepcopy(_parsed(file, file.stat().st_mtime_ns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigParser, "load_config_file", staticmethod(copied))
        yield


@pytest.fixture
def dataset_dir(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


@pytest.fixture
def labelled_dir(dataset_dir: Path) -> Path:
    return write_labels(dataset_dir)


Run = Callable[..., ConfigWorkflow]


@pytest.fixture
def run(dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one of the configurations' runs in this process, with the tiny settings and any others."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the runs install their own

    def run_bundle(run_id: str = "training", overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigWorkflow:
        own_network = {"classification.yaml", "dynunet.yaml"} & set(overlays)
        places = {name: str(tmp_path / name) for name in ("output_dir", "model_dir")}
        workflow = ConfigWorkflow(
            config_file=[str(CONFIGS / name) for name in ("train.yaml", *overlays)],
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            run_id=run_id,
            **{"dataset_dir": str(dataset_dir), **places, **TINY, **({} if own_network else UNET), **overrides},
        )
        workflow.initialize()
        workflow.run()
        return workflow

    return run_bundle
