# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How good is the network beside other methods?  The same images, the same references, one table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..data.entries import REFERENCES
from ..errors import require
from ..files import atomic_write
from ..handlers.metrics import image_psnr
from ..handlers.panels import case_name
from ..reports.tables import markdown_table, write_csv
from ..tensors import without_metadata
from ..transforms.loading import check_same_grid
from .downstream_data import Case
from .downstream_pictures import Column, draw_arms
from .guidance_measures import against_reference, best_rising_tone, tissue_deviation
from .readers import CleanReader
from .rivals import BiasCorrection, Classical, FromFiles, Item, Method, as_it_is, of_the_style, stem_of
from .style_guides import StyleGuides

__all__ = ["MethodsReport", "check_references"]

OURS, REFERENCE = "HQG-Net", "reference"
CHAINS = {"N4": False, "N4, non-local means": True}
_COLUMNS = {
    "psnr": ("PSNR (dB)", "{:.2f}"),
    "psnr_toned": ("best tone (dB)", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "haarpsi": ("HaarPSI", "{:.3f}"),
    "detail_energy": ("2-4 pixels", "{:.2f}"),
    "new_structure": ("new", "{:.3f}"),
    "lost_structure": ("lost", "{:.3f}"),
    "dice_mean": ("Dice", "{:.3f}"),
    "auc": ("AUC", "{:.3f}"),
}
_SHOWN = 3

Row = dict[str, Any]


class MethodsReport:
    r"""Measure the network and other methods on the same images, against the references of every style.

    The methods are

    - ``input``: nothing is done;
    - the results of other programs, ``others``;
    - ``N4`` and ``N4, non-local means``, greyscale only: see :class:`scripts.experiments.classical.ClassicalChain`; its
      settings are chosen on the validation images, for each style;
    - ``HQG-Net``: every input under a guide study of the style;
    - ``reference``: the bound.

    Reported are, by style and method, means over the images: PSNR, SSIM and HaarPSI to the style's reference; PSNR with
    the best tone, see :func:`best_rising_tone`; :func:`detail_energy`; new and lost structure of
    :func:`scripts.reports.measure_safety` with the reference in the place of the input; with a
    reader its scores and, in segmentation, :func:`tissue_deviation`.

    Args:
        styled: network and guides.
        testing: items with ``image``, (C, *spatial), ``references`` by style, and perhaps ``label``, ``patient``.
        validation: likewise.
        preprocessing: reads and scales an item ``{"image": path}``.
        output_dir: where ``methods.csv`` (a row per image), ``methods.md`` and the picture ``methods.png`` go.
        others: by method, the folder of its results, or folders by style; see
            :class:`scripts.experiments.rivals.FromFiles`.
        reader: a downstream network that reads the results; None: there is none.
        classical: whether N4 and non-local means take part.

    Raises:
        InputError: when a folder of results is missing.
    """

    def __init__(
        self,
        styled: StyleGuides,
        testing: Iterable[Item],
        validation: Iterable[Item],
        preprocessing: Callable[[Any], Any],
        output_dir: str | Path,
        others: Mapping[str, str | Mapping[str, str]] | None = None,
        reader: CleanReader | None = None,
        classical: bool = True,
    ) -> None:
        self.styled = styled
        self.testing, self.validation = testing, validation
        self.others = [FromFiles(name, folders, preprocessing) for name, folders in _checked(others, styled).items()]
        self.output_dir = Path(output_dir)
        self.reader = reader
        self.classical = classical

    def run(self) -> list[Row]:
        """Measure, write the files, print the table; return the means by style and method.

        Raises:
            InputError: when there are no references, or a result of another program is missing or does not fit.
        """
        items, validation = list(self.testing), list(self.validation)
        require(
            self.reader is None or all("label" in item for item in items),
            'A network that reads the results takes labels: give every entry of "testing" a "label", or set '
            "downstream_steps to 0.",
        )
        self._find_results(items)
        chains = self._chains(items, validation)
        methods: dict[str, Method] = {
            "input": as_it_is,
            **{other.name: other for other in self.others},
            **chains,
            OURS: lambda item, style, number: self.styled.enhance(item["image"], style, number),
            REFERENCE: of_the_style,
        }
        rows: list[Row] = []
        means: list[Row] = []
        pictures: dict[str, Column] = {}
        for style, name in tqdm([(s, m) for s in self.styled.styles for m in methods], "comparing", disable=None):
            given = [methods[name](item, style, number) for number, item in enumerate(items)]
            results = [result for result in given if result is not None]
            if not results:  # a method for other styles
                continue
            found = [self._measure(style, *each) for each in zip(results, items, strict=True)]
            rows += [{"style": style, "method": name, **row} for row in found]
            scores = self.reader.scores(results, items) if self.reader else {}
            means.append({"style": style, "method": name, **_mean(found), **scores})
            pictures.setdefault(name, [(result, None) for result in results[:_SHOWN]])
        self._write(rows, means, [f"{name}, {note}" for name, chain in chains.items() for note in chain.notes()])
        self._draw(pictures, items)
        return means

    def _find_results(self, items: Sequence[Item]) -> None:
        """Look for all results of other programs, before work that takes minutes."""
        if not self.others:
            return
        stems = [stem_of(item) for item in items]
        double = sorted({stem for stem in stems if stems.count(stem) > 1})
        require(
            not double, f"Results are found by the names of their inputs, and several are called {', '.join(double)}."
        )
        for other, style, item in itertools.product(self.others, self.styled.styles, items):
            other.file_of(item, style)

    def _chains(self, items: Sequence[Item], validation: Sequence[Item]) -> dict[str, Classical]:
        """Return the classical methods, if wanted and possible; check that there are references."""
        check_references(items, self.styled.styles, "testing")
        if not self.classical or len(items[0]["image"]) > 1:
            return {}
        check_references(validation, self.styled.styles, "validation")
        bias = BiasCorrection(validation, self.styled.slice_axis)
        return {name: Classical(bias, denoises) for name, denoises in CHAINS.items()}

    def _measure(self, style: str, result: torch.Tensor, item: Item) -> Row:
        """Return the measures of one result."""
        reference = of_the_style(item, style, 0)
        planes = self.styled.spatial_dims, self.styled.slice_axis
        row = {
            "patient": item.get("patient", ""),
            **against_reference(result, reference, *planes),
            "psnr_toned": image_psnr(best_rising_tone(result, reference), reference, *planes),
        }
        if self.reader and self.reader.task.image_labels:
            classes = range(1, self.reader.task.num_classes)
            deviations = tissue_deviation(result, item["label"], classes)
            row |= {f"deviation_{name}": float(value) for name, value in zip(classes, deviations, strict=True)}
        return row

    def _write(self, rows: Sequence[Row], means: Sequence[Row], notes: Sequence[str]) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_csv(self.output_dir / "methods.csv", rows)
        lines = _table(means)
        if notes:
            lines += ["", "Chosen on the validation images:", "", *(f"- {note}" for note in notes)]
        if self.reader:
            lines += ["", f"One {self.reader.readers.describe()}; trained on clean images, it reads all results."]
        text = "\n".join(lines) + "\n"
        with atomic_write(self.output_dir / "methods.md") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        print(f"{text}\nTable: {self.output_dir / 'methods.md'}\nPer image: {self.output_dir / 'methods.csv'}")

    def _draw(self, columns: Mapping[str, Column], items: Sequence[Item]) -> None:
        """Write the picture: a row per image, the first style that a method has."""
        cases = [
            Case(without_metadata(item["image"]), item["image"], None, case_name(item, f"case {number}"), item["image"])
            for number, item in enumerate(items[:_SHOWN], start=1)
        ]
        draw_arms(columns, cases, self.styled.slice_axis, "Methods", self.output_dir / "methods.png")
        print(f"Picture: {self.output_dir / 'methods.png'}", flush=True)


def check_references(entries: Sequence[Item], styles: Sequence[str], name: str) -> None:
    """Refuse items that lack the reference of a style, or have one on another grid.

    Args:
        entries: of a list, prepared.
        styles: all of them.
        name: of the list.

    Raises:
        InputError: when there are no entries, or a reference is missing or lies on another grid than its image.
    """
    require(bool(entries), f'There is nothing to compare: the list "{name}" is empty.')
    for entry in entries:
        missing = [style for style in styles if style not in entry.get(REFERENCES, {})]
        wanted = f'"references" of {", ".join(missing)}' if len(styles) > 1 else 'a "reference"'
        require(not missing, f'Methods are compared by references: give every entry of "{name}" {wanted}.')
        for style in styles:
            check_same_grid(
                (
                    f'the reference of {style} of "{entry.get("patient", "an entry")}" in "{name}"',
                    entry[REFERENCES][style],
                ),
                ("its image", entry["image"]),
                "references lie on the grid of their image",
                "give references the affine matrix of their image",
            )


def _checked(others: Any, styled: StyleGuides) -> dict[str, Any]:
    """Return the folders of other programs' results by method.

    Raises:
        InputError: when they are no mapping, or name a method of this table or a style that is not there.
    """
    others = others or {}
    require(
        isinstance(others, Mapping),
        "others names the folder of each method's results: --others \"{'CycleGAN': '/path/to/results'}\".",
    )
    own = [name for name in others if name in ("input", *CHAINS, OURS, REFERENCE)]
    require(not own, f"others: {', '.join(own)} stands in the table already; take another name.")
    for name, folders in others.items():
        unknown = [style for style in folders if style not in styled.styles] if isinstance(folders, Mapping) else []
        require(
            not unknown,
            f"others: {name} has results of the style {', '.join(map(str, unknown))}; the styles are "
            f"{', '.join(styled.styles)}.",
        )
    return dict(others)


def _mean(rows: Sequence[Row]) -> dict[str, float]:
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: float(np.nanmean([row[name] for row in rows])) for name in names}


def _table(means: Sequence[Row]) -> list[str]:
    names = [name for name in means[0] if name.startswith("deviation_")]
    within = {name: (f"deviation, class {name.removeprefix('deviation_')}", "{:.3f}") for name in names}
    columns = {name: column for name, column in (_COLUMNS | within).items() if any(name in row for row in means)}
    body = [
        (
            row["style"],
            row["method"],
            *(
                form.format(row[name]) if math.isfinite(row.get(name, math.nan)) and not _is_bound(row, name) else "–"
                for name, (_, form) in columns.items()
            ),
        )
        for row in means
    ]
    return markdown_table([("style", "method", *(title for title, _ in columns.values())), *body])


def _is_bound(row: Row, name: str) -> bool:
    """Whether a measure compares the reference with itself."""
    return row["method"] == REFERENCE and name not in ("dice_mean", "auc") and not name.startswith("deviation_")
