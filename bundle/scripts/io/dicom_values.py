# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbers in DICOM headers, which other programs write as any text."""

from __future__ import annotations

import math

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

__all__ = ["has_value", "number", "numbers", "series_number", "text", "whole_number", "words"]

_TEXT = (None, "DS", "IS", "UN", "LO", "SH", "CS", "ST", "LT", "UT")


def words(keyword: str) -> str:
    """An attribute's keyword as words: ``BitsStored`` is ``bits stored``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in keyword).strip()


def text(dataset: Dataset, keyword: str) -> str:
    """The value of an attribute as the file has it, whether it is lawful or not; empty where there is none.

    pydicom turns the values of numbers in text as they are first asked for, and fails where that cannot be done.
    """
    element = dataset.get_item(keyword)
    if element is None or element.value is None:
        return ""
    # In implicit VR, what a value is the dictionary tells.
    if isinstance(element.value, bytes) and element.VR in _TEXT and dictionary_VR(keyword) in ("DS", "IS"):
        return element.value.decode("latin-1").strip(" \0")
    value = dataset[keyword].value
    if value is None or isinstance(value, str):
        return (value or "").strip(" \0")
    if isinstance(value, (int, float)):
        return str(value)
    return "\\".join(str(part) for part in value)


def has_value(dataset: Dataset, keyword: str) -> bool:
    """Tell whether an attribute is there and not empty."""
    return bool(text(dataset, keyword))


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Read so many finite numbers; None where the attribute is missing or empty.

    Raises:
        ValueError: when the text says anything else; a clause that names the attribute and the mend.
    """
    found = text(dataset, keyword)
    if not found:
        return None
    try:
        values = tuple(float(part) for part in found.split("\\"))
    except ValueError:
        hint = ", with a point for decimals" if "," in found else ""
        raise ValueError(f'its {words(keyword)} "{found[:40]}" is no number: mend it in its header{hint}') from None
    if len(values) != count or not all(map(math.isfinite, values)):
        due = ("a finite number" if len(values) == 1 else "one number") if count == 1 else f"{count} numbers"
        raise ValueError(f'its {words(keyword)} "{found[:40]}" is not {due}: mend it in its header')
    return values


def number(dataset: Dataset, keyword: str, default: float) -> float:
    """Read one finite number, see :func:`numbers`."""
    found = numbers(dataset, keyword, 1)
    return default if found is None else found[0]


def whole_number(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """Read one whole number, see :func:`numbers`."""
    found = number(dataset, keyword, default)
    if not found.is_integer() if isinstance(found, float) else False:
        raise ValueError(f"its {words(keyword)} {found:g} is no whole number: mend it in its header")
    return int(found)


def series_number(dataset: Dataset) -> int:
    """The number of the series; 0 where it is missing or no number: nothing but names and order depend on it."""
    try:
        return whole_number(dataset, "SeriesNumber")
    except ValueError:
        return 0
