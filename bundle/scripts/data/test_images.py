# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that training does not look at, and evaluation afterwards does: they are read once before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import processes
from ..errors import input_error_of

__all__ = ["check_test_images"]

logger = logging.getLogger(__name__)


def check_test_images(
    entries: Sequence[Mapping[str, Any]], transform: Callable[[dict[str, Any]], Any], *datasets: Any
) -> None:
    """Read and check test images, with their references, labels and guides, and forget them again.

    Of several processes, the first one reads.

    Args:
        entries: of a datalist.
        transform: reads and checks an entry.
        datasets: the other images of the training, which are read and checked when these objects are made. They are
            arguments so that this has been done.

    Raises:
        InputError: naming the file that cannot be used.
    """
    processes.from_first(lambda: _check(entries, transform))


def _check(entries: Sequence[Mapping[str, Any]], transform: Callable[[dict[str, Any]], Any]) -> None:
    for entry in entries:
        others = [{"image": path} for path in entry.get("references", {}).values()]
        for item in (dict(entry), *others):
            try:
                transform(item)
            except Exception as error:
                raise input_error_of(error, f'cannot prepare "{item["image"]}"') from error
    if entries:
        logger.info("%d test images can be read, with all that belongs to them", len(entries))
