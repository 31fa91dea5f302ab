# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from scripts.engines import cosine_decay
from scripts.errors import InputError
from scripts.handlers import ModelSaver, TrainingCheckpoint, load_as_trained, load_model
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet


def evaluate(saver: ModelSaver, epoch: int = 1, **metrics: float) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = epoch
    engine.state.metrics = dict(metrics)
    saver(engine)


def saved_value(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["weight"])


def network(value: float) -> nn.Module:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def set_value(module: Any, value: float) -> None:
    nn.init.constant_(module.weight, value)


def test_best_model_stays(tmp_path: Path) -> None:
    module = network(1.0)
    saver = ModelSaver(module, tmp_path / "models" / "model.pt", metric="ssim")
    for value, ssim in ((1.0, 0.5), (2.0, 0.7), (3.0, 0.6)):
        set_value(module, value)
        evaluate(saver, ssim=ssim)
    assert saved_value(tmp_path / "models" / "model.pt") == 2.0


@pytest.mark.parametrize(("metric", "metrics"), [(None, {"ssim": 0.1}), ("ssim", {"ssim": float("nan")}), ("ssim", {})])
def test_newest_model_stays_where_there_is_no_telling(
    tmp_path: Path, metric: str | None, metrics: dict[str, float]
) -> None:
    module = network(1.0)
    saver = ModelSaver(module, tmp_path / "model.pt", metric=metric)
    for value in (1.0, 2.0):
        set_value(module, value)
        evaluate(saver, **metrics)
    assert saved_value(tmp_path / "model.pt") == 2.0


def test_a_metric_that_is_no_number_any_more_replaces_nothing(tmp_path: Path) -> None:
    module = network(1.0)
    saver = ModelSaver(module, tmp_path / "model.pt", metric="auc")
    evaluate(saver, auc=0.9)
    set_value(module, 2.0)
    evaluate(saver, auc=float("nan"))
    assert saved_value(tmp_path / "model.pt") == 1.0


def test_an_epoch_that_does_not_count_sets_no_mark(tmp_path: Path) -> None:
    module = network(1.0)
    saver = ModelSaver(module, tmp_path / "model.pt", metric="auc", after_epoch=1)
    for epoch, value, auc in ((1, 1.0, 0.9), (2, 2.0, 0.6), (3, 3.0, 0.5)):
        set_value(module, value)
        evaluate(saver, epoch=epoch, auc=auc)
    assert saved_value(tmp_path / "model.pt") == 2.0


def test_resumed_saver_does_not_replace_a_better_model(tmp_path: Path) -> None:
    module = network(1.0)
    first = ModelSaver(module, tmp_path / "model.pt", metric="ssim")
    evaluate(first, ssim=0.9)
    second = ModelSaver(module, tmp_path / "model.pt", metric="ssim")
    second.load_state_dict(first.state_dict())
    set_value(module, 2.0)
    evaluate(second, ssim=0.8)
    assert saved_value(tmp_path / "model.pt") == 1.0


@pytest.mark.parametrize(
    ("metric", "epoch", "metrics", "reason"),
    [
        (None, 1, {}, "it is the newest"),
        ("ssim", 1, {}, "nothing is there to measure ssim by"),
        ("ssim", 1, {"ssim": 0.5}, "ssim counts after the warm-up, which ends with epoch 2"),
        ("ssim", 3, {"ssim": float("nan")}, "its ssim could not be measured"),
    ],
)
def test_it_says_which_network_is_kept_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, metric: str, epoch: int, metrics: dict[str, float], reason: str
) -> None:
    with caplog.at_level(logging.INFO):
        evaluate(ModelSaver(network(1.0), tmp_path / "model.pt", metric, after_epoch=2), epoch, **metrics)
    assert f"the network of epoch {epoch} is kept in {tmp_path / 'model.pt'}: it is the newest" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device\nat inline")]
)
def test_a_full_disk_is_told_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    module = network(1.0)
    saver = ModelSaver(module, tmp_path / "model.pt")
    evaluate(saver)

    def full(state: Any, file: Path, *arguments: Any, **kwargs: Any) -> None:
        file.write_bytes(b"the beginning")
        raise error

    monkeypatch.setattr(torch, "save", full)
    set_value(module, 2.0)
    with pytest.raises(InputError, match=r'model.pt" cannot be written .No space left on device.: make room'):
        evaluate(saver)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    assert saved_value(tmp_path / "model.pt") == 1.0


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    evaluate(ModelSaver(network(1.0), tmp_path / "model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_saved_model_loads(tmp_path: Path) -> None:
    evaluate(ModelSaver(network(4.0), tmp_path / "model.pt"))
    other: Any = network(0.0)
    assert load_model(other, tmp_path / "model.pt") is other
    assert float(other.weight) == 4.0


def test_a_model_of_version_0_3_loads(tmp_path: Path) -> None:
    torch.save({"model": network(4.0).state_dict()}, tmp_path / "model.pt")
    other: Any = load_model(network(0.0), tmp_path / "model.pt")
    assert float(other.weight) == 4.0


def test_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    evaluate(ModelSaver(nn.Linear(2, 3), tmp_path / "model.pt"))
    with pytest.raises(InputError, match="another architecture.*network_channels"):
        load_model(network(0.0), tmp_path / "model.pt")


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.pt"):
        load_model(network(0.0), tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match="model.pt"):
        load_model(network(0.0), tmp_path / "model.pt")


def engine(max_epochs: int, epoch_length: int = 3) -> Engine:
    trainer = Engine(lambda engine, batch: None)
    trainer.state.max_epochs, trainer.state.epoch_length = max_epochs, epoch_length
    return trainer


def checkpoint(tmp_path: Path, trainer: Engine, epochs: int, **arguments: Any) -> TrainingCheckpoint:
    saver = TrainingCheckpoint(tmp_path / "checkpoint.pt", {"network": network(1.0)}, **arguments)
    saver.attach(trainer)
    trainer.run(range(3), max_epochs=epochs)
    return saver


def test_epochs_between_the_interval_leave_no_checkpoint_but_the_last_does(tmp_path: Path) -> None:
    saver = checkpoint(tmp_path, engine(3), epochs=3, interval=2)
    assert torch.load(saver.path, weights_only=True)["trainer"]["iteration"] == 9


def test_complete_training_is_not_started_anew(tmp_path: Path) -> None:
    saver = checkpoint(tmp_path, engine(2), epochs=2)
    with pytest.raises(InputError, match="2 epochs already"):
        saver.resume(engine(2))


def test_a_training_that_has_come_to_its_pause_is_not_taken_further(tmp_path: Path) -> None:
    saver = checkpoint(tmp_path, engine(2), epochs=2)
    with pytest.raises(InputError, match="2 epochs already: ask for more epochs, or a later pause_after"):
        saver.resume(engine(4), pause_after=2)
    saver.resume(engine(4), pause_after=3)


def test_other_epoch_length_is_refused(tmp_path: Path) -> None:
    saver = checkpoint(tmp_path, engine(2), epochs=2)
    with pytest.raises(InputError, match="steps_per_epoch"):
        saver.resume(engine(4, epoch_length=5))


def test_model_file_is_no_training_checkpoint(tmp_path: Path) -> None:
    evaluate(ModelSaver(network(4.0), tmp_path / "checkpoint.pt"))
    with pytest.raises(InputError, match="lacks network, trainer"):
        TrainingCheckpoint(tmp_path / "checkpoint.pt", {"network": network(1.0)}).resume(engine(2))


def test_networks_beside_are_saved_when_the_network_is(tmp_path: Path) -> None:
    further = network(5.0)
    saver = ModelSaver(network(1.0), tmp_path / "model.pt", "ssim", beside={str(tmp_path / "downstream.pt"): further})
    evaluate(saver, ssim=0.7)
    set_value(further, 6.0)
    evaluate(saver, ssim=0.6)
    assert saved_value(tmp_path / "downstream.pt") == 5.0
    evaluate(saver, ssim=0.8)
    assert saved_value(tmp_path / "downstream.pt") == 6.0


def test_what_a_training_does_not_have_is_not_saved(tmp_path: Path) -> None:
    assert set(TrainingCheckpoint(tmp_path / "c.pt", {"network": network(1.0), "further": None}).objects) == {"network"}


def test_interrupted_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = engine(2)
    saver = checkpoint(tmp_path, trainer, epochs=1)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="no space left"):
        saver(trainer)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.load(saver.path, weights_only=True)["trainer"]["iteration"] == 3


def test_checkpoint_of_an_earlier_version_gives_the_frozen_task_networks(tmp_path: Path) -> None:
    saver = checkpoint(tmp_path, engine(1), epochs=1)
    state = torch.load(saver.path, weights_only=True)
    torch.save({**state, "clean_readers": network(7.0).state_dict()}, saver.path)
    frozen: Any = network(0.0)
    TrainingCheckpoint(saver.path, {"frozen_task_networks": frozen}).resume(engine(2))
    assert float(frozen.weight) == 7.0


def decaying_trainer(epochs: int, constant_epochs: int) -> tuple[Engine, LambdaLR, list[float]]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = cosine_decay(optimizer, epochs, constant_epochs)
    rates: list[float] = []

    def step(engine: Engine, batch: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()

    trainer = Engine(step)
    trainer.state.max_epochs, trainer.state.epoch_length = epochs, 1
    LrScheduleHandler(scheduler, print_lr=False).attach(trainer)
    return trainer, scheduler, rates


@pytest.mark.parametrize("trained", [1, 2, 3, 5])
def test_rates_go_on_from_a_checkpoint_of_an_earlier_version(tmp_path: Path, trained: int) -> None:
    path, epochs, constant = tmp_path / "checkpoint.pt", 7, 2
    trainer, _, expected = decaying_trainer(epochs, constant)
    trainer.run([0], max_epochs=epochs)

    # An earlier scheduler covered the falling epochs only, and a handler kept it waiting in the constant ones.
    _, old, _ = decaying_trainer(epochs - constant, 0)
    for _ in range(trained - constant):
        old.optimizer.step()
        old.step()
    state = {key: value for key, value in old.state_dict().items() if key != "constant_epochs"}
    progress = {"iteration": trained, "epoch_length": 1, "max_epochs": epochs}
    torch.save({"optimizer": old.optimizer.state_dict(), "schedule": state, "trainer": progress}, path)

    resumed, scheduler, rates = decaying_trainer(epochs, constant)
    TrainingCheckpoint(path, {"optimizer": scheduler.optimizer, "schedule": scheduler}).resume(resumed)
    resumed.run([0])
    assert rates == expected[trained:]


@pytest.mark.parametrize("trained", [1, 4])
def test_rates_go_on_from_a_checkpoint(tmp_path: Path, trained: int) -> None:
    path = tmp_path / "checkpoint.pt"
    trainer, _, expected = decaying_trainer(6, 2)
    trainer.run([0], max_epochs=6)
    resumed: list[list[float]] = []
    for pause in (trained, None):
        trainer, scheduler, rates = decaying_trainer(6, 2)
        saver = TrainingCheckpoint(path, {"optimizer": scheduler.optimizer, "schedule": scheduler})
        saver.attach(trainer)
        if pause is None:
            saver.resume(trainer)
        else:
            trainer.add_event_handler(Events.EPOCH_COMPLETED(once=pause), lambda engine: engine.terminate())
        trainer.run([0], max_epochs=6)
        resumed.append(rates)
    assert sum(resumed, []) == expected


def test_a_resumed_training_takes_the_rates_of_now(tmp_path: Path) -> None:
    def parts(rate: float) -> tuple[torch.optim.Optimizer, Any, Engine, TrainingCheckpoint]:
        optimizer = torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), lr=rate)
        schedule = cosine_decay(optimizer, epochs=4)
        checkpoint = TrainingCheckpoint(tmp_path / "checkpoint.pt", {"optimizer": optimizer, "schedule": schedule})
        engine = Engine(lambda engine, batch: optimizer.step())
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: schedule.step())
        checkpoint.attach(engine)
        return optimizer, schedule, engine, checkpoint

    rates = {}
    for rate in (0.1, 0.05):  # that of before, which changes nothing, and another one
        optimizer, _, engine, _ = parts(0.1)
        engine.run([0, 1], max_epochs=2)
        left = optimizer.param_groups[0]["lr"] / 0.1
        optimizer, schedule, engine, checkpoint = parts(rate)
        engine.state.max_epochs, engine.state.epoch_length = 4, 2
        checkpoint.resume(engine)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate * left)
        schedule.step()
        rates[rate] = optimizer.param_groups[0]["lr"]
    assert rates[0.05] == pytest.approx(rates[0.1] / 2)


@pytest.mark.parametrize(
    ("arguments", "scaling", "sentence"),
    [
        ({}, {}, None),
        (
            {"head": "residual"},
            {},
            'network_def#head "plain", and this run has "residual": add --network_def#head \'plain\'',
        ),
        ({}, {"window": (0, 255)}, "window null, and this run has [0.0, 255.0]: add --window '$None'"),
        (
            {},
            {"percentiles": (0, 100)},
            "percentiles [0.5, 99.5], and this run has [0.0, 100.0]: add --percentiles '[0.5, 99.5]'",
        ),
        ({}, {"slice_axis": 0}, "slice_axis 2, and this run has 0: add --slice_axis '2'"),
    ],
)
def test_weights_are_not_used_otherwise_than_they_were_trained(
    arguments: dict[str, Any], scaling: dict[str, Any], sentence: str | None, tmp_path: Path
) -> None:
    shape: dict[str, Any] = {"spatial_dims": 2, "channels": [4, 8], "guidance_channels": [4, 8]}
    trained = HQGNet(**shape)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    ModelSpec(shape, (0.5, 99.5)).save(tmp_path / "model.pt")
    spec = ModelSpec({**shape, "channels": (4, 8), **arguments}, **{"percentiles": (0.5, 99.5), **scaling})
    if sentence is None:
        loaded = load_as_trained(HQGNet(**shape), tmp_path / "model.pt", spec)
        assert all(map(torch.equal, loaded.state_dict().values(), trained.state_dict().values()))
        return
    with pytest.raises(InputError, match=re.escape(sentence)):
        load_as_trained(HQGNet(**shape, **arguments), tmp_path / "model.pt", spec)
