# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""MLflow tracking by MONAI's handler, for runs that are told apart and never left running."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri, path_to_uri

from ..errors import InputError
from ..model_spec import ModelSpec
from .loss_log import LossMeans
from .run_record import Entries, dataset_inputs, run_tags
from .tracking_store import (
    OpenRuns,
    end_abandoned_runs,
    find_run,
    first_line,
    first_request,
    is_number,
    parent_tags,
    plain,
    quiet_store,
    refusal,
    reopen_run,
    require_mlflow,
    runs_page,
    sigterm_exits,
    tolerated,
    unique_run_name,
    without_credentials,
)

# Clocks of file systems are coarse: a file this much older than the run may still be the run's own.
_CLOCK_SECONDS = 2.0
_KIND = "mlflow.experimentKind"

logger = logging.getLogger(__name__)


class RunTracker(MLFlowHandler):
    """Track a training with its validation, or an evaluation, as one MLflow run.

    Attach one tracker to the trainer and to its evaluator. The engine that starts first owns the run: the run begins
    and ends with it, whatever the order of the handlers. It ends as FINISHED; as FAILED when an exception leaves the
    engine or one of its handlers swallowed it; as KILLED after a keyboard interrupt, ``SystemExit`` or the signal
    SIGTERM. A run whose process died is ended as KILLED when the next run of the output folder starts.

    Each run is new and has a unique name, unless :meth:`load_state_dict` names the run to continue, as a resumed
    training does: its tag ``resumed.1`` then says which settings are others now.

    It logs

    - each term of ``engine.state.output["losses"]`` as ``loss/{term}``, the mean over ``loss_interval`` iterations,
      with the iteration as step;
    - the rates of ``optimizers`` as ``learning_rate/{name}``, beside the losses; with several parameter groups followed
      by the group's ``"name"`` or number;
    - the owner's ``engine.state.metrics`` under their names and those of another engine as ``validation/{name}``, with
      the epoch as step and without NaN (no reference);
    - ``parameters``, ``max_epochs`` and ``epoch_length``, the ``configuration``, the digests of ``datasets`` and the
      tags of :func:`run_tags`, at the start;
    - new pictures in ``panels_dir``, as ``panels/{file}``, after every run of an engine;
    - ``artifacts`` written since the start, at the end, also of a failed run.

    A store that fails after the start costs a warning, never the training. MLflow's telemetry is switched off unless
    the environment variable ``MLFLOW_DISABLE_TELEMETRY`` is set. In distributed training only the first process tracks.

    MLflow's ``start_run`` is not used: it sets the store's address for the whole process and its children, continues
    the run that ``MLFLOW_RUN_ID`` names, and knows no KILLED. Nor is its asynchronous logging: the data loaders fork
    this process, which must have no threads then.

    Args:
        output_dir: folder for the default store.
        tracking_uri: any MLflow store but a folder; None or ``""`` for ``sqlite:///{output_dir}/mlflow.db``. Artifacts
            of an SQLite store go to ``mlartifacts`` beside it. The environment variable ``MLFLOW_TRACKING_URI`` has
            precedence.
        experiment_name: name of the experiment, which is made if missing. Defaults to ``"hqg-net"``.
        run_name: name of the run; None for date and time with a random ending. A name that the experiment already has
            gets a random ending too.
        parameters: settings to record, by name.
        configuration: executed configuration: a file, or a mapping, which becomes ``configuration.yaml``.
        optimizers: optimisers whose learning rates are recorded, by name.
        panels_dir: folder of pictures, see :class:`scripts.handlers.panels.ImagePanels`.
        artifacts: files and folders to record at the end, where they exist: checkpoints, the report.
        loss_interval: number of iterations in the mean of a logged loss. Defaults to 10.
        datasets: entries of a datalist by context (``"training_lq"``), to be recorded by their digests.
        description: specification of the model that is trained, which keeps the run's id for the runs that use it.
        parent_run_id: the training run of the model that is used. Defaults to None: unknown.
        registered_model: the name in MLflow's registry that a trained model gets a version of. Defaults to None.

    Raises:
        InputError: when MLflow is not installed, ``tracking_uri`` is a folder or ``loss_interval`` is below 1; and once
            an engine starts, when the store does not answer.
    """

    cur_run: Any
    experiment: Any

    def __init__(
        self,
        output_dir: str | Path,
        tracking_uri: str | None = None,
        experiment_name: str = "hqg-net",
        run_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        configuration: str | Path | Mapping[str, Any] | None = None,
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        panels_dir: str | Path | None = None,
        artifacts: Sequence[str | Path] = (),
        loss_interval: int = 10,
        datasets: Mapping[str, Entries] | None = None,
        description: ModelSpec | None = None,
        parent_run_id: str | None = None,
        registered_model: str | None = None,
    ) -> None:
        require_mlflow()
        if loss_interval < 1:
            raise InputError(f"The loss_interval of the tracking must be at least 1 iteration, not {loss_interval}.")
        self.optimizers = dict(optimizers or {})
        self.configuration = configuration
        self.panels_dir = None if panels_dir is None else Path(panels_dir)
        self.loss_interval = loss_interval
        self.datasets = dict(datasets or {})
        self.description = description
        self.parent_run_id = parent_run_id
        self.registered_model = registered_model
        self.run_id: str | None = None
        self._resumed_id: str | None = None
        self._open = OpenRuns(output_dir)
        self._owner: Engine | None = None
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._completed = False
        self._start_time = 0.0
        self._pending: list[Any] = []
        self._means = LossMeans()
        self._logged_panels: set[Path] = set()

        default_uri = path_to_sqlite_uri(Path(output_dir).absolute() / "mlflow.db")
        self.tracking_uri: str = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri or default_uri
        self._tracks = idist.get_rank() == 0
        if not self._tracks:
            return
        self._connect(
            experiment_name=experiment_name,
            run_name=run_name,
            experiment_param={key: plain(value) for key, value in (parameters or {}).items()},
            artifacts=[Path(artifact) for artifact in artifacts],
        )

    def _connect(self, **arguments: Any) -> None:
        """Make the client of the store by MONAI's constructor."""
        from mlflow.exceptions import MlflowException

        artifact_location = None
        if self.tracking_uri.startswith("sqlite:///"):
            database = Path(self.tracking_uri.removeprefix("sqlite:///"))
            database.parent.mkdir(parents=True, exist_ok=True)
            artifact_location = path_to_uri(database.absolute().parent / "mlartifacts")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            with quiet_store():
                super().__init__(tracking_uri=self.tracking_uri, artifact_location=artifact_location, **arguments)
        except (ValueError, MlflowException) as error:
            store = without_credentials(self.tracking_uri)
            raise InputError(
                f"The MLflow store {store!r} cannot be used ({first_line(error)}): give a server's http address, a "
                "sqlite:/// address, or nothing for a store in the output folder."
            ) from error

    def attach(self, engine: Engine) -> None:
        """Register with a trainer or an evaluator; a second time does nothing."""
        if not self._tracks or engine in self._engines:
            return
        self._engines.add(engine)
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._engine_completed)
        # Of the handlers on EXCEPTION_RAISED the first one raises, so the rest never run: the end of a run is seen
        # for certain only around Engine.run.
        run = engine.run

        @functools.wraps(run)
        def tracked_run(*args: Any, **kwargs: Any) -> Any:
            with self._run_of(engine):
                return run(*args, **kwargs)

        engine.run = tracked_run  # type: ignore[method-assign]

    def state_dict(self) -> dict[str, Any]:
        """Return the run's id, for a resumed training."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next run to start be the one of :meth:`state_dict`."""
        self._resumed_id = state["run_id"]

    def start(self, engine: Engine) -> None:
        """Create the run, or go on with the one that is resumed, unless the engine runs within another one's run.

        Raises:
            InputError: when the store does not answer, the experiment cannot be used, or another process writes the
                run.
        """
        if self.cur_run is not None:
            return
        from mlflow.exceptions import MlflowException

        self._start_time = time.time()
        try:
            with quiet_store():
                with first_request():
                    self._set_experiment()
                end_abandoned_runs(self.client, self._open, kept=self._resumed_id)
                if not self._resume(engine):
                    self._create(engine)
        except InputError:
            raise
        except (MlflowException, ValueError) as error:
            raise InputError(refusal(error, self.tracking_uri, self.experiment_name)) from error
        if self.description is not None:
            self.description.run_id = self.run_id
        self._log_configuration()
        with tolerated("log the data sets"):
            self.client.log_inputs(self.run_id, datasets=dataset_inputs(self.datasets))
        logger.info("MLflow run %s: %s", self.run_id, runs_page(self.tracking_uri, self.experiment.experiment_id))

    def _create(self, engine: Engine) -> None:
        experiment = self.experiment
        if _KIND not in experiment.tags:  # or MLflow shows the views for language models
            self.client.set_experiment_tag(experiment.experiment_id, _KIND, "custom_model_development")
        tags = run_tags() | parent_tags(self.client, self.parent_run_id)
        run_name = unique_run_name(self.client, experiment.experiment_id, self.run_name)
        self.cur_run = run = self.client.create_run(experiment.experiment_id, run_name=run_name, tags=tags)
        self.run_id = str(run.info.run_id)
        self._open.enter(self.run_id)
        super().start(engine)

    def _resume(self, engine: Engine) -> bool:
        """Go on with the run of the checkpoint, and tell whether there is one in the store."""
        run_id, self._resumed_id = self._resumed_id, None
        if run_id is None:
            return False
        run = find_run(self.client, run_id)
        if run is None:
            logger.warning("The store has no MLflow run %s, which the checkpoint names: a new one begins.", run_id)
            return False
        self._open.enter(run_id)
        of_engine = {name: getattr(engine.state, name) for name in self.default_tracking_params}
        reopen_run(self.client, run, {**(self.experiment_param or {}), **of_engine}, engine.state.epoch)
        self.cur_run, self.run_id = run, run_id
        self._start_time = run.info.start_time / 1000  # what the first part wrote belongs to the run too
        return True

    def iteration_completed(self, engine: Engine) -> None:
        """Add the losses of the owner's iteration, and log the means when ``loss_interval`` is full."""
        if engine is not self._owner:
            return
        self._means.add(engine.state.output)
        if engine.state.iteration % self.loss_interval == 0:
            self._log_losses(engine.state.iteration)

    def epoch_completed(self, engine: Engine) -> None:
        """Log the metrics of an engine, and send them with the losses."""
        is_owner = engine is self._owner
        if is_owner:
            self._log_losses(engine.state.iteration)
        prefix = "" if is_owner else "validation/"
        metrics = {name: value for name, value in engine.state.metrics.items() if is_number(value)}
        self._log_metrics({prefix + name: float(value) for name, value in metrics.items()}, step=engine.state.epoch)
        self._send()

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Record values of the whole training, such as a calibration's, at its last iteration."""
        self._log_metrics(dict(values), step=self.iteration)

    @property
    def iteration(self) -> int:
        """Iteration of the engine that owns the run."""
        return 0 if self._owner is None else self._owner.state.iteration

    def finish(self, status: str = "FINISHED") -> None:
        """Log the artifacts and end the run, if there is one.

        Args:
            status: ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.
        """
        if not self._tracks or self.cur_run is None:
            return
        self._log_losses(self.iteration)
        self._send()
        self._log_panels()
        for artifact in self.artifacts:
            self._log_written(artifact)
        self.run_finish_status = status
        with tolerated(f"set the run to {status}"):
            self.close()
            self._open.forget(str(self.run_id))
        self._open.leave()
        self.cur_run, self._logged_panels = None, set()

    @contextlib.contextmanager
    def _run_of(self, engine: Engine) -> Iterator[None]:
        """End the run with the outermost engine's run, under the status it deserves."""
        if self._owner is not None:
            yield
            return
        self._owner, self._completed = engine, False
        try:
            with sigterm_exits():
                yield
        except (KeyboardInterrupt, SystemExit):
            self.finish("KILLED")
            raise
        except BaseException:
            self.finish("FAILED")
            raise
        else:
            # A handler may have swallowed the exception: then the engine returns but has not completed.
            self.finish("FINISHED" if self._completed else "FAILED")
        finally:
            self._owner = None

    def _engine_completed(self, engine: Engine) -> None:
        self._log_panels()
        if engine is self._owner:
            self._completed = True

    def _log_losses(self, step: int) -> None:
        values = {f"loss/{name}": mean for name, mean in self._means.pop().items()}
        if not values:
            return
        for name, optimizer in self.optimizers.items():
            groups = optimizer.param_groups
            for index, group in enumerate(groups):
                ending = f"_{group.get('name', f'group_{index}')}" if len(groups) > 1 else ""
                values[f"learning_rate/{name}{ending}"] = float(group["lr"])
        self._log_metrics(values, step=step)

    def _log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Queue metrics: a database or server is asked once per epoch, not once per interval."""
        from mlflow.entities import Metric

        timestamp = int(time.time() * 1000)
        self._pending += [Metric(name, float(value), timestamp, step or 0) for name, value in metrics.items()]

    def _send(self) -> None:
        if self.cur_run is None:
            return
        pending, self._pending = self._pending, []
        with tolerated("send metrics"):
            self.client.log_batch(self.cur_run.info.run_id, metrics=pending)

    def _log_configuration(self) -> None:
        if self.configuration is None or self.cur_run is None:
            return
        run_id = self.cur_run.info.run_id
        with tolerated("log the configuration"):
            if isinstance(self.configuration, Mapping):
                self.client.log_dict(run_id, plain(self.configuration), "configuration.yaml")
            else:
                self.client.log_artifact(run_id, str(self.configuration))

    def _log_panels(self) -> None:
        if self.panels_dir is None or self.cur_run is None:
            return
        for path in sorted(self.panels_dir.glob("*.png")):
            if path not in self._logged_panels and self._is_recent(path):
                self._logged_panels.add(path)
                with tolerated(f"log {path}"):
                    self.client.log_artifact(self.cur_run.info.run_id, str(path), "panels")

    def _log_written(self, path: Path) -> None:
        """Log a file, or the files of a folder under its name, unless they are older than the run."""
        if self.cur_run is None:
            return
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            if self._is_recent(file):
                folder = None if file == path else str(Path(path.name, file.relative_to(path).parent))
                with tolerated(f"log {file}"):
                    self.client.log_artifact(self.cur_run.info.run_id, str(file), folder)

    def _is_recent(self, path: Path) -> bool:
        return path.stat().st_mtime >= self._start_time - _CLOCK_SECONDS
