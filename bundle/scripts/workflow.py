# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The runs of the configurations: the checks of their settings, what they print first, and the steps of a training.

A configuration says which objects exist and calls these functions in the order of the run. Objects are made when an
expression first names them, so that wrong settings are refused before the data are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from . import processes
from .command_line import refuse_unknown_settings
from .cues import collect_cues
from .data.unpaired import of_other_patients
from .errors import require, show_input_errors_plainly
from .handlers import image_quality_metrics
from .handlers.tracking_store import require_mlflow
from .inference import calibrate, load_enhancer
from .inferers import usable_device
from .io import find_cases
from .networks import HQGNet
from .next_steps import say_what_next as say_what_next
from .reports import SafetyThresholds
from .settings_table import check_settings
from .tasks import TASKS, Entries, Task, labelled_entries
from .training_folders import TrainingFolders
from .training_images import look_at_images as look_at_images

Datalists = Mapping[str, Sequence[Mapping[str, Any]]]
Settings = Mapping[str, Any]

_IMAGE_METRICS = ("ssim", "psnr", "ms_ssim", "haarpsi")


def present(*groups: Any) -> list[Any]:
    """Return the parts of all groups, lists and mappings of parts, without those that are switched off (None)."""
    parts = [part for group in groups for part in (group.values() if isinstance(group, Mapping) else group)]
    return [part for part in parts if part is not None]


def say(text: str) -> None:
    """Print lines for the user, once for all processes of a run."""
    if processes.is_first():
        print(text, flush=True)


# ----------------------------------------------------------------------------------------------- the checks of settings


def begin(settings: Settings) -> None:
    """Begin a run of train.yaml or an overlay of it: errors are told in one sentence, and wrong settings refused.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.

    Raises:
        InputError: for an unknown setting or task, a value that a setting does not take, and a device that is
            not there.
    """
    show_input_errors_plainly()
    refuse_unknown_settings()
    check_settings(settings)
    usable_device(settings["device"])
    if settings["mlflow"]:
        require_mlflow()
    if settings.get("shared", False):
        processes.join(settings["device"])
    else:
        processes.refuse_several(
            "This run",
            "for several add configs/multi_gpu_train.yaml to --config_file, or multi_gpu_evaluate.yaml for evaluation",
        )
    task, made_for = settings["task"], settings["downstream_task"]
    require(task in (*TASKS, "none"), f"task must be {', '.join(TASKS)} or none, not {task}.")
    require(task in (made_for, "none"), f"Add configs/{task}.yaml to --config_file for task {task}.")


def check_training_settings(settings: Settings) -> None:
    """Refuse settings of a training that are wrong whatever the data are.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.

    Raises:
        InputError: naming the setting.
    """
    patch_size, dims = settings["patch_size"], settings["spatial_dims"]
    require(
        len(patch_size) == dims,
        f"patch_size needs one number per axis of the network: {dims}, not {len(patch_size)}.",
    )
    require(
        settings["early_stop#patience"] is None or settings["model_metric"] not in (None, "newest"),
        "early_stop#patience needs a model_metric to watch.",
    )


def check_training(
    settings: Settings, datalists: Datalists, task: Task | None, network: HQGNet, downstream: nn.Module | None
) -> None:
    """Refuse settings of a training that do not fit the data or the networks.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.
        datalists: the four lists of the data set.
        task: of the downstream network; None without one.
        network: the enhancer.
        downstream: the downstream network S; None without one.

    Raises:
        InputError: naming the setting.
    """
    patch_size, epochs, warmup = settings["patch_size"], settings["epochs"], settings["warmup_epochs"]
    require(
        min(patch_size) >= network.minimum_size,
        f"patch_size must be at least {network.minimum_size} along each axis for this network.",
    )
    watched = choose_metric(settings["model_metric"], task, datalists)
    measured = watched not in _IMAGE_METRICS or _has_references(datalists["validation"])
    require(
        measured or settings["early_stop#patience"] is None,
        f"early_stop#patience has no {watched} to watch: no validation image has a reference.",
    )
    if task is None or downstream is None:
        return
    require(
        warmup < epochs,
        f"warmup_epochs ({warmup}) leaves none of the epochs ({epochs}) for bi-level training: set more epochs or a "
        "shorter warm-up, or task none.",
    )
    interval = min(settings["val_interval"], epochs)
    require(
        not datalists["validation"] or epochs - epochs % interval > warmup,
        f"val_interval {settings['val_interval']} leaves no validation after the warm-up ({warmup} of {epochs} "
        "epochs), so that no network of bi-level training would be kept: lower it.",
    )
    task.check_network(downstream, settings["channels"], patch_size)


def choose_metric(model_metric: str | None, task: Task | None, datalists: Datalists) -> str | None:
    """Return the validation metric by which the network to keep is chosen.

    Args:
        model_metric: the setting: a metric's name, ``"auto"`` or ``"newest"``.
        task: of the downstream network; None without one.
        datalists: the four lists of the data set.

    Returns:
        The name; None for the newest network.

    Raises:
        InputError: for a metric that is not measured, or of which less is better.
    """
    measured = task if task is not None and labelled_entries(datalists["validation"]) else None
    if model_metric == "auto":
        return "ssim" if measured is None else measured.key_metric
    if model_metric in (None, "newest"):
        return None
    scores = measured.rising_metrics if measured else ()
    labels = " or ".join((task or TASKS["segmentation"]).rising_metrics)
    require(
        model_metric in (*_IMAGE_METRICS, *scores),
        f"model_metric must be auto, {', '.join(_IMAGE_METRICS)}, newest or, with labelled validation images, "
        f"{labels}, not {model_metric}.",
    )
    return model_metric


def validation_metrics(
    entries: Entries, task: Task | None, spatial_dims: int, slice_axis: int
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the metrics that can be measured: without a reference there is no SSIM, without a label no Dice.

    Args:
        entries: of the images that are validated or tested.
        task: of the downstream network; None without one.
        spatial_dims: of the networks, 2 or 3.
        slice_axis: spatial axis of a volume along which its slices are stacked.

    Returns:
        The first metric, by its name, and the others; None and no others where nothing can be measured.
    """
    compared = _has_references(entries)
    metrics: dict[str, Any] = dict(image_quality_metrics(_IMAGE_METRICS if compared else (), spatial_dims, slice_axis))
    if task is not None and labelled_entries(entries):
        metrics |= task.metrics()
    first = next(iter(metrics), None)
    return (None, {}) if first is None else ({first: metrics.pop(first)}, metrics)


def _has_references(entries: Entries) -> bool:
    return any(entry.get("reference") is not None for entry in entries)


def check_downstream_experiment(settings: Settings, datalists: Datalists, task: Task | None) -> None:
    """Refuse settings and data with which the downstream experiment cannot be made, before its arms are trained.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.
        datalists: the four lists of the data set.
        task: of the downstream network; None without one.

    Raises:
        InputError: naming the setting or the list.
    """
    name = "The downstream experiment needs"
    require(settings["task"] != "none", f"{name} a task: set it to segmentation or classification.")
    require(
        settings["datalist"] is not None or Path(settings["dataset_dir"], "datalist.json").is_file(),
        f"{name} a datalist, or every seed would test on a split of its own: write one by python -m "
        "scripts.data.datalist --dataset_dir DIR --output_file DIR/datalist.json, before the arms are trained.",
    )
    require(task is not None, f"{name} labels: no entry of training_lq has one.")
    require(
        bool(labelled_entries(datalists["testing"])),
        f"{name} test images with a label: no entry of testing has one.",
    )


# ---------------------------------------------------------------------------------------------- training and evaluation


def describe_training(settings: Settings, datalists: Datalists, frozen_task_networks: int) -> str:
    """Return a few lines that say how training will go, and why.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.
        datalists: the four lists of the data set.
        frozen_task_networks: their number, where there is something that they can learn from.
    """
    lines = _describe_task(settings, datalists, frozen_task_networks)
    alone, epochs = settings["restoration_epochs"], settings["epochs"]
    if alone >= epochs:
        lines.append(
            f"restoration_epochs ({alone}) leaves none of the epochs ({epochs}) for low-quality images and the "
            "adversary: a third of the epochs is a good value."
        )
    return "\n".join(lines)


def _describe_task(settings: Settings, datalists: Datalists, frozen_task_networks: int) -> list[str]:
    """Return the lines on the task; arguments as of :func:`describe_training`."""
    task, entries, guides = settings["task"], datalists["training_lq"], datalists["training_hq"]
    labelled, labelled_guides = labelled_entries(entries), labelled_entries(guides)
    if task == "none":
        return ["Training enhancement only: task is none."]
    if not labelled:
        return ["Training enhancement only: no low-quality training image has a label."]
    mode = settings["hypergradient"]
    lines = [
        f"{'Separate' if mode == 'none' else 'Bi-level'} training (hypergradient {mode}): enhancement and a {task} "
        f"network, with the labels of {len(labelled)} of {len(entries)} low-quality and {len(labelled_guides)} of "
        f"{len(guides)} high-quality training images."
    ]
    others = len(of_other_patients(labelled_guides, labelled))
    if frozen_task_networks > 0 and others:
        lines.append(
            f"First, {frozen_task_networks} frozen task network{'s' * (frozen_task_networks > 1)} will learn from "
            f"{others} labelled high-quality images of other patients; the {task} network begins as the first of them."
        )
    elif frozen_task_networks > 0:
        why = (
            "the labelled high-quality images are all of patients with labelled low-quality images"
            if labelled_guides
            else "no high-quality training image has a label"
        )
        lines.append(
            f"There are no frozen task networks, since {why}, and the {task} network begins from nothing. Several "
            "inner steps suit that better, such as --bilevel#settings#inner_steps 3."
        )
    return lines


def standardize_guidance(network: HQGNet, guides: Iterable[Any], device: str | torch.device, slice_axis: int) -> None:
    """Let the cues of the high-quality set begin with mean 0 and deviation 1; nothing happens without guidance.

    Args:
        network: the network, not yet trained.
        guides: batches of the high-quality set.
        device: where the network is.
        slice_axis: spatial axis of a volume along which a 2-D network takes its slices.
    """
    if network.guided:
        cues = collect_cues(network, guides, device, spatial_dims=network.spatial_dims, slice_axis=slice_axis)
        network.standardize_guidance_(cues)


def train(
    trainer: Any,
    checkpoint: Any,
    early_stop: Any = None,
    pause_after: int | None = None,
    finish: Iterable[Callable[[], Any]] = (),
    folders: TrainingFolders | None = None,
) -> None:
    """Train, or go on with a training.

    Args:
        trainer: the trainer.
        checkpoint: the :class:`scripts.handlers.TrainingCheckpoint` to resume from.
        early_stop: the :class:`scripts.handlers.EarlyStop` of the evaluator. Defaults to None.
        pause_after: the epoch after which the training pauses. Defaults to None.
        finish: steps after the last epoch. They belong to the MLflow run, which ends after them. Defaults to none.
        folders: those that the training has claimed, which know whether it goes on from the checkpoint; they are
            released at its end. Defaults to None: it begins.
    """
    try:
        if early_stop is not None:
            early_stop.set_trainer(trainer)
        if folders is not None and folders.resumes:
            checkpoint.resume(trainer, pause_after)
        for step in finish:
            trainer.add_event_handler(Events.COMPLETED, _without_engine(step))
        trainer.run()
    finally:
        if folders is not None:
            folders.release()


def _without_engine(step: Callable[[], Any]) -> Callable[[Engine], None]:
    def handler(engine: Engine) -> None:
        step()

    return handler


def calibrate_model(model_file: str | Path, entries: Entries, device: str | torch.device, samples: int = 8) -> None:
    """Learn, from images that a reader may trust, where the measures of inference's report begin to be suspicious.

    Args:
        model_file: ``model.pt``; the limits are written into ``model.json`` beside it.
        entries: of a datalist: the validation images.
        device: where to run the network.
        samples: draws of the cue for the uncertainty. Defaults to 8.
    """
    if len(entries) < SafetyThresholds.LEAST_CASES:
        return
    enhancer, _ = load_enhancer(model_file, device, samples=samples)
    calibrate(enhancer, *find_cases([entry["image"] for entry in entries], follow_links=True), model_file)


def has_downstream(task: Task | None, downstream_file: str | Path) -> bool:
    """Return whether there are a task and a trained downstream network for it."""
    return task is not None and Path(downstream_file).is_file()


def check_evaluation(settings: Settings, datalists: Datalists, downstream_file: str | Path, reads: bool) -> None:
    """Say where the downstream network is left out of an evaluation, and why.

    Args:
        settings: of :func:`scripts.command_line.executed_settings`.
        datalists: the four lists of the data set.
        downstream_file: of the downstream network.
        reads: whether it takes part.

    Raises:
        InputError: when there are no test images.
    """
    require(len(datalists["testing"]) > 0, "There are no test images: the datalist, or the split, leaves none.")
    if reads or settings["task"] == "none" or not labelled_entries(datalists["testing"]):
        return
    reason = (
        f"there is no {downstream_file}."
        if labelled_entries(datalists["training_lq"])
        else "no entry of training_lq has a label, from which the classes would be counted."
    )
    say(f"The downstream network is left out: {reason}")
