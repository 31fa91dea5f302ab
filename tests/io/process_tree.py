# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory of a process and of all that it started."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["PeakMemory"]

PAGE = os.sysconf("SC_PAGE_SIZE")


class PeakMemory:
    """Watch, every few milliseconds, the memory that this process and its children hold.

    Attributes:
        growth: bytes that the tree grew by, at most, since the beginning.
    """

    def __init__(self) -> None:
        if not Path("/proc/self/statm").exists():
            pytest.skip("needs /proc to measure the memory of processes")
        self.growth = 0
        self._before = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, self._now() - self._before)
            if self._over.wait(0.005):
                return

    def _now(self) -> int:
        own = os.getpid()
        # A child that has this command line still is about to run another program, in the memory of this process.
        return _resident(own) + sum(_resident(child) for child in _children(own) if _command(child) != _command(own))


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except OSError:  # it has ended
        return 0


def _children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
        found += [grandchild for child in children for grandchild in (child, *_children(child))]
    return found
