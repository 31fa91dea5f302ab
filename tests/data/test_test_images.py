# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from scripts.data import check_test_images
from scripts.errors import InputError


def test_every_image_is_read_and_the_references_of_styles_too() -> None:
    read: list[Any] = []
    entries = [{"image": "a", "reference": "b", "references": {"T1": "c", "T2": "d"}}, {"image": "e", "label": "f"}]
    check_test_images(entries, read.append)
    assert read == [entries[0], {"image": "c"}, {"image": "d"}, entries[1]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError('"a" is empty'), '"a" is empty'),
        (ValueError("an odd shape\nand so on"), 'cannot prepare "a": ValueError: an odd shape'),
        (MemoryError(), 'cannot prepare "a": MemoryError'),
    ],
)
def test_what_cannot_be_read_is_named_with_the_cause(error: Exception, message: str) -> None:
    def read(item: dict[str, Any]) -> None:
        raise RuntimeError("applying transform") from error

    with pytest.raises(InputError, match=f"^{message}$"):
        check_test_images([{"image": "a"}], read)
