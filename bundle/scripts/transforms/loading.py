# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading one image of any supported format, and checking it before training starts."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation
from monai.utils import CommonKeys, ImageMetaKey, convert_to_tensor, ensure_tuple, ensure_tuple_rep
from nibabel.affines import voxel_sizes

from ..errors import InputError
from ..io import PATIENT_SPACE, PIXEL_SPACE, SPACE, CaseImage, open_image
from ..io.upright import as_stored, upright
from .slices import ACQUISITION_AXIS, through_plane_axis

__all__ = ["PADDING", "CheckImaged", "OrientVolumesd", "ReadImaged", "check_same_grid", "image_name", "values_in_words"]

LARGEST_DISTANCE = 0.5
"""Voxels by which a label may lie beside its image: rounding of headers, and no more."""

PADDING = "_padding"
"""What the key of a source's padding adds to the key of the source."""


_ROUNDING = 1e-3  # of class numbers that a file scales, or a program has interpolated with rounding errors


class ReadImaged(MapTransform):
    """Read one file, or one DICOM series, into a channel-first :class:`monai.data.MetaTensor`.

    The image is that of :func:`scripts.io.open_image`, the reader of inference as well: in real-world units, with the
    smallest recorded value in place of pixel padding.

    Photographs are turned upright as their EXIF orientation says, as the programs show them with which labels are
    drawn; with ``source_key`` they stay as they are stored, since the result goes back there.

    Images are float32. Labels keep whole numbers: uint8 where the values fit, int32 otherwise; the indices of a
    label's palette are its classes.

    Args:
        keys: keys whose values are paths of files or of series folders; the array takes the path's place. An image may
            also be a list, the files of one series, or have been read before: a :class:`scripts.io.CaseImage`, or an
            array, (C, *spatial).
        label_keys: the keys, among these, of labels.
        allow_missing_keys: whether a key that an item lacks is skipped.
        even_spacing: whether a series with missing or unevenly spaced slices is refused. Defaults to True.
        source_key: where to keep the image as it was read, for :class:`scripts.transforms.RestoreSourced`; the places
            of its padding, if it has any, are kept under this key with ``_padding``. The axis of acquisition is then
            kept in ``meta["acquisition_axis"]``, where the file names it. A file whose result could not be written is
            refused, see :meth:`scripts.io.CaseImage.check_writable`. Defaults to None: it is not kept.
        nan_as_padding: whether NaN in an image of a file is padding, see
            :meth:`scripts.io.CaseImage.take_nan_as_padding`.

    Returns of ``__call__``: the item with arrays of shape (C, *spatial), where ``meta["filename_or_obj"]`` names the
    file, ``affine`` maps voxels to RAS millimetres, and ``meta["axis_space"]`` says whether it has a meaning.

    Raises:
        InputError: when a file cannot be read, or the slices of a series are missing or unevenly spaced, which no
            affine matrix describes; the sentence names it and says why. Also for a label that is no path but the class
            of a whole image, which is for :class:`scripts.transforms.ClassLabeld`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (CommonKeys.LABEL.value,),
        allow_missing_keys: bool = False,
        even_spacing: bool = True,
        source_key: str | None = None,
        nan_as_padding: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.even_spacing = even_spacing
        self.source_key = source_key
        self.nan_as_padding = nan_as_padding

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            value = item[key]
            if key in self.label_keys:
                if not isinstance(value, (str, os.PathLike)):
                    raise InputError(_no_label_image(value, key, data.get(CommonKeys.IMAGE.value)))
                item[key] = self._label(value, self._voxels(item))
            else:
                self._read(item, key)
        return item

    def _voxels(self, item: Mapping[Hashable, Any]) -> int | None:
        """How many voxels the image of a label has, which is read by now; None where there is none."""
        images = (item.get(key) for key in self.keys if key not in self.label_keys)
        return next((image[0].numel() for image in images if isinstance(image, torch.Tensor)), None)

    def _label(self, place: str | os.PathLike[str], voxels: int | None) -> torch.Tensor:
        case = self._opened(place, is_label=True, voxels=voxels)
        self._check_spacing(case)
        return _whole_numbers(self._turned(case.image))

    def _read(self, item: dict[Hashable, Any], key: Hashable) -> None:
        """Put the image in the place of its path, and its source beside it."""
        value = item[key]
        padding = axis = None
        if isinstance(value, (torch.Tensor, np.ndarray)):
            image = source = convert_to_tensor(value, dtype=torch.float32, track_meta=True)
        else:
            case = value if isinstance(value, CaseImage) else self._opened(value)
            if self.source_key is not None and case is not value:
                case.check_writable()
            self._check_spacing(case)
            if self.nan_as_padding:
                case.take_nan_as_padding()
            image, source, padding, axis = case.without_padding(), case.image, case.padding, case.slice_axis
            image = self._turned(image)
        if self.source_key is not None:
            image = image.clone()
            item[self.source_key] = source
            if padding is not None:
                item[f"{self.source_key}{PADDING}"] = padding
            if axis is not None:
                image.meta[ACQUISITION_AXIS] = axis
        item[key] = image

    @staticmethod
    def _opened(place: Any, is_label: bool = False, voxels: int | None = None) -> CaseImage:
        """Open a file, a folder or the files of a series, and let the image's metadata name it."""
        if isinstance(place, (list, tuple)):
            return open_image(place)
        path = Path(str(place)).expanduser()
        case = open_image(path, is_label, voxels)
        case.image.meta[ImageMetaKey.FILENAME_OR_OBJ] = str(path)
        return case

    def _turned(self, image: MetaTensor) -> MetaTensor:
        """Turn a photograph upright, unless a result has to fit the file that it came from."""
        return upright(image) if self.source_key is None else image

    def _check_spacing(self, case: CaseImage) -> None:
        if self.even_spacing and case.image.meta.get(SPACE) != PIXEL_SPACE and not case.evenly_spaced:
            raise InputError(
                f"{image_name(case.image)} has missing or unevenly spaced slices: complete the series, or convert it "
                "to an evenly spaced volume"
            )


def _whole_numbers(label: torch.Tensor) -> torch.Tensor:
    """Store a label in few bytes; values that are no whole numbers stay, for :class:`CheckImaged` to refuse."""
    if not torch.allclose(label, label.round(), rtol=0.0, atol=_ROUNDING):
        return label
    label = label.round()
    fits = label.numel() == 0 or (bool(label.min() >= 0) and bool(label.max() <= np.iinfo(np.uint8).max))
    return label.to(torch.uint8 if fits else torch.int32)


class CheckImaged(MapTransform):
    """Refuse, with one sentence, an image that a network cannot take or learn from.

    Checked are: the number of channels, the number of spatial dimensions, the size, that every value is finite, that
    the image is not constant, and that the label fits the image, lies where it lies, and holds classes only. A
    two-dimensional network also takes volumes, slice by slice; the size that counts is then the slice's.

    Args:
        keys: keys of the images.
        channels: number of channels that the network takes.
        spatial_dims: number of spatial dimensions of the network (2 or 3).
        minimum_size: smallest size along each axis that the network sees, in pixels.
        label_key: key of the label, where items may have one; it is compared with the first key's image.
        num_classes: number of classes; the label's values are whole numbers from 0 to ``num_classes - 1``. None leaves
            the values unchecked.
        slice_axis: spatial axis across which a volume is cut into slices.
        slice_axis_key: key of that axis, for items that have one of their own.
        allow_missing_keys: whether an image key that an item lacks is skipped.

    Raises:
        InputError: naming the file and the mend.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: int,
        spatial_dims: int,
        minimum_size: int | Sequence[int] = 1,
        label_key: str | None = None,
        num_classes: int | None = None,
        slice_axis: int = 2,
        allow_missing_keys: bool = False,
        slice_axis_key: str | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice_axis_key = slice_axis_key
        self.channels = channels
        self.spatial_dims = spatial_dims
        self.minimum_size = ensure_tuple_rep(minimum_size, spatial_dims)
        self.label_key = label_key
        self.num_classes = num_classes
        self.slice_axis = slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check one item and return it as it is."""
        item = dict(data)
        for key in self.key_iterator(item):
            slice_axis = int(item.get(self.slice_axis_key, self.slice_axis))
            self._check_image(item[key], _name(item[key], key), slice_axis)
        if self.label_key is not None and self.label_key in item:
            if not isinstance(item[self.label_key], torch.Tensor):
                label, image = item[self.label_key], item[self.first_key(item)]
                raise InputError(_no_label_image(label, self.label_key, image))
            self._check_label(item[self.label_key], item[self.first_key(item)], item)
        return item

    def _check_image(self, image: torch.Tensor, name: str, slice_axis: int) -> None:
        channels, spatial_shape = image.shape[0], tuple(image.shape[1:])
        if channels != self.channels:
            raise InputError(
                f"{name} has {channels} channel(s) but the network takes {self.channels}: "
                f"convert it, or train with --channels {channels}"
            )
        dims = len(spatial_shape)
        if dims != self.spatial_dims and not (self.spatial_dims == 2 and dims == 3):
            mend = f"set --spatial_dims {dims}" if dims in (2, 3) else "split it into single volumes"
            raise InputError(f"{name} has {dims} spatial dimensions but the network {self.spatial_dims}: {mend}")
        if dims == self.spatial_dims:
            size = spatial_shape
        else:
            axis = through_plane_axis(spatial_shape, slice_axis)
            size = spatial_shape[:axis] + spatial_shape[axis + 1 :]
        if any(length < least for length, least in zip(size, self.minimum_size, strict=True)):
            raise InputError(
                f"{name} is {_times(size)} pixels but the network needs at least {_times(self.minimum_size)}: "
                "leave it out, or use a network with fewer levels"
            )
        if not bool(torch.isfinite(image).all()):
            raise InputError(f"{name} holds values that are not finite (NaN or infinity): repair it or leave it out")
        if bool(image.min() == image.max()):
            raise InputError(f"{name} is constant (every value is {float(image.min()):g}): leave it out")

    def _check_label(self, label: torch.Tensor, image: torch.Tensor, item: Mapping[Hashable, Any]) -> None:
        name, image_name = _name(label, self.label_key), _name(image, self.first_key(dict(item)))
        if label.shape[0] != 1:
            raise InputError(f"{name} has {label.shape[0]} channels: save the label as one channel of class numbers")
        check_same_grid(
            (name, label),
            (f"its image {image_name}", image),
            "give the label that was drawn on that image",
            "resample it to the image's grid, or give it the image's affine matrix if it was drawn on that image",
        )
        if self.num_classes is None:
            return
        values = torch.unique(label).double()  # a uint8 tensor would take a number of 256 classes for 0
        wrong = values[(values < 0) | (values >= self.num_classes) | (values != values.round())]
        if wrong.numel():
            raise InputError(
                f"{name} holds {values_in_words(values.tolist())} but classes go from 0 to {self.num_classes - 1}: "
                "renumber the label, or set --num_classes"
            )


def values_in_words(values: Sequence[float], most: int = 8) -> str:
    """Return sorted values for a sentence: "the value 3", "the values 0, 1, 255"; of many, some and the last."""
    words = list(dict.fromkeys(f"{value:g}" for value in values))  # one NaN is like another
    shown = words if len(words) <= most else [*words[: most - 2], "...", words[-1]]
    return f"the value{'s' * (len(words) != 1)} {', '.join(shown)}"


def check_same_grid(
    own: tuple[str, torch.Tensor], other: tuple[str, torch.Tensor], shape_advice: str, place_advice: str
) -> None:
    """Refuse an image that does not lie on the grid of another.

    Args:
        own: its name in a sentence, and the image, (C, *spatial).
        other: likewise.
        shape_advice: what to do when it has another spatial shape.
        place_advice: what to do when it lies elsewhere by more than half a voxel, where both know their place.

    Raises:
        InputError: naming both.
    """
    (name, image), (other_name, other_image) = own, other
    if image.shape[1:] != other_image.shape[1:]:
        raise InputError(
            f"{name} is {_times(image.shape[1:])} but {other_name} is {_times(other_image.shape[1:])}: {shape_advice}"
        )
    distance = _distance_between_grids(image, other_image)
    if distance is not None and distance > LARGEST_DISTANCE:
        raise InputError(
            f"{name} lies up to {distance:.3g} voxels away from {other_name}, by their headers: {place_advice}"
        )


def _distance_between_grids(label: torch.Tensor, image: torch.Tensor) -> float | None:
    """Largest distance of a corner of two grids of one shape, in the smallest voxel size of the image.

    None where a file does not say where its voxels lie in the patient.
    """
    affines = []
    for grid in (label, image):
        if not isinstance(grid, MetaTensor) or grid.meta.get(SPACE) != PATIENT_SPACE:
            return None
        affines.append(np.asarray(grid.affine, np.float64))
    shape = tuple(image.shape[1:])
    ends = [(0, length - 1) for length in shape] + [(0,)] * (3 - len(shape)) + [(1,)]
    corners = np.array(list(itertools.product(*ends)))
    apart = np.linalg.norm((corners @ (affines[0] - affines[1]).T)[:, :3], axis=1).max()
    return float(apart / voxel_sizes(affines[1])[: len(shape)].min())


def _name(image: torch.Tensor, key: Hashable) -> str:
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return f'"{meta[ImageMetaKey.FILENAME_OR_OBJ]}"' if ImageMetaKey.FILENAME_OR_OBJ in meta else f"the {key}"


def image_name(image: Any) -> str:
    """Name an image in a sentence.

    Args:
        image: its path, or the array that was read from there.

    Returns:
        The path in quotes, or "an image" where it is unknown.
    """
    source = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else image
    return f'"{source}"' if isinstance(source, (str, os.PathLike)) else "an image"


def _no_label_image(label: Any, key: Hashable, image: Any) -> str:
    """Say that a label is the class of a whole image where an image of classes is due."""
    kind = "number" if isinstance(label, (int, float)) else "list" if isinstance(label, (list, tuple)) else "value"
    return (
        f"the {key} of {image_name(image)} is the {kind} {label}: "
        "add configs/classification.yaml to --config_file, or give a label image"
    )


def _times(size: Sequence[int]) -> str:
    return "×".join(str(length) for length in size)


class OrientVolumesd(MapTransform, InvertibleTransform):
    """Turn volumes to RAS axes, so that every scan lies the same way, and photographs upright, as EXIF says.

    Other pictures stay as they are. The inverse turns all of them back.

    Args:
        keys: keys of the arrays, (C, *spatial).
        allow_missing_keys: whether a key that an item lacks is skipped.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.orientation = Orientation(axcodes="RAS", labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn the images of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            if image.ndim == 4:
                item[key] = self.orientation(image)
            elif isinstance(image, MetaTensor):
                item[key] = upright(image)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn the images of one item back."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            if image.ndim == 4:
                item[key] = self.orientation.inverse(image)
            elif isinstance(image, MetaTensor):
                item[key] = as_stored(image)
        return item
