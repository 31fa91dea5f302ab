# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import torch
from tests.several_processes import in_processes

from scripts import processes
from scripts.errors import InputError


def test_a_program_of_one_process_is_the_first_of_one() -> None:
    assert processes.join() == torch.device("cpu")
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.gathered("a") == ["a"]
    assert processes.from_first(lambda: "b") == "b"


def test_processes_hear_from_the_first_and_of_each_other() -> None:
    def exchange() -> tuple[str, list[int]]:
        return processes.from_first(lambda: f"of {processes.rank()}"), processes.gathered(10 * processes.rank())

    assert in_processes(exchange, 3) == [("of 0", [0, 10, 20])] * 3


def test_all_processes_are_told_what_the_first_refuses() -> None:
    def refused() -> str:
        def make() -> None:
            raise InputError("no such folder")

        with pytest.raises(InputError) as caught:
            processes.from_first(make)
        return str(caught.value)

    assert in_processes(refused) == ["no such folder"] * 2


def test_a_process_that_is_killed_is_missed() -> None:
    def lost() -> bool:
        if not processes.is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(processes.LostProcessError):
            processes.gathered(1)
        return True

    assert in_processes(lost) == [True, None]


def test_processes_part_before_their_interpreters_end(monkeypatch: pytest.MonkeyPatch) -> None:
    at_end: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_end.append)

    def parted() -> tuple[int, int]:
        before = processes.count()
        for leave in at_end:
            leave()
        return before, processes.count()

    assert in_processes(parted) == [(2, 1), (2, 1)]


def test_a_launcher_must_say_where_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="MASTER_ADDR"):
        processes.join()
    with pytest.raises(InputError, match="takes one process, and torchrun started 2: wait"):
        processes.refuse_several("This", "wait")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="number of processes"):
        processes.join()


def test_every_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.own_device("cuda") == torch.device("cuda:1")
    assert processes.own_device("cuda:0") == torch.device("cuda:0")
    assert processes.own_device("cpu") == torch.device("cpu")
