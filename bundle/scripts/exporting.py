# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A trained network as a file that other programs run: TorchScript and ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from monai.data import save_net_with_metadata

from .errors import InputError
from .files import atomic_write
from .handlers import load_model
from .model_spec import ModelSpec, content_digest
from .networks import HQGNet, OnnxSignature, StandAlone
from .version import __version__

__all__ = ["WEIGHTS_KEY", "export_onnx", "export_torchscript", "load_stand_alone", "onnx_package"]

WEIGHTS_KEY = "weights"
"""Where an ONNX file says of which weights it was made, see :func:`scripts.model_spec.content_digest`."""

INPUTS, OUTPUTS = ("image", "style", "cue", "code"), ("pred", "code_of_image")
OPSET = 18  # what PyTorch's exporter speaks by itself; later ones are translations of it


def onnx_package(name: str) -> Any:
    """Import a package of the extra ``onnx``.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"This needs the package {name}: pip install onnx onnxruntime onnxscript.") from error


def load_stand_alone(model_file: str | Path) -> StandAlone:
    """Return a trained network with its styles, in evaluation mode and on the CPU.

    Args:
        model_file: ``model.pt``, with ``model.json`` beside it.

    Raises:
        InputError: when a file is missing or cannot be used.
    """
    spec = ModelSpec.load(model_file)
    network = load_model(HQGNet(**spec.network), model_file)
    return StandAlone(network, {name: style["mean"] for name, style in (spec.styles or {}).items()}).eval()


def export_torchscript(model_file: str | Path, path: str | Path, configs: Path) -> None:
    """Write a network as TorchScript, see :class:`scripts.networks.StandAlone`.

    The file holds the bundle's metadata and inference configuration, as MONAI's ``ckpt_export`` and MONAI Deploy have
    it. ``styles``, their names in the order of their numbers, is added to the metadata.

    Args:
        model_file: see :func:`load_stand_alone`.
        path: the file to write.
        configs: folder of the bundle's ``metadata.json`` and ``inference.json``.

    Raises:
        InputError: when the network cannot be used.
    """
    network = load_stand_alone(model_file)
    metadata = json.loads((configs / "metadata.json").read_text(encoding="utf-8"))
    with atomic_write(Path(path)) as unfinished, unfinished.open("wb") as stream, _quiet():
        save_net_with_metadata(
            torch.jit.script(network),
            stream,
            meta_values={**metadata, **_description(model_file, network)},
            more_extra_files={"inference.json": (configs / "inference.json").read_bytes()},
        )


def export_onnx(model_file: str | Path, path: str | Path) -> None:
    """Write a network as ONNX, for batches and images of any size.

    The input ``image`` must be given. ``style``, ``cue`` and ``code`` have defaults: the prototype, and each image's
    own code. See :class:`scripts.networks.OnnxSignature` for them. The file's metadata name the styles.

    Args:
        model_file: see :func:`load_stand_alone`.
        path: the file to write.

    Raises:
        InputError: when the network cannot be used, or a package is missing.
    """
    onnx = onnx_package("onnx")
    onnx_package("onnxscript")
    network = load_stand_alone(model_file)
    model = _converted(network)
    nothing, given = (torch.full((1, length), torch.nan) for length in _vector_lengths(network))
    for name, default in zip(INPUTS[1:], (torch.zeros(1, dtype=torch.int64), nothing, given), strict=True):
        # An initialiser of the name of an input is its default.
        model.graph.initializer.append(onnx.numpy_helper.from_array(default.numpy(), name))
    description = {key: json.dumps(value) for key, value in _description(model_file, network).items()}
    onnx.helper.set_model_props(model, {**description, WEIGHTS_KEY: content_digest(model_file)})
    model.producer_name, model.producer_version = "hqgnet", __version__
    onnx.checker.check_model(model)
    with atomic_write(Path(path)) as unfinished:
        onnx.save(model, unfinished)


def _converted(network: StandAlone) -> Any:
    dims = network.network.spatial_dims
    # No size may be like another, or the exporter would take the two for one.
    sizes = [network.network.minimum_size + 2 + 4 * axis for axis in range(dims)]
    example = (
        torch.rand(3, network.network.in_channels, *sizes),
        torch.zeros(1, dtype=torch.int64),
        *(torch.full((1, length), torch.nan) for length in _vector_lengths(network)),
    )
    free = dict.fromkeys((0, *range(2, 2 + dims)), torch.export.Dim.DYNAMIC)
    with _quiet():
        program = torch.onnx.export(
            OnnxSignature(network).eval(),
            example,
            dynamo=True,
            dynamic_shapes=(free, {}, {}, {}),
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=OPSET,
            verbose=False,
        )
    return program.model_proto  # type: ignore[union-attr]  # None for the exporter of TorchScript alone


def _vector_lengths(network: StandAlone) -> tuple[int, int]:
    """Lengths of the HQ cue and of the LQ code."""
    return network.cues.shape[1], network.network.enhancer.code.out_features


def _description(model_file: str | Path, network: StandAlone) -> dict[str, Any]:
    spec = ModelSpec.load(model_file)
    return {"styles": network.names, "percentiles": spec.percentiles, "window": spec.window, "network": spec.network}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling of packages that this network does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
