# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Downstream networks that are trained on given images, and then read others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from monai.inferers import Inferer
from monai.networks import eval_mode
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import nn

from ..data import SeededSamples
from ..engines import train_downstream
from ..errors import require
from ..networks import reinitialized
from ..tasks import Task
from .downstream_data import Case, Item, Slicing, prepare_cases
from .downstream_scores import measure_task

__all__ = ["CleanReader", "Readers"]


@dataclass(frozen=True)
class Readers:
    """Train downstream networks S, and let them read.

    For one seed every S has the same initial weights, number of steps, batch size, cosine schedule of Adam's rate,
    draws and augmentation; only the images differ.

    Attributes:
        downstream: S, on ``device``; it is copied, and the copies' weights are drawn anew.
        task: of S.
        inferer: how S is called.
        spatial_dims: number of spatial dimensions of S.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        steps: training steps.
        batch_size: images in a step.
        learning_rate: Adam's, which falls to 0 along a cosine.
        random_transforms: augmentation of a slice with the keys ``image`` and, in segmentation, ``label``.
        device: where S is.
    """

    downstream: nn.Module
    task: Task
    inferer: Inferer
    spatial_dims: int
    slice_axis: int
    steps: int
    batch_size: int
    learning_rate: float
    random_transforms: Compose | None
    device: torch.device

    @property
    def slicing(self) -> Slicing:
        """How volumes are cut for S."""
        return Slicing(self.spatial_dims, self.slice_axis)

    def describe(self) -> str:
        """Return a sentence on S and its training, without its full stop."""
        return (
            f"S ({type(self.downstream).__name__}): {self.steps} steps of {self.batch_size} images, Adam at "
            f"{self.learning_rate:g} along a cosine"
        )

    def items(self, images: Sequence[torch.Tensor], cases: Sequence[Case]) -> list[Item]:
        """Return what S is trained on: the slices of images, (C, *spatial), with the labels of their cases."""
        return self.slicing.items(images, cases, self.task.image_labels)

    def train(self, items: Sequence[Item], seed: int, name: str) -> nn.Module:
        """Return a new S, trained on the items; the name stands at its progress bar."""
        network = reinitialized(self.downstream, seed)
        draws = self.draws(items, seed)
        train_downstream(network, draws, self.task.loss_function, self.batch_size, self.learning_rate, seed, name)
        return network

    def draws(self, items: Sequence[Item], seed: int) -> SeededSamples:
        """Return the samples of a training, in their order."""
        length = self.steps * self.batch_size
        return SeededSamples(items, length, seed, self.random_transforms, vary_label=self.task.image_labels)

    def read(self, network: nn.Module, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the logits of an S for every image, (K, *spatial) or (K,)."""
        with eval_mode(network):
            return [convert_to_tensor(self.inferer(image[None].to(self.device), network)[0]).cpu() for image in images]


@dataclass
class CleanReader:
    """An S that is trained on clean labelled images, and reads the results of several methods.

    Attributes:
        readers: train it.
        clean: prepared high-quality items with ``image`` and ``label``.
        seed: of the training.
    """

    readers: Readers
    clean: Iterable[Mapping[str, Any]]
    seed: int

    @property
    def task(self) -> Task:
        """Of S."""
        return self.readers.task

    @cached_property
    def network(self) -> nn.Module:
        """S, trained at first use.

        Raises:
            InputError: when no clean image has a label.
        """
        cases = prepare_cases(self.clean, self.task)
        require(bool(cases), "No high-quality training image has a label: there is nothing for a reader to learn from.")
        items = self.readers.items([case.image for case in cases], cases)
        return self.readers.train(items, self.seed, "S on clean images")

    def scores(self, images: Sequence[torch.Tensor], items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the scores of S on images, with the labels of their items.

        Args:
            images: (C, *spatial).
            items: each with ``image`` and ``label``.
        """
        cases = prepare_cases(items, self.task)
        return measure_task(self.readers.read(self.network, images), cases, self.task)
