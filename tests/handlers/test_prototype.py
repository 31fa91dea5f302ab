# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset

from scripts.cues import collect_cues
from scripts.errors import InputError
from scripts.handlers.prototype import PrototypeUpdate
from scripts.model_spec import ModelSpec


class MeanCue(torch.nn.Module):
    """The cue of an image is its mean intensity, with noise and a trace of gradients while training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.prototypes: list[torch.Tensor] = []
        self.batch_sizes: list[int] = []

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert guide.ndim == 4
        self.batch_sizes.append(len(guide))
        mean = self.weight * guide.mean(dim=(1, 2, 3))[:, None] + (torch.rand(1) if self.training else 0)
        return mean, torch.zeros_like(mean)

    def set_prototype(self, cues: torch.Tensor, std: torch.Tensor | None = None) -> None:
        self.prototypes.append(cues)
        self.std = std


def ramp(level: float, *shape: int) -> torch.Tensor:
    """Return a varied image with the mean intensity ``level``."""
    return level + torch.linspace(-0.1, 0.1, int(np.prod(shape))).reshape(shape)


def test_every_image_gives_its_cue() -> None:
    images = torch.stack([ramp(level, 1, 4, 4) for level in (0.2, 0.4, 0.6)])
    cues = collect_cues(MeanCue(), [images[:2], images[2:]])
    torch.testing.assert_close(cues[:, 0], torch.tensor([0.2, 0.4, 0.6]))


def test_every_slice_of_a_volume_gives_a_cue_in_a_2d_network() -> None:
    volume = torch.stack([ramp(level, 1, 4, 4) for level in (0.2, 0.4, 0.6)], dim=2)
    cues = collect_cues(MeanCue(), [{"image": volume[None]}], slice_axis=1)
    torch.testing.assert_close(cues[:, 0], torch.tensor([0.2, 0.4, 0.6]))


def test_constant_images_give_no_cue() -> None:
    images = torch.stack([ramp(0.5, 1, 4, 4), torch.zeros(1, 4, 4)])
    assert len(collect_cues(MeanCue(), [images])) == 1


def test_slices_go_through_in_batches() -> None:
    network = MeanCue()
    collect_cues(network, [ramp(0.5, 1, 1, 4, 4, 5)], batch_size=2)
    assert network.batch_sizes == [2, 2, 1]


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_network_comes_back(training: bool) -> None:
    network = MeanCue().train(training)
    cues = collect_cues(network, [ramp(0.5, 1, 1, 4, 4)])
    assert network.training is training
    assert not cues.requires_grad
    torch.testing.assert_close(cues, torch.tensor([[0.5]]))


class CarelessDataset(Dataset):
    """Draws from every global random state."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        random.random()
        np.random.rand()
        return {"image": ramp(0.5, 1, 4, 4) + 0.01 * torch.rand(1)}


def test_global_random_states_stay() -> None:
    loader = DataLoader(CarelessDataset([0, 1, 2]), batch_size=2)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    collect_cues(MeanCue(), loader)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


@pytest.mark.parametrize("batches", [[], [torch.zeros(2, 1, 4, 4)]], ids=["empty", "constant"])
def test_set_without_a_usable_image_is_refused(batches: list[torch.Tensor]) -> None:
    with pytest.raises(InputError, match="high-quality set"):
        collect_cues(MeanCue(), batches)


@pytest.mark.parametrize(("interval", "max_epochs", "updates"), [(1, 3, 3), (2, 4, 2), (2, 5, 3), (9, 2, 1)])
def test_prototype_is_renewed_every_interval_and_at_the_end(interval: int, max_epochs: int, updates: int) -> None:
    network = MeanCue()
    engine = Engine(lambda engine, batch: None)
    PrototypeUpdate(network, [ramp(0.5, 2, 1, 4, 4)], interval=interval).attach(engine)
    engine.run([0], max_epochs=max_epochs)
    assert len(network.prototypes) == updates
    assert network.prototypes[-1].shape == (2, 1)


def test_interval_below_one_is_refused() -> None:
    with pytest.raises(InputError):
        PrototypeUpdate(MeanCue(), [], interval=0)


def test_the_description_keeps_a_prototype_of_every_style() -> None:
    images = [ramp(level, 1, 1, 4, 4) for level in (0.2, 0.4, 0.6)] + [torch.zeros(1, 1, 4, 4)]
    description = ModelSpec({}, (0.5, 99.5))
    network = MeanCue()
    handler = PrototypeUpdate(
        network, images, spatial_dims=2, styles=["one", None, "one", "other"], description=description
    )
    handler.update()
    assert len(network.prototypes[0]) == 3
    assert description.styles is not None
    assert list(description.styles) == ["one"]  # the other style's only image is constant
    assert description.styles["one"]["mean"] == pytest.approx([0.4])
    assert description.styles["one"]["std"] == pytest.approx([0.2])
    assert network.std is not None
    assert network.std.tolist() == pytest.approx([0.2])  # within the style; over all images it is 0.16


def test_a_set_without_styles_leaves_the_description_alone() -> None:
    description = ModelSpec({}, (0.5, 99.5))
    PrototypeUpdate(MeanCue(), [ramp(0.2, 1, 1, 4, 4)], styles=[None], description=description).update()
    assert description.styles is None
