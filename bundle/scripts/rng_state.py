# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The global random states."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

__all__ = ["preserve_rng_state"]


@contextlib.contextmanager
def preserve_rng_state(device: torch.device | str = "cpu") -> Iterator[None]:
    """Restore the global random states at the end: even to start a data loader draws a number from torch's.

    Args:
        device: whose state is kept as well.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
