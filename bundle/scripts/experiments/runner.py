# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the downstream experiment: every arm of training for every seed, then the tables.

Run it inside the bundle's folder: `python -m scripts.experiments.runner --data DIR --output DIR`. The bi-level arms
of a seed share frozen task networks and warm-up, in which they do not differ. A seed is compared as soon as its arms
are trained, while others train. Finished work is not done again, and an interrupted training goes on after its last
epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError, require, run_command
from ..files import atomic_write
from .downstream import ARMS
from .downstream_tables import SEPARATE

__all__ = ["Comparison", "DownstreamRun", "Training"]

BUNDLE = Path(__file__).resolve().parents[2]
WARMUP = "warmup"

# Of every training: the limits of inference's report are made by `calibrating` for an arm that is to be used.
_TRAINING = ("--mlflow", "False", "--calibrates", "False")
_LAST_LINES = 3
# Weights and checkpoints that a training of other settings must not go on from.
_TRAINED = (".trained", "checkpoint.pt", "model.pt", "model.json", "downstream.pt")

# The commands that run, for SIGTERM to end with the runner.
_commands: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Training:
    """One training of the experiment.

    Attributes:
        folder: of checkpoint, weights and log.
        arguments: of the command line, after those that all trainings have.
        after: the training whose checkpoint this one goes on from.
    """

    folder: Path
    arguments: tuple[str, ...]
    after: Training | None = None

    @property
    def stamp(self) -> Path:
        """File that is there once the training is complete."""
        return self.folder / ".trained"

    @property
    def is_finished(self) -> bool:
        """Whether the training is complete."""
        return self.stamp.is_file()

    @property
    def is_ready(self) -> bool:
        """Whether the training can begin."""
        return self.after is None or self.after.is_finished


@dataclass(frozen=True)
class Comparison:
    """The comparison of one seed's arms.

    Attributes:
        folder: of the log.
        command: does it.
        after: the trainings of the seed.
    """

    folder: Path
    command: tuple[str, ...]
    after: tuple[Training, ...]

    @property
    def stamp(self) -> Path:
        """File that holds the command once it is done."""
        return self.folder / ".compared"

    @property
    def is_finished(self) -> bool:
        """Whether this command is done, and no training has been done after it."""
        if not self.is_ready or not self.stamp.is_file():
            return False
        newest = max(training.stamp.stat().st_mtime_ns for training in self.after)
        return self.stamp.stat().st_mtime_ns >= newest and self.stamp.read_text(encoding="utf-8") == repr(self.command)

    @property
    def is_ready(self) -> bool:
        """Whether all arms are trained."""
        return all(training.is_finished for training in self.after)


@dataclass
class DownstreamRun:
    """The trainings of an experiment, and the commands that do them.

    Attributes:
        data: data set with a ``datalist.json``.
        output: folder of arms and tables.
        seeds: of the trainings.
        arms: names of :data:`scripts.experiments.downstream.ARMS`.
        overlay: further configuration, such as ``configs/classification.yaml``.
        settings: further settings of ``train.yaml``, as on the command line.
        compare_settings: further settings of ``downstream.yaml``.
        jobs: trainings at a time, each with one thread.
        execute: runs a command in the bundle's folder with its output in a file, and returns the exit status.
    """

    data: Path
    output: Path
    seeds: Sequence[int] = (0, 1, 2)
    arms: Sequence[str] = ("separate", "first_order", "finite_difference", "unrolled")
    overlay: str | None = None
    settings: Sequence[str] = ()
    compare_settings: Sequence[str] = ()
    jobs: int = 2
    execute: Callable[[list[str], Path], int] = field(default_factory=lambda: run_logged)

    def __post_init__(self) -> None:
        """Refuse unknown arms and missing data; do what is named twice once."""
        self.arms, self.seeds = tuple(dict.fromkeys(self.arms)), tuple(dict.fromkeys(self.seeds))
        unknown = [arm for arm in self.arms if arm not in ARMS]
        require(not unknown, f"The arms are {', '.join(ARMS)}, not {', '.join(unknown)}.")
        require(bool(self.arms) and bool(self.seeds), "The experiment needs one arm and one seed at least.")
        require(type(self.jobs) is int and self.jobs >= 1, f"--jobs must be 1 or more, not {self.jobs}.")
        datalist = self.data / "datalist.json"
        require(datalist.is_file(), f'There is no "{datalist}": make the data first, or set --data.')

    def run(self) -> None:
        """Train what is missing, and write the tables.

        Raises:
            InputError: when a check or a training fails; the end of its log is shown.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        self._begin()
        trainings = self.trainings()
        self._do([*trainings, *self.comparisons(trainings)])
        log = self.output / "log.txt"
        if self.execute(self._compare("downstream", self.seeds), log):
            raise InputError(f'The tables could not be made, see "{log}":\n{_end_of(log)}')
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
                warmup = Training(self.output / WARMUP / f"seed{seed}", (*numbered, *pause))
                found.append(warmup)
            for arm in self.arms:
                mode = ("--hypergradient", "none" if arm == SEPARATE else arm)
                folder = self.output / "arms" / arm / f"seed{seed}"
                found.append(Training(folder, (*numbered, *mode), None if arm == SEPARATE else warmup))
        return found

    def comparisons(self, trainings: Sequence[Training]) -> list[Comparison]:
        """Return the comparison of each seed."""
        return [
            Comparison(
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

    def _configs(self, *overlays: str) -> str:
        names = ["configs/train.yaml", *([self.overlay] if self.overlay else []), *overlays]
        return json.dumps(names).replace('"', "'")

    def _command(self, run_id: str, *arguments: str, overlays: Sequence[str] = ()) -> list[str]:
        start = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", self._configs(*overlays)]
        return [*start, "--dataset_dir", str(self.data), *arguments]

    def _compare(self, run_id: str, seeds: Sequence[int]) -> list[str]:
        places = ["--output_dir", str(self.output), "--arms_dir", str(self.output / "arms"), "--mlflow", "False"]
        lists = ["--arms", repr(list(self.arms)), "--seeds", repr(list(seeds))]
        settings = [*self.settings, *self.compare_settings]
        return self._command(run_id, *places, *lists, *settings, overlays=["configs/downstream.yaml"])

    def _begin(self) -> None:
        """Check, then forget finished trainings unless the record shows the same settings, configuration and data.

        Trainings without a record are forgotten too: their settings are unknown. The record is written after the check,
        so settings on record have passed it. Missing labels, and most wrong settings, are refused before the first
        training and not after the last. They cost no results of earlier settings.
        """
        record, file, log = self._record(), self.output / "settings.json", self.output / "log.txt"
        if file.is_file() and file.read_text(encoding="utf-8") == record:
            return
        if self.execute(self._compare("checking", self.seeds), log):
            raise InputError(f"The experiment cannot be run:\n{_end_of(log)}")
        folders = [self.output / "arms", self.output / WARMUP]
        for path in [path for folder in folders for name in _TRAINED for path in folder.rglob(name)]:
            path.unlink()
        with atomic_write(file) as unfinished:
            unfinished.write_text(record, encoding="utf-8")

    def _record(self) -> str:
        """Return the settings of the trainings, with a digest of configuration and data."""
        configs = [BUNDLE / "configs" / "train.yaml", *([BUNDLE / self.overlay] if self.overlay else [])]
        digest = hashlib.sha256()
        for file in (*configs, self.data / "datalist.json"):
            digest.update(file.read_bytes())
        return json.dumps({"overlay": self.overlay, "settings": list(self.settings), "digest": digest.hexdigest()})

    def _do(self, steps: Sequence[Training | Comparison]) -> None:
        """Do the steps, ``jobs`` at a time; each after the ones that it needs."""
        waiting = [step for step in steps if not step.is_finished]
        running: dict[Future[None], Training | Comparison] = {}
        finished = len(steps) - len(waiting)
        bar = tqdm(total=len(steps), initial=finished, desc="training and comparing", unit="step")
        with bar, ThreadPoolExecutor(self.jobs) as pool:
            while waiting or running:
                ready = [step for step in waiting if step.is_ready]
                for step in ready[: self.jobs - len(running)]:
                    waiting.remove(step)
                    running[pool.submit(self._do_one, step)] = step
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    future.result()
                    bar.set_postfix_str(f"{step.folder.parent.name} {step.folder.name}", refresh=False)
                    bar.update()

    def _do_one(self, step: Training | Comparison) -> None:
        if isinstance(step, Training):
            self._train_one(step)
        else:
            self._compare_one(step)

    def _compare_one(self, comparison: Comparison) -> None:
        """Compare the arms of one seed."""
        comparison.folder.mkdir(parents=True, exist_ok=True)
        log = comparison.folder / "log.txt"
        if self.execute(list(comparison.command), log):
            raise InputError(f'The comparison in "{comparison.folder}" failed:\n{_end_of(log)}')
        with atomic_write(comparison.stamp) as unfinished:
            unfinished.write_text(repr(comparison.command), encoding="utf-8")

    def _train_one(self, training: Training) -> None:
        """Do one training, from its last checkpoint where there is one."""
        folder, checkpoint = training.folder, training.folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)
        if training.after is not None and not checkpoint.is_file():
            with atomic_write(checkpoint) as unfinished:
                shutil.copy(training.after.folder / "checkpoint.pt", unfinished)
        log = folder / "log.txt"
        if log.is_file():
            with (folder / "log-before.txt").open("ab") as before:
                before.write(log.read_bytes())
        # Without a checkpoint, what an interrupted training left in its folder is replaced.
        word = "--resume" if checkpoint.is_file() else "--overwrite"
        places = ("--output_dir", str(folder), "--model_dir", str(folder), word, "True")
        command = self._command("training", *_TRAINING, *self.settings, *places, *training.arguments)
        status = self.execute(command, log)
        # A training that was interrupted after its last epoch says that it is complete.
        if status and "epochs already" not in log.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f'The training in "{folder}" failed:\n{_end_of(log)}')
        if folder.parent.name != WARMUP and not (folder / "model.pt").is_file():
            raise InputError(
                f'"{folder}": the training left no model.pt, see log.txt; remove checkpoint.pt to train anew.'
            )
        training.stamp.touch()


def run_logged(command: list[str], log: Path) -> int:
    """Run a command in the bundle's folder with one thread and its output in a file; return the exit status."""
    with log.open("wb") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=BUNDLE, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _commands.add(process)
        try:
            return process.wait()
        finally:
            process.wait()
            _commands.discard(process)


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return "\n".join(lines[-_LAST_LINES:])


def _end_commands(number: int, _: object) -> None:
    """End the running commands with the runner: none is to train on in a folder that a later run goes on in."""
    for process in tuple(_commands):
        process.terminate()
    sys.exit(128 + number)


def _listed(text: object) -> list[str]:
    """Return the entries of ``a b``, ``a,b`` or ``[a, b]``; the command line makes a tuple or list of the last two."""
    return re.sub(r"""[,'"()\[\]]""", " ", str(text)).split()


def _whole_numbers(text: object) -> list[int]:
    """Return the numbers of a list."""
    listed = _listed(text)
    require(all(number.isdecimal() for number in listed), f'--seeds are whole numbers, such as "0 1 2", not {text}.')
    return [int(number) for number in listed]


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
        arms: some of separate, first_order, finite_difference, unrolled, implicit.
        overlay: further configuration, such as configs/classification.yaml.
        settings: further settings of train.yaml, as on its command line: "--epochs 20 --amp True".
        compare_settings: further settings of downstream.yaml: "--downstream_steps 3000 --costs_dir /measured".
        jobs: trainings at a time, each with one thread.
    """
    DownstreamRun(
        Path(data).expanduser().resolve(),
        Path(output).expanduser().resolve(),
        _whole_numbers(seeds),
        _listed(arms),
        overlay or None,
        _words("--settings", settings),
        _words("--compare_settings", compare_settings),
        jobs,
    ).run()


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    signal.signal(signal.SIGTERM, _end_commands)
    run_command(runner, "runner.py", arguments)


if __name__ == "__main__":
    main()
