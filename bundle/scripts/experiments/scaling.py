# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What further processes gain: the scaling efficiency of training and inference.

``python -m scripts.experiments.scaling --dataset_dir /path/to/dataset --output_dir /path/to/figures``

starts ``torchrun`` with each number of processes and prints a table. Nothing else should run on the machine meanwhile,
which needs as many cores, or GPUs, as there are processes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..engines import HYPERGRADIENTS
from ..errors import InputError, require, run_command
from ..reports.tables import markdown_table
from .costs import ENHANCEMENT
from .jobs import bundle_command, listed, output_of, whole_numbers

__all__ = ["Rate", "efficiency_table"]

INFERENCE = "inference"
_OVERLAYS = ("configs/train.yaml", "configs/multi_gpu_train.yaml", "configs/costs.yaml")
# The first process's step is that of all: each waits for the others in it.
_MEASURING = (
    *("--mlflow", "False", "--train#updates#cost#_disabled_", "$not @first"),
    *("--train#updates#progress#_disabled_", "True"),
)
_SPEED = re.compile(r"([\d.]+) slices/s")


@dataclass(frozen=True)
class Rate:
    """What some processes do together in a second.

    Attributes:
        work: what is measured, such as ``"training, enhancement"``.
        processes: their number.
        rate: steps of a training, each with a batch in every process, or slices of inference, per second.
        unit: of the rate.
    """

    work: str
    processes: int
    rate: float
    unit: str


def efficiency_table(rates: Sequence[Rate]) -> list[str]:
    r"""Return the lines of a Markdown table with speed-up and efficiency.

    .. math:: \text{speed-up} = \frac{r_N}{r_M},\qquad \text{efficiency} = \frac{r_N / N}{r_M / M}

    with the rates r of all processes together, and M the least number of processes that was measured of this work.

    Args:
        rates: in the order of the table.
    """
    rows: list[tuple[str, ...]] = [("work", "processes", "rate", "speed-up", "efficiency")]
    for rate in rates:
        least = min((other for other in rates if other.work == rate.work), key=lambda other: other.processes)
        gain = rate.rate / least.rate
        efficiency = gain * least.processes / rate.processes
        rows.append(
            (rate.work, str(rate.processes), f"{rate.rate:.3g} {rate.unit}", f"{gain:.2f}", f"{efficiency:.0%}")
        )
    return markdown_table(rows)


def scaling(
    dataset_dir: str,
    output_dir: str,
    processes: str = "1 2",
    work: str = f"{ENHANCEMENT} first_order {INFERENCE}",
    threads: int = 1,
    settings: str = "",
    inference_settings: str = "",
) -> None:
    """Print the scaling efficiency of training and inference, and write it to scaling.md.

    In training every process has a batch of its own: with N processes a step takes N batches. In inference they share
    the test images of its datalist.json or, without one, the images in its folder lq. Starting the processes does not
    count.

    Args:
        dataset_dir: data set as for training, with labels for the hypergradients.
        output_dir: folder for the figures.
        processes: their numbers.
        work: what to measure: enhancement, hypergradients, inference.
        threads: of each process on the processor.
        settings: further settings of train.yaml, as on the command line.
        inference_settings: those of inference.yaml.
    """
    numbers, kinds = whole_numbers(processes, "processes", least=1), listed(work)
    known = (ENHANCEMENT, *HYPERGRADIENTS, INFERENCE)
    require(bool(numbers), "There is nothing to compare: --processes is empty.")
    unknown = [kind for kind in kinds if kind not in known]
    require(bool(kinds) and not unknown, f'Unknown work "{" ".join(unknown)}": use some of {", ".join(known)}.')
    folder = Path(str(output_dir)).expanduser().absolute()
    data = Path(str(dataset_dir)).expanduser().absolute()
    runs = _Runs(data, folder, int(threads), tuple(shlex.split(settings)), tuple(shlex.split(inference_settings)))
    rates = [runs.measure(kind, number) for kind in kinds for number in sorted(set(numbers))]
    table = efficiency_table(rates)
    notes = [
        f"- {threads} thread{'s' * (int(threads) != 1)} per process on the processor; {os.cpu_count()} cores.",
        "- Training: median step; every process has a batch of its own. Inference: the same images for any number.",
    ]
    (folder / "scaling.md").write_text(
        "\n".join(["# Scaling efficiency", "", *table, "", *notes, ""]), encoding="utf-8"
    )
    print("\n".join([*table, "", *notes]))


@dataclass(frozen=True)
class _Runs:
    data: Path
    folder: Path
    threads: int
    settings: tuple[str, ...]
    inference_settings: tuple[str, ...]

    def measure(self, kind: str, number: int) -> Rate:
        output = self.folder / f"{kind}_{number}"
        if kind == INFERENCE:
            printed = self._torchrun(number, "enhancing", ("configs/inference.yaml",), self._inference(output))
            found = _SPEED.search(printed)
            if found is None:
                raise InputError(f'Inference enhanced nothing: "{self.data}" has no images for it.')
            return Rate(kind, number, float(found.group(1)), "slices/s")
        self._torchrun(number, "measuring", _OVERLAYS, self._training(kind, output))
        file = output / f"{kind}.json"
        require(file.is_file(), f'"{self.data}" has no labels, which the hypergradient {kind} needs.')
        seconds = json.loads(file.read_text(encoding="utf-8"))["seconds"]
        require(bool(seconds), "No step was measured: raise steps_per_epoch above 2.")
        return Rate(f"training, {kind}", number, number / float(seconds), "batches/s")

    def _training(self, kind: str, output: Path) -> list[str]:
        task = ["--task", "none"] if kind == ENHANCEMENT else ["--hypergradient", kind]
        return ["--output_dir", str(output), "--dataset_dir", str(self.data), *task, *_MEASURING, *self.settings]

    def _inference(self, output: Path) -> list[str]:
        datalist = self.data / "datalist.json"
        images = ["--datalist", str(datalist)] if datalist.is_file() else ["--input_dir", str(self.data / "lq")]
        return ["--output_dir", str(output), *images, *self.inference_settings]

    def _torchrun(self, number: int, run_id: str, configs: Sequence[str], arguments: Sequence[str]) -> str:
        """Return what the processes printed."""
        command = bundle_command(run_id, configs, *arguments, processes=number)
        return output_of(command, self.threads, f"{number} process{'es' * (number != 1)} of {run_id}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(scaling, "scaling.py", arguments)


if __name__ == "__main__":
    main()
