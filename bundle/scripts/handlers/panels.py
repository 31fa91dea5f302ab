# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the training: input, result, guide, reference and differences side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ignite.engine import Engine, Events
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..visualize import (
    BACKGROUND,
    CAPTION_SIZE,
    FAINT,
    GAP,
    FloatArray,
    compose_grid,
    display_plane,
    enlarged,
    grey_or_colour,
)
from .metrics import output_cases

# Zero is black, as air is in the images beside it; yellow and cyan ends tell signs apart to colour-blind eyes too.
_DIVERGING = np.array([[120, 220, 255], [25, 85, 235], [0, 0, 0], [225, 45, 20], [255, 215, 90]], dtype=np.float64)

logger = logging.getLogger(__name__)


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
    grid = [
        (str(case.get("name", "")), [row.get(heading) for heading in headings])
        for case, row in zip(cases, rows, strict=True)
    ]
    return compose_grid(headings, grid, title, _legend(difference_limit))


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
    return str(path) if path else None


_HEADINGS = ("Input", "Enhanced", "Guide", "Reference", "Enhanced - input", "Enhanced - reference")


def _row_cells(case: Mapping[str, Any], size: int, limit: float) -> dict[str, Image.Image]:
    """Return the enlarged images of a case by heading."""
    spacing = case.get("spacing", (1.0, 1.0))
    pixels = {
        heading: grey_or_colour(case[key])
        for heading, key in zip(_HEADINGS, ("image", "pred", "guide", "reference"), strict=False)
        if key in case
    }
    for heading, key in (("Enhanced - input", "image"), ("Enhanced - reference", "reference")):
        if key in case and "pred" in case and case[key].shape == case["pred"].shape:
            pixels[heading] = difference_colours(case["pred"] - case[key], limit)
    return {heading: enlarged(values, spacing, size) for heading, values in pixels.items()}


def _legend(limit: float) -> Image.Image:
    """Return the scale of the colours of differences."""
    font: Any = ImageFont.load_default(CAPTION_SIZE)
    ramp = difference_colours(np.linspace(-limit, limit, 120)[None].repeat(CAPTION_SIZE, axis=0), limit)
    parts: list[str | Image.Image] = ["difference", f"-{limit:g}", Image.fromarray(ramp), f"+{limit:g}"]
    widths = [int(font.getlength(part)) if isinstance(part, str) else part.width for part in parts]
    legend = Image.new("RGB", (sum(widths) + GAP * (len(parts) - 1), CAPTION_SIZE + 4), BACKGROUND)
    draw = ImageDraw.Draw(legend)
    left = 0
    for part, width in zip(parts, widths, strict=True):
        if isinstance(part, str):
            draw.text((left, 0), part, fill=FAINT, font=font)
        else:
            legend.paste(part, (left, 0))
        left += width + GAP
    return legend
