# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""One run in several processes, on one machine or many: those of ``torchrun``.

Any launcher will do that sets what PyTorch reads from the environment: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
``MASTER_PORT``. A program is a run of one process until it calls :func:`join`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from .errors import InputError, require

__all__ = [
    "LostProcessError",
    "count",
    "from_first",
    "gathered",
    "is_first",
    "join",
    "mean_",
    "means_of",
    "own_device",
    "rank",
    "refuse_several",
    "same_",
    "stacked",
]

_Value = TypeVar("_Value")

# One process may have a long case, or a whole archive to search, when the others have nothing left to do. What waits
# for a process that is gone does not wait so long: its connection closes.
_PATIENCE = timedelta(days=30)
_patient_group: dist.ProcessGroup | None = None


class LostProcessError(RuntimeError):
    """Another process of this run has ended before its time."""


def count() -> int:
    """Return the number of processes of this run, 1 before :func:`join`."""
    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    """Return the number of this process, counted from 0."""
    return dist.get_rank() if _is_joined() else 0


def is_first() -> bool:
    """Whether this is the process that writes what belongs to the whole run."""
    return rank() == 0


def own_device(device: str | torch.device) -> torch.device:
    """Return the device of this process: of several GPUs of a machine, its own, unless ``device`` names one.

    Args:
        device: such as ``"cuda"``.
    """
    if str(device) != "cuda" or "LOCAL_RANK" not in os.environ:
        return torch.device(device)
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % max(torch.cuda.device_count(), 1))


def join(device: str | torch.device = "cpu") -> torch.device:
    """Join the processes that were launched with this one; nothing happens where there are none.

    Args:
        device: where this run computes. Tensors there are exchanged by NCCL on GPUs and by gloo on processors; objects
            always by gloo. Defaults to a processor.

    Returns:
        The device of this process, see :func:`own_device`.

    Raises:
        InputError: when the launcher did not say where the processes meet.
    """
    global _patient_group
    own = own_device(device)
    if _launched() == 1 or _is_joined():
        return own
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    require(
        not missing,
        f"WORLD_SIZE is {_launched()}, but {' and '.join(missing)} are not set: start the processes with torchrun.",
    )
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    _patient_group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    # The groups have threads. When these outlive the interpreter, the process is aborted after its work is done.
    atexit.register(_leave)
    return own


def refuse_several(what: str, instead: str) -> None:
    """Refuse to do in several processes what each would do anew.

    Args:
        what: is refused, the beginning of a sentence.
        instead: the mend, its end.

    Raises:
        InputError: when several processes were launched.
    """
    require(_launched() == 1, f"{what} takes one process, and torchrun started {_launched()}: {instead}.")


def from_first(make: Callable[[], _Value]) -> _Value:
    """Return in every process what the first one makes; the others do not call ``make``.

    Args:
        make: returns something that can be pickled.

    Raises:
        InputError: in every process, when ``make`` raised it in the first.
        LostProcessError: when the first process is gone.
    """
    if count() == 1:
        return make()
    made: list[object] = [None, None]
    if is_first():
        try:
            made = [make(), None]
        except InputError as error:
            made = [None, error]
    try:
        dist.broadcast_object_list(made, src=0, group=_patient_group)
    except RuntimeError as error:
        raise LostProcessError("the first process has ended") from error
    value, refusal = made
    if isinstance(refusal, InputError):
        raise refusal
    return cast(_Value, value)


def gathered(value: _Value) -> list[_Value]:
    """Return what every process hands in, in their order; this one waits for all others.

    Args:
        value: something that can be pickled.

    Raises:
        LostProcessError: when one is gone.
    """
    if count() == 1:
        return [value]
    values: list[_Value | None] = [None] * count()
    try:
        dist.all_gather_object(values, value, group=_patient_group)
    except RuntimeError as error:
        raise LostProcessError("another process has ended") from error
    return cast("list[_Value]", values)


@torch.no_grad()
def same_(tensors: Iterable[torch.Tensor]) -> None:
    """Give tensors, in place, the values that they have in the first process."""
    if count() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def mean_(values: torch.Tensor) -> torch.Tensor:
    """Replace values by their mean over the processes, in place, and return them."""
    if count() > 1:
        dist.all_reduce(values)
        values /= count()
    return values


def means_of(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the means of tensors over the processes, detached, by one message; those of a single process as they are.

    Args:
        tensors: of one type, and of the same shapes in every process.
    """
    if count() == 1 or not tensors:
        return list(tensors)
    flat = mean_(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def stacked(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensors (B, ...) of all processes in one, (N B, ...); the gradient reaches this process's own part.

    Its samples are in the order of the one batch that the processes share: process r of N has every N-th of them.
    """
    if count() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(count())]
    dist.all_gather(parts, tensor.detach().contiguous())
    parts[rank()] = tensor
    return torch.stack(parts, dim=1).flatten(0, 1)


def _launched() -> int:
    """Number of processes that the launcher started."""
    text = os.environ.get("WORLD_SIZE", "1")
    require(text.isdecimal() and int(text) > 0, f'WORLD_SIZE must be a number of processes, not "{text}".')
    return int(text)


def _leave() -> None:
    """Part from the other processes: end the groups, and their threads."""
    if _is_joined():
        dist.destroy_process_group()


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()
