# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The last words of a training: where the network is, and what to type next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from . import processes
from .files import bundle_root

__all__ = ["say_what_next", "what_next"]


def say_what_next(trainer: Any, model_file: str | Path) -> None:
    """Print the last line of a training, see :func:`what_next`; of several processes the first one does.

    Args:
        trainer: has trained.
        model_file: of the network that was kept, ``model.pt``.
    """
    if processes.is_first():
        print(what_next(trainer.state.epoch, trainer.state.max_epochs, model_file), flush=True)


def what_next(epoch: int, epochs: int, model_file: str | Path) -> str:
    """Return where the trained network is, and the command that enhances with it.

    Args:
        epoch: the last one that was trained.
        epochs: those that were asked for; with more of them, ``--resume True`` goes on.
        model_file: of the network that was kept, ``model.pt``.
    """
    file = Path(model_file).absolute()
    stopped = f"Training stopped after epoch {epoch} of {epochs}, and goes on with --resume True. " * (epoch < epochs)
    if not file.is_file():
        return f"{stopped}No network has been kept yet."
    return f'{stopped}The trained network is "{file}". Enhance images with it: {_command(file.parent)}'


def _command(model_dir: Path) -> str:
    """Return a command in the manner in which this process was started."""
    place = shlex.quote(str(model_dir))
    program = Path(sys.argv[0]).name
    if program in ("hqgnet", "program.py"):
        start = "hqgnet" if program == "hqgnet" else "python -m scripts.program"
        return f"{start} enhance INPUT OUTPUT --model_dir {place}"
    configs = Path(bundle_root(), "configs", "inference.yaml")
    config = configs.relative_to(Path.cwd()) if configs.is_relative_to(Path.cwd()) else configs
    return (
        f"python -m monai.bundle run enhancing --config_file {shlex.quote(str(config))} --input_dir INPUT "
        f"--output_dir OUTPUT --model_dir {place}"
    )
