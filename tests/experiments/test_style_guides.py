# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Guides and references by style, of datalists with several styles, one, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from scripts.experiments.style_guides import guides_by_style, only_style, with_references

NAMELESS = [{"image": 1}, {"image": 2}]
ONE = [{"image": 1, "style": "a"}, {"image": 2}]
TWO = [{"image": 1, "style": "b"}, {"image": 2, "style": "a"}, {"image": 3}, {"image": 4, "style": "b"}]


def image(entry: Mapping[str, Any]) -> Any:
    return entry["image"]


def read(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: f"read {entry[key]}" for key in ("image", "reference") if key in entry}


def test_guides_are_prepared_by_style() -> None:
    assert guides_by_style(TWO, image) == {"a": [2], "b": [1, 4]}
    assert guides_by_style(ONE, image, only="a") == {"a": [1]}


def test_without_styles_all_guides_have_the_one_that_is_named() -> None:
    assert guides_by_style(NAMELESS, image) == {}
    assert guides_by_style(NAMELESS, image, only="HQ") == {"HQ": [1, 2]}


@pytest.mark.parametrize(("entries", "expected"), [(NAMELESS, "HQ"), (ONE, "a"), (TWO, None)])
def test_the_only_style_is_found(entries: list[dict[str, Any]], expected: str | None) -> None:
    assert only_style(entries) == expected


def test_a_reference_without_a_style_is_that_of_the_only_one() -> None:
    (item,) = with_references([{"image": "y", "reference": "x"}], read, only="HQ")
    assert item == {"image": "read y", "reference": "read x", "references": {"HQ": "read x"}}
    (item,) = with_references([{"image": "y", "reference": "x"}], read)
    assert item["references"] == {}


def test_references_by_style_come_before_the_reference() -> None:
    (item,) = with_references([{"image": "y", "reference": "x", "references": {"a": "z"}}], read, only="a")
    assert item["references"] == {"a": "read z"}
