# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Trainings of an experiment as commands: several at a time, each done once, and resumed where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InputError, require, run_command
from ..files import atomic_write, bundle_root

__all__ = [
    "BUNDLE",
    "Evaluation",
    "Experiment",
    "Training",
    "bundle_command",
    "end_commands",
    "end_of",
    "listed",
    "output_of",
    "run_logged",
    "run_with_commands",
    "whole_numbers",
]

BUNDLE = Path(bundle_root())

# Of every training: the limits of inference's report are made by `calibrating` for a network that is to be used.
_TRAINING = ("--mlflow", "False", "--calibrates", "False")
_LAST_LINES = 3
_REFRESH_SECONDS = 10.0
# Weights and checkpoints that a training of other settings must not go on from.
_TRAINED = (".trained", "checkpoint.pt", "model.pt", "model.json", "downstream.pt")

# The commands that run, for SIGTERM to end with the experiment.
_commands: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Training:
    """One training of an experiment.

    Attributes:
        folder: of checkpoint, weights and log.
        arguments: of the command line, after those that all trainings have.
        after: the training whose checkpoint this one goes on from.
        leaves_network: whether it ends with a network, or pauses before there is one.
    """

    folder: Path
    arguments: tuple[str, ...]
    after: Training | None = None
    leaves_network: bool = True

    @property
    def stamp(self) -> Path:
        """File that is there once the training is complete."""
        return self.folder / ".trained"

    @property
    def record(self) -> Path:
        """File of the arguments of what the folder holds."""
        return self.folder / "arguments.json"

    @property
    def is_current(self) -> bool:
        """Whether what the folder holds has these arguments, or does not say which."""
        return not self.record.is_file() or self.record.read_text(encoding="utf-8") == json.dumps(self.arguments)

    @property
    def is_finished(self) -> bool:
        """Whether the training is complete."""
        return self.stamp.is_file() and self.is_current

    @property
    def is_ready(self) -> bool:
        """Whether the training can begin."""
        return self.after is None or self.after.is_finished


@dataclass(frozen=True)
class Evaluation:
    """A command that uses trained networks: a comparison of arms, or a measurement.

    Attributes:
        folder: of the log.
        command: does it.
        after: the trainings that it needs.
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
        """Whether all of its networks are trained."""
        return all(training.is_finished for training in self.after)


Step = Training | Evaluation


@dataclass
class Experiment(ABC):
    """Trainings of ``train.yaml``, and commands that use their networks.

    Attributes:
        data: data set with a ``datalist.json``.
        output: folder of everything that comes of it.
        seeds: of the trainings.
        overlay: further configuration, such as ``configs/classification.yaml``.
        settings: further settings of ``train.yaml``, as on the command line.
        jobs: commands at a time, each with one thread.
        execute: runs a command in the bundle's folder with its output in a file, and returns the exit status.

    Raises:
        InputError: for missing data, no seed, or no job.
    """

    data: Path
    output: Path
    seeds: Sequence[int] = (0, 1, 2)
    overlay: str | None = None
    settings: Sequence[str] = ()
    jobs: int = 2
    execute: Callable[[list[str], Path], int] = field(default_factory=lambda: run_logged)

    def __post_init__(self) -> None:
        """Refuse what cannot be run; do a seed that is named twice once."""
        self.seeds = tuple(dict.fromkeys(self.seeds))
        require(bool(self.seeds), "The experiment needs one seed at least: --seeds is empty.")
        require(type(self.jobs) is int and self.jobs >= 1, f"--jobs must be 1 or more, not {self.jobs}.")
        datalist = self.data / "datalist.json"
        require(datalist.is_file(), f'There is no "{datalist}": make the data first, or set --data.')

    @abstractmethod
    def check_command(self) -> list[str]:
        """Return the command that refuses wrong settings and data before the first training."""

    @abstractmethod
    def trained_folders(self) -> list[Path]:
        """Return the folders below which trainings, and nothing else, lie."""

    def command(self, run_id: str, *arguments: str, overlays: Sequence[str] = ()) -> list[str]:
        """Return the command of a run of ``train.yaml`` with overlays."""
        names = ["configs/train.yaml", *([self.overlay] if self.overlay else []), *overlays]
        return bundle_command(run_id, names, "--dataset_dir", str(self.data), *arguments)

    def begin(self) -> None:
        """Check, then forget finished trainings unless the record shows the same settings, configuration and data.

        Trainings without a record are forgotten too: their settings are unknown. The record is written after the check,
        so settings on record have passed it. Wrong settings and missing labels are refused before the first training
        and not after the last. They cost no results of earlier settings.

        Raises:
            InputError: when the check fails; the end of its log is shown.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        record, file, log = self._record(), self.output / "settings.json", self.output / "log.txt"
        if file.is_file() and file.read_text(encoding="utf-8") == record:
            return
        if self.execute(self.check_command(), log):
            raise InputError(f"The experiment cannot be run:\n{end_of(log)}")
        _forget(self.trained_folders())
        with atomic_write(file) as unfinished:
            unfinished.write_text(record, encoding="utf-8")

    def _record(self) -> str:
        """Return the settings of the trainings, with a digest of configuration and data."""
        configs = [BUNDLE / "configs" / "train.yaml", *([BUNDLE / self.overlay] if self.overlay else [])]
        digest = hashlib.sha256()
        for file in (*configs, self.data / "datalist.json"):
            digest.update(file.read_bytes())
        return json.dumps({"overlay": self.overlay, "settings": list(self.settings), "digest": digest.hexdigest()})

    def do(self, steps: Sequence[Step], description: str) -> None:
        """Do the steps, ``jobs`` at a time, in their order; each after the ones that it needs.

        A bar shows how many are done, and the time left, by the mean time of a step.

        Raises:
            InputError: when a command fails; the end of its log is shown.
        """
        waiting = [step for step in steps if not step.is_finished]
        running: dict[Future[None], Step] = {}
        bar = tqdm(total=len(steps), initial=len(steps) - len(waiting), desc=description, unit="step", smoothing=0)
        with bar, ThreadPoolExecutor(self.jobs) as pool:
            while waiting or running:
                ready = [step for step in waiting if step.is_ready]
                for step in ready[: self.jobs - len(running)]:
                    waiting.remove(step)
                    running[pool.submit(self._do_one, step)] = step
                done, _ = wait(running, timeout=_REFRESH_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    future.result()
                    bar.set_postfix_str(f"{step.folder.parent.name} {step.folder.name}", refresh=False)
                    bar.update()
                if not done:
                    bar.refresh()

    def _do_one(self, step: Step) -> None:
        if isinstance(step, Training):
            self._train(step)
        else:
            self._evaluate(step)

    def _evaluate(self, evaluation: Evaluation) -> None:
        evaluation.folder.mkdir(parents=True, exist_ok=True)
        log = evaluation.folder / "log.txt"
        if self.execute(list(evaluation.command), log):
            raise InputError(f'The comparison in "{evaluation.folder}" failed:\n{end_of(log)}')
        with atomic_write(evaluation.stamp) as unfinished:
            unfinished.write_text(repr(evaluation.command), encoding="utf-8")

    def _train(self, training: Training) -> None:
        """Do one training, from its last checkpoint where there is one."""
        folder, checkpoint = training.folder, training.folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)
        if not training.is_current:
            _forget([folder])
        with atomic_write(training.record) as unfinished:
            unfinished.write_text(json.dumps(training.arguments), encoding="utf-8")
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
        status = self.execute(self.command("training", *_TRAINING, *self.settings, *places, *training.arguments), log)
        # A training that was interrupted after its last epoch says that it is complete.
        if status and "epochs already" not in log.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f'The training in "{folder}" failed:\n{end_of(log)}')
        if training.leaves_network and not (folder / "model.pt").is_file():
            raise InputError(
                f'"{folder}": the training left no model.pt, see log.txt; remove checkpoint.pt to train anew.'
            )
        training.stamp.touch()


def _forget(folders: Iterable[Path]) -> None:
    """Remove weights, checkpoints and stamps below some folders."""
    for path in [path for folder in folders for name in _TRAINED for path in folder.rglob(name)]:
        path.unlink()


def bundle_command(run_id: str, configs: Sequence[str], *arguments: str, processes: int | None = None) -> list[str]:
    """Return the command of a run of the bundle.

    Args:
        run_id: the run.
        configs: its configurations, relative to the bundle's folder, one on top of the other.
        arguments: settings.
        processes: how many ``torchrun`` starts. Defaults to None: one without it.
    """
    launcher = (
        [] if processes is None else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    )
    files = json.dumps(list(configs)).replace('"', "'")
    return [sys.executable, *launcher, "-m", "monai.bundle", "run", run_id, "--config_file", files, *arguments]


def output_of(command: Sequence[str], threads: int, name: str) -> str:
    """Run a command in the bundle's folder and return what it prints.

    Args:
        command: the program and its arguments.
        threads: of each of its processes.
        name: what the command is called when it fails.

    Raises:
        InputError: when it fails, with the error that it tells, or the last lines of its messages.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=BUNDLE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        reason = errors[0].removeprefix("error: ") if errors else _last_lines(done.stderr) or "no message"
        raise InputError(f"{name} failed: {reason}")
    return done.stdout


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


def end_of(log: Path) -> str:
    """Return the last lines of a log."""
    return _last_lines(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])


def run_with_commands(experiment: Callable[..., Any], name: str, arguments: list[str] | None = None) -> None:
    """Run a function as a command, see :func:`scripts.errors.run_command`; SIGTERM ends what it has started too."""
    signal.signal(signal.SIGTERM, end_commands)
    run_command(experiment, name, arguments)


def end_commands(number: int, _: object) -> None:
    """End the running commands with the program: none is to train on in a folder that a later run goes on in."""
    for process in tuple(_commands):
        process.terminate()
    sys.exit(128 + number)


def listed(text: object) -> list[str]:
    """Return the entries of ``a b``, ``a,b`` or ``[a, b]``; the command line makes a tuple or list of the last two."""
    return re.sub(r"""[,'"()\[\]]""", " ", str(text)).split()


def whole_numbers(text: object, option: str, least: int = 0) -> list[int]:
    """Return the numbers of a list.

    Args:
        text: see :func:`listed`.
        option: its name.
        least: the least number that may be in it.

    Raises:
        InputError: when one is no whole number, or too small.
    """
    found = listed(text)
    require(
        all(number.isdecimal() and int(number) >= least for number in found),
        f'--{option} are whole numbers from {least} on, such as "{least} {least + 1}", not "{text}".',
    )
    return [int(number) for number in found]
