# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Decoding in a process of its own, for codecs that end theirs when data is damaged.

GDCM, which alone decodes JPEG lossless and JPEG-LS here, throws C++ exceptions that its Python module does not catch.
Run as a program, this file is the other process: it reads requests, a line of JSON each, and answers with a line of
JSON followed by the bytes of an array, for each frame.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np

__all__ = ["decode_isolated"]


def decode_isolated(file: Path, count: int) -> list[np.ndarray]:
    """Decode the frames of a DICOM file.

    The other process is started once and serves all files.

    Args:
        file: the file.
        count: how many frames it holds.

    Returns:
        Arrays of stored values, rows × columns or rows × columns × 3; colour as red, green and blue.

    Raises:
        ValueError: when the data is damaged, be it that the codec says so or that it broke down.
    """
    return _decoder(os.getpid()).decode(file, count)


class _Decoder:
    """The other process, as this one sees it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        atexit.register(self._stop)

    def decode(self, file: Path, count: int) -> list[np.ndarray]:
        with self._lock:
            try:
                return self._ask(file, count)
            except BaseException:
                # Whatever it may still say is no answer to the next question.
                self._stop()
                raise

    def _ask(self, file: Path, count: int) -> list[np.ndarray]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        questions, answers = self._process.stdin, self._process.stdout
        if questions is None or answers is None:
            raise ValueError("the decoder cannot be reached")
        questions.write(json.dumps({"file": str(file.absolute()), "count": count}).encode() + b"\n")
        questions.flush()
        return [self._receive(answers) for _ in range(count)]

    @staticmethod
    def _receive(answers: IO[bytes]) -> np.ndarray:
        line = answers.readline()
        answer = json.loads(line) if line else {"error": "the decoder broke down"}
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


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    from pydicom import dcmread
    from pydicom.pixels.utils import iter_pixels

    for line in questions:
        question = json.loads(line)
        try:
            dataset = dcmread(question["file"])
            for array in iter_pixels(dataset, indices=range(question["count"]), allow_excess_frames=False):
                answers.write(json.dumps({"dtype": array.dtype.str, "shape": array.shape}).encode() + b"\n")
                answers.write(array.tobytes())
        except Exception as error:
            answers.write(json.dumps({"error": str(error)}).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are not to be found under bare names
    _serve(sys.stdin.buffer, sys.stdout.buffer)
