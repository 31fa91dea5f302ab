# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest

from scripts.errors import InputError
from scripts.experiments.jobs import listed, output_of, whole_numbers


def test_a_command_gives_what_it_prints_with_the_threads_that_it_may_take() -> None:
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd()))"
    assert output_of([sys.executable, "-c", code], 3, "The command") == "3 bundle\n"


@pytest.mark.parametrize(
    ("told", "reason"),
    [("a\\nerror: no images\\nb", "no images"), ("a\\nb\\nc\\nd\\n", "b\nc\nd"), ("", "no message")],
    ids=["the error that it tells", "its last lines", "nothing"],
)
def test_a_command_that_fails_is_told_by(told: str, reason: str) -> None:
    code = f"import sys; sys.stderr.write('{told}'); sys.exit(1)"
    with pytest.raises(InputError, match=f"^The command failed: {reason}$"):
        output_of([sys.executable, "-S", "-c", code], 1, "The command")


@pytest.mark.parametrize("text", ["a b", "a,b", ("a", "b"), ["a", "b"], "[a, b]", "'a', 'b'"])
def test_a_list_is_taken_in_every_form_of_the_command_line(text: object) -> None:
    assert listed(text) == ["a", "b"]


def test_numbers_of_a_list_are_whole_and_not_too_small() -> None:
    assert whole_numbers((0, 2), "seeds") == [0, 2]
    with pytest.raises(InputError, match='^--processes are whole numbers from 1 on, such as "1 2", not "0 2".$'):
        whole_numbers("0 2", "processes", least=1)
    with pytest.raises(InputError, match="^--seeds are whole numbers from 0 on"):
        whole_numbers("0 1.5", "seeds")
