# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from mlflow import MlflowClient
from mlflow.entities import Run
from monai.handlers import CheckpointSaver, StatsHandler

from scripts.errors import InputError
from scripts.handlers import tracking_store
from scripts.handlers.tracking import RunTracker
from scripts.model_spec import ModelSpec


@pytest.fixture(autouse=True)
def _no_tracking_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def default_tracker(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunTracker, Path, list[str]]:
    """A tracker with the default store after its run, its output folder, and the messages of making the database."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    noisy = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    output_dir = tmp_path_factory.mktemp("default") / "output"
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        for logger in noisy:
            logger.addHandler(handler)
        try:
            tracker = RunTracker(output_dir, configuration={"lr": 0.1})
            engine = trainer()
            tracker.attach(engine)
            engine.run([0])
        finally:
            for logger in noisy:
                logger.removeHandler(handler)
    return tracker, output_dir, messages


@pytest.fixture
def store(default_tracker: tuple[RunTracker, Path, list[str]]) -> str:
    """One database for all tests, since it takes seconds to make. The tests differ by experiment."""
    return default_tracker[0].tracking_uri


@pytest.fixture
def tracker_of(store: str, tmp_path: Path) -> Callable[..., RunTracker]:
    def make(**arguments: Any) -> RunTracker:
        return RunTracker(
            **{"output_dir": tmp_path, "tracking_uri": store, "experiment_name": str(tmp_path), **arguments}
        )

    return make


def runs(tracker: RunTracker) -> list[Run]:
    client = MlflowClient(tracker.tracking_uri)
    experiment = client.get_experiment_by_name(tracker.experiment_name)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def history(tracker: RunTracker, metric: str) -> list[tuple[int, float]]:
    assert tracker.run_id is not None
    found = MlflowClient(tracker.tracking_uri).get_metric_history(tracker.run_id, metric)
    return sorted((entry.step, entry.value) for entry in found)


def artifacts(tracker: RunTracker, folder: str | None = None) -> set[str]:
    assert tracker.run_id is not None
    return {entry.path for entry in MlflowClient(tracker.tracking_uri).list_artifacts(tracker.run_id, folder)}


def trainer(losses: Callable[[int], dict[str, float]] = lambda iteration: {"total": float(iteration)}) -> Engine:
    return Engine(lambda engine, batch: {"losses": losses(engine.state.iteration)})


def raising_trainer(error: BaseException, at_iteration: int = 3) -> Engine:
    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        if engine.state.iteration == at_iteration:
            raise error
        return {"losses": {"total": 1.0}}

    return Engine(step)


def test_completed_training_is_finished(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.run([0, 1], max_epochs=2)
    assert [run.info.status for run in runs(tracker)] == ["FINISHED"]


def test_terminated_training_is_finished(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.terminate())
    engine.run([0, 1], max_epochs=5)
    assert [run.info.status for run in runs(tracker)] == ["FINISHED"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("out of memory"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_exception_ends_the_run_and_goes_on(
    tracker_of: Callable[..., RunTracker], error: BaseException, status: str
) -> None:
    engine, tracker = raising_trainer(error), tracker_of()
    tracker.attach(engine)
    with pytest.raises(type(error)):
        engine.run([0, 1, 2, 3], max_epochs=1)
    assert [run.info.status for run in runs(tracker)] == [status]


@pytest.mark.parametrize("tracker_first", [True, False], ids=["tracker first", "tracker last"])
def test_exception_ends_the_run_beside_other_handlers_of_exceptions(
    tracker_of: Callable[..., RunTracker], tmp_path: Path, tracker_first: bool
) -> None:
    engine, tracker = raising_trainer(RuntimeError("out of memory")), tracker_of()
    saver = CheckpointSaver(str(tmp_path), {"model": torch.nn.Linear(1, 1)}, save_final=True, final_filename="last.pt")
    others = [saver, StatsHandler(output_transform=lambda output: output["losses"]["total"])]
    for handler in [tracker, *others] if tracker_first else [*others, tracker]:
        handler.attach(engine)
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.run([0, 1, 2, 3], max_epochs=1)
    assert [run.info.status for run in runs(tracker)] == ["FAILED"]
    assert (tmp_path / "last.pt").exists()


def test_exception_that_a_handler_swallows_fails_the_run(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)

    @engine.on(Events.EPOCH_COMPLETED)
    def fail(engine: Engine) -> None:
        raise RuntimeError("disk full")

    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: None)
    engine.run([0], max_epochs=1)
    assert [run.info.status for run in runs(tracker)] == ["FAILED"]


def test_exception_in_validation_fails_the_run(tracker_of: Callable[..., RunTracker]) -> None:
    engine, evaluator, tracker = trainer(), raising_trainer(RuntimeError("bad image"), at_iteration=1), tracker_of()
    tracker.attach(engine)
    tracker.attach(evaluator)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    with pytest.raises(RuntimeError, match="bad image"):
        engine.run([0])
    assert [run.info.status for run in runs(tracker)] == ["FAILED"]


def test_sigterm_ends_the_run_as_killed(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    former = signal.getsignal(signal.SIGTERM)
    tracker.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        engine.run(range(1000))
    assert [run.info.status for run in runs(tracker)] == ["KILLED"]
    assert signal.getsignal(signal.SIGTERM) is former


def test_unnamed_run_does_not_continue_a_crashed_one(tracker_of: Callable[..., RunTracker]) -> None:
    crashed = tracker_of()
    crashed.start(trainer())  # as after a power cut: never ended
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.run([0])
    assert len(runs(tracker)) == 2
    assert tracker.run_id != crashed.run_id
    assert crashed.run_id is not None
    assert MlflowClient(tracker.tracking_uri).get_run(crashed.run_id).data.metrics == {}


@pytest.mark.parametrize("name", [None, "first try", "o'hara", 'so "called"'])
def test_names_of_runs_are_unique(tracker_of: Callable[..., RunTracker], name: str | None) -> None:
    for _ in range(2):
        engine, tracker = trainer(), tracker_of(run_name=name)
        tracker.attach(engine)
        engine.run([0])
    names = [run.info.run_name for run in runs(tracker)]
    assert len(set(names)) == 2
    assert all(name is None or entry.startswith(name) for entry in names)


def test_second_training_with_one_tracker_is_a_second_run(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.run([0])
    engine.run([0])
    assert [run.info.status for run in runs(tracker)] == ["FINISHED", "FINISHED"]


def test_losses_are_means_over_the_interval(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of(loss_interval=2)
    tracker.attach(engine)
    engine.run(range(5))
    assert history(tracker, "loss/total") == [(2, 1.5), (4, 3.5), (5, 5.0)]


def test_term_that_is_skipped_in_some_iterations_has_the_mean_of_the_others(
    tracker_of: Callable[..., RunTracker],
) -> None:
    engine = trainer(lambda iteration: {"identity": 4.0} if iteration == 2 else {"total": 1.0})
    tracker = tracker_of(loss_interval=4)
    tracker.attach(engine)
    engine.run(range(4))
    assert history(tracker, "loss/identity") == [(4, 4.0)]


def test_decollated_output_gives_its_losses(tracker_of: Callable[..., RunTracker]) -> None:
    losses = {"total": torch.tensor(2.0)}
    engine, tracker = Engine(lambda engine, batch: [{"losses": losses}, {"losses": losses}]), tracker_of()
    tracker.attach(engine)
    engine.run([0])
    assert history(tracker, "loss/total") == [(1, 2.0)]


def test_losses_before_a_crash_are_kept(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = raising_trainer(RuntimeError()), tracker_of()
    tracker.attach(engine)
    with pytest.raises(RuntimeError):
        engine.run(range(4))
    assert history(tracker, "loss/total") == [(3, 1.0)]


def test_learning_rates_are_logged_by_optimizer(tracker_of: Callable[..., RunTracker]) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizers = {
        "generator": torch.optim.Adam(weights[:1], lr=0.1),
        "discriminator": torch.optim.Adam(
            [{"params": weights[1:2]}, {"params": weights[2:], "lr": 0.3, "name": "finest"}], lr=0.2
        ),
    }
    engine, tracker = trainer(), tracker_of(optimizers=optimizers)
    tracker.attach(engine)
    engine.run([0])
    rates = {name: value for name, value in runs(tracker)[0].data.metrics.items() if name.startswith("learning_rate")}
    assert rates == {
        "learning_rate/generator": 0.1,
        "learning_rate/discriminator_group_0": 0.2,
        "learning_rate/discriminator_finest": 0.3,
    }


def test_validation_belongs_to_the_run_of_the_training(tracker_of: Callable[..., RunTracker]) -> None:
    engine, evaluator, tracker = trainer(), Engine(lambda engine, batch: []), tracker_of()

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure(evaluator: Engine) -> None:
        evaluator.state.epoch = engine.state.epoch
        evaluator.state.metrics = {"psnr": 20.0 + engine.state.epoch, "ssim": float("nan")}

    tracker.attach(engine)
    tracker.attach(evaluator)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0]))
    engine.run([0], max_epochs=2)
    assert len(runs(tracker)) == 1
    assert history(tracker, "validation/psnr") == [(1, 21.0), (2, 22.0)]
    assert "validation/ssim" not in runs(tracker)[0].data.metrics


def test_iterations_of_the_validation_leave_the_losses_alone(tracker_of: Callable[..., RunTracker]) -> None:
    engine, evaluator, tracker = trainer(), Engine(lambda engine, batch: []), tracker_of(loss_interval=2)
    tracker.attach(engine)
    tracker.attach(evaluator)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: evaluator.run(range(2)))
    engine.run(range(4))
    assert history(tracker, "loss/total") == [(2, 1.5), (4, 3.5)]


def test_evaluation_alone_is_a_run_of_its_own(tracker_of: Callable[..., RunTracker]) -> None:
    evaluator, tracker = Engine(lambda engine, batch: []), tracker_of()
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.state.metrics.update(psnr=25.0))
    tracker.attach(evaluator)
    evaluator.run([0])
    assert runs(tracker)[0].data.metrics == {"psnr": 25.0}
    assert runs(tracker)[0].info.status == "FINISHED"


def test_parameters_are_logged_however_many_and_long(tracker_of: Callable[..., RunTracker]) -> None:
    parameters: dict[str, Any] = {f"weight_{index}": index for index in range(150)}
    engine, tracker = trainer(), tracker_of(parameters={**parameters, "files": "x" * 10_000})
    tracker.attach(engine)
    engine.run([0], max_epochs=1)
    logged = runs(tracker)[0].data.params
    assert {name: int(logged[name]) for name in parameters} == parameters
    assert logged["files"] == "x" * 6000
    assert logged["max_epochs"] == "1"


def test_configuration_is_logged_at_the_start(tracker_of: Callable[..., RunTracker], tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("lr: 0.1\n")
    engine, tracker = raising_trainer(RuntimeError(), at_iteration=1), tracker_of(configuration=tmp_path / "train.yaml")
    tracker.attach(engine)
    with pytest.raises(RuntimeError):
        engine.run([0])
    assert artifacts(tracker) == {"train.yaml"}


def test_configuration_may_be_a_mapping(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of(configuration={"lr": 0.1})
    tracker.attach(engine)
    engine.run([0])
    assert artifacts(tracker) == {"configuration.yaml"}


def test_panels_are_logged_while_the_training_runs(tracker_of: Callable[..., RunTracker], tmp_path: Path) -> None:
    panels = tmp_path / "pictures"
    panels.mkdir()
    engine, evaluator, tracker = trainer(), Engine(lambda engine, batch: []), tracker_of(panels_dir=panels)
    seen: list[set[str]] = []
    tracker.attach(engine)
    tracker.attach(evaluator)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        evaluator.run([0])
        seen.append(artifacts(tracker, "panels"))

    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda evaluator: (panels / f"{engine.state.epoch}.png").write_bytes(b"")
    )
    engine.run([0], max_epochs=2)
    assert seen == [{"panels/1.png"}, {"panels/1.png", "panels/2.png"}]


def test_artifacts_written_by_any_handler_at_the_end_are_logged(
    tracker_of: Callable[..., RunTracker], tmp_path: Path
) -> None:
    checkpoint, report = tmp_path / "model.pt", tmp_path / "report"
    engine, tracker = trainer(), tracker_of(artifacts=[checkpoint, report, tmp_path / "missing.txt"])
    tracker.attach(engine)

    @engine.on(Events.COMPLETED)
    def write(engine: Engine) -> None:
        checkpoint.write_bytes(b"weights")
        (report / "tables").mkdir(parents=True)
        (report / "tables" / "evaluation.csv").write_text("patient\n")

    engine.run([0])
    assert artifacts(tracker) == {"model.pt", "report"}
    assert artifacts(tracker, "report/tables") == {"report/tables/evaluation.csv"}


def test_files_of_an_earlier_run_are_not_logged(tracker_of: Callable[..., RunTracker], tmp_path: Path) -> None:
    checkpoint, panel = tmp_path / "model.pt", tmp_path / "panels" / "panel_epoch_0009.png"
    panel.parent.mkdir()
    an_hour_ago = time.time() - 3600
    for path in (checkpoint, panel):
        path.write_bytes(b"")
        os.utime(path, (an_hour_ago, an_hour_ago))
    engine, tracker = trainer(), tracker_of(artifacts=[checkpoint], panels_dir=panel.parent)
    tracker.attach(engine)
    engine.run([0])
    assert artifacts(tracker) == set()


def test_default_store_is_in_the_output_folder(default_tracker: tuple[RunTracker, Path, list[str]]) -> None:
    _, output_dir, _ = default_tracker
    assert (output_dir / "mlflow.db").exists()
    assert list((output_dir / "mlartifacts").rglob("configuration.yaml"))


def test_making_the_store_says_nothing_of_its_tables(default_tracker: tuple[RunTracker, Path, list[str]]) -> None:
    assert default_tracker[2] == []


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_telemetry_is_off_unless_the_user_decided(
    tracker_of: Callable[..., RunTracker], monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", before or "")
    if before is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    tracker_of()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == after


def test_store_that_fails_during_training_costs_a_warning(
    tracker_of: Callable[..., RunTracker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host")

    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: monkeypatch.setattr(tracker.client, "log_batch", refuse)
    )
    engine.run([0], max_epochs=1)
    assert "MLflow could not send metrics: no route to host" in caplog.text
    assert engine.state.iteration == 1


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns"])
def test_folder_as_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match="sqlite:///"):
        RunTracker(tmp_path, tracking_uri=uri)


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
def test_server_that_does_not_answer_is_told_before_the_first_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setitem(tracking_store.FIRST_REQUEST, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        if listens:
            unused.listen()
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        engine, tracker = trainer(), RunTracker(tmp_path, tracking_uri=uri)
        tracker.attach(engine)
        begin = time.monotonic()
        with pytest.raises(InputError, match="does not answer"):
            engine.run([0])
    assert time.monotonic() - begin < 10
    assert engine.state.iteration == 0
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_deleted_experiment_is_refused(tracker_of: Callable[..., RunTracker]) -> None:
    tracker = tracker_of()
    client = MlflowClient(tracker.tracking_uri)
    client.delete_experiment(client.create_experiment(tracker.experiment_name))
    engine = trainer()
    tracker.attach(engine)
    with pytest.raises(InputError, match="choose another experiment"):
        engine.run([0])


def test_interval_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        RunTracker(tmp_path, loss_interval=0)


def crashed(tracker: RunTracker) -> RunTracker:
    """Leave a run as a dead process leaves it: running, and its lock given back by the system."""
    tracker.start(trainer())
    tracker._open.leave()
    return tracker


def statuses(tracker: RunTracker) -> dict[str, str]:
    return {run.info.run_id: run.info.status for run in runs(tracker)}


def test_run_of_a_dead_process_is_killed_when_the_next_one_starts(
    tracker_of: Callable[..., RunTracker], tmp_path: Path
) -> None:
    dead, alive, tracker = crashed(tracker_of()), tracker_of(), tracker_of()
    alive._open.enter("of another store")
    engine = trainer()
    tracker.attach(engine)
    engine.run([0])
    assert statuses(tracker) == {dead.run_id: "KILLED", tracker.run_id: "FINISHED"}
    assert [file.stem for file in (tmp_path / "open_runs").iterdir()] == ["of another store"]


def test_run_of_a_living_process_goes_on_when_the_next_one_starts(tracker_of: Callable[..., RunTracker]) -> None:
    living, tracker, engine = tracker_of(), tracker_of(), trainer()
    living.start(trainer())
    tracker.attach(engine)
    engine.run([0])
    assert statuses(tracker) == {living.run_id: "RUNNING", tracker.run_id: "FINISHED"}


def test_resumed_training_goes_on_with_its_run(tracker_of: Callable[..., RunTracker], tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    first = crashed(tracker_of(parameters={"lr": 0.1, "seed": 0}))
    model.write_bytes(b"of the first part")
    state = first.state_dict()
    engine, second = trainer(), tracker_of(parameters={"lr": 0.2, "seed": 0, "amp": True}, artifacts=[model])
    second.load_state_dict(state)
    second.attach(engine)
    engine.run([0, 1], max_epochs=3)
    (run,) = runs(second)
    assert (run.info.run_id, run.info.status) == (first.run_id, "FINISHED")
    assert run.data.params["lr"] == "0.1"
    assert run.data.params["amp"] == "True"
    assert run.data.tags["resumed.1"] == "after epoch 0; epoch_length: None -> 2; lr: 0.1 -> 0.2; max_epochs: None -> 3"
    assert artifacts(second) == {"model.pt"}
    assert not (tmp_path / "open_runs").exists()


def test_resumed_training_whose_run_the_store_lacks_begins_a_new_one(
    tracker_of: Callable[..., RunTracker], caplog: pytest.LogCaptureFixture
) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.load_state_dict({"run_id": "0" * 32})
    tracker.attach(engine)
    engine.run([0])
    assert [run.info.status for run in runs(tracker)] == ["FINISHED"]
    assert "The store has no MLflow run 000" in caplog.text


def test_run_that_uses_a_model_lies_below_the_training(tracker_of: Callable[..., RunTracker]) -> None:
    engine, training = trainer(), tracker_of()
    training.attach(engine)
    engine.run([0])
    parents = {}
    for parent in (training.run_id, "0" * 32):
        evaluator, tracker = trainer(), tracker_of(parent_run_id=parent)
        tracker.attach(evaluator)
        evaluator.run([0])
        assert tracker.run_id is not None
        tags = MlflowClient(tracker.tracking_uri).get_run(tracker.run_id).data.tags
        parents[tags["training_run"]] = tags.get("mlflow.parentRunId")
    assert parents == {training.run_id: training.run_id, "0" * 32: None}


def test_run_knows_its_data_and_leaves_its_id_with_the_model(
    tracker_of: Callable[..., RunTracker], tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(b"pixels")
    spec = ModelSpec({}, (0, 100))
    tracker = tracker_of(datasets={"training_lq": [{"image": str(tmp_path / "image.png")}]}, description=spec)
    engine = trainer()
    tracker.attach(engine)
    engine.run([0])
    (run,) = runs(tracker)
    (given,) = run.inputs.dataset_inputs
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training_lq"}
    assert spec.run_id == run.info.run_id
    assert run.data.tags["version.bundle"]


def test_experiment_is_shown_as_one_of_trained_models(tracker_of: Callable[..., RunTracker]) -> None:
    engine, tracker = trainer(), tracker_of()
    tracker.attach(engine)
    engine.run([0])
    experiment = MlflowClient(tracker.tracking_uri).get_experiment_by_name(tracker.experiment_name)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
