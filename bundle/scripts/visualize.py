# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Parts of all pictures: the plane of an image that they show, its size, and the layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from PIL import Image, ImageDraw, ImageFont

from .io import PIXEL_SPACE, SPACE

__all__ = ["compose_grid", "display_plane", "enlarged", "grey_or_colour"]

FloatArray = npt.NDArray[np.float64]

BACKGROUND, TEXT, FAINT = (24, 24, 27), (235, 235, 235), (160, 160, 165)
GAP, TITLE_SIZE, CAPTION_SIZE = 8, 15, 12


def display_plane(image: torch.Tensor, slice_axis: int = 2) -> tuple[FloatArray, tuple[float, float]]:
    """Return the plane of a case that a picture shows, turned as readers expect it.

    A volume is shown by the middle slice along ``slice_axis``. The affine of a ``MetaTensor`` says where the patient's
    sides are: anterior (in axial planes) or superior (in the others) is up, and the patient's right, or anterior in
    sagittal planes, is on the left: the radiological convention. Plain tensors count as RAS. Images in pixel space
    (photographs, radiographs, films; see :data:`scripts.io.SPACE`) come out as they were taken.

    Args:
        image: case, (C, *spatial). Three channels are red, green and blue; of any other number the first is shown.
        slice_axis: spatial axis (0, 1 or 2) along which a volume's slices are stacked.

    Returns:
        The plane, (rows, columns) or (rows, columns, 3), and the height and width of a pixel in mm.
    """
    affine = np.eye(4)
    if isinstance(image, MetaTensor):
        affine = np.asarray(image.affine.cpu(), dtype=np.float64)
    codes = list(nib.orientations.aff2axcodes(affine))
    spacing = list(np.linalg.norm(affine[:3, :3], axis=0))
    if isinstance(image, MetaTensor) and image.meta.get(SPACE) == PIXEL_SPACE:
        codes[:2] = ["L", "P"]
    pixels = image.detach().cpu().float().numpy().astype(np.float64)
    axes = [0, 1]
    if pixels.ndim == 4:
        axes = [axis for axis in range(3) if axis != slice_axis]
        pixels = pixels.take(pixels.shape[slice_axis + 1] // 2, axis=slice_axis + 1)
    first, second = (codes[axis] for axis in axes)
    row_spacing, column_spacing = (spacing[axis] for axis in axes)
    if second in ("S", "I") or (second in ("A", "P") and first in ("L", "R")):
        pixels = pixels.swapaxes(1, 2)
        first, second = second, first
        row_spacing, column_spacing = column_spacing, row_spacing
    if first in ("S", "A"):
        pixels = pixels[:, ::-1]
    if second in ("R", "A"):
        pixels = pixels[:, :, ::-1]
    plane = np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]
    return np.ascontiguousarray(plane), (float(row_spacing) or 1.0, float(column_spacing) or 1.0)


def grey_or_colour(plane: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the colours, (rows, columns, 3), of a plane in [0, 1], (rows, columns) or (rows, columns, 3)."""
    # NaN of a network that diverged is shown as 0: the picture must not stop the training.
    values = (np.nan_to_num(plane).clip(0, 1) * 255).round().astype(np.uint8)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)


def enlarged(pixels: npt.NDArray[np.uint8], spacing: tuple[float, float], size: int) -> Image.Image:
    """Enlarge by repeating pixels, a whole factor along the finer axis, in the proportions of the patient.

    Args:
        pixels: (rows, columns, 3).
        spacing: height and width of a pixel.
        size: length that the longer side is enlarged to, as nearly as a whole factor goes; never made smaller.
    """
    stretch = np.asarray(spacing, dtype=np.float64) / min(spacing)
    lengths = np.asarray(pixels.shape[:2]) * stretch
    factor = max(1, round(size / float(lengths.max())))
    height, width = (max(1, round(float(length) * factor)) for length in lengths)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def compose_grid(
    headings: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Image.Image | None]]],
    title: str = "",
    legend: Image.Image | None = None,
) -> Image.Image:
    """Lay pictures out in rows and columns.

    Args:
        headings: what stands above each column.
        rows: caption, which may be empty, and a picture or None for each column; at least one picture in each row.
        title: stands at the top.
        legend: stands at the bottom.

    Returns:
        The picture, RGB.
    """
    title_font: Any = ImageFont.load_default(TITLE_SIZE)
    caption_font: Any = ImageFont.load_default(CAPTION_SIZE)
    widths = [int(title_font.getlength(heading)) for heading in headings]
    for _, cells in rows:
        widths = [max(width, cell.width if cell else 0) for width, cell in zip(widths, cells, strict=True)]
    lefts = [GAP + sum(widths[:column]) + GAP * column for column in range(len(widths))]
    line, caption_line = TITLE_SIZE + GAP, CAPTION_SIZE + GAP
    heights = [
        (caption_line if caption else 0) + max(cell.height for cell in cells if cell) + GAP for caption, cells in rows
    ]
    top = GAP + (line if title else 0)
    height = top + line + sum(heights) + (legend.height + GAP if legend else 0)
    width = max(sum(widths) + GAP * (len(widths) + 1), 2 * GAP + int(title_font.getlength(title)))
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((GAP, GAP), title, fill=TEXT, font=title_font)
    for heading, left, column in zip(headings, lefts, widths, strict=True):
        draw.text((left + column // 2, top), heading, fill=TEXT, font=title_font, anchor="ma")
    top += line
    for (caption, cells), row_height in zip(rows, heights, strict=True):
        draw.text((GAP, top), caption, fill=FAINT, font=caption_font)
        below = top + (caption_line if caption else 0)
        for cell, left, column in zip(cells, lefts, widths, strict=True):
            if cell is not None:
                picture.paste(cell, (left + (column - cell.width) // 2, below))
        top += row_height
    if legend is not None:
        picture.paste(legend, (GAP, top))
    return picture
