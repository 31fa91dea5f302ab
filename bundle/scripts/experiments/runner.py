# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the downstream experiment: every arm of training for every seed, then the tables.

Run it inside the bundle's folder: `python -m scripts.experiments.runner --data DIR --output DIR`. The bi-level arms
of a seed share frozen task networks and warm-up, in which they do not differ. A seed is compared as soon as its arms
are trained, while others train. Finished work is not done again, and an interrupted training goes on after its last
epoch.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, require
from .downstream_arms import ARMS, SEPARATE
from .jobs import Evaluation, Experiment, Training, end_of, listed, run_with_commands, whole_numbers

__all__ = ["DownstreamRun"]

WARMUP = "warmup"


@dataclass
class DownstreamRun(Experiment):
    """The trainings of the downstream experiment, and the commands that compare them.

    Attributes:
        arms: names of :data:`scripts.experiments.downstream_arms.ARMS`.
        compare_settings: further settings of ``downstream.yaml``.
    """

    arms: Sequence[str] = ("separate", "first_order", "finite_difference", "unrolled")
    compare_settings: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse unknown arms and missing data; do what is named twice once."""
        super().__post_init__()
        self.arms = tuple(dict.fromkeys(self.arms))
        unknown = [arm for arm in self.arms if arm not in ARMS]
        require(not unknown, f"The arms are {', '.join(ARMS)}, not {', '.join(unknown)}.")
        require(bool(self.arms), "The experiment needs one arm at least: --arms is empty.")

    def run(self) -> None:
        """Train what is missing, and write the tables.

        Raises:
            InputError: when a check or a training fails; the end of its log is shown.
        """
        self.begin()
        trainings = self.trainings()
        self.do([*trainings, *self.comparisons(trainings)], "training and comparing")
        log = self.output / "log.txt"
        if self.execute(self._compare("downstream", self.seeds), log):
            raise InputError(f'The tables could not be made, see "{log}":\n{end_of(log)}')
        report = self.output / "downstream" / "downstream.md"
        print(report.read_text(encoding="utf-8") if report.is_file() else f"See {log}", flush=True)

    def trainings(self) -> list[Training]:
        """Return all trainings; one that others go on from comes before them."""
        found = []
        for seed in self.seeds:
            numbered = ("--seed", str(seed))
            warmup = None
            if self._shares_warmup and any(arm != SEPARATE for arm in self.arms):
                pause = ("--pause_after", "@warmup_epochs")
                folder = self.output / WARMUP / f"seed{seed}"
                warmup = Training(folder, (*numbered, *pause), leaves_network=False)
                found.append(warmup)
            for arm in self.arms:
                folder = self.output / "arms" / arm / f"seed{seed}"
                found.append(Training(folder, (*numbered, *ARMS[arm]), None if arm == SEPARATE else warmup))
        return found

    def comparisons(self, trainings: Sequence[Training]) -> list[Evaluation]:
        """Return the comparison of each seed."""
        return [
            Evaluation(
                self.output / "compared" / f"seed{seed}",
                tuple(self._compare("downstream", [seed])),
                tuple(training for training in trainings if training.folder.name == f"seed{seed}"),
            )
            for seed in self.seeds
        ]

    @property
    def _shares_warmup(self) -> bool:
        """Whether there is a warm-up to share."""
        given = list(self.settings)
        values = [given[place + 1] for place, name in enumerate(given[:-1]) if name == "--warmup_epochs"]
        return "--warmup_epochs=0" not in given and values[-1:] != ["0"]

    def _compare(self, run_id: str, seeds: Sequence[int]) -> list[str]:
        places = ["--output_dir", str(self.output), "--arms_dir", str(self.output / "arms"), "--mlflow", "False"]
        lists = ["--arms", repr(list(self.arms)), "--seeds", repr(list(seeds))]
        settings = [*self.settings, *self.compare_settings]
        return self.command(run_id, *places, *lists, *settings, overlays=["configs/downstream.yaml"])

    def check_command(self) -> list[str]:
        """Return the command that checks all trainings and the comparison."""
        return self._compare("checking", self.seeds)

    def trained_folders(self) -> list[Path]:
        """Return the folders of the arms and of the warm-up that they share."""
        return [self.output / "arms", self.output / WARMUP]


def _words(name: str, text: str) -> list[str]:
    """Return the arguments of a command line, as a shell parts them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"{name} {text} cannot be read: a quotation mark has no partner.") from error


def runner(
    data: str,
    output: str,
    seeds: str = "0 1 2",
    arms: str = "separate first_order finite_difference unrolled",
    overlay: str = "",
    settings: str = "",
    compare_settings: str = "",
    jobs: int = 2,
) -> None:
    """Compare separate with bi-level training by the gain of a downstream network.

    Lists are written with blanks in quotes: --seeds "0 1". An interrupted run goes on when it is started again.

    Args:
        data: folder of the data set, with a datalist.json.
        output: folder of arms and tables.
        seeds: of the trainings.
        arms: some of separate, first_order, finite_difference, unrolled, implicit; frozen_alone and s_alone are
            first_order with the frozen task networks, or S, as the only network that enhancement serves.
        overlay: further configuration, such as configs/classification.yaml.
        settings: further settings of train.yaml, as on its command line: "--epochs 20 --amp True".
        compare_settings: further settings of downstream.yaml: "--downstream_steps 3000 --costs_dir /measured".
        jobs: trainings at a time, each with one thread.
    """
    DownstreamRun(
        data=Path(data).expanduser().resolve(),
        output=Path(output).expanduser().resolve(),
        seeds=whole_numbers(seeds, "seeds"),
        overlay=overlay or None,
        settings=_words("--settings", settings),
        jobs=jobs,
        arms=listed(arms),
        compare_settings=_words("--compare_settings", compare_settings),
    ).run()


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.experiments.jobs.run_with_commands`."""
    run_with_commands(runner, "runner.py", arguments)


if __name__ == "__main__":
    main()
