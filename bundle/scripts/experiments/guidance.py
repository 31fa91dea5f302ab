# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the output follow the guide?  The same inputs, enhanced under guides of different styles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer

from ..data.entries import REFERENCES
from ..errors import InputError, require
from ..handlers.metrics import image_psnr
from ..handlers.panels import compose_panel
from ..networks import HQGNet
from ..reports.tables import write_csv
from ..tensors import without_metadata
from ..visualize import display_plane
from .guidance_measures import (
    against_reference,
    follow_slope,
    match_histogram,
    rank_correlation,
    style_share,
    tissue_means,
)
from .guidance_tables import guidance_table
from .style_guides import StyleGuides, require_two_styles

__all__ = ["GuidanceReport", "check_guidance_data"]

TONE_ALONE = 0.95
"""Rank correlation of two references from which on their styles differ by tone alone."""

Row = dict[str, Any]


class GuidanceReport:
    r"""Measure whether results follow the style of their guide while the structure stays.

    Every input y is enhanced under one guide study of every style, the n-th input under the n-th study of each, in
    turn, and under the prototype. Reported are, by style and input,

    - ``nearer``: whether the result's tissue means, the mean intensities in each class, are nearer to those of its own
      style than to those of any other, in L1;
    - ``follow``, see :func:`follow_slope`, and ``structure``, the smallest Spearman correlation inside the labelled
      tissue between the results of two styles that differ by tone alone: 1 where the results do too;
    - with references by style, in dB: ``own``, PSNR of the result to the reference of its style; ``prototype``, that of
      the result under the prototype; ``other``, PSNR of the result to the references of the other styles; ``matched``,
      that of the prototype's result after its histogram was matched to the guide's, the rival of every learnt guide;
    - with references: SSIM, HaarPSI, :func:`detail_energy`, and the new and lost structure of
      :func:`scripts.reports.measure_safety` with the reference in the place of the input;

    and ``style_share``, see :func:`style_share`, of the cues of single slices: one figure, the same in every row.

    A style's tissue means are those of the input's reference or, without references, the mean over the guides.

    Args:
        network: the trained network.
        inferer: how it is called.
        inputs: items with ``image`` and ``label``, (C, *spatial), and perhaps ``patient`` and ``references`` by style.
        guides: by style, its high-quality items with ``image`` and ``label``.
        output_dir: where ``guidance.csv`` and the picture ``guidance.png`` go.
        device: where the network is.
        spatial_dims: number of spatial dimensions of the network.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        classes: label classes that are compared. Defaults to all but 0 that occur in the guides.

    Raises:
        InputError: when there are fewer than two styles, or no labels.
    """

    def __init__(
        self,
        network: HQGNet,
        inferer: Inferer,
        inputs: Iterable[Mapping[str, Any]],
        guides: Mapping[str, Sequence[Mapping[str, Any]]],
        output_dir: str | Path,
        device: torch.device | str = "cpu",
        spatial_dims: int = 2,
        slice_axis: int = 2,
        classes: Sequence[int] | None = None,
    ) -> None:
        require_two_styles(guides)
        self.styled = StyleGuides(network, inferer, guides, device, spatial_dims, slice_axis)
        self.inputs = inputs
        self.guides = guides
        self.output_dir = Path(output_dir)
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.classes = classes

    def run(self) -> dict[str, dict[str, float]]:
        """Measure, write the files, print the table; return the figures by style."""
        if any("label" not in item for items in self.guides.values() for item in items):
            raise InputError("Tissue means need labels: every high-quality entry of the datalist must have one.")
        self._classes = self.classes or sorted(
            {int(number) for items in self.guides.values() for item in items for number in item["label"].unique()} - {0}
        )
        self._means = {
            style: torch.stack([tissue_means(item["image"], item["label"], self._classes) for item in items]).nanmean(0)
            for style, items in self.guides.items()
        }
        self._share = style_share({style: torch.cat(cues) for style, cues in self.styled.cues.items()})
        rows: list[Row] = []
        cases: list[dict[str, Any]] = []
        for number, item in enumerate(self.inputs):
            if "label" not in item:
                raise InputError("Tissue means need labels: every entry to be tested must have one.")
            results = {style: self.styled.enhance(item["image"], style, number) for style in self.guides}
            rows += self._measure(number, item, results)
            if len(cases) < 2 * len(results):
                cases += self._panel_rows(number, item, results)
        if not rows:
            raise InputError("There is nothing to test: the list of test entries is empty.")
        self._write(rows, cases)
        summary = {style: _summary([row for row in rows if row["style"] == style]) for style in self.guides}
        print(guidance_table(rows, summary, self._share), flush=True)
        print(
            f"Per patient: {self.output_dir / 'guidance.csv'}\nPicture: {self.output_dir / 'guidance.png'}", flush=True
        )
        return summary

    def _measure(self, number: int, item: Mapping[str, Any], results: Mapping[str, torch.Tensor]) -> list[Row]:
        """Return a row of measures for every style."""
        label, references = item["label"], {style: without_metadata(x) for style, x in item.get(REFERENCES, {}).items()}
        found = {style: tissue_means(result, label, self._classes) for style, result in results.items()}
        wanted = {style: self._wanted(style, label, references) for style in results}
        common = {
            "patient": item.get("patient", f"case {number + 1}"),
            "follow": follow_slope(found, wanted),
            "structure": self._structure(label, results, references),
            "style_share": self._share,
        }
        unguided = self.styled.enhance_unguided(item["image"]) if references else None
        rows = []
        for style, result in results.items():
            distance = {other: float((found[style] - wanted[other]).abs().nanmean()) for other in results}
            nearest = min(value for other, value in distance.items() if other != style)
            row = {**common, "style": style, "to_own": distance[style], "to_other": nearest}
            row["nearer"] = float(distance[style] < nearest)
            if unguided is not None and style in references:
                guide = without_metadata(self.styled.guide(style, number)["image"])
                row |= self._against_references(style, result, unguided, references, guide)
            means = zip(self._classes, found[style], wanted[style], strict=True)
            for name, value, truth in means:
                row |= {f"class_{name}": float(value), f"wanted_{name}": float(truth)}
            rows.append(row)
        return rows

    def _wanted(self, style: str, label: torch.Tensor, references: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if style in references:
            return tissue_means(references[style], label, self._classes)
        return self._means[style]

    def _structure(
        self, label: torch.Tensor, results: Mapping[str, torch.Tensor], references: Mapping[str, torch.Tensor]
    ) -> float:
        """Return the smallest rank correlation of results whose styles differ by tone alone; NaN where none do."""
        tissue = label.as_subclass(torch.Tensor) > 0

        def ranks(images: Mapping[str, torch.Tensor], a: str, b: str) -> float:
            return rank_correlation(images[a][tissue.expand_as(images[a])], images[b][tissue.expand_as(images[b])])

        pairs = list(itertools.combinations(results, 2))
        if references:
            pairs = [(a, b) for a, b in pairs if {a, b} <= set(references) and ranks(references, a, b) >= TONE_ALONE]
        return min((ranks(results, a, b) for a, b in pairs), default=math.nan)

    def _against_references(
        self,
        style: str,
        result: torch.Tensor,
        unguided: torch.Tensor,
        references: Mapping[str, torch.Tensor],
        guide: torch.Tensor,
    ) -> Row:
        """Return the measures of one result that need references."""
        reference = references[style]
        measures = against_reference(result, reference, self.spatial_dims, self.slice_axis)

        def psnr(image: torch.Tensor, of: torch.Tensor) -> float:
            return image_psnr(image, of, self.spatial_dims, self.slice_axis)

        others = [psnr(result, references[other]) for other in references if other != style]
        return {
            "own": measures.pop("psnr"),
            "prototype": psnr(unguided, reference),
            "other": sum(others) / len(others) if others else math.nan,
            "matched": psnr(match_histogram(unguided, guide), reference),
            **measures,
        }

    def _panel_rows(
        self, number: int, item: Mapping[str, Any], results: Mapping[str, torch.Tensor]
    ) -> list[dict[str, Any]]:
        """One row per style, with its guide and, where there is one, the reference."""
        image = item["image"]
        plane, spacing = display_plane(image, self.slice_axis)
        rows = []
        for style, result in results.items():
            shown = {"pred": image.clone()}
            shown["pred"][...] = result
            shown["guide"] = self.styled.guide(style, number)["image"]
            if style in item.get(REFERENCES, {}):
                shown["reference"] = item[REFERENCES][style]
            planes = {key: display_plane(values, self.slice_axis)[0] for key, values in shown.items()}
            name = f"{item.get('patient', f'case {number + 1}')}, {style} guide"
            rows.append({"name": name, "image": plane, "spacing": spacing, **planes})
        return rows

    def _write(self, rows: Sequence[Row], cases: Sequence[Mapping[str, Any]]) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_csv(self.output_dir / "guidance.csv", rows)
        compose_panel(cases, title="The same inputs under guides of different styles").save(
            self.output_dir / "guidance.png"
        )


def check_guidance_data(guides: Sequence[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse entries of a datalist that :class:`GuidanceReport` could not measure, before a network is trained.

    Args:
        guides: high-quality entries.
        inputs: entries to be tested.

    Raises:
        InputError: when there are fewer than two styles, nothing to test, or an entry without a label.
    """
    styled = [entry for entry in guides if "style" in entry]
    require_two_styles({entry["style"] for entry in styled})
    require(bool(inputs), "There is nothing to test: the list of test entries is empty.")
    require(
        all("label" in entry for entry in (*styled, *inputs)),
        'Tissue means need labels: give every high-quality entry with a "style", and every test entry, a "label".',
    )


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
