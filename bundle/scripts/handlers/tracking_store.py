# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Access to an MLflow store: whether MLflow is there, failures that cost a warning, and runs that were never ended."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ..errors import InputError

__all__ = [
    "OpenRuns",
    "default_store",
    "end_abandoned_runs",
    "find_run",
    "first_line",
    "first_request",
    "is_number",
    "parent_tags",
    "plain",
    "quiet_store",
    "refusal",
    "reopen_run",
    "require_mlflow",
    "runs_page",
    "sigterm_exits",
    "tolerated",
    "unique_run_name",
    "without_credentials",
]

# MLflow's client repeats its requests for minutes: too long to learn that a server is not there.
FIRST_REQUEST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_PARAMETER_CHARACTERS, _TAG_CHARACTERS = 6000, 5000  # the limits of MLflow's stores
_OF_A_PART = ("resume", "overwrite", "pause_after", "calibrates")  # where a part of a training begins and ends
DEFAULT_UI = "http://127.0.0.1:5000"

logger = logging.getLogger(__name__)


def require_mlflow() -> None:
    """Check that MLflow is installed; inference and an untracked training do without it.

    Raises:
        InputError: when it is not.
    """
    # A None in sys.modules is Python's way to say that a package must not be found.
    found = sys.modules["mlflow"] is not None if "mlflow" in sys.modules else importlib.util.find_spec("mlflow")
    if not found:
        raise InputError("Tracking needs MLflow: pip install mlflow, or switch tracking off by --mlflow False.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop."""
    return str(error).strip().split("\n", 1)[0].rstrip(".")


def without_credentials(text: str) -> str:
    """Return a text whose addresses have lost their user names and passwords: ``http://***@host``."""
    return re.sub(r"://[^/@\s\"']+@", "://***@", text)


def is_number(value: Any) -> bool:
    """Tell whether a value is a metric: a number, or a tensor of one, and not NaN."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    return isinstance(value, (int, float)) and not math.isnan(value)


def plain(value: Any) -> Any:
    """Return a setting, or a mapping of them, as plain types whose addresses have lost their passwords."""
    return json.loads(without_credentials(json.dumps(value, default=str)))


def runs_page(tracking_uri: str, experiment_id: str) -> str:
    """Return how to see the runs of an experiment: an address, after a command where the store is a file.

    MLflow opens its view for language models otherwise.
    """
    page = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    if tracking_uri.startswith(("http://", "https://")):
        return without_credentials(tracking_uri.rstrip("/")) + page
    return f"mlflow ui --backend-store-uri {without_credentials(tracking_uri)}, then {DEFAULT_UI}{page}"


@contextlib.contextmanager
def tolerated(action: str) -> Iterator[None]:
    """Turn a store's failure into a warning: the training is worth more than a log entry."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        logger.warning("MLflow could not %s: %s", action, first_line(error))


@contextlib.contextmanager
def quiet_store() -> Iterator[None]:
    """Hide the messages about making and migrating the database's tables, but not the warnings."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
    levels = [noisy.level for noisy in loggers]
    for noisy in loggers:
        noisy.setLevel(max(logging.WARNING, noisy.level))
    try:
        yield
    finally:
        for noisy, level in zip(loggers, levels, strict=True):
            noisy.setLevel(level)


@contextlib.contextmanager
def first_request() -> Iterator[None]:
    """Ask a server once and briefly, unless the user's environment decides otherwise."""
    names = [name for name in FIRST_REQUEST if name not in os.environ]
    os.environ.update({name: FIRST_REQUEST[name] for name in names})
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


@contextlib.contextmanager
def default_store(tracking_uri: str) -> Iterator[None]:
    """Let a store be the default one for a while: the registry of a database asks that for the model to register."""
    import mlflow

    former = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(former)  # type: ignore[arg-type]  # None unsets it
        if environment is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = environment


class OpenRuns:
    """The runs of an output folder that have not ended.

    Each has a file of its name, locked by its process. The system gives the lock back when the process dies, so runs
    of dead processes can be told from those of living ones.

    Args:
        output_dir: the folder; the files are in ``open_runs`` in it.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir) / "open_runs"
        self._lock: Any = None

    def enter(self, run_id: str) -> None:
        """Declare a run of this process.

        Raises:
            InputError: when another process is writing the run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._file(run_id), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                f'Another process is writing the MLflow run {run_id} of "{self.folder.parent}": wait for it, or set '
                "another --output_dir."
            ) from None
        self._lock = lock

    def leave(self) -> None:
        """Give the lock back; unless the run was forgotten before, it counts as abandoned from now on."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def forget(self, run_id: str) -> None:
        """Remove the file of a run, and the folder when it was the last."""
        self._file(run_id).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are open
            self.folder.rmdir()

    def abandoned(self) -> list[str]:
        """Return the runs whose processes have died."""
        found = []
        for file in sorted(self.folder.glob("*.lock")):
            lock = FileLock(file, timeout=0)
            try:
                with lock:
                    found.append(file.stem)
            except Timeout:
                continue
        return found

    def _file(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.lock"


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """Let SIGTERM, which clusters send to end a job, raise SystemExit, unless the program handles it itself."""
    is_unhandled = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_unhandled:
        signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        if is_unhandled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_on_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def refusal(error: Exception, tracking_uri: str, experiment_name: str) -> str:
    """Return the sentence for a store that makes no run."""
    from mlflow.exceptions import MlflowException, RestException

    store = without_credentials(tracking_uri)
    is_server = tracking_uri.startswith(("http://", "https://"))
    if is_server and isinstance(error, MlflowException) and not isinstance(error, RestException):
        return (
            f"The MLflow server {store!r} does not answer: start it, correct tracking_uri, or leave it empty for a "
            "store in the output folder."
        )
    return (
        f"No MLflow run can be made in experiment {experiment_name!r} of {store!r} ({first_line(error)}): choose "
        "another experiment or store."
    )


def unique_run_name(client: Any, experiment_id: str, name: str | None = None) -> str:
    """Return a name that no run of the experiment has: date and time, or the one given, with a random ending."""
    ending = secrets.token_hex(3)
    if name is None:
        return f"{time.strftime('%Y%m%d-%H%M%S')}-{ending}"
    # MLflow's filters have no way to write a double quote inside a value.
    taken = '"' in name or client.search_runs([experiment_id], f'attributes.run_name = "{name}"', max_results=1)
    return f"{name}-{ending}" if taken else name


def find_run(client: Any, run_id: str) -> Any:
    """Return a run of the store, or None where the store has none of that id, or a deleted one."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def parent_tags(client: Any, parent_run_id: str | None) -> dict[str, str]:
    """Return the tags of a run that uses a model: the run that trained it.

    MLflow shows the run below its parent, where the store has the parent.
    """
    if parent_run_id is None:
        return {}
    tags = {"training_run": parent_run_id}
    return tags if find_run(client, parent_run_id) is None else {**tags, "mlflow.parentRunId": parent_run_id}


def reopen_run(client: Any, run: Any, parameters: Mapping[str, Any], epoch: int) -> None:
    """Let a run go on, and record what is other than at its start.

    MLflow keeps the first value of a parameter, so the tag ``resumed.1`` (2, 3 ...) tells the later ones.

    Args:
        client: of the store.
        run: the run as it was left.
        parameters: settings by name, as they are now.
        epoch: the last epoch that the checkpoint holds.
    """
    from mlflow.entities import Param

    run_id, former = run.info.run_id, run.data.params
    now = {name: str(value)[:_PARAMETER_CHARACTERS] for name, value in parameters.items() if name not in _OF_A_PART}
    changed = [name for name in sorted(now) if former.get(name, now[name]) != now[name]]
    changes = [f"{name}: {former[name]} -> {now[name]}" for name in changed]
    number = 1 + sum(tag.startswith("resumed.") for tag in run.data.tags)
    told = "; ".join([f"after epoch {epoch}", *changes])[:_TAG_CHARACTERS]
    client.update_run(run_id, status="RUNNING")
    client.set_tag(run_id, f"resumed.{number}", told)
    client.log_batch(run_id, params=[Param(name, value) for name, value in now.items() if name not in former])
    if changes:
        logger.warning("The MLflow run %s goes on with other settings: %s", run.info.run_name, "; ".join(changes))


def end_abandoned_runs(client: Any, open_runs: OpenRuns, kept: str | None = None) -> None:
    """Set the runs of dead processes to KILLED; those of another store stay as they are.

    Args:
        client: of the store.
        open_runs: of the output folder.
        kept: a run that goes on.
    """
    for run_id in open_runs.abandoned():
        run = None if run_id == kept else find_run(client, run_id)
        if run is None:
            continue
        if run.info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")
            logger.warning("The MLflow run %s was never ended: it counts as KILLED now.", run.info.run_name)
        open_runs.forget(run_id)
