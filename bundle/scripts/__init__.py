# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""HQG-Net: unpaired enhancement of medical images, guided by high-quality images.

``Enhancer`` and ``__version__`` are found here. They are imported when they are first named: MONAI alone takes seconds.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {"Enhancer": "api", "Enhanced": "api", "__version__": "version"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
