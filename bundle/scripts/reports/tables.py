# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the reports."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown_table"]


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table that reads well as plain text too.

    Args:
        rows: cells, the heading first; all rows have as many.
    """
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    heading, *body = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )
    return [heading, "| " + " | ".join("-" * width for width in widths) + " |", *body]
