# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The words by which a NIfTI file is known."""

from __future__ import annotations

__all__ = ["MAGIC", "is_nifti_header"]

MAGIC = {348: (344, b"n+1\x00"), 540: (4, b"n+2\x00\r\n\x1a\n")}
"""For each length of a header: the place of the word, and the word."""


def is_nifti_header(start: bytes) -> bool:
    """Tell whether the first 348 bytes of a file, unpacked, are those of a NIfTI image in one file."""
    return any(start[place : place + len(word)] == word for place, word in MAGIC.values())
