# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The cues of whole images: of a study, or of the high-quality set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.networks import eval_mode
from torch import nn

from .errors import InputError
from .rng_state import preserve_rng_state
from .tensors import without_metadata

__all__ = ["as_network_batch", "collect_cues", "collect_cues_by_image"]


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
    return torch.cat(collect_cues_by_image(network, batches, device, key, spatial_dims, slice_axis, batch_size))


def collect_cues_by_image(
    network: nn.Module,
    batches: Iterable[Any],
    device: torch.device | str = "cpu",
    key: str = "image",
    spatial_dims: int = 2,
    slice_axis: int = 2,
    batch_size: int = 16,
) -> list[torch.Tensor]:
    """Return the cues of every image, (n, cue_channels) each, n 0 of a constant one: see :func:`collect_cues`."""
    encode: Any = network.encode_guide
    cues: list[torch.Tensor | None] = []
    with preserve_rng_state(), eval_mode(network):
        for batch in batches:
            images = batch[key] if isinstance(batch, Mapping) else batch
            for image in without_metadata(images):
                planes = as_network_batch(image, spatial_dims, slice_axis)
                varied = planes.flatten(1).amax(1) > planes.flatten(1).amin(1)
                chunks = [chunk for chunk in torch.split(planes[varied], batch_size) if len(chunk)]
                found = [encode(chunk.to(device))[0] for chunk in chunks]
                cues.append(torch.cat(found) if found else None)
    known = [own for own in cues if own is not None]
    if not known:
        raise InputError("The high-quality set has no image that is not constant: the prototype needs at least one.")
    return [known[0][:0] if own is None else own for own in cues]


def as_network_batch(case: torch.Tensor, spatial_dims: int, slice_axis: int = 2) -> torch.Tensor:
    """Return a case, (C, *spatial), as a batch for a network: (1, C, *spatial), or a volume's slices (D, C, H, W).

    Raises:
        InputError: when the case fits neither way.
    """
    dims = case.ndim - 1
    if dims == spatial_dims:
        return case[None]
    if dims == 3 and spatial_dims == 2:
        return case.movedim(slice_axis + 1, 0)
    raise InputError(f"An image with {dims} spatial dimensions does not fit a {spatial_dims}-D network.")
