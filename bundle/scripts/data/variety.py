# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The random transforms of a stream of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from monai.data import get_track_meta, set_track_meta
from monai.transforms import Compose, Randomizable

__all__ = ["WiderVariety", "seedable", "transforms_in", "untracked"]


@dataclass(frozen=True)
class WiderVariety:
    """Random transforms of a stream that take the place of its first ones after some epochs.

    Meant for images that are harder to restore than those of the training set: of other sizes, with structures that no
    patient has. A network that meets them from the beginning learns little else: where the contrast of a guide is the
    inverse of the input's, it does not find out which is which.

    Attributes:
        random_transform: in the place of the stream's ``random_transform``.
        style_transform: in the place of its ``style_transform``.
        after_epoch: the last epoch with the first ones.
    """

    random_transform: Callable[[dict[str, Any]], dict[str, Any]]
    style_transform: Callable[[dict[str, Any]], dict[str, Any]]
    after_epoch: int


def transforms_in(transform: Any) -> Sequence[Any]:
    """Return the parts of a ``Compose``, or the transform itself."""
    # Not the parts of OneOf and its like, which choose among them at random and pass their state on themselves.
    parts: Sequence[Any] = transform.flatten().transforms if type(transform) is Compose else (transform,)
    return parts


def seedable(transform: Any) -> tuple[Any, list[Any]]:
    """Return a transform (or None), and those of its parts that take a random state, which are found once."""
    return transform, [part for part in transforms_in(transform) if isinstance(part, Randomizable)]


@contextmanager
def untracked() -> Iterator[None]:
    """Let MONAI's transforms treat plain tensors as such: by default every one makes a MetaTensor of them again."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
