# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundle as the app uses it: its program in its own environment, and the folder of its models."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Bundle", "BundleError", "ModelFolder"]

logger = logging.getLogger(__name__)


class BundleError(Exception):
    """A request that the bundle could not fulfil, in one sentence.

    Args:
        sentence: what is wrong, and the mend.
        is_input: whether the request or its image is at fault, not the server.
    """

    def __init__(self, sentence: str, is_input: bool = True) -> None:
        super().__init__(sentence)
        self.is_input = is_input


class Bundle:
    """The bundle's program, in a process of its own that is started when it is first asked, and again when it ended.

    Args:
        folder: the bundle, with ``configs``, ``scripts`` and ``models``.
        python: interpreter of the bundle's environment.

    Raises:
        BundleError: when there is no such bundle or interpreter.
    """

    def __init__(self, folder: Path, python: Path) -> None:
        if not (folder / "configs" / "train.yaml").is_file():
            raise BundleError(f'There is no bundle in "{folder}": name its folder with --conf bundle FOLDER.')
        if not python.is_file():
            raise BundleError(
                f'There is no Python at "{python}": run "make venv" in the repository, or name the interpreter of the '
                "bundle's environment with --conf bundle_python FILE."
            )
        self.folder = folder
        self.python = python
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def ask(self, task: str, **request: Any) -> dict[str, Any]:
        """Ask the bundle for something, see ``bundle_worker.Service``; one request at a time.

        Raises:
            BundleError: with the bundle's sentence, or when its program ended.
        """
        with self._lock:
            process = self._running()
            try:
                self._stream(process.stdin).write(json.dumps({"task": task, **request}) + "\n")
                self._stream(process.stdin).flush()
                line = self._stream(process.stdout).readline()
            except BrokenPipeError:
                line = ""
            if not line:
                self._process = None
                raise BundleError(
                    f"The bundle's program ended with status {process.wait()} while it was asked to {task}: see the "
                    "log of the server, and try again.",
                    is_input=False,
                )
        answer = json.loads(line)
        if "error" in answer:
            raise BundleError(answer["error"], answer["is_input"])
        result: dict[str, Any] = answer["result"]
        return result

    def run(self, run_id: str, configs: Sequence[str], settings: Sequence[str], watch: Callable[[str], None]) -> None:
        """Run a workflow of the bundle's configurations to its end.

        Args:
            run_id: its name.
            configs: names of the configurations, without folder and suffix.
            settings: further arguments of the command line.
            watch: called with every line that the run prints.

        Raises:
            BundleError: with the run's own sentence when it fails.
        """
        files = json.dumps([f"configs/{name}.yaml" for name in configs])
        command = [str(self.python), "-m", "monai.bundle", "run", run_id, "--config_file", files, *settings]
        logger.info("%s", " ".join(command))
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        sentence = ""
        for line in self._stream(process.stdout):
            watch(line.rstrip())
            if line.startswith("error: "):
                sentence = line.removeprefix("error: ").strip()
        if process.wait():
            reason = sentence or f"The run {run_id} ended with status {process.returncode}: see the log of the server."
            raise BundleError(reason, is_input=bool(sentence))

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            worker = Path(__file__).resolve().parents[1] / "bundle_worker.py"
            self._process = subprocess.Popen(
                [str(self.python), str(worker), str(self.folder)],
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process

    @staticmethod
    def _environment() -> dict[str, str]:
        """The environment's variables without those that would lead the bundle to MONAI Label's packages."""
        return {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }

    @staticmethod
    def _stream(stream: Any) -> Any:
        assert stream is not None
        return stream


class ModelFolder:
    """The network in use, and those that trainings of this app have made.

    A training writes into a folder of its own, ``runs/{time}-{trainer}/models``. When it has succeeded, the name of
    that folder is written into ``current``, in one step: a network is never in use in parts, and the former one stays.
    Without ``current`` the supplied network is in use.

    Args:
        root: folder of the app's models; made when it is first written to.
        supplied: folder of the supplied ``model.pt``.
    """

    def __init__(self, root: Path, supplied: Path) -> None:
        self.root = root
        self.supplied = supplied

    @property
    def current(self) -> Path:
        """Folder of the ``model.pt`` in use."""
        pointer = self.root / "current"
        if not pointer.is_file():
            return self.supplied
        folder = self.root / pointer.read_text(encoding="utf-8").strip()
        if not (folder / "model.pt").is_file():
            raise BundleError(
                f'"{pointer}" names "{folder}", where no model.pt is: mend it, or remove it.', is_input=False
            )
        return folder

    @property
    def description(self) -> dict[str, Any]:
        """Content of ``model.json`` beside the ``model.pt`` in use."""
        file = self.current / "model.json"
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f'"{file}" cannot be read ({error}): copy it anew along with model.pt.', False) from error
        return content

    @property
    def segments(self) -> bool:
        """Whether there is a downstream network for segmentation."""
        described = self.description.get("downstream") or {}
        return described.get("task") == "segmentation" and (self.current / "downstream.pt").is_file()

    def new_run(self, name: str) -> Path:
        """Make the folder of a training."""
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        for number in range(1000):
            folder = self.root / "runs" / (f"{stem}-{number}" if number else stem)
            if not folder.exists():
                break
        folder.mkdir(parents=True)
        return folder

    def newest_run(self, name: str) -> Path | None:
        """Return the folder of the newest training of a trainer."""
        runs = [run for run in (self.root / "runs").glob(f"*-{name}*") if run.name[16:].split("-")[0] == name]
        return max(runs, default=None)

    def use(self, folder: Path) -> None:
        """Let the network of a folder below the root be the one in use.

        A network without a downstream network gets the former one, which goes on segmenting until it is trained anew.
        """
        if not (folder / "model.pt").is_file():
            raise BundleError(f'The training left no network in "{folder}": see the log of the server.', is_input=False)
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if not described.get("downstream") and self.segments:
            (folder / "downstream.pt").write_bytes((self.current / "downstream.pt").read_bytes())
            described["downstream"] = self.description["downstream"]
            (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        unfinished = self.root / "current.part"
        unfinished.write_text(folder.relative_to(self.root).as_posix() + "\n", encoding="utf-8")
        os.replace(unfinished, self.root / "current")
