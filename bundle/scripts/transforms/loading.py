# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading one image of any supported format, and checking it before training starts."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import itk
import numpy as np
import pydicom.misc
import torch
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader, PILReader
from monai.transforms import EnsureChannelFirst, InvertibleTransform, MapTransform, Orientation
from monai.utils import CommonKeys, ImageMetaKey, ensure_tuple, ensure_tuple_rep
from PIL import Image

from ..errors import InputError
from .slices import through_plane_axis

__all__ = [
    "CheckImaged",
    "DICOMSeriesReader",
    "OrientVolumesd",
    "ReadImaged",
    "image_format",
    "image_name",
    "image_stem",
]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
RASTER_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif")

ImageFormat = Literal["nifti", "dicom", "raster"]


def image_format(path: PathLike) -> ImageFormat | None:
    """Tell how a *file* is stored.

    The suffix decides where it is a known one; any other file is looked into for DICOM's preamble, since DICOM files
    often carry no suffix, or a number.

    Args:
        path: a file.

    Returns:
        ``"nifti"``, ``"dicom"``, ``"raster"`` (PNG, TIFF, JPEG, BMP, GIF), or None for anything else.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if name.endswith(RASTER_SUFFIXES):
        return "raster"
    if name.endswith(DICOM_SUFFIXES):
        return "dicom"
    if name == "dicomdir" or not path.is_file():
        return None
    return "dicom" if pydicom.misc.is_dicom(path) else None


def image_stem(path: PathLike) -> str:
    """Name of a file or of a series folder without the suffixes of image files (``scan.nii.gz`` is ``scan``)."""
    name = Path(path).name
    for suffix in sorted(NIFTI_SUFFIXES + DICOM_SUFFIXES + RASTER_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


class DICOMSeriesReader(ITKReader):
    """:class:`monai.data.ITKReader` that refuses a folder which it would read wrongly without a word.

    A folder with more than one stack of slices is refused (the base class takes the first and drops the others), so
    are missing or unevenly spaced slices, which no affine matrix can describe. The slice direction comes from the
    slices' positions, so that a tilted gantry gives a sheared, and true, affine.

    Args:
        spacing_tolerance: largest deviation of a slice from its even place, as a fraction of the slice spacing.
        kwargs: arguments of :class:`monai.data.ITKReader`.
    """

    def __init__(self, spacing_tolerance: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spacing_tolerance = spacing_tolerance

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """Read one DICOM file, or a folder that holds one DICOM series.

        Args:
            data: the file or the folder.
            kwargs: arguments of ``itk.imread``, for a file.

        Raises:
            InputError: when the folder holds no series, more than one, or one with uneven slices.
        """
        path = Path(str(ensure_tuple(data)[0]))
        if not path.is_dir():
            return super().read(data, **kwargs)
        names = itk.GDCMSeriesFileNames.New()
        names.SetUseSeriesDetails(True)
        names.AddSeriesRestriction("0008|0021")
        names.SetDirectory(str(path))
        stacks = names.GetSeriesUIDs()
        if len(stacks) != 1:
            found = f"{len(stacks)} DICOM stacks (series, or parts with their own slice thickness)"
            mend = "put each into a folder of its own" if stacks else "give a folder with the files of one series"
            raise InputError(f'"{path}" holds {found} where one is needed: {mend}')
        reader = itk.ImageSeriesReader.New(FileNames=names.GetFileNames(stacks[0]), ForceOrthogonalDirection=False)
        reader.Update()
        image = reader.GetOutput()
        details = image.GetMetaDataDictionary()
        uneven = "ITK_non_uniform_sampling_deviation"
        deviation = float(details[uneven]) if details.HasKey(uneven) else 0.0
        if deviation > self.spacing_tolerance * image.GetSpacing()[2]:
            raise InputError(
                f'"{path}" has missing or unevenly spaced slices (up to {deviation:.3g} mm out of place): '
                "complete the series, or convert it to an evenly spaced volume"
            )
        return image


def _plain_image(image: Image.Image, keep_palette: bool) -> Image.Image:
    """Bring a PIL image to one or three channels: no alpha, and no palette unless its indices are the content."""
    if image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise ValueError("it has 16 bits per colour, of which Pillow reads 8: convert it to 8 bits yourself")
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise ValueError(f"it holds {pages} pages: save the stack as NIfTI, or each page as a file")
    with image:
        if image.mode == "P" and keep_palette:
            return image.copy()
        if image.mode in ("P", "PA"):
            red, green, blue = image.convert("RGB").split()
            grey = red.tobytes() == green.tobytes() == blue.tobytes()
            return red if grey else Image.merge("RGB", (red, green, blue))
        kept = ("L", "RGB", "I", "I;16", "F")
        converted = {"1": "L", "LA": "L", "La": "L", "I;16B": "I", "I;16L": "I", "I;16N": "I"}
        return image.convert(image.mode if image.mode in kept else converted.get(image.mode, "RGB"))


def _reason(error: BaseException) -> str:
    """The first line of an error, cut to a length that fits into a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


class ReadImaged(MapTransform):
    """Read one file, or one DICOM series folder, into a channel-first :class:`monai.data.MetaTensor`.

    The reader follows from the kind of file and never from luck: NIfTI is read by nibabel, DICOM by ITK (which shows
    MONOCHROME1 the right way round and applies rescale slope and intercept), PNG, TIFF, JPEG, BMP and GIF by Pillow.
    Alpha is dropped, a palette becomes colour or grey; 16-bit grey values are kept as they are.

    Images become float32. Labels keep whole numbers: uint8 where the values fit, int32 otherwise; a label palette's
    indices are its classes.

    Args:
        keys: keys whose values are paths; the array takes the path's place.
        label_keys: those of the keys that hold labels.
        allow_missing_keys: whether a key that an item lacks is skipped.

    Returns of ``__call__``: the item with arrays of shape (C, *spatial), where ``meta["filename_or_obj"]`` names the
    file and ``affine`` maps voxels to RAS millimetres (identity for files without geometry).

    Raises:
        InputError: when a file cannot be read; the sentence names it and says why. Also for a label that is no path
            but the class of a whole image, which is for :class:`scripts.transforms.ClassLabeld`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (CommonKeys.LABEL.value,),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.channel_first = EnsureChannelFirst()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            if key in self.label_keys and not isinstance(item[key], (str, os.PathLike)):
                raise InputError(_no_label_image(item[key], key, data.get(CommonKeys.IMAGE.value)))
            item[key] = self._read(Path(str(item[key])).expanduser(), key in self.label_keys)
        return item

    def _read(self, path: Path, is_label: bool) -> torch.Tensor:
        if not path.exists():
            raise InputError(f'cannot read "{path}": there is no such file or folder')
        try:
            reader = self._reader(path, is_label)
            array, meta = reader.get_data(reader.read(str(path)))
            array = _whole_numbers(array) if is_label else np.array(array, dtype=np.float32)
            meta[ImageMetaKey.FILENAME_OR_OBJ] = str(path)
            image = MetaTensor.ensure_torch_and_prune_meta(array, dict(meta), simple_keys=True)
            return self.channel_first(image, meta_dict=meta).contiguous()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f'cannot read "{path}": {_reason(error)}') from error

    @staticmethod
    def _reader(path: Path, is_label: bool) -> ImageReader:
        kind = "dicom" if path.is_dir() else image_format(path)
        if kind == "nifti":
            return NibabelReader(squeeze_non_spatial_dims=True)
        if kind == "dicom":
            return DICOMSeriesReader()
        if kind == "raster":
            return PILReader(converter=lambda image: _plain_image(image, keep_palette=is_label))
        raise ValueError("it is neither NIfTI, DICOM, PNG, TIFF, JPEG, BMP nor GIF")


def _whole_numbers(array: np.ndarray) -> np.ndarray:
    """Store a label in few bytes; values that are no whole numbers stay, for :class:`CheckImaged` to refuse."""
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        return np.array(array, dtype=np.float32)
    fits = array.size == 0 or (array.min() >= 0 and array.max() <= np.iinfo(np.uint8).max)
    return np.array(array, dtype=np.uint8 if fits else np.int32)


class CheckImaged(MapTransform):
    """Refuse, with one sentence, an image that a network cannot take or learn from.

    Checked are: the number of channels, the number of spatial dimensions, the size, that every value is finite, that
    the image is not constant, and that the label fits the image and holds classes only. A two-dimensional network
    also takes volumes, slice by slice; the size that counts is then the slice's.

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
            slice_axis = item.get(self.slice_axis_key, self.slice_axis)
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
        if label.shape[1:] != image.shape[1:]:
            raise InputError(
                f"{name} is {_times(label.shape[1:])} but its image {image_name} is {_times(image.shape[1:])}: "
                "give the label that was drawn on that image"
            )
        if self.num_classes is None:
            return
        values = torch.unique(label)
        wrong = values[(values < 0) | (values >= self.num_classes) | (values != values.round())]
        if wrong.numel():
            raise InputError(
                f"{name} holds the value {float(wrong[-1]):g} but classes go from 0 to {self.num_classes - 1}: "
                "renumber the label, or set --num_classes"
            )


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
    """What is wrong with the class of a whole image where an image of classes is due."""
    kind = "number" if isinstance(label, (int, float)) else "list" if isinstance(label, (list, tuple)) else "value"
    return (
        f"the {key} of {image_name(image)} is the {kind} {label}: "
        "add configs/classification.yaml to --config_file, or give a label image"
    )


def _times(size: Sequence[int]) -> str:
    return "×".join(str(length) for length in size)


class OrientVolumesd(MapTransform, InvertibleTransform):
    """Turn volumes to RAS axes, so that every scan lies the same way; photographs and single slices stay as they are.

    The inverse turns them back.

    Args:
        keys: keys of the arrays, (C, *spatial).
        allow_missing_keys: whether a key that an item lacks is skipped.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.orientation = Orientation(axcodes="RAS", labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn the volumes of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            if item[key].ndim == 4:
                item[key] = self.orientation(item[key])
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn the volumes of one item back."""
        item = dict(data)
        for key in self.key_iterator(item):
            if item[key].ndim == 4:
                item[key] = self.orientation.inverse(item[key])
        return item
