# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a request may say, apart from MONAI Label: the guide, the device, the settings of a training."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .bundle import BundleError

__all__ = ["PROTOTYPE", "choose_guide", "device_of", "flag", "network_settings", "read_metrics", "training_settings"]

PROTOTYPE = "prototype"
"""The guide that every model has: the mean of its high-quality set."""

_METRICS = re.compile(r"Epoch\[(\d+)\] Metrics -- (.+)$")
_DEVICE = re.compile(r"|[a-z]+(:\d+)?")
_EPOCH = re.compile(r"\[(\d+)/(\d+)\]:|epoch (\d+)/(\d+) ")


def choose_guide(
    guide: Any, styles: Collection[str], images: Collection[str], path_of: Callable[[str], str]
) -> str | None:
    """Return the guide as the bundle takes it.

    Only styles and images of the datastore are taken: a client of the server must not name other files of its machine.

    Args:
        guide: of the request; of a list, the first.
        styles: of the model.
        images: identifiers of the images of the datastore.
        path_of: from an image's identifier to its file.

    Returns:
        A style, a path, or None for the stored prototype.

    Raises:
        BundleError: for a guide that is none of these.
    """
    name = (guide[0] if guide else PROTOTYPE) if isinstance(guide, list) else guide
    if name in (None, "", PROTOTYPE):
        return None
    if name in styles:
        return str(name)
    if name in images:
        return path_of(str(name))
    known = ", ".join([PROTOTYPE, *styles])
    raise BundleError(f'There is no guide "{name}": give {known}, or the identifier of an image of the datastore.')


def device_of(request: Mapping[str, Any]) -> str | None:
    """Return the device of a request as torch names it; None, for a GPU where there is one, unless it names one.

    Raises:
        BundleError: for anything that is no name: it goes into the configuration of a training.
    """
    device = request.get("device")
    name = str(device[0] if isinstance(device, list) and device else device or "")
    if not _DEVICE.fullmatch(name):
        raise BundleError(f'"device" is a name like cpu, cuda or cuda:1, not {json.dumps(name)}.')
    # Viewers ask for "cuda" whatever the machine has.
    return None if name in ("", "cuda") else name


def flag(value: Any, name: str) -> bool:
    """Return a switch of a request, which viewers send as true, "true" or "True".

    Raises:
        BundleError: for anything else than true and false.
    """
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise BundleError(f'"{name}" is true or false, not {json.dumps(value, default=str)}.')


def network_settings(description: Mapping[str, Any]) -> list[str]:
    """Return the arguments with which training makes a network like the one that ``model.json`` describes.

    Args:
        description: content of ``model.json``.
    """
    network = description["network"]
    settings = {
        "spatial_dims": network["spatial_dims"],
        "channels": network["in_channels"],
        "slice_axis": description["slice_axis"],
        "percentiles": description["percentiles"],
        "network_channels": network.get("channels"),
        "guidance_channels": network.get("guidance_channels"),
    }
    own = {"spatial_dims", "in_channels", "channels", "guidance_channels"}
    settings |= {f"network_def#{name}": value for name, value in network.items() if name not in own}
    given = {name: value for name, value in settings.items() if value is not None}
    window = description.get("window")
    return [*_arguments(given), "--window", "$None" if window is None else json.dumps(window)]


def training_settings(request: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return the arguments for the settings of a training that a request gives, and for their defaults.

    Args:
        request: of a viewer or a script; what is not among ``known`` belongs to MONAI Label.
        known: defaults by name; None leaves the default to the bundle.

    Raises:
        BundleError: for a value of another kind than its default. Text is what the bundle's configuration would
            evaluate, so only words are taken, and of numbers and switches only numbers and switches.
    """
    settings = {name: _checked(name, request.get(name, default), default) for name, default in known.items()}
    return _arguments({name: value for name, value in settings.items() if value is not None})


def _checked(name: str, value: Any, default: Any) -> Any:
    """Return a setting, of the kind of its default; a default of None stands for whole numbers, or none."""
    if isinstance(default, bool):
        return flag(value, name)
    if isinstance(default, (int, float)):
        kind, fits = "a number", _is_number(value)
    elif isinstance(default, str):
        kind, fits = "a word", isinstance(value, str) and re.fullmatch(r"[a-z_]+", value) is not None
    else:
        kind, fits = "whole numbers", value is None or _are_whole_numbers(value if isinstance(value, list) else [value])
    if not fits:
        raise BundleError(f'"{name}" is {kind}, not {json.dumps(value, default=str)}.')
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_whole_numbers(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    """Arguments of MONAI's command line, whose values are Python's."""
    pairs = ([f"--{name}", value if isinstance(value, str) else repr(value)] for name, value in settings.items())
    return [argument for pair in pairs for argument in pair]


def read_metrics(line: str, stats: dict[str, Any]) -> bool:
    """Take progress and metrics from a line that a training printed.

    Args:
        line: the line.
        stats: updated: ``epoch``, ``total_epochs``, ``metrics`` (name to value), ``best_metric`` (the highest Dice).

    Returns:
        Whether there was something in it.
    """
    epoch = _EPOCH.search(line)
    if epoch is not None:
        now, total = (int(number) for number in epoch.groups() if number is not None)
        changed = stats.get("epoch") != now
        stats.update(epoch=now, total_epochs=total)
        return changed
    found = _METRICS.search(line)
    if found is None:
        return False
    pairs = (part.split(": ") for part in re.findall(r"\S+: \S+", found[2]))
    # A metric that could not be measured is printed as nan, which JSON does not know.
    stats["metrics"] = {name: float(value) for name, value in pairs if math.isfinite(float(value))}
    if "dice" in stats["metrics"]:
        stats["best_metric"] = max(stats["metrics"]["dice"], stats.get("best_metric", 0.0))
    return True
