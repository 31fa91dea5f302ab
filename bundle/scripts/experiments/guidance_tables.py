# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of the guidance experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..reports.tables import markdown_table

__all__ = ["guidance_table"]

_COLUMNS = {
    "nearer": ("nearer own", "{:.0%}"),
    "own": ("own (dB)", "{:.2f}"),
    "prototype": ("prototype (dB)", "{:.2f}"),
    "matched": ("matched (dB)", "{:.2f}"),
    "other": ("other (dB)", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "haarpsi": ("HaarPSI", "{:.3f}"),
    "detail_energy": ("2-4 pixels", "{:.2f}"),
    "new_structure": ("new", "{:.3f}"),
    "lost_structure": ("lost", "{:.3f}"),
}


def guidance_table(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Mapping[str, float]], share: float) -> str:
    """Return the table by style, the measures over all styles, and the tissue means, as markdown.

    Args:
        rows: measures by patient and style.
        summary: their means by style.
        share: of the cues' variance that styles explain.
    """
    columns = {name: column for name, column in _COLUMNS.items() if all(name in means for means in summary.values())}
    mean = {name: sum(means[name] for means in summary.values()) / len(summary) for name in columns}
    body = [
        (style, *(form.format(means[name]) for name, (_, form) in columns.items()))
        for style, means in [*summary.items(), ("mean", mean)]
    ]
    lines = [*markdown_table([("guide of", *(title for title, _ in columns.values())), *body]), ""]
    follow = [row["follow"] for row in rows]
    lines.append(f"- follow: {sum(follow) / len(follow):.2f}, least of a patient {min(follow):.2f}")
    structure = [row["structure"] for row in rows if row["structure"] == row["structure"]]
    if structure:
        lines.append(f"- rank correlation between styles of other tone alone: {sum(structure) / len(structure):.3f}")
    lines.append(f"- share of the cues' variance over single slices that is style: {share:.2f}")
    if "own" in columns:
        gains = [row["own"] - row["prototype"] for row in rows]
        lines.append(f"- own above prototype: {sum(gains) / len(gains):+.2f} dB, worst result {min(gains):+.2f} dB")
    for style, means in summary.items():
        classes = [name.removeprefix("class_") for name in means if name.startswith("class_")]
        shown = ", ".join(
            f"class {name} {means[f'class_{name}']:.3f} ({means[f'wanted_{name}']:.3f})" for name in classes
        )
        lines.append(f"- tissue means under {style}, result (wanted): {shown}")
    return "\n".join(lines)
