# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The global random states of Python, NumPy and PyTorch."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

__all__ = ["preserve_rng_state"]


@contextlib.contextmanager
def preserve_rng_state(device: torch.device | str = "cpu") -> Iterator[None]:
    """Restore the global random states at the end. Even starting a data loader draws from PyTorch's generator.

    Args:
        device: a CUDA device has a state of its own, which is restored as well. Defaults to ``"cpu"``.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
