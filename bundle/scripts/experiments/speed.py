# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How fast it is: a training step against CycleGAN's, inference against others and the machine, and as things grow.

From inside the bundle's folder, on a machine that does nothing else:

``python -m scripts.experiments.speed --output_dir /path/to/results``

``--quick True`` takes small images and few rounds, to see that everything runs. ``--threads 1`` sets the threads of the
networks. ``--parts training,inference`` measures some parts alone. What is compared runs in turn, and ratios are
medians over the rounds. On a processor the aims count its time, which other programs disturb less than the clock.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..errors import InputError, require, run_command
from ..inferers import usable_device
from ..version import __version__
from .jobs import listed
from .speed_bench import Bench, Table
from .speed_clock import Progress
from .speed_inference import cases, growth, inference, rates
from .speed_steps import bilevel, memory, training

__all__ = ["PARTS", "speed"]

PARTS: dict[str, tuple[Callable[[Bench], list[Table]], float]] = {
    "training": (training, 6.0),
    "memory": (memory, 4.0),
    "bilevel": (bilevel, 2.0),
    "inference": (inference, 2.0),
    "rates": (rates, 1.5),
    "growth": (growth, 2.5),
    "cases": (cases, 2.0),
}
"""What can be measured, by name, and how many minutes it takes on two cores, as a guess."""


def speed(
    output_dir: str,
    quick: bool = False,
    threads: int | None = None,
    parts: str | Sequence[str] = tuple(PARTS),
    device: str | None = None,
) -> None:
    """Measure, print tables, and write them to speed.md in ``output_dir``.

    Args:
        output_dir: folder of the results.
        quick: small images and few rounds. The figures say little.
        threads: of the networks. Defaults to one for each processor that this process may use.
        parts: which parts: training, memory, bilevel, inference, rates, growth, cases.
        device: where the networks run. Defaults to the GPU where there is one.

    Raises:
        InputError: for an unknown part or device, and a number of threads below 1.
    """
    names = listed(parts)
    unknown = [name for name in names if name not in PARTS]
    require(bool(names), f"Nothing is to be measured: name some parts of {', '.join(PARTS)}.")
    require(not unknown, f"There is no part {', '.join(unknown)}: the parts are {', '.join(PARTS)}.")
    threads = _available_processors() if threads is None else threads
    require(type(threads) is int and threads >= 1, f"threads must be a whole number, 1 or more, not {threads!r}.")
    place = usable_device(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    file = Path(str(output_dir)).expanduser() / "speed.md"
    _require_place(file)
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(sum(PARTS[name][1] for name in names))
        bench = Bench(place, threads, bool(quick), progress, Path(folder))
        tables = []
        for name in names:
            measure, bench.minutes = PARTS[name]
            tables += measure(bench)
            # After every part: who interrupts the rest keeps these.
            file.write_text(_report(bench, tables), encoding="utf-8")
    print(_report(bench, tables))


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(speed, "speed.py", arguments)


def _require_place(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise InputError(f'"{file}" cannot be written ({error.strerror}): name another output_dir.') from error


def _report(bench: Bench, tables: Sequence[Table]) -> str:
    aims = bench.aims()
    shown = [*([aims] if aims else []), *tables]
    return "\n".join(["# Speed", "", *_machine(bench), "", *(line for table in shown for line in table.lines())])


def _machine(bench: Bench) -> list[str]:
    where = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else _processor()
    threads = f"{bench.threads} thread{'s' * (bench.threads > 1)}"
    lines = [
        f"- {where}, {_available_processors()} processors, {threads}",
        f"- HQG-Net {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}, float32",
    ]
    return [*lines, "- quick: small images and few rounds, so the figures say little"] if bench.quick else lines


def _processor() -> str:
    """Return the name of the processor; the architecture where the system does not tell it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _available_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
