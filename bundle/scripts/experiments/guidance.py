# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the output follow the guide?  The same inputs, enhanced under guides of different styles."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer

from ..errors import InputError
from ..handlers.panels import compose_panel
from ..handlers.prototype import collect_cues
from ..networks import HQGNet
from ..reports.tables import markdown_table
from ..visualize import display_plane

__all__ = ["GuidanceReport", "rank_correlation", "tissue_means"]


def tissue_means(image: torch.Tensor, label: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Return the mean intensity in each class, (len(classes),), NaN for a class that is not there.

    Args:
        image: (C, *spatial).
        label: class numbers, (1, *spatial).
        classes: which classes.
    """
    mean = image.float().mean(dim=0)
    return torch.stack([mean[label[0] == number].mean() for number in classes])


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return Spearman's rank correlation of two tensors: 1 where one is an increasing function of the other.

    Equal values have ranks in order of their place, which hardly matters for real-valued images.
    """
    ranks = [x.flatten().argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


class GuidanceReport:
    r"""Measure whether results follow the style of their guide while the structure stays.

    Every style s has a cue :math:`v_s`, the mean over its images, and tissue means :math:`m_s`, the mean over its
    labelled images of the mean intensity in each class. Every input y is enhanced under every cue. Reported are, per
    style, over inputs,

    - the distance of the results' tissue means to those of their own style and of the nearest other,
      :math:`\frac1K\lVert m(E(y; v_s)) - m_{s'}\rVert_1`, and the share nearer to their own;
    - Spearman's rank correlation, inside the labelled tissue, between the results of one input under two styles: 1
      where they differ by an increasing tone curve alone.

    Args:
        network: the trained network.
        inferer: how it is called.
        inputs: items with ``image`` and ``label``, (C, *spatial), and perhaps ``patient``.
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
        if len(guides) < 2:
            raise InputError(
                "Whether results follow their guide takes guides of two styles: give the high-quality entries of the "
                'datalist a "style".'
            )
        self.network = network
        self.inferer = inferer
        self.inputs = inputs
        self.guides = guides
        self.output_dir = Path(output_dir)
        self.device = device
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.classes = classes

    @torch.no_grad()
    def run(self) -> dict[str, dict[str, float]]:
        """Measure, write the files, print the table; return the figures by style."""
        self.network.eval()
        if any("label" not in item for items in self.guides.values() for item in items):
            raise InputError("Tissue means need labels: every high-quality entry of the datalist must have one.")
        classes = self.classes or sorted(
            {int(number) for items in self.guides.values() for item in items for number in item["label"].unique()} - {0}
        )
        styles = list(self.guides)
        cues, means = {}, {}
        for style, items in self.guides.items():
            batches = [{"image": item["image"][None]} for item in items]
            found = collect_cues(
                self.network, batches, self.device, spatial_dims=self.spatial_dims, slice_axis=self.slice_axis
            )
            cues[style] = found.mean(dim=0, keepdim=True)
            means[style] = torch.stack([tissue_means(item["image"], item["label"], classes) for item in items]).nanmean(
                0
            )

        rows: list[dict[str, Any]] = []
        cases: list[dict[str, Any]] = []
        for number, item in enumerate(self.inputs):
            if "label" not in item:
                raise InputError("Tissue means need labels: every entry to be tested must have one.")
            image = item["image"]
            results = {style: self._enhance(image, cue) for style, cue in cues.items()}
            tissue = item["label"].as_subclass(torch.Tensor) > 0
            inside = {style: result[tissue.expand_as(result)] for style, result in results.items()}
            structure = min(rank_correlation(inside[a], inside[b]) for a, b in itertools.combinations(styles, 2))
            for style, result in results.items():
                found = tissue_means(result, item["label"], classes)
                distance = {other: float((found - means[other]).abs().nanmean()) for other in styles}
                others = min(value for other, value in distance.items() if other != style)
                rows.append(
                    {
                        "patient": item.get("patient", f"case {number + 1}"),
                        "style": style,
                        "own": distance[style],
                        "other": others,
                        "follows": distance[style] < others,
                        "structure": structure,
                        **{f"class_{name}": float(value) for name, value in zip(classes, found, strict=True)},
                    }
                )
            if len(cases) < 4:
                cases += self._panel_rows(image, results, rows[-1]["patient"])
        self._write(rows, cases)
        summary = {style: _summary([row for row in rows if row["style"] == style]) for style in styles}
        print(_table(summary, {style: means[style].tolist() for style in styles}, classes), flush=True)
        print(
            f"Per patient: {self.output_dir / 'guidance.csv'}\nPicture: {self.output_dir / 'guidance.png'}", flush=True
        )
        return summary

    def _enhance(self, image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
        def under_cue(batch: torch.Tensor) -> torch.Tensor:
            return self.network.enhance_with_cue(batch, cue)

        result: torch.Tensor = self.inferer(image[None].to(self.device), under_cue)[0]
        return result.cpu().as_subclass(torch.Tensor)

    def _panel_rows(
        self, image: torch.Tensor, results: Mapping[str, torch.Tensor], patient: str
    ) -> list[dict[str, Any]]:
        """One row per style, with the middle image of the style as the guide shown."""
        plane, spacing = display_plane(image, self.slice_axis)
        rows = []
        for style, result in results.items():
            guide = self.guides[style][len(self.guides[style]) // 2]["image"]
            shown = image.clone()
            shown[...] = result
            rows.append(
                {
                    "name": f"{patient}, {style} guide",
                    "image": plane,
                    "pred": display_plane(shown, self.slice_axis)[0],
                    "guide": display_plane(guide, self.slice_axis)[0],
                    "spacing": spacing,
                }
            )
        return rows

    def _write(self, rows: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            raise InputError("There is nothing to test: the list of test entries is empty.")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with (self.output_dir / "guidance.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        compose_panel(cases, title="The same inputs under guides of different styles").save(
            self.output_dir / "guidance.png"
        )


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = [name for name, value in rows[0].items() if isinstance(value, (int, float))]
    return {name: sum(float(row[name]) for row in rows) / len(rows) for name in names}


def _table(
    summary: Mapping[str, Mapping[str, float]], means: Mapping[str, Sequence[float]], classes: Sequence[int]
) -> str:
    heading = ("guides of style", "to own style", "to nearest other", "nearer to own", "rank correlation of styles")
    body = [
        (style, f"{row['own']:.3f}", f"{row['other']:.3f}", f"{row['follows']:.0%}", f"{row['structure']:.3f}")
        for style, row in summary.items()
    ]
    lines = [*markdown_table([heading, *body]), ""]
    lines.append(
        "tissue means, results (guides): "
        + "; ".join(
            f"{style}: "
            + ", ".join(
                f"class {name} {row[f'class_{name}']:.3f} ({mean:.3f})"
                for name, mean in zip(classes, means[style], strict=True)
            )
            for style, row in summary.items()
        )
    )
    return "\n".join(lines)
