# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The file of a datalist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError

__all__ = ["read_json"]


def read_json(file: Path) -> Any:
    """Return the content of a datalist file.

    Raises:
        InputError: when it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'cannot read the datalist "{file}": {str(error).splitlines()[0]}') from error
