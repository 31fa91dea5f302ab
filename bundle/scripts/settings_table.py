# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What the settings of a training may be: type and range of each, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import require

__all__ = ["SETTINGS", "Kind", "check_settings"]


@dataclass(frozen=True)
class Kind:
    """The values that a setting takes.

    Attributes:
        words: what they are, for a sentence: ``"a whole number, 1 or more"``.
        accepts: whether a value is one of them.
    """

    words: str
    accepts: Callable[[Any], bool]

    def or_null(self) -> Kind:
        """Return the kind that also takes no value at all."""
        return Kind(f"{self.words}, or null", lambda value: value is None or self.accepts(value))


def _is_whole(value: Any) -> bool:
    return type(value) is int  # True is a whole number to Python


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _whole(least: int, most: float = math.inf) -> Kind:
    words = f"{least} or more" if most == math.inf else f"{least} to {most:g}"
    return Kind(f"a whole number, {words}", lambda value: _is_whole(value) and least <= value <= most)


def _number(least: float, most: float = math.inf) -> Kind:
    words = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
    return Kind(f"a number, {words}", lambda value: _is_number(value) and least <= value <= most)


def _one_of(*values: Any) -> Kind:
    return Kind(
        " or ".join(str(value) for value in values),
        lambda value: any(type(value) is type(one) and value == one for one in values),
    )


def _rising(least: float, most: float) -> Kind:
    """Two numbers, the first of which is the smaller one."""
    bounds = "" if math.isinf(most) else f" from {least:g} to {most:g}"
    return Kind(
        f"two numbers{bounds}, the smaller one first",
        lambda value: (
            isinstance(value, (list, tuple))
            and len(value) == 2
            and all(map(_is_number, value))
            and least <= value[0] < value[1] <= most
        ),
    )


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_number(weight) and weight >= 0 for weight in value.values())


_PLACE = Kind("the path of a folder or file", lambda value: isinstance(value, str))
_FLAG = Kind("True or False, which the command line takes with a capital letter only", lambda v: isinstance(v, bool))
_SIZES = Kind(
    "a list of whole numbers, 1 or more",
    lambda value: isinstance(value, (list, tuple)) and len(value) > 0 and all(_is_whole(n) and n > 0 for n in value),
)
_WORD = Kind("a word", lambda value: isinstance(value, str) and bool(value))

SETTINGS: dict[str, Kind] = {
    "dataset_dir": _PLACE,
    "datalist": _PLACE.or_null(),
    "output_dir": _PLACE,
    "model_dir": _PLACE,
    "overwrite": _FLAG,
    "seed": _whole(0, 2**32 - 1),
    "spatial_dims": _one_of(2, 3),
    "channels": _whole(1),
    "slice_axis": _whole(0, 2),
    "percentiles": _rising(0, 100),
    "window": _rising(-math.inf, math.inf).or_null(),
    "patch_size": _SIZES,
    "network_channels": _SIZES,
    "guidance_channels": _SIZES,
    "task": _WORD,
    "num_classes": _whole(1).or_null(),
    "hypergradient": _one_of("none", "first_order", "finite_difference", "unrolled", "implicit"),
    "restoration_epochs": _whole(0),
    "warmup_epochs": _whole(0),
    "epochs": _whole(1),
    "steps_per_epoch": _whole(1),
    "batch_size": _whole(1),
    "learning_rate": _number(0),
    "guidance_learning_rate": _number(0),
    "d_optimizer#lr": _number(0),
    "downstream_optimizer#lr": _number(0),
    "loss_weights": Kind("numbers of 0 or more by the names of the terms", _is_weights),
    "amp": _FLAG,
    "val_interval": _whole(1),
    "model_metric": _WORD.or_null(),
    "pause_after": _whole(1).or_null(),
    "resume": Kind(f"auto, {_FLAG.words}", lambda value: value == "auto" or _FLAG.accepts(value)),
    "mlflow": _FLAG,
    "calibrates": _FLAG,
    "network_def#guided": _FLAG,
    "network_def#variational": _FLAG,
    "loss#wavelet#stationary": _FLAG,
    "loss#wavelet#relative": _FLAG,
    "all_datalists#validation_fraction": _number(0, 1),
    "all_datalists#test_fraction": _number(0, 1),
    "train#dataset#cache_rate": _number(0, 1),
    "train#dataloader#num_workers": _whole(0),
    "ema#momentum": Kind("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1),
    "early_stop#patience": _whole(1).or_null(),
    "panels#max_cases": _whole(1),
}
"""The settings of train.yaml's upper part, and the paths below it that are set most, with what they take."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a value of a wrong type, or out of range.

    Args:
        settings: values by name or path. Those that the table does not have are left alone.

    Raises:
        InputError: naming the setting, what it takes, and the value.
    """
    # A dictionary among the settings is there by its entries.
    weights = {name: _number(0) for name in settings if name.startswith("loss_weights#")}
    for name, kind in {**SETTINGS, **weights}.items():
        if name in settings:
            require(kind.accepts(settings[name]), f"--{name} takes {kind.words}, not {settings[name]!r}.")
