# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding in a process of its own, which damaged or hostile data may end, but not the run.

GDCM throws C++ exceptions that its Python module does not catch, and a codec may loop for ever or ask for any amount of
memory. The other process runs :mod:`scripts.io.dicom_decoder`; it answers requests, a line of JSON each, with a line of
JSON followed by the bytes of an array, for each frame. It is ended when it takes more time or memory than an image may,
and after damaged data, which may have left anything in its memory.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Any, NamedTuple

import numpy as np

__all__ = ["FREE_SECONDS", "decode_isolated"]

DECODER = Path(__file__).with_name("dicom_decoder.py")

FREE_SECONDS = 4.0
"""Seconds of a processor that any image may take."""

BYTES_PER_SECOND = 2**20
"""Speed that a codec must reach beyond that; GDCM's slowest reaches ten times as much."""

WAITING = 5
"""How often the processor's seconds may pass on a busy machine."""

LONGEST_START, LONGEST_END = 120.0, 2.0
"""Seconds until the other process has imported the decoders, and until it has ended."""

FORKS = sys.platform == "linux"
"""Whether the other process forks those that decode; on macOS, libraries may break down in a fork."""

FREE_MEMORY = 2**28
COPIES = 8
"""Memory that decoding may take: 256 MiB, and the decoded image so many times."""


def decode_isolated(file: Path, count: int, size: int, plugin: str = "") -> list[np.ndarray]:
    """Decode the frames of a DICOM file.

    The other process is started once and serves all files.

    Args:
        file: the file.
        count: how many frames it holds.
        size: bytes that all frames take, decoded; by it the time and the memory are bounded.
        plugin: pydicom's name of the decoder to try first; any by default.

    Returns:
        Arrays of stored values, rows × columns or rows × columns × 3; colour as red, green and blue.

    Raises:
        ValueError: when the data is damaged, be it that the codec says so, that it broke down, or that it took too much
            time or memory.
    """
    question = {
        "file": str(file.absolute()),
        "count": count,
        "plugin": plugin,
        "seconds": FREE_SECONDS + size / BYTES_PER_SECOND,
        "memory": FREE_MEMORY + COPIES * size,
    }
    return _decoder(os.getpid()).decode(question)


class _Worker(NamedTuple):
    """A process that answers, as this one sees it."""

    questions: IO[bytes]
    answers: IO[bytes]
    end: Callable[[], None]


class _Decoder:
    """The other process, which is started when it is needed first, and anew after damaged data."""

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = Lock()
        atexit.register(self._stop)

    def decode(self, question: dict[str, Any]) -> list[np.ndarray]:
        with self._lock:
            try:
                return self._ask(question)
            except BaseException:
                # Whatever it may still say is no answer to the next question.
                self._end_worker()
                raise

    def _ask(self, question: dict[str, Any]) -> list[np.ndarray]:
        worker = self._worker or self._started()
        late = Timer(WAITING * question["seconds"], worker.end)
        late.start()
        try:
            worker.questions.write(json.dumps(question).encode() + b"\n")
            worker.questions.flush()
            return [self._receive(worker.answers) for _ in range(question["count"])]
        finally:
            late.cancel()

    def _started(self) -> _Worker:
        self._worker = worker = self._forked() if FORKS else self._run()
        late = Timer(LONGEST_START, worker.end)
        late.start()
        try:
            if not worker.answers.readline():
                raise ValueError("the decoder did not start")
        finally:
            late.cancel()
        return worker

    def _run(self) -> _Worker:
        """Start the program, which answers itself."""
        self._program = process = subprocess.Popen(
            [sys.executable, str(DECODER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if process.stdin is None or process.stdout is None:
            raise ValueError("the decoder cannot be reached")
        return _Worker(process.stdin, process.stdout, process.kill)

    def _forked(self) -> _Worker:
        """Let the program fork a process that answers, in milliseconds: to import the decoders takes a second."""
        if self._control is None or self._program is None or self._program.poll() is not None:
            self._stop()
            self._control, theirs = socket.socketpair()
            with theirs:
                self._program = subprocess.Popen(
                    [sys.executable, str(DECODER), str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # other threads do not live through a fork
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        control = self._control
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(control, [b"+"], [theirs.fileno()])

        def end() -> None:
            with suppress(OSError):  # the program has ended, and its worker has nobody to answer
                control.send(b"-")
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)

        worker = _Worker(ours.makefile("wb"), ours.makefile("rb"), end)
        ours.close()  # it stays open for as long as its two files are
        return worker

    @staticmethod
    def _receive(answers: IO[bytes]) -> np.ndarray:
        line = answers.readline()
        answer = json.loads(line) if line else {"error": "the decoder broke down, or took too much time or memory"}
        if "error" in answer:
            raise ValueError(answer["error"])
        dtype, shape = np.dtype(answer["dtype"]), tuple(answer["shape"])
        data = answers.read(dtype.itemsize * int(np.prod(shape)))
        return np.frombuffer(data, dtype).reshape(shape)

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
            for stream in (worker.answers, worker.questions):
                with suppress(OSError):  # what was not yet sent is not sent any more
                    stream.close()
        if not FORKS:
            self._stop()

    def _stop(self) -> None:
        worker, program, control = self._worker, self._program, self._control
        self._worker = self._program = self._control = None
        if worker is not None:
            worker.end()
        if control is not None:
            control.close()  # upon which the program ends
        if program is not None:
            with suppress(subprocess.TimeoutExpired):
                program.wait(LONGEST_END if control is not None else 0)
            program.kill()
            program.communicate()


@cache
def _decoder(process: int) -> _Decoder:
    """The decoder of a process; one that was forked off gets its own."""
    return _Decoder()
