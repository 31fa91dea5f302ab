# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The stored high-quality prototype, kept up to date during training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from torch import nn

from ..errors import InputError
from ..rng_state import preserve_rng_state
from .metrics import as_network_batch
from .periodic_update import PeriodicUpdate

__all__ = ["PrototypeUpdate", "collect_cues"]


def collect_cues(
    network: nn.Module,
    batches: Iterable[Any],
    device: torch.device | str = "cpu",
    key: str = "image",
    spatial_dims: int = 2,
    slice_axis: int = 2,
    batch_size: int = 16,
) -> torch.Tensor:
    """Return the cues (posterior means) of the high-quality set.

    Every slice of a volume gives a cue of its own when the network is 2-D, as it does in training; constant images
    (air) give none. The network is in evaluation mode meanwhile and in its former mode afterwards, there are no
    gradients, and the global random states of Python, NumPy and torch stay as they were.

    Args:
        network: has ``encode_guide``, from (B, C, *spatial) to mean and log-variance, each (B, cue_channels).
        batches: batches of high-quality images, (B, C, *spatial), bare or in dictionaries under ``key``; a data loader,
            say. It should give the whole set once, without random augmentation.
        device: where the network is.
        key: key of the image in a batch. Defaults to ``"image"``.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        batch_size: largest number of images that go through the network together.

    Returns:
        Cues, (N, cue_channels), on ``device``.

    Raises:
        InputError: when there is no image, or only constant ones.
    """
    encode: Any = network.encode_guide
    cues: list[torch.Tensor] = []
    with preserve_rng_state(), eval_mode(network):
        for batch in batches:
            images = batch[key] if isinstance(batch, Mapping) else batch
            images = images.as_tensor() if isinstance(images, MetaTensor) else images
            for image in images:
                planes = as_network_batch(image, spatial_dims, slice_axis)
                varied = planes.flatten(1).amax(1) > planes.flatten(1).amin(1)
                for chunk in torch.split(planes[varied], batch_size):
                    if len(chunk):
                        mean, _ = encode(chunk.to(device))
                        cues.append(mean)
    if not cues:
        raise InputError("The high-quality set has no image that is not constant: the prototype needs at least one.")
    return torch.cat(cues)


class PrototypeUpdate(PeriodicUpdate):
    """Ignite handler: renew the network's stored prototype, see :class:`PeriodicUpdate`.

    Args:
        network: has ``encode_guide`` and ``set_prototype``; the network that is validated and saved, so the averaged
            one where weights are averaged.
        batches: batches of the high-quality set, see :func:`collect_cues`.
        device: where the network is.
        interval: epochs between two updates. Defaults to 1.
        key: key of the image in a batch. Defaults to ``"image"``.
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        batch_size: largest number of images that go through the network together.

    Raises:
        InputError: when ``interval`` is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Iterable[Any],
        device: torch.device | str = "cpu",
        interval: int = 1,
        key: str = "image",
        spatial_dims: int = 2,
        slice_axis: int = 2,
        batch_size: int = 16,
    ) -> None:
        super().__init__(interval)
        self.network = network
        self.batches = batches
        self.device = device
        self.key = key
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.batch_size = batch_size

    def update(self) -> None:
        """Renew the prototype."""
        update: Any = self.network.set_prototype
        update(
            collect_cues(
                self.network,
                self.batches,
                self.device,
                self.key,
                self.spatial_dims,
                self.slice_axis,
                self.batch_size,
            )
        )
