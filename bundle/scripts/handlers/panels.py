# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the training: input, result, guide, reference and differences side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from PIL import Image, ImageDraw, ImageFont

from scripts.errors import InputError
from scripts.handlers.metrics import output_cases

FloatArray = npt.NDArray[np.float64]

# Zero is black, as air is in the images beside it; yellow and cyan ends tell signs apart to colour-blind eyes too.
_DIVERGING = np.array([[120, 220, 255], [25, 85, 235], [0, 0, 0], [225, 45, 20], [255, 215, 90]], dtype=np.float64)
_BACKGROUND, _TEXT, _FAINT = (24, 24, 27), (235, 235, 235), (160, 160, 165)
_GAP, _TITLE_SIZE, _CAPTION_SIZE = 8, 15, 12
_PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

logger = logging.getLogger(__name__)


def display_plane(image: torch.Tensor, slice_axis: int = 2) -> tuple[FloatArray, tuple[float, float]]:
    """Return the plane of a case that a picture shows, turned as readers expect it.

    A volume is shown by the middle slice along ``slice_axis``. The affine of a ``MetaTensor`` says where the patient's
    sides are: anterior (in axial planes) or superior (in the others) is up, and the patient's right, or anterior in
    sagittal planes, is on the left: the radiological convention. Plain tensors count as RAS. Photographs read with the
    first axis to the right and the second downwards come out as they were taken.

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
    if _is_photograph(image):
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


def difference_colours(difference: FloatArray, limit: float) -> npt.NDArray[np.uint8]:
    """Colour a signed difference: blue below zero, black at zero, red above, clipped at -limit and limit.

    Args:
        difference: differences, (rows, columns); of a colour image, (rows, columns, 3), their mean over the channels.
        limit: difference of the strongest colour, above 0.

    Returns:
        Colours, (rows, columns, 3).
    """
    values = difference.mean(axis=-1) if difference.ndim == 3 else difference
    position = np.clip(np.nan_to_num(values) / limit, -1, 1)
    stops = np.linspace(-1, 1, len(_DIVERGING))
    channels = [np.interp(position, stops, _DIVERGING[:, channel]) for channel in range(3)]
    colours: npt.NDArray[np.uint8] = np.stack(channels, axis=-1).round().astype(np.uint8)
    return colours


def compose_panel(
    cases: Sequence[Mapping[str, Any]], size: int = 240, difference_limit: float = 0.5, title: str = ""
) -> Image.Image:
    """Draw a picture with a row per case and a column per kind of image.

    The columns are input, enhanced, guide, reference, enhanced - input and enhanced - reference; those that no case has
    are left out. Pixels are repeated, never blended, so that artefacts of single pixels stay visible.

    Args:
        cases: planes as :func:`display_plane` gives them, in [0, 1], (rows, columns) or (rows, columns, 3), under
            ``"image"`` and ``"pred"`` and, where they exist, ``"guide"`` and ``"reference"``; ``"name"``, optional, is
            written above the row, ``"spacing"``, optional, is the height and width of a pixel.
        size: length in pixels that the longer side of a small image is enlarged to, by a whole factor. Large images
            keep their size.
        difference_limit: difference of the strongest colour.
        title: written at the top.

    Returns:
        The picture, RGB.

    Raises:
        InputError: when there is no case.
    """
    if not cases:
        raise InputError("A panel needs at least one case to show.")
    rows = [_row_cells(case, size, difference_limit) for case in cases]
    headings = [heading for heading in _HEADINGS if any(heading in row for row in rows)]
    title_font, caption_font = ImageFont.load_default(_TITLE_SIZE), ImageFont.load_default(_CAPTION_SIZE)
    widths = {
        heading: max(
            *(row[heading].width for row in rows if heading in row),
            int(title_font.getlength(heading)),
        )
        for heading in headings
    }
    heights = [max(cell.height for cell in row.values()) for row in rows]
    title_height = _TITLE_SIZE + 2 * _GAP if title else 0
    caption_height = _CAPTION_SIZE + _GAP + 2
    legend_height = _CAPTION_SIZE + 2 * _GAP
    width = sum(widths.values()) + _GAP * (len(headings) + 1)
    heading_height = _TITLE_SIZE + _GAP + _GAP // 2
    height = title_height + heading_height + sum(heights) + (caption_height + _GAP) * len(rows) + legend_height
    panel = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(panel)

    if title:
        draw.text((_GAP, _GAP), title, fill=_TEXT, font=title_font)
    top, left = title_height + _GAP // 2, _GAP
    for heading in headings:
        draw.text((left + widths[heading] // 2, top), heading, fill=_TEXT, font=title_font, anchor="ma")
        left += widths[heading] + _GAP
    top += heading_height - _GAP // 2
    for case, row, row_height in zip(cases, rows, heights, strict=True):
        draw.text((_GAP, top + 2), str(case.get("name", "")), fill=_FAINT, font=caption_font)
        top += caption_height
        left = _GAP
        for heading in headings:
            if heading in row:
                panel.paste(row[heading], (left + (widths[heading] - row[heading].width) // 2, top))
            left += widths[heading] + _GAP
        top += row_height + _GAP
    _draw_legend(panel, (_GAP, top + _GAP // 2), difference_limit, caption_font)
    return panel


class ImagePanels:
    """Ignite handler: write a picture with the first cases of an epoch, ``{prefix}_epoch_{epoch}.png``.

    Attach it to the evaluator, or to the trainer: it reads ``image`` and ``pred`` and, where they are, ``guide``,
    ``reference`` and ``patient`` from ``engine.state.output``, a decollated list or a dictionary of batches. In
    distributed runs only the first process writes.

    Args:
        output_dir: folder of the pictures; it is made if missing.
        interval: epochs between two pictures. Defaults to 1: every epoch in which the engine runs.
        max_cases: rows of a picture. Defaults to 4.
        slice_axis: spatial axis of a volume along which its slices are stacked. Defaults to 2.
        size: length that the longer side of a small image is enlarged to, see :func:`compose_panel`.
        difference_limit: difference of the strongest colour. The same in all epochs, so that they can be compared.
        prefix: beginning of the file names. Defaults to ``"panel"``.

    Raises:
        InputError: when ``interval`` or ``max_cases`` is below 1 or ``difference_limit`` not above 0.
    """

    def __init__(
        self,
        output_dir: str | Path,
        interval: int = 1,
        max_cases: int = 4,
        slice_axis: int = 2,
        size: int = 240,
        difference_limit: float = 0.5,
        prefix: str = "panel",
    ) -> None:
        if interval < 1 or max_cases < 1 or difference_limit <= 0:
            raise InputError(
                "Image panels need an interval and a max_cases of at least 1 and a difference_limit above 0, "
                f"not {interval}, {max_cases} and {difference_limit}."
            )
        self.output_dir = Path(output_dir)
        self.interval = interval
        self.max_cases = max_cases
        self.slice_axis = slice_axis
        self.size = size
        self.difference_limit = difference_limit
        self.prefix = prefix
        self._cases: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator or a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Forget the cases of the epoch before."""
        self._cases = []

    def iteration_completed(self, engine: Engine) -> None:
        """Keep the planes of this iteration's cases until there are enough."""
        missing = self.max_cases - len(self._cases)
        if missing <= 0 or engine.state.epoch % self.interval or getattr(engine.state, "rank", 0):
            return
        for case in output_cases(engine.state.output)[:missing]:
            planes: dict[str, Any] = {"name": case_name(case, default=f"case {len(self._cases) + 1}")}
            for key in ("image", "pred", "guide", "reference"):
                if case.get(key) is not None:
                    planes[key], spacing = display_plane(case[key], self.slice_axis)
                    planes.setdefault("spacing", spacing)
            self._cases.append(planes)

    def epoch_completed(self, engine: Engine) -> None:
        """Write the picture of the epoch."""
        if not self._cases:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        path = self.output_dir / f"{self.prefix}_epoch_{engine.state.epoch:04d}.png"
        title = f"Epoch {engine.state.epoch}"
        compose_panel(self._cases, self.size, self.difference_limit, title).save(path)
        logger.info("Image panel: %s", path)
        self._cases = []


def case_name(case: Mapping[str, Any], default: str) -> str:
    """Return what a case is called: its ``patient``, else its image's file name without suffixes, else ``default``."""
    if case.get("patient") not in (None, ""):
        return str(case["patient"])
    path = source_file(case)
    if path is None:
        return default
    name = Path(path).name
    for suffix in (".nii.gz", Path(name).suffix):
        name = name.removesuffix(suffix)
    return name or default


def source_file(case: Mapping[str, Any]) -> str | None:
    """Return the path that the image of a case was read from, None when it is not known."""
    path = getattr(case.get("image"), "meta", {}).get("filename_or_obj")
    # The files of a DICOM series come as a list: their first one stands for it.
    if isinstance(path, (list, tuple)):
        path = path[0] if path else None
    return str(path) if path else None


_HEADINGS = ("Input", "Enhanced", "Guide", "Reference", "Enhanced - input", "Enhanced - reference")


def _row_cells(case: Mapping[str, Any], size: int, limit: float) -> dict[str, Image.Image]:
    """Return the enlarged images of a case by heading."""
    spacing = case.get("spacing", (1.0, 1.0))
    pixels = {
        heading: _grey_or_colour(case[key])
        for heading, key in zip(_HEADINGS, ("image", "pred", "guide", "reference"), strict=False)
        if key in case
    }
    for heading, key in (("Enhanced - input", "image"), ("Enhanced - reference", "reference")):
        if key in case and "pred" in case and case[key].shape == case["pred"].shape:
            pixels[heading] = difference_colours(case["pred"] - case[key], limit)
    return {heading: _enlarged(values, size, spacing) for heading, values in pixels.items()}


def _grey_or_colour(plane: FloatArray) -> npt.NDArray[np.uint8]:
    # NaN of a network that diverged is shown as 0: the picture must not stop the training.
    values = (np.nan_to_num(plane).clip(0, 1) * 255).round().astype(np.uint8)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)


def _enlarged(pixels: npt.NDArray[np.uint8], size: int, spacing: tuple[float, float]) -> Image.Image:
    """Enlarge by a whole factor along the finer axis, and along the other so that the proportions are the patient's."""
    stretch = np.asarray(spacing, dtype=np.float64) / min(spacing)
    lengths = np.asarray(pixels.shape[:2]) * stretch
    factor = max(1, round(size / float(lengths.max())))
    height, width = (max(1, round(float(length) * factor)) for length in lengths)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def _draw_legend(panel: Image.Image, corner: tuple[int, int], limit: float, font: Any) -> None:
    left, top = corner
    draw = ImageDraw.Draw(panel)
    for label, is_bar in (("difference", False), (f"-{limit:g}", False), ("", True), (f"+{limit:g}", False)):
        if is_bar:
            ramp = difference_colours(np.linspace(-limit, limit, 120)[None].repeat(_CAPTION_SIZE, axis=0), limit)
            panel.paste(Image.fromarray(ramp), (left, top))
            left += 120 + _GAP
        else:
            draw.text((left, top), label, fill=_FAINT, font=font)
            left += int(font.getlength(label)) + _GAP


def _is_photograph(image: torch.Tensor) -> bool:
    """Tell an image that was read with its second axis pointing down and no affine to say so, as PIL reads."""
    if not isinstance(image, MetaTensor):
        return False
    name = str(image.meta.get("filename_or_obj", "")).lower()
    affine = np.asarray(image.meta.get("original_affine", np.eye(4)))
    return name.endswith(_PHOTOGRAPHS) and bool(affine[1, 1] > 0)
