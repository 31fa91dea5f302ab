# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference that fits the image to the network: whole images, or volumes slice by slice, padded where needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SliceInferer

from scripts.errors import InputError
from scripts.networks import pad_to_multiple


class EnhancementInferer(Inferer):
    """Run a 2-D or 3-D network on whole images, and a 2-D network on volumes slice by slice.

    Whole planes go through the network, never patches: the cue and the normalisation depend on the entire plane.

    Args:
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        slice_axis: spatial axis (0, 1 or 2) of a volume along which its slices are stacked. Defaults to 2, the axial
            direction of a volume in RAS orientation.
        batch_size: number of slices that go through the network together. Defaults to 8.

    Raises:
        InputError: when an argument is out of range.
    """

    def __init__(self, spatial_dims: int, slice_axis: int = 2, batch_size: int = 8) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise InputError(f"The inferer's spatial_dims must be 2 or 3, not {spatial_dims}.")
        if slice_axis not in (0, 1, 2):
            raise InputError(f"slice_axis must be 0, 1 or 2, the spatial axis of a volume, not {slice_axis}.")
        if batch_size < 1:
            raise InputError(f"The inferer's batch_size must be at least 1, not {batch_size}.")
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.batch_size = batch_size

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``network(inputs, *args, **kwargs)``, of the volume where ``inputs`` is one.

        Args:
            inputs: images, (B, C, *spatial), with as many spatial dimensions as the network or, for a 2-D network,
                one more.
            network: the network, from (B, C, *spatial) to a tensor of the same spatial shape.
            args: further positional arguments of the network; every batch of slices gets the same.
            kwargs: further keyword arguments of the network; every batch of slices gets the same.

        Returns:
            The prediction, (B, C', *spatial of ``inputs``).

        Raises:
            InputError: when the image has another number of spatial dimensions.
        """
        dims = inputs.ndim - 2
        if dims == self.spatial_dims:
            return network(inputs, *args, **kwargs)
        if dims != 3 or self.spatial_dims != 2:
            raise InputError(
                f"An image with {dims} spatial dimensions does not fit a {self.spatial_dims}-D network: "
                "use a network with the right spatial_dims."
            )
        plane = [size for axis, size in enumerate(inputs.shape[2:]) if axis != self.slice_axis]
        slices = SliceInferer(spatial_dim=self.slice_axis, roi_size=plane, sw_batch_size=self.batch_size)
        # SliceInferer drops further arguments of the network, so they are bound here.
        return slices(inputs, lambda batch: network(batch, *args, **kwargs))


class SegmentationInferer(EnhancementInferer):
    """Run a segmentation network, which may need sizes that its strides divide, on images of any size.

    Images are padded at their ends, with edge values, and the logits cropped back.

    Args:
        spatial_dims: see :class:`EnhancementInferer`.
        slice_axis: likewise.
        batch_size: likewise.
        divisor: every spatial size is padded to a multiple of it. Defaults to 16.
    """

    def __init__(self, spatial_dims: int, slice_axis: int = 2, batch_size: int = 8, divisor: int = 16) -> None:
        super().__init__(spatial_dims, slice_axis, batch_size)
        self.divisor = divisor

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the logits, (B, K, *spatial of ``inputs``); arguments as of :class:`EnhancementInferer`."""
        return super().__call__(inputs, lambda images: self._padded(images, network, *args, **kwargs))

    def _padded(self, images: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        logits: torch.Tensor = network(pad_to_multiple(images, self.divisor), *args, **kwargs)
        for axis in range(2, images.ndim):
            logits = logits.narrow(axis, 0, images.shape[axis])
        return logits


class ClassificationInferer(EnhancementInferer):
    """Run a classification network on whole images; a volume of a 2-D network gets the mean logits of its slices.

    Args: those of :class:`EnhancementInferer`.
    """

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the logits, (B, K); arguments as of :class:`EnhancementInferer`."""
        if inputs.ndim - 2 == self.spatial_dims:
            return network(inputs, *args, **kwargs)
        if inputs.ndim != 5:
            return super().__call__(inputs, network, *args, **kwargs)
        volumes = inputs.movedim(self.slice_axis + 2, 1)
        return torch.stack(
            [
                torch.cat([network(chunk, *args, **kwargs) for chunk in volume.split(self.batch_size)]).mean(dim=0)
                for volume in volumes
            ]
        )
