# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The files that training writes: the network to use, and the state to resume from."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError
from ..files import atomic_write
from ..model_spec import NETWORK_SETTINGS, ModelSpec
from ..networks import HQGNet, network_from_description

__all__ = ["ModelSaver", "TrainingCheckpoint", "load_as_trained", "load_downstream", "load_model"]

logger = logging.getLogger(__name__)

_Network = TypeVar("_Network", bound=nn.Module)

# An untracked training has no run to go on with, and earlier checkpoints have no record.
_DISPENSABLE = {"tracker", "record"}
# Objects that have another name in the checkpoints of version 0.3 and before.
_RENAMED = {"clean_readers": "frozen_task_networks"}


def load_model(network: _Network, path: str | Path) -> _Network:
    """Load saved weights into a network.

    Args:
        network: of the architecture that was saved.
        path: the file, a state dictionary. Those of version 0.3 and before, ``{"model": state_dict}``, are read too.

    Returns:
        The network.

    Raises:
        InputError: when the file is missing, is no checkpoint, or is of another architecture.
    """
    state = _read(Path(path))
    _load_state(network, state.get("model", state), f'"{path}"')
    return network


def load_as_trained(network: _Network, path: str | Path, spec: ModelSpec) -> _Network:
    """Load the weights of a training into a network, as :func:`load_model` does, if its settings are those of the run.

    Weights of another head or another scaling load without complaint, and every figure is wrong.

    Args:
        network: of the architecture that was saved.
        path: ``model.pt``. Without ``model.json`` beside it nothing is compared.
        spec: how the run builds and uses the network.

    Raises:
        InputError: for the first setting that differs, with the option that mends it; and see :func:`load_model`.
    """
    loaded = load_model(network, path)
    if ModelSpec.path_beside(path).is_file():
        trained, now = (_used_settings(one) for one in (ModelSpec.load(path), spec))
        for name in trained:
            if trained[name] != now[name]:
                told = "'$None'" if trained[name] == "null" else f"'{trained[name]}'"
                raise InputError(
                    f'"{path}" was trained with {name} {trained[name]}, and this run has {now[name]}: add --{name} '
                    + told.replace('"', "")
                )
    return loaded


def _used_settings(spec: ModelSpec) -> dict[str, str]:
    """What decides how a network is used, by the names of the options, as JSON."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(HQGNet).parameters.items()}
    network = {**defaults, **spec.network}
    settings: dict[str, Any] = {"window": spec.window, "slice_axis": spec.slice_axis}
    if spec.window is None:
        settings["percentiles"] = spec.percentiles
    settings |= {f"network_def#{name}": network[name] for name in NETWORK_SETTINGS}
    return {name: json.dumps(value) for name, value in settings.items()}


def load_downstream(model_file: str | Path) -> nn.Module:
    """Return the downstream network that was trained with ``model.pt``, built from ``model.json``.

    It maps enhanced images, (B, C, *spatial) in 0 to 1, to logits, (B, K, *spatial) or (B, K).

    Args:
        model_file: ``model.pt``, with ``model.json`` and ``downstream.pt`` beside it.

    Raises:
        InputError: when a file is missing, or the description has no downstream network that can be built.
    """
    described = ModelSpec.load(model_file).downstream or {}
    if not described.get("network"):
        raise InputError(
            f'"{ModelSpec.path_beside(model_file)}" does not say how a downstream network was built: train with '
            "labels, and with this version."
        )
    network = network_from_description(described["network"])
    return load_model(network, Path(model_file).with_name("downstream.pt")).eval()


class ModelSaver:
    """Ignite handler for the evaluator: keep the network that validated best.

    The file holds ``network.state_dict()``, as MONAI's own readers of bundles expect it, and loads with
    ``weights_only=True``. It is written under another name and then renamed, so the file is always complete.

    Args:
        network: the network that is validated.
        path: the file to write.
        metric: name of the metric in ``engine.state.metrics``, the greater the better. The newest network is kept when
            it is None, or not a number because no image has a reference.
        beside: further networks by the file to save them to, each time ``network`` is saved. None stands for a network
            that this training does not have: a file from an earlier training is then removed. Defaults to none.
        after_epoch: up to this epoch, the last of the warm-up, the newest network is kept and its metric is not
            compared. Defaults to 0: every epoch counts.
        description: the specification to write beside the network, which inference needs. Defaults to none.
    """

    def __init__(
        self,
        network: nn.Module,
        path: str | Path,
        metric: str | None = None,
        beside: Mapping[str, nn.Module | None] | None = None,
        after_epoch: int = 0,
        description: ModelSpec | None = None,
    ) -> None:
        self.network = network
        self.path = Path(path)
        self.description = description
        self.metric = metric
        self.beside = {Path(file): further for file, further in (beside or {}).items()}
        self.after_epoch = after_epoch
        self.best = -math.inf

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the network if it is the best so far, or if there is nothing to compare."""
        value = math.nan
        if self.metric is not None and engine.state.epoch > self.after_epoch:
            value = float(engine.state.metrics.get(self.metric, math.nan))
        # A metric that was a number before and is none now is no improvement.
        if self.best > -math.inf and not value > self.best:
            return
        if math.isnan(value):
            reason = self._why_newest(engine)
            logger.info("the network of epoch %d is kept in %s: %s", engine.state.epoch, self.path, reason)
        else:
            self.best = value
            logger.info("best %s so far: %.4f, saved to %s", self.metric, value, self.path)
        for path, network in {self.path: self.network, **self.beside}.items():
            if network is None:
                path.unlink(missing_ok=True)
            else:
                _write(network.state_dict(), path)
        if self.description is not None:
            self.description.save(self.path)

    def _why_newest(self, engine: Engine) -> str:
        """Say why no metric was compared."""
        if self.metric is None:
            return "it is the newest"
        if self.metric not in engine.state.metrics:
            return f"it is the newest, and nothing is there to measure {self.metric} by"
        if engine.state.epoch <= self.after_epoch:
            return f"it is the newest; {self.metric} counts after the warm-up, which ends with epoch {self.after_epoch}"
        return f"it is the newest; its {self.metric} could not be measured"

    def state_dict(self) -> dict[str, float]:
        """Return the best metric, for a resumed training."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the return value of :meth:`state_dict`."""
        self.best = state["best"]


class TrainingCheckpoint:
    """Ignite handler for the trainer: save the state of training at the end of an epoch, in one file.

    ``ignite.handlers.Checkpoint`` collects the states. No random state is saved: the trainer's random numbers depend
    on the seed and the epoch only.

    Args:
        path: the file to write, replaced each time.
        objects: the objects to save, by name; each with ``state_dict`` and ``load_state_dict``. None stands for an
            object that this training does not have. The trainer and its gradient scalers are added.
        interval: epochs between two saves; the last epoch is always saved. Defaults to 1.

    Raises:
        InputError: when ``interval`` is below 1.
    """

    def __init__(self, path: str | Path, objects: Mapping[str, Any], interval: int = 1) -> None:
        if interval < 1:
            raise InputError(f"The checkpoint interval must be at least 1 epoch, not {interval}.")
        self.path = Path(path)
        self.objects = {name: item for name, item in objects.items() if item is not None}
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; put it after all handlers that change the saved objects."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save, if this epoch is one to save."""
        epoch, last = engine.state.epoch, engine.state.max_epochs
        if epoch % self.interval == 0 or epoch == last or engine.should_terminate:
            objects = {**self.objects, "scalers": getattr(engine, "scalers", {}), "trainer": engine}
            # A function, not a DiskSaver: ignite removes the last file of a DiskSaver before it writes the next, and a
            # killed process leaves files behind whose names tell nothing.
            Checkpoint(objects, lambda state, name, metadata: _write(state, self.path))(engine)

    def resume(self, engine: Engine, pause_after: int | None = None) -> None:
        """Restore the objects and the trainer, before the trainer runs.

        Args:
            engine: the trainer.
            pause_after: the epoch after which the trainer will pause, see :class:`scripts.handlers.PauseAfter`.

        Raises:
            InputError: when there is no checkpoint, it belongs to other networks or settings, or training was already
                complete or has reached the pause.
        """
        state = _read(self.path)
        state = {_RENAMED.get(key, key): value for key, value in state.items()}
        name = f'"{self.path}"'
        missing = [key for key in (*self.objects, "trainer") if key not in state and key not in _DISPENSABLE]
        if missing:
            raise InputError(f"{name} is no checkpoint of this training: it lacks {', '.join(missing)}.")
        epochs = _trained_epochs(state["trainer"], engine, pause_after, name)
        for key, item in self.objects.items():
            if key not in state:
                continue
            present = _hyperparameters(item)
            _load_state(item, _epochs_from_the_start(state[key], epochs), f"{key} in {name}")
            _apply_hyperparameters(item, present, key)
        for item in self.objects.values():
            if isinstance(item, LRScheduler):
                item.base_lrs = [group["initial_lr"] for group in item.optimizer.param_groups]
        for key, scaler in getattr(engine, "scalers", {}).items():
            if state.get("scalers", {}).get(key):  # empty without mixed precision on CUDA
                scaler.load_state_dict(state["scalers"][key])
        engine.load_state_dict({**state["trainer"], "max_epochs": engine.state.max_epochs})
        logger.info("resuming from %s after epoch %d", self.path, epochs)


def _trained_epochs(trained: Mapping[str, int], engine: Engine, pause_after: int | None, name: str) -> int:
    """Return the number of epochs in a checkpoint, after checking that training can go on from it."""
    if trained["epoch_length"] != engine.state.epoch_length:
        raise InputError(
            f"{name} was trained with {trained['epoch_length']} steps per epoch, not {engine.state.epoch_length}: "
            "resume with the same steps_per_epoch."
        )
    epochs = trained["iteration"] // trained["epoch_length"]
    if epochs >= min(engine.state.max_epochs or 0, math.inf if pause_after is None else pause_after):
        raise InputError(
            f"{name} has been trained for {epochs} epochs already: ask for more epochs, or a later pause_after, to "
            "go on."
        )
    return epochs


def _epochs_from_the_start(state: Mapping[str, Any], epochs: int) -> Mapping[str, Any]:
    """Convert the state of a cosine_decay of version 0.3 or before, which did not count the constant epochs."""
    if "lr_lambdas" in state and "constant_epochs" not in state:
        return {**state, "last_epoch": epochs, "_step_count": epochs + 1}
    return state


def _hyperparameters(item: Any) -> list[dict[str, Any]]:
    """Return what the settings say of each parameter group of an optimiser; nothing for other objects."""
    groups = item.param_groups if isinstance(item, Optimizer) else []
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]


def _apply_hyperparameters(item: Any, present: Sequence[Mapping[str, Any]], key: str) -> None:
    """Give an optimiser the settings of now, which its checkpoint has replaced, and say which are others.

    A rate keeps the share of its beginning that the schedule has left of it.
    """
    for number, group in enumerate(item.param_groups if present else []):
        of = f"{key}, group {number}" if len(present) > 1 else key
        first = "initial_lr" if "initial_lr" in group and "initial_lr" in present[number] else "lr"
        for name, value in present[number].items():
            former = group.get(name, value)
            if name in ("lr", "name") or former == value or (isinstance(former, tuple) and [*former] == [*value]):
                continue
            logger.info("resume: %s of %s is %s from now on, and was %s before", name, of, value, former)
            if name == "initial_lr":
                group["lr"] = value * (group["lr"] / former if former else 1.0)
            group[name] = value
        if first == "lr" and group["lr"] != present[number]["lr"]:
            logger.info("resume: lr of %s is %s from now on, and was %s before", of, present[number]["lr"], group["lr"])
            group["lr"] = present[number]["lr"]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f'There is no checkpoint "{path}": train first, or correct the path.')
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f'"{path}" is no checkpoint that PyTorch can read: train anew, or correct the path.'
        ) from error
    if not isinstance(state, dict):
        raise InputError(f'"{path}" holds no state dictionary but a {type(state).__name__}: correct the path.')
    return state


def _write(state: Mapping[str, Any], path: Path) -> None:
    """Write a file that is complete or not there at all."""
    try:
        with atomic_write(path) as unfinished:
            torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # PyTorch's writer has no error of its own for a full disk
        reason = getattr(error, "strerror", None) or (str(error).strip().splitlines() or ["unknown error"])[0]
        raise InputError(
            f'"{path}" cannot be written ({reason}): make room, then go on with --resume True. What was there stays.'
        ) from error


def _load_state(item: Any, state: Mapping[str, Any], name: str) -> None:
    try:
        item.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__
        raise InputError(
            f"{name} is of another architecture ({reason[:200].rstrip('.')}): "
            "use the network settings (network_channels, channels, num_classes ...) it was trained with."
        ) from error
