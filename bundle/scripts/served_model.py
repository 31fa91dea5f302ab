# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A trained network as an MLflow model: its files, its code, and what MLflow calls when it serves them.

MLflow imports this module from the code beside the model and calls :func:`_load_pyfunc`, the entry point that its
documentation gives to loader modules.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .api import Enhancer
from .errors import InputError
from .files import bundle_root
from .handlers import RunTracker
from .handlers.tracking_store import default_store, tolerated
from .model_spec import ModelSpec, content_digest
from .networks import HQGNet

__all__ = ["ServedEnhancer", "log_enhancer", "log_trained_model", "register_version"]

NAME = "model"
"""Name of the logged model: ``runs:/RUN_ID/model``."""

_PACKAGE = Path(__file__).resolve().parent

logger = logging.getLogger(__name__)


class ServedEnhancer:
    """What MLflow calls: a batch of images in the units of their scanner in, the enhanced images in the same units out.

    Args:
        model_dir: folder with ``model.pt`` and ``model.json``.
    """

    def __init__(self, model_dir: str | Path) -> None:
        self.enhancer = Enhancer.from_bundle(model_dir)
        # A server answers requests side by side, and the guide is the network's.
        self._one_at_a_time = threading.Lock()
        self.slice_axis = ModelSpec.load(Path(model_dir) / "model.pt").slice_axis

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Enhance a batch.

        Args:
            model_input: (B, C, *spatial), as many spatial axes as the network's. Pictures are (columns, rows), volumes
                (x, y, z). Each image is scaled by itself, as in training.
            params: ``"guide"``, a style of the model, whose look the results get in place of the prototype's; and
                ``"volume"``, true where the images are the slices of one volume, along the axis of training, to be
                scaled together.

        Returns:
            float32, of the same shape.

        Raises:
            InputError: when the network cannot take an image, or the model has no such style.
        """
        params = params or {}
        guide = params.get("guide") or None
        if guide is not None and guide not in self.enhancer.styles:
            known = ", ".join(self.enhancer.styles) or "none"
            raise InputError(f'There is no style "{guide}": the model has {known}.')
        images = np.asarray(model_input, dtype=np.float32)
        with self._one_at_a_time:
            self.enhancer.follow(guide)
            if params.get("volume"):
                return np.moveaxis(self._enhanced(np.moveaxis(images, 0, 1 + self.slice_axis)), 1 + self.slice_axis, 0)
            return np.stack([self._enhanced(image) for image in images])

    def _enhanced(self, image: np.ndarray) -> np.ndarray:
        enhanced: np.ndarray = self.enhancer(image).image.as_tensor().numpy()
        return enhanced


def log_trained_model(tracker: RunTracker, model_file: str | Path) -> None:
    """Complete the MLflow run of a training with its result: the model, and the limits of its calibration as metrics.

    A store that fails costs a warning.

    Args:
        tracker: of the training; it may name a registered model, whose next version this becomes.
        model_file: ``model.pt``, with ``model.json`` beside it.
    """
    if tracker.run_id is None:  # not the first process of a distributed training
        return
    tracker.log_metrics(_limits(ModelSpec.load(model_file)))
    with tolerated("log the model"), default_store(tracker.tracking_uri):
        model_id = log_enhancer(tracker.client, tracker.run_id, model_file, tracker.iteration)
        logger.info("MLflow model models:/%s", model_id)
        if tracker.registered_model:
            registered = register_version(tracker.client, tracker.registered_model, model_id, tracker.run_id)
            logger.info("registered as models:/%s/%s", tracker.registered_model, registered)


def log_enhancer(client: Any, run_id: str, model_file: str | Path, step: int = 0) -> str:
    """Log a trained network as a model of an MLflow run, with all that serving it needs.

    The code goes under a name of its own, ``hqgnet_`` and the digest of the package, so that neither an installed
    ``hqgnet``, nor another ``scripts``, nor a model with other code in the same process takes its place.

    Args:
        client: ``MlflowClient`` of the store.
        run_id: the run that trained the network.
        model_file: ``model.pt``, with ``model.json`` beside it.
        step: of the training, to be shown. Defaults to 0.

    Returns:
        The model's id; ``models:/{id}`` is its address.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    experiment_id = client.get_run(run_id).info.experiment_id
    spec = ModelSpec.load(model_file)
    logged = client.create_logged_model(
        experiment_id,
        name=NAME,
        source_run_id=run_id,
        model_type="enhancement",
        tags={"weights": content_digest(model_file)},
    )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
    try:
        with tempfile.TemporaryDirectory() as folder, _copied_code(Path(folder)) as code:
            weights = Path(folder) / "weights"
            weights.mkdir()
            for file in (Path(model_file), ModelSpec.path_beside(model_file)):
                shutil.copy(file, weights / f"model{file.suffix}")
            mlflow.pyfunc.save_model(
                path=Path(folder) / "saved",
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                    run_id=run_id,
                ),
                loader_module=f"{code.name}.{Path(__file__).stem}",
                data_path=str(weights),
                code_paths=[str(code)],
                signature=_signature(spec),
                input_example=_example(spec),
                pip_requirements=pinned_requirements(),
            )
            client.log_model_artifacts(logged.model_id, str(Path(folder) / "saved"))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def register_version(client: Any, name: str, model_id: str, run_id: str) -> str:
    """Register a logged model as the next version of a name in the model registry, which is made if missing.

    Returns:
        The version.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    registered = client.create_model_version(name, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    return str(registered.version)


def pinned_requirements() -> list[str]:
    """Return the packages that the bundle's metadata name, in the versions of this environment."""
    metadata = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text(encoding="utf-8"))
    pinned = []
    for name in ("monai", "numpy", "torch", *metadata["required_packages_version"]):
        try:
            # A local label, as in 2.13.0+cpu, names a build that the package index does not have.
            pinned.append(f"{name}=={version(name).split('+')[0]}")
        except PackageNotFoundError:  # needed elsewhere only
            continue
    return pinned


def _load_pyfunc(data_path: str) -> ServedEnhancer:
    """Load the model from the folder of its weights: MLflow calls this."""
    return ServedEnhancer(data_path)


@contextmanager
def _copied_code(folder: Path) -> Iterator[Path]:
    """Copy the package and the bundle's configurations, laid out as in an installation."""
    ignored = shutil.ignore_patterns("__pycache__", "models", "docs", "configs")
    package = shutil.copytree(_PACKAGE, folder / "code", ignore=ignored)
    shutil.copytree(Path(bundle_root(), "configs"), package / "configs")
    named = package.with_name(f"hqgnet_{content_digest(package)}")
    yield package.rename(named)


def _limits(spec: ModelSpec) -> dict[str, float]:
    """Return the limits of calibration by name: ``calibration/{measure}/{lower or upper}``."""
    thresholds = spec.thresholds or {}
    limits = {
        f"calibration/{measure}/{side}": float(value)
        for measure, limit in thresholds.get("limits", {}).items()
        for side, value in limit.items()
    }
    return limits | ({"calibration/cases": float(thresholds["cases"])} if limits else {})


def _signature(spec: ModelSpec) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    shape = (-1, spec.network["in_channels"], *(-1,) * spec.network["spatial_dims"])
    tensor = Schema([TensorSpec(np.dtype(np.float32), shape)])
    parameters = [ParamSpec("guide", "string", "")]
    if spec.network["spatial_dims"] == 2:
        parameters.append(ParamSpec("volume", "boolean", False))
    return ModelSignature(inputs=tensor, outputs=tensor, params=ParamSchema(parameters))


def _example(spec: ModelSpec) -> np.ndarray:
    """Return a small image: a ramp, since a constant one is refused."""
    dims, side = spec.network["spatial_dims"], HQGNet(**spec.network).minimum_size
    ramp = np.linspace(0, 100, side, dtype=np.float32).reshape(side, *(1,) * (dims - 1))
    return np.broadcast_to(ramp, (1, spec.network["in_channels"], *(side,) * dims)).copy()
