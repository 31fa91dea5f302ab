# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Run a test's function in several processes that have joined, as torchrun would start them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from scripts import processes

_SECONDS = 240


def in_processes(function: Callable[[], Any], number: int = 2) -> list[Any]:
    """Return what ``function()`` returns in every process; None for one that was killed.

    The processes are forked, which spares the import of MONAI.

    Raises:
        AssertionError: with the traceback of a process in which the function raised.
    """
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(number):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(function, rank, number, port, sender))
        process.start()
        sender.close()
        running.append((process, receiver))
    try:
        results = [_received(receiver) for _, receiver in running]
    finally:
        for process, _ in running:
            process.join(_SECONDS)
            process.kill()
    for error, _ in results:
        assert not error, error
    return [value for _, value in results]


def _received(receiver: Connection) -> tuple[str, Any]:
    assert receiver.poll(_SECONDS), f"a process has not answered in {_SECONDS} s"
    try:
        answer: tuple[str, Any] = pickle.loads(receiver.recv_bytes())
    except EOFError:
        return "", None
    return answer


def _run(function: Callable[[], Any], rank: int, number: int, port: int, sender: Connection) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(number), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    # The threads of the process that was forked are gone.
    torch.set_num_threads(1)
    try:
        processes.join()
        answer = ("", function())
    except BaseException:
        answer = (traceback.format_exc(), None)
    # Not by send, which hands tensors over by memory that is shared with a process that has ended by then.
    sender.send_bytes(pickle.dumps(answer))
    sender.close()
