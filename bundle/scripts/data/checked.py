# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Prepared images of a training, all faults of which are told in one run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from monai.data import CacheDataset

from ..errors import InputError, find_input_error
from ..terminal import is_terminal

__all__ = ["CheckedDataset"]

logger = logging.getLogger(__name__)

MOST_FAULTS = 20
"""Images that cannot be used after which no further ones are looked for."""


class CheckedDataset(CacheDataset):
    """MONAI's dataset with a cache, which tells of all images that cannot be used, and not of the first alone.

    Args:
        data: entries.
        transform: what is done to each; its first deterministic part is cached.
        progress: whether a bar is shown on a terminal while the cache is filled; there is none in a log file.
        settings: see :class:`monai.data.CacheDataset`.

    Raises:
        InputError: for the first image that cannot be used; those after it, up to 20 in all, are logged.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Any, progress: bool = True, **settings: Any
    ) -> None:
        self._faults: list[InputError] = []
        super().__init__(data, transform, progress=progress and is_terminal(), **settings)
        self._tell()

    def _load_cache_item(self, idx: int) -> Any:
        try:
            return super()._load_cache_item(idx)
        except Exception as error:
            fault = find_input_error(error)
            if fault is None:
                raise
            self._faults.append(fault)
            if len(self._faults) >= MOST_FAULTS:
                self._tell()
            return {}

    def _tell(self) -> None:
        if self._faults:
            first, *others = self._faults
            for fault in others:
                logger.error("%s", fault)
            raise InputError(f"{first} (and {len(others)} more, see above)" if others else str(first))
