# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding in a process of its own, which damaged or hostile data may end, but not the run.

GDCM throws C++ exceptions that its Python module does not catch, and a codec may loop for ever or ask for any amount of
memory. The other process runs :mod:`scripts.io.dicom_decoder`; it answers requests, a line of JSON each, with a line of
JSON followed by the bytes of an array, for each frame. It is ended when it takes more time or memory than an image may.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Any

import numpy as np

__all__ = ["FREE_SECONDS", "decode_isolated"]

DECODER = Path(__file__).with_name("dicom_decoder.py")

FREE_SECONDS = 4.0
"""Seconds of a processor that any image may take."""

BYTES_PER_SECOND = 2**20
"""Speed that a codec must reach beyond that; GDCM's slowest reaches ten times as much."""

WAITING = 5
"""How often the processor's seconds may pass on a busy machine."""

LONGEST_START = 120.0
"""Seconds until the other process has imported the decoders."""

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


class _Decoder:
    """The other process, as this one sees it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        atexit.register(self._stop)

    def decode(self, question: dict[str, Any]) -> list[np.ndarray]:
        with self._lock:
            try:
                return self._ask(question)
            except BaseException:
                # Whatever it may still say is no answer to the next question.
                self._stop()
                raise

    def _ask(self, question: dict[str, Any]) -> list[np.ndarray]:
        process = self._process or self._started()
        questions, answers = process.stdin, process.stdout
        if questions is None or answers is None:
            raise ValueError("the decoder cannot be reached")
        late = Timer(WAITING * question["seconds"], process.kill)
        late.start()
        try:
            questions.write(json.dumps(question).encode() + b"\n")
            questions.flush()
            return [self._receive(answers) for _ in range(question["count"])]
        finally:
            late.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        self._process = process = subprocess.Popen(
            [sys.executable, str(DECODER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        late = Timer(LONGEST_START, process.kill)
        late.start()
        try:
            if process.stdout is None or not process.stdout.readline():
                raise ValueError("the decoder did not start")
        finally:
            late.cancel()
        return process

    @staticmethod
    def _receive(answers: IO[bytes]) -> np.ndarray:
        line = answers.readline()
        answer = json.loads(line) if line else {"error": "the decoder broke down, or took too much time or memory"}
        if "error" in answer:
            raise ValueError(answer["error"])
        dtype, shape = np.dtype(answer["dtype"]), tuple(answer["shape"])
        data = answers.read(dtype.itemsize * int(np.prod(shape)))
        return np.frombuffer(data, dtype).reshape(shape)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@cache
def _decoder(process: int) -> _Decoder:
    """The decoder of a process; one that was forked off gets its own."""
    return _Decoder()
