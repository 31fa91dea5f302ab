# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Guide studies and references by style, and results under them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from monai.inferers import Inferer
from monai.networks import eval_mode

from ..cues import collect_cues
from ..data.entries import REFERENCES
from ..errors import require
from ..networks import HQGNet
from ..tasks import Entries
from ..tensors import without_metadata

__all__ = ["StyleGuides", "guides_by_style", "only_style", "require_two_styles", "with_references"]

UNNAMED = "HQ"


def _styles(entries: Entries) -> list[str]:
    return sorted({entry["style"] for entry in entries if "style" in entry})


def only_style(entries: Entries) -> str | None:
    """Return the one style of the high-quality entries, ``"HQ"`` where none has a style; None: there are several."""
    styles = _styles(entries) or [UNNAMED]
    return styles[0] if len(styles) == 1 else None


def guides_by_style(
    entries: Entries, preprocessing: Callable[[Any], Any], only: str | None = None
) -> dict[str, list[Any]]:
    """Return the prepared high-quality items of a datalist by their ``"style"``.

    Args:
        entries: of the high-quality list. Those without a style are left out.
        preprocessing: reads and scales an entry.
        only: the style of all entries where none has one. Defaults to None: all are left out.
    """
    styles = _styles(entries)
    if not styles and only is not None:
        return {only: [preprocessing(entry) for entry in entries]}
    return {style: [preprocessing(entry) for entry in entries if entry.get("style") == style] for style in styles}


def with_references(
    entries: Entries, preprocessing: Callable[[Any], Any], only: str | None = None
) -> Iterator[dict[str, Any]]:
    """Give the prepared items of a datalist, with their ``"references"`` by style where they have some.

    Args:
        entries: of a list.
        preprocessing: reads and scales an entry.
        only: the style of the ``"reference"`` of an entry without ``"references"``. Defaults to None: it is not known.
    """
    for entry in entries:
        item = dict(preprocessing(entry))
        references = {
            style: preprocessing({"image": path})["image"] for style, path in entry.get(REFERENCES, {}).items()
        }
        if not references and only is not None and "reference" in item:
            references = {only: item["reference"]}
        yield {**item, REFERENCES: references}


def require_two_styles(styles: Collection[str]) -> None:
    """Refuse guides of fewer than two styles.

    Raises:
        InputError: saying what the datalist lacks.
    """
    require(
        len(styles) >= 2,
        "Whether results follow their guide takes guides of two styles: give the high-quality entries of the datalist "
        'a "style".',
    )


class StyleGuides:
    """Enhance images under guide studies of several styles, the n-th image under the n-th study of each, in turn.

    Args:
        network: the trained network.
        inferer: how it is called.
        guides: by style, its high-quality items with ``image``, (C, *spatial).
        device: where the network is.
        spatial_dims: number of spatial dimensions of the network.
        slice_axis: spatial axis of a volume along which its slices are stacked.
    """

    def __init__(
        self,
        network: HQGNet,
        inferer: Inferer,
        guides: Mapping[str, Sequence[Mapping[str, Any]]],
        device: torch.device | str = "cpu",
        spatial_dims: int = 2,
        slice_axis: int = 2,
    ) -> None:
        self.network = network
        self.inferer = inferer
        self.guides = guides
        self.device = device
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis

    @property
    def styles(self) -> list[str]:
        """Their names."""
        return list(self.guides)

    @cached_property
    def cues(self) -> dict[str, list[torch.Tensor]]:
        """By style, the cues of every study's slices, (n, cue_channels)."""
        return {style: [self._slice_cues(item["image"]) for item in items] for style, items in self.guides.items()}

    def guide(self, style: str, number: int) -> Mapping[str, Any]:
        """Return the guide study of the input of that number."""
        studies = self.guides[style]
        return studies[number % len(studies)]

    def enhance(self, image: torch.Tensor, style: str, number: int) -> torch.Tensor:
        """Return the result of the input of that number, (C, *spatial), under its guide study of a style."""
        studies = self.cues[style]
        return self._enhance(image, studies[number % len(studies)].mean(dim=0, keepdim=True))

    def enhance_unguided(self, image: torch.Tensor) -> torch.Tensor:
        """Return the result of an input, (C, *spatial), under the prototype."""
        return self._enhance(image, self.network.prototype_mean[None])

    def _slice_cues(self, image: torch.Tensor) -> torch.Tensor:
        batches = [without_metadata(image)[None]]
        return collect_cues(
            self.network, batches, self.device, spatial_dims=self.spatial_dims, slice_axis=self.slice_axis
        )

    def _enhance(self, image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        with eval_mode(self.network):
            batch = without_metadata(image)[None].to(self.device)
            result: torch.Tensor = self.inferer(batch, self.network.enhance_with_cue, cue)[0]
        return result.cpu()
