# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Speed of inference by each engine, for the network alone and for a folder of images.

The engines are PyTorch, TorchScript, ONNX Runtime and, where there is a compiler for C++, torch.compile.

``python -m scripts.experiments.export_speed --input_dir FOLDER`` prints the table of ``docs/export.md``.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import require, run_command
from ..exporting import export_onnx
from ..files import bundle_root
from ..inference import BatchEnhancement, OnnxEngine, find_engine, load_enhancer
from ..io import Provenance, find_cases
from ..networks import Enhancer
from ..reports import BatchReport
from ..reports.tables import markdown_table
from ..version import __version__
from .speed_clock import interleave, median

__all__ = ["ScriptedEngine", "export_speed"]

SIDES = (128, 512)


class _Code(nn.Module):
    """The LQ code of images as a module, which can be scripted.

    Args:
        enhancer: the enhancer.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the codes, (B, code_channels), of ``image`` (B, C, *spatial)."""
        return self.enhancer.encode(image)


class ScriptedEngine:
    """What :class:`scripts.inference.OnnxEngine` does, by TorchScript.

    Args:
        enhancer: of the trained network.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        self._enhance = torch.jit.script(enhancer)
        self._encode = torch.jit.script(_Code(enhancer))

    def enhance_with_cue(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Enhance ``image`` (B, C, *spatial) under the vectors ``cue`` and ``code``, see :class:`HQGNet`."""
        size = image.shape[0]
        code = None if code is None else code.expand(size, -1)
        enhanced: torch.Tensor = self._enhance(image, cue.expand(size, -1), code)
        return enhanced

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """Return the LQ codes of ``image`` (B, C, *spatial), (B, code_channels)."""
        code: torch.Tensor = self._encode(image)
        return code


def export_speed(input_dir: str, model_dir: str | None = None, repeats: int = 7) -> None:
    """Print the speed of inference by each engine, in one run.

    Times are of the processor, not of the clock, so that other programs hardly change them; with several threads they
    are the sum over the threads.

    Args:
        input_dir: images to enhance from files to files, with report, as ``hqgnet enhance`` does.
        model_dir: folder of ``model.pt`` and ``model.json``. Defaults to the network that comes along.
        repeats: figures are medians over so many rounds, through which the engines take turns.
    """
    require(
        type(repeats) is int and repeats > 0, f"repeats is a number of rounds, a whole one from 1 on, not {repeats}."
    )
    model_file = Path(model_dir or f"{bundle_root()}/models").expanduser() / "model.pt"
    with tempfile.TemporaryDirectory() as folder:
        seconds, rates = _measure(model_file, str(input_dir), Path(folder), repeats)
    first = next(iter(seconds))
    rows = [["engine", *(f"{side}², MP/s" for side in SIDES), "end to end, slices/s", "ratios to the first"]]
    for name in seconds:
        own = [side**2 / 1e6 / seconds[name][side] for side in SIDES] + [rates[name]]
        base = [side**2 / 1e6 / seconds[first][side] for side in SIDES] + [rates[first]]
        ratios = " / ".join(f"{one / other:.2f}" for one, other in zip(own, base, strict=True))
        rows.append([name, *(f"{value:.2f}" for value in own[:-1]), f"{own[-1]:.1f}", ratios])
    print("\n".join([*markdown_table(rows), ""]))
    versions = f"PyTorch {torch.__version__}, ONNX Runtime {metadata.version('onnxruntime')}"
    print(f"Per second of the processor, threads: {torch.get_num_threads()}, medians of {repeats}, {versions}.")


def _measure(
    model_file: Path, input_dir: str, folder: Path, repeats: int
) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Return, by engine, seconds of a pass for each side of SIDES, and slices per second from files to files."""
    enhancer, _ = load_enhancer(model_file, "cpu")
    network = enhancer.network
    require(network.spatial_dims == 2, "The sizes that are measured are those of planes: name a 2-D network.")
    export_onnx(model_file, folder / "model.onnx")
    engines: dict[str, Any] = {
        "PyTorch": network,
        "TorchScript": ScriptedEngine(network.enhancer),
        "ONNX Runtime": OnnxEngine(folder / "model.onnx"),
    }
    if any(map(shutil.which, ("c++", "g++", "clang++"))):
        engines["torch.compile"] = find_engine("compiled", model_file, "", torch.device("cpu"))
    images = {side: torch.rand(1, network.in_channels, side, side) for side in SIDES}
    passes: dict[tuple[str, int], Callable[[], Any]] = {
        (name, side): partial(engine.enhance_with_cue, image, enhancer.cue.mean)
        for name, engine in engines.items()
        for side, image in images.items()
    }
    with torch.inference_mode():
        found = interleave(passes, repeats, warm_up=3)
    seconds = {name: {side: median(found[name, side]).processor for side in SIDES} for name in engines}

    cases, problems = find_cases(input_dir)
    provenance = Provenance("HQG-Net", __version__, "", "")
    slices = 0

    def enhance(engine: Any) -> None:
        nonlocal slices
        enhancer.inferer.engine = engine
        with tempfile.TemporaryDirectory(dir=folder) as output, contextlib.redirect_stdout(io.StringIO()):
            report = BatchReport(output)
            BatchEnhancement(cases, problems, enhancer, output, provenance, report, progress=False).run()
            slices = sum(record.slices for case in cases if (record := report.find(case.name)) is not None)

    runs = {name: partial(enhance, engine) for name, engine in engines.items()}
    found_runs = interleave(runs, min(repeats, 3))
    return seconds, {name: slices / median(times).processor for name, times in found_runs.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(export_speed, "export_speed.py", None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
