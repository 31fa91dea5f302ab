# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The version of the bundle, which its metadata state."""

from __future__ import annotations

import json
from pathlib import Path

from .files import bundle_root

__all__ = ["__version__"]

_METADATA = Path(bundle_root(), "configs", "metadata.json")
__version__: str = json.loads(_METADATA.read_text(encoding="utf-8"))["version"]
