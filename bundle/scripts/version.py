# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The version of the bundle, which its metadata state."""

from __future__ import annotations

import json

from .files import bundle_root

__all__ = ["__version__"]

__version__: str = json.loads((bundle_root() / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
