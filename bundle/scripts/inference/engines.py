# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, or a compiled network, in place of PyTorch as it is for the passes of the network."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from .. import processes
from ..errors import InputError, require
from ..exporting import WEIGHTS_KEY, export_onnx, onnx_package
from ..handlers import load_model
from ..model_spec import ModelSpec, content_digest
from ..networks import HQGNet, compiled

__all__ = ["BACKENDS", "OnnxEngine", "find_engine"]

logger = logging.getLogger(__name__)

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
BACKENDS = {"torch": (), "compiled": (), "onnxruntime": (_CPU,), "tensorrt": (_TENSORRT, _CUDA, _CPU)}
"""Values of the setting ``backend``, with the execution providers of ONNX Runtime; ``compiled`` is torch.compile."""


class OnnxEngine:
    """What :class:`scripts.networks.HQGNet` does to whole images, computed by ONNX Runtime.

    Args:
        file: what :func:`scripts.exporting.export_onnx` wrote.
        providers: execution providers of ONNX Runtime, the preferred first. Defaults to the CPU's.

    Raises:
        InputError: when a package is missing, the file cannot be used, or a provider is not there.
    """

    def __init__(self, file: str | Path, providers: tuple[str, ...] = (_CPU,)) -> None:
        onnx, runtime = onnx_package("onnx"), onnx_package("onnxruntime")
        require(
            providers[0] in runtime.get_available_providers(),
            f"This ONNX Runtime has no {providers[0]}: install the build of onnxruntime that has it.",
        )
        try:
            model = onnx.load(file)
            # A session computes all of its model, whatever outputs are asked for.
            image_code = onnx.utils.Extractor(model).extract_model(["image"], ["code_of_image"])
        except Exception as error:
            raise InputError(f'"{file}" cannot be read as an exported network ({error}): make it anew.') from error
        self.weights = {entry.key: entry.value for entry in model.metadata_props}.get(WEIGHTS_KEY)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # it warns of every input that has a default
        self._enhance, self._encode = (
            runtime.InferenceSession(part.SerializeToString(), options, providers=list(providers))
            for part in (model, image_code)
        )

    def enhance_with_cue(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Enhance ``image`` (B, C, *spatial) under given vectors, see :meth:`HQGNet.enhance_with_cue`.

        Args:
            image: low-quality image, intensities in [0, 1].
            cue: v_z, (1, cue_channels).
            code: v_y, (1, code_channels); each image's own where None.
        """
        given = {"image": _array(image), "cue": _array(cue)} | ({} if code is None else {"code": _array(code)})
        return torch.from_numpy(self._enhance.run(["pred"], given)[0]).to(image.device)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """Return the LQ code v_y of ``image`` (B, C, *spatial), (B, code_channels)."""
        return torch.from_numpy(self._encode.run(None, {"image": _array(image)})[0]).to(image.device)


def find_engine(
    backend: str, model_file: str | Path, output_dir: str | Path, device: torch.device, amp: bool = False
) -> OnnxEngine | HQGNet | None:
    """Return the engine of the setting ``backend``, None for PyTorch itself.

    ONNX Runtime takes ``model.onnx`` beside ``model.pt``. Where there is none, one is made in ``output_dir``, and found
    there by later runs. Of several processes the first makes it.

    Args:
        backend: one of :data:`BACKENDS`.
        model_file: ``model.pt``.
        output_dir: of the results; empty: nothing may be made.
        device: of the network.
        amp: mixed precision, which ONNX Runtime does not have.

    Raises:
        InputError: when the engine cannot be had with these settings, a package is missing, or ``model.onnx`` was made
            of other weights.
    """
    require(backend in BACKENDS, f'backend must be one of {", ".join(BACKENDS)}, not "{backend}".')
    if backend == "torch":
        return None
    if backend == "compiled":
        # A network of its own: tiles of large planes change the layers of the other one.
        network = load_model(HQGNet(**ModelSpec.load(model_file).network), model_file)
        return compiled(network.to(device).eval(), {})
    kind = "cpu" if backend == "onnxruntime" else "cuda"
    require(device.type == kind, f"The backend {backend} runs on {kind}, not on {device.type}: set --device {kind}.")
    require(not amp, f"The backend {backend} has no mixed precision: leave --amp out.")
    onnx_package("onnxruntime")
    weights = content_digest(model_file)
    file = Path(model_file).with_suffix(".onnx")
    if not file.is_file():
        require(bool(output_dir), f'There is no "{file}": make it with hqgnet export.')
        file = Path(output_dir) / f".network-{weights}.onnx"
        processes.from_first(lambda: _make(model_file, file))
    engine = OnnxEngine(file, BACKENDS[backend])
    require(engine.weights == weights, f'"{file}" was made of other weights: remove it, or make it anew.')
    return engine


def _make(model_file: str | Path, file: Path) -> None:
    if file.is_file():
        return
    logger.info("exporting the network; hqgnet export %s spares other runs this", Path(model_file).with_suffix(".onnx"))
    try:
        export_onnx(model_file, file)
    except OSError as error:
        raise InputError(f'"{file}" cannot be written: {error.strerror or error}.') from error


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
