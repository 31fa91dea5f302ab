# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Training the downstream network alone, on what a trained enhancement makes of its images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.networks import eval_mode
from monai.transforms import MapTransform
from torch import nn

from .errors import require
from .model_spec import ModelSpec
from .tasks import Task
from .tensors import without_metadata

__all__ = ["EnhanceImaged", "check_downstream_training", "describe_downstream"]


class EnhanceImaged(MapTransform):
    """Put the enhanced image, in [0, 1] as the network gives it, in the place of a prepared image.

    Args:
        keys: keys of the images, (C, *spatial) in [0, 1].
        network: the trained network; ``torch.nn.Identity()`` leaves the images as they are.
        inferer: how the network is called, slice by slice for instance.
        device: where the network is.
        allow_missing_keys: whether a key that an item lacks is skipped.

    Returns of ``__call__``: the item with images of the same shape and geometry, on the CPU.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        inferer: Inferer,
        device: torch.device | str = "cpu",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.network = network
        self.inferer = inferer
        self.device = torch.device(device)

    @torch.no_grad()
    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Enhance the images of one item."""
        item = dict(data)
        with eval_mode(self.network):
            for key in self.key_iterator(item):
                image = item[key]
                enhanced = self.inferer(without_metadata(image)[None].to(self.device), self.network)[0].float().cpu()
                item[key] = MetaTensor(enhanced).copy_meta_from(image) if isinstance(image, MetaTensor) else enhanced
        return item


def check_downstream_training(settings: Mapping[str, Any], task: Task | None, model_file: str | Path) -> None:
    """Refuse settings and data with which the downstream network cannot be trained alone.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.
        task: of the downstream network; None without labels.
        model_file: of the trained enhancement, ``model.pt``.

    Raises:
        InputError: naming the setting or the list, and for settings that are not those of the trained network.
    """
    require(
        settings["task"] != "none", "The downstream network needs a task: set it to segmentation or classification."
    )
    require(task is not None, "The downstream network needs labels: no entry of training_lq has one.")
    for name in ("pause_after", "early_stop#patience"):
        require(settings.get(name) is None, f"--{name} is of the run training: training S ends at --epochs.")
    spec = ModelSpec.load(model_file)
    trained = {
        "spatial_dims": spec.network["spatial_dims"],
        "channels": spec.network["in_channels"],
        "slice_axis": spec.slice_axis,
        "percentiles": list(spec.percentiles),
        "window": None if spec.window is None else list(spec.window),
    }
    for name, value in trained.items():
        given = settings.get(name)  # without a setting that is None
        given = list(given) if isinstance(given, (list, tuple)) else given
        require(given == value, f"The enhancement was trained with {name} {value}, not {given}: set it likewise.")


def describe_downstream(model_file: str | Path, task: Task, definition: Any) -> None:
    """Write into ``model.json`` how the downstream network beside it is built, see :meth:`scripts.tasks.Task.describe`.

    Args:
        model_file: ``model.pt``.
        task: of the downstream network.
        definition: of the network.
    """
    spec = ModelSpec.load(model_file)
    spec.downstream = task.describe(definition)
    spec.save(model_file)
