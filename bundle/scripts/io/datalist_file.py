# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The file of a datalist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError

__all__ = ["read_json", "write_json"]


def read_json(file: Path) -> Any:
    """Return the content of a datalist file.

    Raises:
        InputError: when it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'cannot read the datalist "{file}": {str(error).splitlines()[0]}') from error


def write_json(content: Any, file: Path) -> None:
    """Write the content of a datalist file; its folder is made if missing.

    Raises:
        InputError: when it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f'cannot write the datalist "{file}": {error.strerror}') from error
