# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tests.io.bad_files import Expectation, expectations, make_bad_folder

from scripts.errors import InputError
from scripts.io import Case, Problem, find_cases, open_case


class BadFolder(NamedTuple):
    path: Path
    cases: list[Case]
    problems: list[Problem]

    def holds(self, name: str, file: Path) -> bool:
        source = self.path / name
        return file == source or source in file.parents


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> BadFolder:
    folder = tmp_path_factory.mktemp("bad")
    make_bad_folder(folder)
    return BadFolder(folder, *find_cases(folder))


def test_there_are_many_kinds_of_bad_input() -> None:
    assert sum(expectation.stage != "good" for expectation in expectations().values()) >= 40


@pytest.mark.parametrize(("name", "expectation"), list(expectations().items()), ids=list(expectations()))
def test_bad_input_is_refused_with_its_reason_and_odd_input_is_read(
    name: str, expectation: Expectation, bad: BadFolder
) -> None:
    problems = [problem.message for problem in bad.problems if bad.holds(name, problem.source)]
    cases = [case for case in bad.cases if bad.holds(name, case.files[0])]
    assert len(cases) == expectation.cases
    assert len(problems) == (expectation.stage == "found")
    assert all(expectation.message in problem for problem in problems)
    for case in cases:
        if expectation.stage == "opened":
            with pytest.raises(InputError, match=re.escape(expectation.message)) as error:
                open_case(case)
            assert str(bad.path) in str(error.value)
            assert "\n" not in str(error.value)
        else:
            image = open_case(case).image
            assert image.dtype == torch.float32
            assert image.ndim in (3, 4)


def test_nothing_is_found_beside_what_is_expected(bad: BadFolder) -> None:
    sources = [case.files[0] for case in bad.cases] + [problem.source for problem in bad.problems]
    assert [file for file in sources if not any(bad.holds(name, file) for name in expectations())] == []


def test_every_case_has_a_name_of_its_own(bad: BadFolder) -> None:
    assert len({case.name.casefold() for case in bad.cases}) == len(bad.cases)
