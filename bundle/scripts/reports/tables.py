# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the reports."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_write

__all__ = ["markdown_table", "write_csv"]


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


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write a table with a heading; an interrupted write leaves the former file.

    Args:
        path: of the file.
        rows: by column; what a row lacks stays empty.
        columns: in their order; those of the first row by default.
    """
    with atomic_write(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns or rows[0]))
        writer.writeheader()
        writer.writerows(rows)
