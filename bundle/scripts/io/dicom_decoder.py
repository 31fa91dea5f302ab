# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The process that decodes compressed DICOM pixels, run as a program by :mod:`scripts.io.dicom_isolation`.

It reads requests, a line of JSON each, and answers with a line of JSON followed by the bytes of an array, for each
frame. The operating system, where it can, ends it when it takes more processor time or memory than a request grants.

Where processes can be forked, the program itself decodes nothing: it imports the decoders once and forks a process
that answers, and another one when damaged data has ended that.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import gdcm
import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

__all__ = ["decode", "main", "serve", "serve_by_forks"]

BY_GDCM_ALONE = (JPEGExtended12Bit, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
"""Transfer syntaxes that pydicom does not leave to GDCM, or not all of them."""

RGB_AFTER_DECODING = ("RGB", "YBR_RCT", "YBR_ICT")
END_OF_CODESTREAM = b"\xff\xd9"

ENDED_BY_MARKER = (JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1)
PADDING = bytes(range(1, 255)) * 8


def decode(file: str, count: int, plugin: str = "") -> Iterator[np.ndarray]:
    """Decode the frames of a file by the first decoder that can.

    pydicom asks Pillow or GDCM frame by frame. What it does not leave to GDCM (JPEG of 12 bits, high-throughput JPEG
    2000) GDCM decodes by its own reader, as ITK does.

    Args:
        file: DICOM file with encapsulated pixel data.
        count: how many frames it holds.
        plugin: of pydicom, to be tried first.

    Yields:
        Arrays of stored values, rows × columns or rows × columns × 3; colour as red, green and blue.

    Raises:
        ValueError: when no decoder can, or the data is damaged.
    """
    dataset = dcmread(file)
    options: dict[str, Any] = {"decoding_plugin": plugin} if plugin else {}
    frames = iter_pixels(dataset, indices=range(count), allow_excess_frames=False, **options)
    try:
        first = next(frames)
    except Exception:
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax not in (*BY_GDCM_ALONE, *JPEG2000TransferSyntaxes):
            raise
        # What ends early is not left to a decoder that fills in what is missing.
        if END_OF_CODESTREAM not in dataset.PixelData[-64:]:
            raise
        if syntax in BY_GDCM_ALONE:
            yield from _decoded_by_gdcm(dataset, file, count)
        else:
            yield from iter_pixels(dataset, indices=range(count), allow_excess_frames=False)
        return
    yield from _whole(itertools.chain([first], frames), dataset, count, options)


def _whole(
    frames: Iterable[np.ndarray], dataset: FileDataset, count: int, options: dict[str, Any]
) -> Iterator[np.ndarray]:
    """Frames, if they are whole: codecs of JPEG only warn of data that ends early, and make the rest up.

    So they are decoded once more, with other bytes before their end markers, which become pixels only where pixels are
    missing; :mod:`scripts.io.jpeg` does the same.
    """
    if dataset.file_meta.TransferSyntaxUID in ENDED_BY_MARKER:
        frames = list(frames)
        streams = [frame.rstrip(b"\0") for frame in generate_frames(dataset.PixelData, number_of_frames=count)]
        if all(stream.endswith(END_OF_CODESTREAM) for stream in streams):
            dataset.PixelData = encapsulate([stream[:-2] + PADDING + END_OF_CODESTREAM for stream in streams])
            again = iter_pixels(dataset, indices=range(count), allow_excess_frames=False, **options)
            if not all(np.array_equal(*pair) for pair in zip(frames, again, strict=True)):
                raise ValueError("its data ends before the picture does")
    yield from frames


def _decoded_by_gdcm(dataset: FileDataset, file: str, count: int) -> Iterable[np.ndarray]:
    reader = gdcm.ImageReader()
    reader.SetFileName(file)
    if not reader.Read():
        raise ValueError("GDCM cannot read it")
    image = reader.GetImage()
    kind, photometric = image.GetPixelFormat(), str(image.GetPhotometricInterpretation()).strip()
    channels = kind.GetSamplesPerPixel()
    if channels != 1 and photometric not in RGB_AFTER_DECODING:
        raise ValueError(f"GDCM leaves its colours as {photometric}")
    values = np.frombuffer(
        image.GetBuffer().encode("utf-8", "surrogateescape"), np.dtype(kind.GetScalarTypeAsString().lower())
    )
    shape = (int(dataset.Rows), int(dataset.Columns))
    if values.size != count * math.prod(shape) * channels:
        raise ValueError("GDCM finds another number of pixels")
    if channels == 1:
        return values.reshape(count, *shape)
    if image.GetPlanarConfiguration():
        return values.reshape(count, channels, *shape).transpose(0, 2, 3, 1)
    return values.reshape(count, *shape, channels)


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    answers.write(b"ready\n")
    answers.flush()
    before = _memory_now()
    for line in questions:
        question = json.loads(line)
        try:
            _limit(question, before)
            for array in decode(question["file"], question["count"], question["plugin"]):
                answers.write(json.dumps({"dtype": array.dtype.str, "shape": array.shape}).encode() + b"\n")
                answers.write(array.tobytes())
        except Exception as error:
            answers.write(json.dumps({"error": str(error) or type(error).__name__}).encode() + b"\n")
        answers.flush()


def serve_by_forks(control: socket.socket) -> None:
    """Fork a process that answers the requests of a connection, for each connection that comes; end the one before.

    Args:
        control: brings connections, a byte and a descriptor each; a byte alone ends the process that answers.
    """
    worker = 0
    while True:
        message, connections, *_ = socket.recv_fds(control, 1, 1)
        if worker:
            os.kill(worker, signal.SIGKILL)  # not waited for before, so its number is still its own
            os.waitpid(worker, 0)
        if not message:
            return
        worker = os.fork() if connections else 0
        if connections and not worker:
            control.close()
            stream = socket.socket(fileno=connections[0])
            serve(stream.makefile("rb"), stream.makefile("wb"))
            os._exit(0)
        for connection in connections:
            os.close(connection)


def _limit(question: dict[str, Any], before: int) -> None:
    """Grant processor time and memory for a request; on systems that know such limits."""
    with suppress(ImportError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        for kind, soft in (
            (resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + question["seconds"])),
            (resource.RLIMIT_DATA, before + question["memory"] if before else resource.RLIM_INFINITY),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            if soft != resource.RLIM_INFINITY:
                resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _memory_now() -> int:
    """Bytes of private memory that the process has, in use or not; 0 where the system does not say."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmData")).split()[1])
    return 0


def main() -> None:
    """Answer on the standard streams, or by forks for the connection whose descriptor the command line names."""
    if len(sys.argv) > 1:
        serve_by_forks(socket.socket(fileno=int(sys.argv[1])))
    else:
        serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are not to be found under bare names
    main()
