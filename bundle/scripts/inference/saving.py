# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing results in the format of their source, as a transform."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged
from monai.utils import ImageMetaKey

from ..errors import InputError
from ..io import Case, CaseImage, Provenance, find_cases, open_case
from ..tensors import without_metadata
from .results import ResultFolder

__all__ = ["SaveImageAsSourced"]

logger = logging.getLogger(__name__)


class SaveImageAsSourced(SaveImaged):
    """Write an image in the format, the stored type and the geometry of the file that it was made from.

    The file is found by the item's ``"name"``, that of a case, or else by the image's metadata. Results lie below the
    output folder as the batch program (:class:`scripts.inference.BatchEnhancement`) lays them out. Files that this
    object did not write are never replaced. Values that do not fit the stored type are cut to its range, with a word.

    The class is one of MONAI's ``SaveImaged``, so that programs which write results themselves leave it out, as they
    leave out MONAI's.

    Args:
        keys: key of the image, (C, *spatial), in the units and on the grid of its source.
        output_dir: folder of the results; ``""`` refuses to write.
        provenance: what derived images say of the way they were made.
        cases: the cases that names refer to. Defaults to none.
        open_image: reads a case. Defaults to :func:`scripts.io.open_case`.
        allow_missing_keys: whether a key that an item lacks is skipped.

    Raises:
        InputError: when a result would take the place of an original or of a file that is not its own, when the image
            comes from no file, or when there is no output folder.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        provenance: Provenance,
        cases: Sequence[Case] = (),
        open_image: Callable[[Case], CaseImage] = open_case,
        allow_missing_keys: bool = False,
    ) -> None:
        # Not that of SaveImaged, which makes a writer that knows one format.
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.provenance = provenance
        self.open_image = open_image
        self.cases = {case.name: case for case in cases}
        self.results = ResultFolder(output_dir) if output_dir else None
        if self.results is not None:
            self.results.refuse_originals(cases)
        self._written: dict[str, list[str]] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images of one item; the item stays as it is."""
        item = dict(data)
        for key in self.key_iterator(item):
            self._write(self._case(item.get("name"), item[key]), item[key])
        return item

    def _case(self, name: Any, image: torch.Tensor) -> Case:
        if name is not None:
            return self.cases[name]
        place = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(image, MetaTensor) else None
        if place is None:
            raise InputError("An image that comes from no file has no format to be written in: leave writing out.")
        cases, _ = find_cases(place, follow_links=True)
        return cases[0]

    def _write(self, case: Case, result: torch.Tensor) -> None:
        if self.results is None:
            raise InputError("Say where results go: set output_dir to a folder.")
        self.results.refuse_originals([case])
        values, source = without_metadata(result).cpu(), self.open_image(case)
        cut = source.values_cut(values)
        if cut:
            logger.warning(
                "%s: %d of %d values do not fit the stored type: they are cut to its range",
                case.name,
                cut,
                values.numel(),
            )
        with self.results.opened():
            made = [source.write(values, self.results.partial(case.name), self.provenance)]
            own = self._written.get(case.name, [])
            outputs = self.results.claim(case.name, made, own)
            self.results.settle(made, outputs, own)
        self._written[case.name] = outputs
