# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What Pillow does not tell of a JPEG file: that its data ends before the picture does."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from .base import UnreadableError

__all__ = ["check_end"]

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
HUFFMAN_CODED = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")
PADDING = bytes(range(1, 255)) * 8


def check_end(file: Path, image: Image.Image) -> None:
    """Refuse a file whose data ends before the picture does: the rest would be grey.

    libjpeg only warns of that, where nobody hears it. So the file is decoded once more, with other bytes before its end
    marker: they become pixels only where pixels are missing.

    Args:
        file: the file.
        image: as it was decoded.

    Raises:
        UnreadableError: with a clause that says so.
    """
    content = file.read_bytes()
    end, scan = content.rfind(END_OF_IMAGE), content.rfind(START_OF_SCAN)
    # Arithmetic coding looks at what comes after the last pixel; and what has no end is refused by Pillow.
    if scan < 0 or end < scan or not any(marker in content[:scan] for marker in HUFFMAN_CODED):
        return
    try:
        with Image.open(io.BytesIO(content[:end] + PADDING + END_OF_IMAGE), formats=("JPEG",)) as padded:
            same = np.array_equal(np.asarray(padded), np.asarray(image))
    except OSError:
        same = False
    if not same:
        raise UnreadableError("it is damaged: its data ends before the picture does")
