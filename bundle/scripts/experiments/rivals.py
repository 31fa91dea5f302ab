# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What the network is compared with: methods that give a result for an image and a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..data.entries import REFERENCES
from ..errors import InputError, require
from ..io import image_stem
from ..tensors import without_metadata
from ..transforms.loading import check_same_grid
from .classical import LEVELS, ClassicalChain, Planes

__all__ = ["BiasCorrection", "Classical", "FromFiles", "Method", "as_it_is", "of_the_style", "stem_of"]

Item = Mapping[str, Any]
Method = Callable[[Item, str, int], torch.Tensor | None]
"""From an item with ``image``, (C, *spatial), a style and the item's number to the result, of the image's shape; None
where the method has none for this style."""


def stem_of(item: Item) -> str:
    """Return the name of an item's file or folder, without suffix."""
    return image_stem(Path(item["image"].meta["filename_or_obj"]).name)


def as_it_is(item: Item, style: str, number: int) -> torch.Tensor:
    """Return the input itself."""
    return without_metadata(item["image"])


def of_the_style(item: Item, style: str, number: int) -> torch.Tensor:
    """Return the reference of the style."""
    reference: torch.Tensor = without_metadata(item[REFERENCES][style])
    return reference


class BiasCorrection:
    """The planes of all images without their bias field, which is estimated once for all methods and styles.

    Args:
        validation: items with ``image``.
        slice_axis: spatial axis of a volume along which its planes are stacked.
    """

    def __init__(self, validation: Sequence[Item], slice_axis: int) -> None:
        self.validation = validation
        self.slice_axis = slice_axis
        self._corrector = ClassicalChain(slice_axis)
        self._corrected: dict[tuple[int, int], Planes] = {}

    def of(self, image: torch.Tensor, number: int, levels: int) -> Planes:
        """Return the planes of the test image of that number."""
        if (number, levels) not in self._corrected:
            self._corrected[number, levels] = self._corrector.correct(image, levels)
        return self._corrected[number, levels]

    @cached_property
    def of_validation(self) -> dict[int, list[Planes]]:
        """The planes of the validation images, by the levels of N4."""
        images = [without_metadata(item["image"]) for item in self.validation]
        return {levels: [self._corrector.correct(image, levels) for image in images] for levels in LEVELS}


class Classical:
    """N4 and perhaps non-local means, a method whose settings are chosen for each style on validation images.

    Args:
        bias: of the images; its validation items have ``references``.
        denoises: whether non-local means take part.
    """

    def __init__(self, bias: BiasCorrection, denoises: bool) -> None:
        self.bias = bias
        self.denoises = denoises
        self.chosen: dict[str, ClassicalChain] = {}

    def __call__(self, item: Item, style: str, number: int) -> torch.Tensor:
        """Return the result of an item."""
        if style not in self.chosen:
            self.chosen[style] = ClassicalChain(self.bias.slice_axis, self.denoises)
            references = [of_the_style(item, style, 0) for item in self.bias.validation]
            self.chosen[style].fit(self.bias.of_validation, references)
        chain = self.chosen[style]
        image = without_metadata(item["image"])
        return chain.apply(self.bias.of(image, number, chain.levels), image)

    def notes(self) -> list[str]:
        """Return a line on the settings of each style."""
        return [f"{style}: {chain.describe()}" for style, chain in self.chosen.items()]


class FromFiles:
    """The results of another program, a method whose files have the names of their inputs, whatever the suffix.

    Args:
        name: of the method.
        folders: a folder, or folders by style.
        preprocessing: reads and scales an item ``{"image": path}``.

    Raises:
        InputError: when a folder is missing.
    """

    def __init__(
        self, name: str, folders: str | Mapping[str, str], preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.folders = folders
        self._found: dict[str, dict[str, list[Path]]] = {}
        every = list(folders.values()) if isinstance(folders, Mapping) else [folders]
        missing = [str(folder) for folder in every if not folder or not Path(str(folder)).is_dir()]
        require(not missing, f'The results of {name} are missing: there is no folder "{", ".join(missing)}".')

    def __call__(self, item: Item, style: str, number: int) -> torch.Tensor | None:
        """Return the result of an item, None when there is no folder for the style.

        Raises:
            InputError: when the file is missing or has a twin, or does not lie on the grid of the input.
        """
        file = self.file_of(item, style)
        if file is None:
            return None
        result = self.preprocessing({"image": str(file)})["image"]
        check_same_grid(
            (f'"{file}"', result),
            ("its input", item["image"]),
            "results lie on the grid of their input",
            "give results the affine matrix of their input",
        )
        plain: torch.Tensor = without_metadata(result)
        return plain

    def file_of(self, item: Item, style: str) -> Path | None:
        """Return the file of the result of an item, None when there is no folder for the style.

        Raises:
            InputError: when it is missing or has a twin.
        """
        folder = self.folders.get(style) if isinstance(self.folders, Mapping) else self.folders
        if folder is None:
            return None
        stem = stem_of(item)
        found = self._files_in(folder).get(stem, [])
        if len(found) != 1:
            there = ", ".join(f'"{path}"' for path in found) or "none"
            raise InputError(f'{self.name} should have one file for "{stem}" in "{folder}", not {there}.')
        return found[0]

    def _files_in(self, folder: str) -> dict[str, list[Path]]:
        """Return the files of a folder by the names of their inputs; it is looked through once."""
        if folder not in self._found:
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            self._found[folder] = {}
            for file in files:
                self._found[folder].setdefault(image_stem(file.name), []).append(file)
        return self._found[folder]
