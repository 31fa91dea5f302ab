# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A table of the cost of each hypergradient per step, relative to enhancement alone.

The files come from ``configs/costs.yaml``, one run per mode. From inside the bundle's folder:

``python -m scripts.experiments.costs --input_dir /path/to/costs``
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..engines import HYPERGRADIENTS
from ..errors import InputError, run_command
from ..reports.tables import markdown_table

__all__ = ["ENHANCEMENT", "cost_table", "load_costs", "relative_cost"]

ENHANCEMENT = "enhancement"
MODES = (ENHANCEMENT, *HYPERGRADIENTS)

_HEADING = ("mode", "s per step", "relative to enhancement", "peak memory (GiB)", "relative to enhancement")
_MEMORY = {"cuda": "tensors on the GPU"}
_MEMORY_OF_PROCESS = "the whole process, libraries and images in memory included"

Cost = Mapping[str, Any]


def load_costs(input_dir: str | Path) -> dict[str, dict[str, Any]]:
    """Return what :class:`scripts.experiments.step_cost.StepCost` wrote for each mode, in the order of the table.

    Args:
        input_dir: folder with a ``{mode}.json`` for ``enhancement`` and every hypergradient.

    Raises:
        InputError: when a file is missing or is none of its files, when no step was measured, or when the modes were
            measured on different devices.
    """
    folder = Path(input_dir)
    missing = [f"{mode}.json" for mode in MODES if not (folder / f"{mode}.json").is_file()]
    if missing:
        raise InputError(f'"{folder}" lacks {", ".join(missing)}: run configs/costs.yaml once for each mode.')
    costs = {mode: _read(folder / f"{mode}.json") for mode in MODES}
    devices = sorted({cost["device"] for cost in costs.values()})
    if len(devices) > 1:
        raise InputError(
            f'The modes in "{folder}" were measured on different devices ({", ".join(devices)}), which do not compare: '
            "measure all on one."
        )
    return costs


def relative_cost(cost: Cost, alone: Cost) -> tuple[str, str]:
    """Return time per step and peak memory as multiples of those of enhancement alone, to be shown; – where unknown."""
    known = cost["peak_bytes"] and alone["peak_bytes"]
    memory = f"{cost['peak_bytes'] / alone['peak_bytes']:.2f}" if known else "–"
    return f"{cost['seconds'] / alone['seconds']:.2f}", memory


def cost_table(costs: Mapping[str, Cost]) -> list[str]:
    """Return the lines of a Markdown table: time and memory of each mode, and relative to enhancement alone.

    Args:
        costs: by mode, with ``"seconds"`` and ``"peak_bytes"``, which may be None.
    """
    rows = [_HEADING]
    for mode, cost in costs.items():
        time, memory = relative_cost(cost, costs[ENHANCEMENT])
        peak = f"{cost['peak_bytes'] / 2**30:.2f}" if cost["peak_bytes"] else "–"
        rows.append((mode, f"{cost['seconds']:.3f}", time, peak, memory))
    return markdown_table(rows)


def costs(input_dir: str) -> None:
    """Print the cost of a training step in each mode, and write it to costs.md in the same folder.

    Args:
        input_dir: folder with what configs/costs.yaml wrote, one file per mode.
    """
    folder = Path(str(input_dir)).expanduser()
    found = load_costs(folder)
    steps = sorted({cost["steps"] for cost in found.values()})
    device = found[ENHANCEMENT]["device"]
    table = cost_table(found)
    notes = [
        f"- Time: median of {' to '.join(str(number) for number in sorted({steps[0], steps[-1]}))} steps, {device}.",
        "- The images of the downstream network are loaded within a step, those of enhancement before it.",
        f"- Peak memory: {_MEMORY.get(device, _MEMORY_OF_PROCESS)}.",
    ]
    text = "\n".join(["# Cost of a training step", "", *table, "", *notes])
    file = folder / "costs.md"
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f'"{file}" cannot be written ({error.strerror}): make the folder writable.') from error
    print("\n".join([*table, "", *notes]))


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(costs, "costs.py", arguments)


def _read(file: Path) -> dict[str, Any]:
    try:
        cost = json.loads(file.read_text(encoding="utf-8"))
        seconds = {key: cost[key] for key in ("seconds", "steps", "peak_bytes", "device")}["seconds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'"{file}" is no measurement of configs/costs.yaml: measure this mode again.') from error
    if seconds is None:
        raise InputError(f'"{file}" has no step measured: measure this mode again with more steps_per_epoch.')
    return dict(cost)


if __name__ == "__main__":
    main()
