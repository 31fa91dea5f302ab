# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run the downstream experiment: every arm of training for every seed, then the tables.

Run it inside the bundle's folder: `python -m scripts.experiments.runner --data DIR --output DIR`. The bi-level arms
of a seed share frozen task networks and warm-up, in which they do not differ. Finished work is not done again, and an
interrupted training goes on after its last epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
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

__all__ = ["DownstreamRun", "Training"]

BUNDLE = Path(__file__).resolve().parents[2]
WARMUP = "warmup"

# Of every training: the limits of inference's report are made by `calibrating` for an arm that is to be used.
_TRAINING = ("--mlflow", "False", "--calibrates", "False")
_LAST_LINES = 3


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
        """Refuse unknown arms and missing data."""
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
        self._forget_other_settings()
        self._check()
        self._train(self.trainings())
        log = self.output / "log.txt"
        if self.execute(self._compare("downstream"), log):
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

    def _compare(self, run_id: str) -> list[str]:
        places = ["--output_dir", str(self.output), "--arms_dir", str(self.output / "arms"), "--mlflow", "False"]
        lists = ["--arms", repr(list(self.arms)), "--seeds", repr(list(self.seeds))]
        settings = [*self.settings, *self.compare_settings]
        return self._command(run_id, *places, *lists, *settings, overlays=["configs/downstream.yaml"])

    def _forget_other_settings(self) -> None:
        """Forget what is finished where settings, configuration or data have changed since."""
        configs = [BUNDLE / "configs" / "train.yaml", *([BUNDLE / self.overlay] if self.overlay else [])]
        digest = hashlib.sha256()
        for file in (*configs, self.data / "datalist.json"):
            digest.update(file.read_bytes())
        record = json.dumps({"overlay": self.overlay, "settings": list(self.settings), "digest": digest.hexdigest()})
        file = self.output / "settings.json"
        if file.is_file() and file.read_text(encoding="utf-8") != record:
            for stamp in self.output.rglob(".trained"):
                stamp.unlink()
            for left in ("checkpoint.pt", "model.pt", "model.json", "downstream.pt"):
                for path in self.output.rglob(left):
                    path.unlink()
            (self.output / ".checked").unlink(missing_ok=True)
        with atomic_write(file) as unfinished:
            unfinished.write_text(record, encoding="utf-8")

    def _check(self) -> None:
        """Refuse missing labels, and most wrong settings, before the first training and not after the last."""
        stamp, log = self.output / ".checked", self.output / "log.txt"
        if not stamp.is_file():
            if self.execute(self._compare("checking"), log):
                raise InputError(f"The experiment cannot be run:\n{_end_of(log)}")
            stamp.touch()

    def _train(self, trainings: Sequence[Training]) -> None:
        """Do the trainings, ``jobs`` at a time; each after the one that it goes on from."""
        waiting = [training for training in trainings if not training.stamp.is_file()]
        running: dict[Future[None], Training] = {}
        finished = len(trainings) - len(waiting)
        bar = tqdm(total=len(trainings), initial=finished, desc="training", unit="arm")
        with bar, ThreadPoolExecutor(self.jobs) as pool:
            while waiting or running:
                ready = [training for training in waiting if training.after is None or training.after.stamp.is_file()]
                for training in ready[: self.jobs - len(running)]:
                    waiting.remove(training)
                    running[pool.submit(self._train_one, training)] = training
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    training = running.pop(future)
                    future.result()
                    bar.set_postfix_str(f"{training.folder.parent.name} {training.folder.name}", refresh=False)
                    bar.update()

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
        places = ("--output_dir", str(folder), "--model_dir", str(folder), "--resume", str(checkpoint.is_file()))
        command = self._command("training", *_TRAINING, *self.settings, *places, *training.arguments)
        status = self.execute(command, log)
        # A training that was interrupted after its last epoch says that it is complete.
        if status and "epochs already" not in log.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f'The training in "{folder}" failed:\n{_end_of(log)}')
        if WARMUP not in folder.parts and not (folder / "model.pt").is_file():
            raise InputError(
                f'"{folder}": the training left no model.pt, see log.txt; remove checkpoint.pt to train anew.'
            )
        training.stamp.touch()


def run_logged(command: list[str], log: Path) -> int:
    """Run a command in the bundle's folder with one thread and its output in a file; return the exit status."""
    with log.open("wb") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.call(command, cwd=BUNDLE, env=environment, stdout=output, stderr=subprocess.STDOUT)


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return "\n".join(lines[-_LAST_LINES:])


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
        [int(seed) for seed in str(seeds).replace(",", " ").split()],
        str(arms).replace(",", " ").split(),
        overlay or None,
        shlex.split(settings),
        shlex.split(compare_settings),
        jobs,
    ).run()


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(runner, "runner.py", arguments)


if __name__ == "__main__":
    main()
