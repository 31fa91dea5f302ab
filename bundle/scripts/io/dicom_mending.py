# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What is mended in a source's dataset so that it can be encoded again, lawfully and without a change of meaning."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR

__all__ = ["mend"]

_NOT_OF_A_DATASET = (0x0000, 0x0002, 0xFFFE)
"""Groups of commands, of the file's meta information, and of delimiters; padding reads as the first of them."""

_UNDEFINED = 0xFFFFFFFF


def mend(dataset: Dataset, ancestors: Sequence[Dataset] = ()) -> None:
    """Make a dataset one that can be encoded in explicit VR, uncompressed.

    Dropped are elements that belong into no dataset (zeros behind the pixels, stray delimiters), icons, and sequences
    with pixels that are still compressed. Value representations that implicit VR leaves open are settled: as pydicom
    does where it can, and otherwise as the standard's default for the tag (PS3.5, A.1), OW before US.

    Args:
        dataset: changed in place, with all the sequences in it.
        ancestors: the datasets that it is a part of, the nearest first.
    """
    line = [dataset, *ancestors]
    for tag in list(dataset.keys()):
        if tag.group in _NOT_OF_A_DATASET:
            del dataset[tag]
            continue
        _settle_representation(dataset, tag, line)
        if dataset.get_item(tag).VR != "SQ":
            continue
        items = list(dataset[tag].value or [])
        if tag == BaseTag(0x00880200) or any(map(_holds_compressed_pixels, items)):
            del dataset[tag]
            continue
        for item in items:
            mend(item, line)


def _settle_representation(dataset: Dataset, tag: BaseTag, line: list[Dataset]) -> None:
    raw: Any = dataset.get_item(tag)
    if raw.VR is None:
        # Some files go on without value representations where they should have them.
        try:
            dataset[tag] = dataset[tag]
        except Exception:
            # A value that pydicom cannot read, such as 1,5 for a number, stays as it is.
            if not isinstance(raw, RawDataElement):
                raise
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
            dataset[tag] = raw._replace(VR=vr) if vr not in AMBIGUOUS_VR else _by_default(tag, vr, raw.value or b"")
    if dataset.get_item(tag).VR not in AMBIGUOUS_VR:
        return
    element = dataset[tag]
    with suppress(AttributeError):  # what would tell is missing
        correct_ambiguous_vr_element(element, dataset, True, line)
    if element.VR in AMBIGUOUS_VR:
        value = element.value
        dataset[tag] = _by_default(tag, element.VR, value if isinstance(value, bytes) else b"")


def _by_default(tag: BaseTag, vr: str, value: bytes) -> DataElement:
    """Words where they are allowed for a tag, numbers otherwise."""
    if "OW" in vr:
        return DataElement(tag, "OW", value)
    numbers = struct.unpack(f"<{len(value) // 2}H", value[: len(value) // 2 * 2])
    return DataElement(tag, "US", numbers[0] if len(numbers) == 1 else list(numbers))


def _holds_compressed_pixels(item: Dataset) -> bool:
    pixels: Any = item.get_item("PixelData")
    if isinstance(pixels, RawDataElement):
        return pixels.length == _UNDEFINED
    return pixels is not None and pixels.is_undefined_length
