# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixels of derived DICOM images: those of a result, and those of a map of deviations."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DSfloat

from .dicom_derivation import functional_groups, remove
from .dicom_frames import PixelFormat
from .dicom_header import naming
from .dicom_pixels import PALETTE_TAGS

__all__ = ["encode", "save", "set_deviation", "set_pixels"]

_PALETTE = (
    *PALETTE_TAGS,
    "AlphaPaletteColorLookupTableDescriptor",
    "AlphaPaletteColorLookupTableData",
    "SegmentedAlphaPaletteColorLookupTableData",
    "PaletteColorLookupTableUID",
    "PaletteColorLookupTableSequence",
)
# A map of deviations is read and shown in its own way: these are not inherited.
_NOT_OF_A_DEVIATION = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "PlanarConfiguration",
    "RealWorldValueMappingSequence",
    "VOILUTSequence",
    "WindowCenterWidthExplanation",
    "ICCProfile",
    "ColorSpace",
    *_PALETTE,
)
# Object definitions that leave room for 16 bits and a slope; a map from any other is a secondary capture.
_QUANTITATIVE = (" CT ", " MR ", "Positron Emission", " PET ")


def set_pixels(dataset: Dataset, pixels: np.ndarray, pixel_format: PixelFormat) -> None:
    """Store the pixels of a result as its source stored them; colour as RGB, colour by pixel.

    Args:
        dataset: the result's.
        pixels: stored values, frames × rows × columns (× 3), of the format's type.
        pixel_format: the source's.
    """
    if pixel_format.colour:
        for keyword in _PALETTE:
            remove(dataset, keyword)
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    # Codestreams tell it too, so that the source may lack it.
    dataset.SamplesPerPixel = pixel_format.channels
    dataset.BitsAllocated, dataset.BitsStored = pixel_format.bits_allocated, pixel_format.bits_stored
    dataset.HighBit = pixel_format.bits_stored - 1
    dataset.PixelRepresentation = int(pixel_format.signed)
    _set_pixel_data(dataset, pixels)


def _set_pixel_data(dataset: Dataset, pixels: np.ndarray) -> None:
    for keyword, extreme in (("SmallestImagePixelValue", np.min), ("LargestImagePixelValue", np.max)):
        if keyword in dataset:
            # Neither 32-bit values nor colours of several channels have one.
            del dataset[keyword]
            if dataset.SamplesPerPixel == 1 and dataset.BitsAllocated <= 16:
                dataset[keyword] = DataElement(
                    keyword, "SS" if dataset.PixelRepresentation else "US", int(extreme(pixels))
                )
    data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    vr = "OB" if pixels.itemsize == 1 else "OW"
    dataset["PixelData"] = DataElement("PixelData", vr, data + b"\0" if len(data) % 2 else data)


def set_deviation(dataset: Dataset, deviation: np.ndarray, largest: float) -> None:
    """Store standard deviations as unsigned numbers with a slope that makes the largest the largest that fits.

    There are 16 bits; but 15 for CT slices, which programs straighten as signed numbers where the gantry was tilted.

    Args:
        dataset: made by :func:`derive`.
        deviation: frames × rows × columns, not negative.
        largest: value of the series.
    """
    for keyword in _NOT_OF_A_DEVIATION:
        remove(dataset, keyword)
    kind = f" {UID(dataset.SOPClassUID).name} "
    if not any(words in kind for words in _QUANTITATIVE) and "PerFrameFunctionalGroupsSequence" not in dataset:
        _make_secondary_capture(dataset, len(deviation))
    units = "HU" if dataset.get("Modality") == "CT" else str(dataset.get("RescaleType") or "US")
    bits = 15 if dataset.SOPClassUID == CTImageStorage else 16
    slope = float(DSfloat(largest / (2**bits - 1) if largest > 0 else 1.0, auto_format=True))
    # A slope that was cut to 16 characters may be a little too small.
    stored = np.clip(np.rint(deviation / np.float32(slope)), 0, 2**bits - 1).astype(np.uint16)

    def rescaling() -> Dataset:
        item = Dataset()
        item.RescaleIntercept, item.RescaleSlope = 0, DSfloat(slope, auto_format=True)
        item.RescaleType = units
        return item

    def window() -> Dataset:
        item = Dataset()
        width = DSfloat(largest if largest > 0 else 1.0, auto_format=True)
        item.WindowCenter, item.WindowWidth = DSfloat(float(width) / 2, auto_format=True), width
        item.VOILUTFunction = "LINEAR_EXACT"
        return item

    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction"):
        remove(dataset, keyword)
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        _replace_group(dataset, "PixelValueTransformationSequence", rescaling)
        _replace_group(dataset, "FrameVOILUTSequence", window)
        _replace_group(dataset, "RealWorldValueMappingSequence", None)
    else:
        dataset.update(rescaling())
        dataset.update(window())
    if "PresentationLUTShape" in dataset:
        dataset.PresentationLUTShape = "IDENTITY"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, 0
    _set_pixel_data(dataset, stored)


def _make_secondary_capture(dataset: Dataset, frames: int) -> None:
    dataset.ConversionType = "WSD"
    if frames == 1:
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        for keyword in ("NumberOfFrames", "FrameIncrementPointer"):
            remove(dataset, keyword)
        return
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.PresentationLUTShape = "IDENTITY"
    if not dataset.get("BurnedInAnnotation"):
        dataset.BurnedInAnnotation = "YES"  # must be told, and cannot be ruled out
    if not dataset.get("FrameIncrementPointer"):
        dataset.FrameIncrementPointer = tag_for_keyword("PageNumberVector")
        dataset.PageNumberVector = list(range(1, frames + 1))


def _replace_group(dataset: Dataset, keyword: str, make: Callable[[], Dataset] | None) -> None:
    """Give all frames one and the same functional group of a kind, or none."""
    for group in functional_groups(dataset):
        remove(group, keyword)
    if make is not None:
        if not dataset.get("SharedFunctionalGroupsSequence"):
            dataset.SharedFunctionalGroupsSequence = [Dataset()]
        setattr(dataset.SharedFunctionalGroupsSequence[0], keyword, [make()])


def encode(dataset: FileDataset) -> bytes:
    """Encode a DICOM file.

    Raises:
        InputError: when an element that was inherited cannot be encoded.
    """
    encoded = BytesIO()
    with naming(Path(str(dataset.filename))):
        dcmwrite(encoded, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return encoded.getvalue()


def save(dataset: FileDataset, file: Path) -> None:
    """Write a DICOM file.

    Raises:
        InputError: see :func:`encode`.
        OSError: when the file cannot be written.
    """
    file.write_bytes(encode(dataset))
