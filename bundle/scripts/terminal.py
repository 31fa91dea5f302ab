# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether progress is shown to somebody, or ends in a log file."""

from __future__ import annotations

import sys

__all__ = ["is_terminal"]


def is_terminal() -> bool:
    """Whether somebody watches: a bar draws itself anew by carriage returns, which make a log file one long line."""
    return sys.stderr.isatty()
