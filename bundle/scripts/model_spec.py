# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The specification of a trained network, which is saved beside its weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import atomic_write, bundle_root, feed_digest

__all__ = ["NETWORK_SETTINGS", "ModelSpec", "content_digest", "pixel_size_in_words"]

VERSION = 2
_REQUIRED = ("network", "percentiles", "window", "slice_axis")
_OPTIONAL = ("thresholds", "downstream", "styles", "run_id", "pixel_size", "guide_pixel_size")
NETWORK_SETTINGS = (
    *("spatial_dims", "in_channels", "channels", "guidance_channels"),
    *("cue_channels", "code_channels", "head", "guided", "reduction", "variational", "modulation"),
)
"""Arguments of :class:`scripts.networks.HQGNet`."""


class ModelSpec:
    """The settings with which a trained network is used, in ``model.json`` beside ``model.pt``.

    Training writes them and inference reads them. So images are scaled as in training, and no setting of training is
    repeated on the command line of inference.

    Args:
        network: arguments of :class:`scripts.networks.HQGNet`.
        percentiles: percentiles of each image that become 0 and 1.
        window: fixed intensities that become 0 and 1 instead. Defaults to None.
        slice_axis: spatial axis of volumes in RAS orientation along which a 2-D network was trained.
        thresholds: limits of the safety measures, see :class:`scripts.reports.SafetyThresholds`. Defaults to None: the
            model is not calibrated.
        downstream: description of the downstream network beside it, see :meth:`scripts.tasks.Task.describe`. Defaults
            to None: there is none.
        styles: prototypes of the styles of the high-quality set by name, each with ``"mean"`` and ``"std"`` of its
            cues, lists of floats. Defaults to None: the set names none.
        run_id: the MLflow run that trained the network. Defaults to None: it was not tracked.
        pixel_size: smallest and largest pixel of the training set in millimetres, per axis of the network; images of
            much smaller or larger pixels are resampled. Defaults to None: not known, and no image is.
        guide_pixel_size: the same of the high-quality set, to which guides are resampled. Defaults to None: as images.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        percentiles: tuple[float, float],
        window: tuple[float, float] | None = None,
        slice_axis: int = 2,
        thresholds: Mapping[str, Any] | None = None,
        downstream: Mapping[str, Any] | None = None,
        styles: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        pixel_size: Sequence[Sequence[float]] | None = None,
        guide_pixel_size: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.network = dict(network)
        self.percentiles = (float(percentiles[0]), float(percentiles[1]))
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.slice_axis = int(slice_axis)
        self.thresholds = None if thresholds is None else dict(thresholds)
        self.downstream = None if downstream is None else dict(downstream)
        self.styles = None if styles is None else dict(styles)
        self.run_id = None if run_id is None else str(run_id)
        self.pixel_size = _ranges(pixel_size)
        self.guide_pixel_size = _ranges(guide_pixel_size)

    @staticmethod
    def path_beside(model_file: str | Path) -> Path:
        """Return the path of the specification of the weights in ``model_file``."""
        return Path(model_file).with_suffix(".json")

    @classmethod
    def load(cls, model_file: str | Path) -> ModelSpec:
        """Read the specification of the weights in ``model_file``.

        Raises:
            InputError: when a file is missing, or the specification cannot be used.
        """
        path = cls.path_beside(model_file)
        if not Path(model_file).is_file():
            raise InputError(f'There is no trained network "{model_file}": {_advice(Path(model_file))}')
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f'"{path}" is missing. It holds the settings of model.pt: copy both files.') from None
        except (OSError, ValueError) as error:
            raise InputError(f'"{path}" cannot be read ({error}): copy it anew along with model.pt.') from error
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise InputError(f'"{path}" is no model description of version {VERSION}: train with this version.')
        missing = [key for key in _REQUIRED if key not in content]
        if missing:
            raise InputError(f'"{path}" lacks "{missing[0]}": copy it anew along with model.pt.')
        network = content["network"]
        if not isinstance(network, dict):
            raise InputError(f'"{path}" says nothing of the network: copy it anew along with model.pt.')
        strange = [str(key) for key in network if key not in NETWORK_SETTINGS]
        if strange:
            raise InputError(
                f'"{path}" has the setting "{strange[0]}" of the network, which this version does not know: remove it, '
                "or use the version that trained the network."
            )
        try:
            known: dict[str, Any] = {key: content.get(key) for key in (*_REQUIRED, *_OPTIONAL)}
            return cls(**known)
        except (TypeError, ValueError, IndexError) as error:
            raise InputError(f'"{path}" is malformed ({error}): copy it anew along with model.pt.') from error

    def save(self, model_file: str | Path) -> None:
        """Write the specification beside ``model_file``, all of it or nothing."""
        path = self.path_beside(model_file)
        content = {"version": VERSION, **{key: getattr(self, key) for key in (*_REQUIRED, *_OPTIONAL)}}
        with atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _ranges(sizes: Sequence[Sequence[float]] | None) -> Sequence[Sequence[float]] | None:
    return None if sizes is None else [[float(low), float(high)] for low, high in sizes]


def pixel_size_in_words(pixel_size: Sequence[Sequence[float]]) -> str:
    """Return the range of each axis, such as ``0.9 to 1.2 x 2``."""
    return " x ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in pixel_size)


def _advice(model_file: Path) -> str:
    """Say where the network may be: trainings keep it in ``models`` below their folder of results."""
    below = [model_file.parent / place / model_file.name for place in ("models", "output/models")]
    trained = Path(bundle_root(), "output", "models", model_file.name)
    found = next((file for file in (*below, trained) if file.is_file()), None)
    if found is None:
        return "train one, or give its folder as --model_dir."
    return f'there is one in "{found.parent}", which --model_dir would take.'


def content_digest(path: str | Path) -> str:
    """First twelve hexadecimal digits of the SHA-256 of a file, or of all files below a folder with their names.

    Raises:
        InputError: when there is no such file or folder, or it cannot be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(os.fsencode(file.relative_to(path)) + b"\0")
            feed_digest(digest, file)
    except OSError as error:
        raise InputError(f'cannot read "{error.filename}": {error.strerror}') from error
    return digest.hexdigest()[:12]
