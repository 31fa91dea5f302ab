# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the ablation: the method without one part at a time, trained without labels, for several seeds.

Run it inside the bundle's folder: `python -m scripts.experiments.ablation --data DIR --output DIR`. Each network is
measured by the run ``guidance`` as soon as it is trained. Finished work is not done again, and an interrupted training
goes on after its last epoch.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, require
from ..files import atomic_write
from ..reports.tables import write_csv
from .ablation_tables import AblationTables, Measured
from .ablation_variants import DEFAULT_VARIANTS, find_variants
from .jobs import Evaluation, Experiment, Step, Training, listed, run_with_commands, whole_numbers

__all__ = ["AblationRun", "read_measures"]

# The ablation sets these itself. No label reaches a training.
_OWN = ("seed", "task", "dataset_dir", "output_dir", "model_dir", "mlflow", "calibrates", "resume", "overwrite")
_UNLABELLED = ("--task", "none")


@dataclass
class AblationRun(Experiment):
    """The trainings of the ablation, and the measurement of each network.

    Attributes:
        variants: names of :data:`scripts.experiments.ablation_variants.VARIANTS`; the complete method is always among
            them.
    """

    variants: Sequence[str] = DEFAULT_VARIANTS

    def __post_init__(self) -> None:
        """Refuse unknown variants, missing data, and settings that are the ablation's own."""
        super().__post_init__()
        self._variants = find_variants(self.variants)
        given = {text[2:].partition("=")[0] for text in self.settings if text.startswith("--")}
        own = [name for name in _OWN if name in given]
        require(not own, f"--{', --'.join(own)}: the ablation sets this itself, leave it out.")

    def run(self) -> None:
        """Train and measure what is missing, write the tables, and print them.

        Raises:
            InputError: when a check, a training or a measurement fails; the end of its log is shown.
        """
        self.begin()
        self.do(self.steps(), "training and measuring")
        tables = AblationTables(self._variants, self.measured())
        text = tables.markdown()
        with atomic_write(self.output / "ablation.md") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        write_csv(self.output / "ablation.csv", tables.rows())
        print(text, flush=True)
        print(f'Tables: "{self.output / "ablation.md"}" and "{self.output / "ablation.csv"}"', flush=True)

    def folder(self, variant: str, seed: int) -> Path:
        """Return the folder of a training."""
        return self.output / "variants" / variant / f"seed{seed}"

    def steps(self) -> list[Step]:
        """Return all trainings, each with its measurement behind it; a seed is complete before the next one begins."""
        found: list[Step] = []
        for seed in self.seeds:
            for variant in self._variants:
                folder = self.folder(variant.name, seed)
                training = Training(folder, (*_UNLABELLED, *variant.settings, "--seed", str(seed)))
                # With a task, whose labels give the tissue means.
                places = ("--output_dir", str(folder), "--model_dir", str(folder), "--mlflow", "False")
                command = self.command(
                    "guidance", *places, *self.settings, *variant.settings, overlays=["configs/guidance.yaml"]
                )
                found += [training, Evaluation(folder / "guidance", tuple(command), (training,))]
        return found

    def measured(self) -> Measured:
        """Return the rows of ``guidance.csv`` by variant and seed."""
        return {
            variant.name: {
                seed: read_measures(self.folder(variant.name, seed) / "guidance" / "guidance.csv")
                for seed in self.seeds
            }
            for variant in self._variants
        }

    def check_command(self) -> list[str]:
        """Return the command that checks settings and data."""
        places = ("--output_dir", str(self.output / "variants"), "--mlflow", "False")
        return self.command("checking", *places, *self.settings, *_UNLABELLED, overlays=["configs/guidance.yaml"])

    def trained_folders(self) -> list[Path]:
        """Return the folder of all variants."""
        return [self.output / "variants"]


def read_measures(file: Path) -> list[dict[str, Any]]:
    """Read ``guidance.csv``: a row for every patient and style, numbers as floats.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        return [
            {name: text if name in ("patient", "style") else float(text or "nan") for name, text in row.items()}
            for row in rows
        ]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f'"{file}" cannot be read ({error}): remove its folder, and start again.') from error


def _as_arguments(settings: dict[str, Any]) -> list[str]:
    """Return settings as arguments of a command line."""
    return [
        text for name, value in settings.items() for text in (f"--{name}", "$None" if value is None else str(value))
    ]


def ablation(
    data: str,
    output: str,
    seeds: str = "0 1 2",
    variants: str = " ".join(DEFAULT_VARIANTS),
    jobs: int = 2,
    **settings: Any,
) -> None:
    """Train the method without one part at a time, and say what each part brings.

    Lists are written with blanks in quotes: --seeds "0 1". An interrupted run goes on when it is started again.

    Args:
        data: folder of the data set, with a datalist.json whose high-quality entries have labels and a style.
        output: folder of networks and tables.
        seeds: of the trainings. With one there are no intervals.
        variants: their names; full is always among them.
        jobs: trainings at a time, each with one thread.
        settings: of train.yaml, for every training, by name or path: --epochs 6 --batch_size 2.
    """
    AblationRun(
        data=Path(data).expanduser().resolve(),
        output=Path(output).expanduser().resolve(),
        seeds=whole_numbers(seeds, "seeds"),
        settings=_as_arguments(settings),
        jobs=jobs,
        variants=listed(variants),
    ).run()


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.experiments.jobs.run_with_commands`."""
    run_with_commands(ablation, "ablation.py", arguments)


if __name__ == "__main__":
    main()
