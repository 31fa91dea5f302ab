# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Tensors with and without MONAI's metadata."""

from __future__ import annotations

from typing import Any

from monai.data import MetaTensor

__all__ = ["without_metadata"]


def without_metadata(value: Any) -> Any:
    """Return a ``MetaTensor`` as the plain tensor that it is, on the same memory; anything else as it is.

    MONAI's operations on a ``MetaTensor`` carry its metadata along at every step, which takes time.
    """
    return value.as_tensor() if isinstance(value, MetaTensor) else value
