# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference that fits the image to the network: whole images, or volumes slice by slice, padded where needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import dense_patch_slices
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from torch.nn import functional as F

from .errors import InputError, require
from .networks import HQGNet, JointNorm, pad_to_multiple
from .planes import Range, axes_of_planes, resized, voxel_size, zoom_to
from .source_tone import TONES, with_tone_of
from .tensors import without_metadata
from .transforms import SLICE_AXIS

logger = logging.getLogger(__name__)


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
            The prediction, (B, C', *spatial of ``inputs``), with the metadata of ``inputs`` where these have some.

        Raises:
            InputError: when the image has another number of spatial dimensions.
        """
        # Every operation of a network on a tensor with metadata would look after these.
        result = self._computed(without_metadata(inputs), network, *args, **kwargs)
        return MetaTensor(result).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else result

    def _computed(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the prediction of images without metadata."""
        dims = inputs.ndim - 2
        if dims == self.spatial_dims:
            return network(inputs, *args, **kwargs)
        if dims != 3 or self.spatial_dims != 2:
            raise _other_dimensions(dims, self.spatial_dims)
        plane = [inputs.shape[axis + 2] for axis in axes_of_planes(dims, self.spatial_dims, self.slice_axis)]
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
        inputs = without_metadata(inputs)
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


def usable_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        InputError: when there is none on this machine.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f'The device "{device}" cannot be used ({reason}): set --device cpu, or cuda:0.') from error
    return found


class ConsistentInferer(Inferer):
    r"""Enhance an image or a volume of any size so that its parts agree.

    What the enhancer takes from an image as a whole is made the same for all of its parts:

    - the HQ cue :math:`v_z`, given, or the network's prototype;
    - the LQ code :math:`v_y`, the mean over parts that are spread evenly over the image;
    - where a plane (for a 3-D network, a volume) is larger than the window: mean and variance of the normalisations,
      of those parts taken together (:class:`scripts.networks.JointNorm`). Smaller planes go through the network whole
      and are normalised each by itself, as in training.

    Windows overlap and are blended with a Gaussian weight.

    A network knows structures of the size that they had in training. Where an image's pixels are smaller or larger than
    all of the training set's by more than half, its planes are resampled to them, enhanced, and the result is brought
    back. It then has the detail of an image of the training set.

    Args:
        spatial_dims: number of spatial dimensions of the network, 2 or 3.
        window: side length in pixels, or one for each axis of the network, of what goes through the network at once;
            rounded up to a multiple of the network's stride. Defaults to 1024 for a 2-D network and 96 for a 3-D one
            of 16 channels at its finest level, and to as many values of its features for wider ones.
        overlap: of neighbouring windows, as a fraction of the window; at least 0 and below 1.
        batch_size: number of slices that go through the network together.
        parts: from how many planes, at most, the LQ code is taken; from eight tiles where planes are tiled.
        engine: has ``enhance_with_cue`` and ``encode_image`` as the network does, and takes its place for whole planes;
            tiles share the moments of the network's own layers. Defaults to None: the network itself.
        pixel_size: of the training set, see :class:`scripts.model_spec.ModelSpec`. Defaults to None: planes stay as
            they are, as do those of images that do not know the size of their pixels.
        tone: whose brightness results have: ``"guide"``, or ``"source"``, see :func:`scripts.source_tone.with_tone_of`.
            Defaults to the guide.

    Attributes:
        cue: v_z, (1, cue_channels), of a guide of the user's choice, for calls that give none; None: the prototype.

    Raises:
        InputError: when an argument is out of range.
    """

    tiles = 8

    def __init__(
        self,
        spatial_dims: int,
        window: int | Sequence[int] | None = None,
        overlap: float = 0.25,
        batch_size: int = 4,
        parts: int = 16,
        engine: Any = None,
        pixel_size: Range | None = None,
        tone: str = "guide",
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise InputError(f"The inferer's spatial_dims must be 2 or 3, not {spatial_dims}.")
        require(tone in TONES, f'tone is "{tone}": set it to {" or ".join(TONES)}.')
        sides = None if window is None else ensure_tuple_rep(window, spatial_dims)
        if sides is not None and min(sides) < 1:
            raise InputError(f"window must be at least 1 pixel, not {min(sides)}.")
        if not 0 <= overlap < 1:
            raise InputError(f"overlap is a fraction of the window, at least 0 and below 1, not {overlap:g}.")
        if min(batch_size, parts) < 1:
            raise InputError(f"The inferer's batch_size and parts must be at least 1, not {min(batch_size, parts)}.")
        self.spatial_dims = spatial_dims
        self.window = sides
        self.overlap = overlap
        self.batch_size = batch_size
        self.parts = parts
        self.engine = engine
        self.pixel_size = pixel_size
        self.tone = tone
        self.cue: torch.Tensor | None = None
        self._told: set[str] = set()

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: HQGNet,
        cue: torch.Tensor | None = None,
        slice_axis: int | None = None,
    ) -> torch.Tensor:
        """Enhance one image.

        Args:
            inputs: (1, C, *spatial) in [0, 1], with as many spatial dimensions as the network or, for a 2-D network,
                one more. It may lie on another device than the network, where it does not fit there.
            network: in evaluation mode.
            cue: v_z, (1, cue_channels); where None, the inferer's own or else the stored prototype.
            slice_axis: spatial axis along which the slices of a volume are stacked. Defaults to None: what
                :class:`scripts.transforms.SliceAxisd` wrote into the image's metadata, else 2.

        Returns:
            The enhanced image, of the shape and on the device of ``inputs``.

        Raises:
            InputError: when the image has another number of spatial dimensions.
        """
        dims = inputs.ndim - 2
        if dims != self.spatial_dims and not (dims == 3 and self.spatial_dims == 2):
            raise _other_dimensions(dims, self.spatial_dims)
        slice_axis = _slice_axis(inputs) if slice_axis is None else slice_axis
        enhanced = self._enhanced(self.at_training_size(inputs, network, slice_axis), network, cue, slice_axis)
        enhanced = resized(enhanced, inputs.shape[2:], slice_axis)
        return enhanced if self.tone == "guide" else with_tone_of(without_metadata(inputs), enhanced)

    def at_training_size(
        self, inputs: torch.Tensor, network: HQGNet, slice_axis: int, pixel_size: Range | None = None
    ) -> torch.Tensor:
        """Return an image (1, C, *spatial) without metadata, resampled where its pixels differ from those of training.

        Args:
            inputs: in [0, 1].
            network: planes are made no smaller than it takes.
            slice_axis: spatial axis along which the slices of a volume are stacked.
            pixel_size: of images of another kind in training, such as guides. Defaults to None: the inferer's own.
        """
        size = self._size_as_in_training(inputs, pixel_size or self.pixel_size, network.minimum_size, slice_axis)
        return resized(without_metadata(inputs), size, slice_axis)

    def _size_as_in_training(
        self, inputs: torch.Tensor, wanted: Range | None, least: int, slice_axis: int
    ) -> list[int]:
        """Return the shape of an image at pixels of the size that they had in training; its own where that fits."""
        shape = list(inputs.shape[2:])
        own = voxel_size(inputs)
        if own is None or wanted is None:
            return shape
        axes = axes_of_planes(len(shape), self.spatial_dims, slice_axis)
        for axis, zoom in zip(axes, zoom_to([own[axis] for axis in axes], wanted), strict=True):
            shape[axis] = max(min(least, shape[axis]), round(shape[axis] * zoom))
        if shape != list(inputs.shape[2:]):
            self._tell([own[axis] for axis in axes])
        return shape

    def _tell(self, sizes: list[float]) -> None:
        """Say once of which pixels images are resampled: an archive has thousands."""
        told = " x ".join(f"{size:.3g}" for size in sizes)
        if told not in self._told:
            self._told.add(told)
            logger.info("Images with pixels of %s mm are brought to the pixel size of training.", told)

    def _enhanced(
        self, inputs: torch.Tensor, network: HQGNet, cue: torch.Tensor | None, slice_axis: int
    ) -> torch.Tensor:
        """Enhance an image without metadata, (1, C, *spatial), at the pixels that it has."""
        dims = inputs.ndim - 2
        device, prototype = network.prototype_mean.device, network.prototype_mean.unsqueeze(0)
        cue = next(given for given in (cue, self.cue, prototype) if given is not None).to(device)
        sliced = dims != self.spatial_dims
        plane = [inputs.shape[axis + 2] for axis in axes_of_planes(dims, self.spatial_dims, slice_axis)]
        window = [min(size, side) for size, side in zip(plane, self._window(network), strict=True)]
        tiled = window != plane
        engine: HQGNet = network if tiled or self.engine is None else self.engine
        if not sliced and not tiled:
            return engine.enhance_with_cue(inputs.to(device), cue).to(inputs.device)
        norm = JointNorm(network)
        parts = self._spread_parts(inputs, slice_axis if sliced else None, window, tiled)
        if tiled:
            with norm.measure():
                code = network.encode_parts(parts.to(device), cue)
        else:
            chunks = [engine.encode_image(chunk.to(device)) for chunk in parts.split(self.batch_size)]
            code = torch.cat(chunks).mean(dim=0, keepdim=True)

        # Beyond the edge of a window the image goes on; the convolutions' zeros would be a dark frame.
        margin = 4 * network.stride if tiled else 0

        def enhance(batch: torch.Tensor) -> torch.Tensor:
            wider = F.pad(batch, [margin] * (2 * self.spatial_dims), mode="replicate")
            pred = engine.enhance_with_cue(wider, cue, code)
            for axis in range(2, pred.ndim):
                pred = pred.narrow(axis, margin, batch.shape[axis])
            return pred

        settings: dict[str, Any] = {
            "overlap": self.overlap,
            "mode": "gaussian" if tiled else "constant",
            "sw_batch_size": 1 if tiled else self.batch_size,
            "sw_device": device,
            "device": inputs.device,
        }
        inferer: SlidingWindowInferer = (
            SliceInferer(spatial_dim=slice_axis, roi_size=window, **settings)
            if sliced
            else SlidingWindowInferer(roi_size=window, **settings)
        )
        with norm.apply() if tiled else nullcontext():
            enhanced: Any = inferer(inputs, enhance)
        return enhanced

    def _window(self, network: HQGNet) -> list[int]:
        """Side lengths of the window for a network."""
        sides: Sequence[int | float]
        if self.window is None:
            values = {2: 1024**2, 3: 96**3}[self.spatial_dims] * 16 / network.width
            sides = [values ** (1 / self.spatial_dims)] * self.spatial_dims
        else:
            sides = self.window
        stride = network.stride
        if self.window is not None and min(self.window) < 8 * stride:
            raise InputError(
                f"A window of {min(self.window)} pixels is mostly edge for this network: set --window to "
                f"{8 * stride} or more."
            )
        return [max(math.ceil(side / stride) * stride, network.minimum_size) for side in sides]

    def _spread_parts(
        self, inputs: torch.Tensor, slice_axis: int | None, window: Sequence[int], tiled: bool
    ) -> torch.Tensor:
        """Return parts of the image, (N, C, *network's spatial), that are spread evenly over it.

        They are planes where planes are not tiled, and otherwise tiles of half a window's side.
        """
        images = inputs if slice_axis is None else inputs[0].movedim(slice_axis + 1, 0)
        if not tiled:
            return images[_evenly(len(images), self.parts)]
        # Smaller tiles would be mostly border, where the network sees its zero padding; fewer see too little.
        side = [max(1, length // 2) for length in window]
        shape = tuple(images.shape[2:])
        places: list[tuple[Any, ...]] = [
            (index, slice(None), *tile)
            for index in range(len(images))
            for tile in dense_patch_slices(shape, side, side)
        ]
        return torch.stack([images[places[number]] for number in _evenly(len(places), self.tiles)])


def _slice_axis(image: torch.Tensor) -> int:
    """Return the axis of the slices that an image's metadata names, or else 2."""
    return int(image.meta.get(SLICE_AXIS, 2)) if isinstance(image, MetaTensor) else 2


def _other_dimensions(dims: int, spatial_dims: int) -> InputError:
    return InputError(
        f"An image with {dims} spatial dimensions does not fit a {spatial_dims}-D network: "
        "use a network with the right spatial_dims."
    )


def _evenly(length: int, count: int) -> list[int]:
    """Return at most ``count`` of the indices 0 to ``length - 1``, in the middles of equal parts."""
    count = min(length, count)
    return [int((number + 0.5) * length / count) for number in range(count)]
