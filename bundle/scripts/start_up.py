# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A quicker start of a program that uses a part of MONAI."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["UNUSED", "UNUSED_BY_INFERENCE", "import_monai"]

UNUSED = ("itk", "matplotlib", "mlflow", "pandas", "scipy.signal")
"""Packages that MONAI imports where they are installed, and that the runs of this bundle do not ask MONAI for, unless
they are recorded by MLflow."""

UNUSED_BY_INFERENCE = (*UNUSED, "scipy")
"""Training and evaluation also ask MONAI for surface distances, which need SciPy."""


def import_monai(without: Iterable[str] = UNUSED) -> None:
    """Import MONAI as if some packages were not installed.

    MONAI imports every package that any part of it may need, if it is there. What it does not find fails when it is
    used. Only MONAI is told so: afterwards the packages can be imported as usual.

    Args:
        without: names of packages or modules. Those already imported stay.
    """
    hidden = [name for name in without if name not in sys.modules]
    # This is Python's way to say that a module is not there.
    sys.modules.update(dict.fromkeys(hidden, cast("Any", None)))
    try:
        importlib.import_module("monai.bundle")
    finally:
        for name in hidden:
            del sys.modules[name]
