# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.experiments.costs import MODES, main


@pytest.fixture
def input_dir(tmp_path: Path) -> Path:
    """Enhancement takes 0.5 s and 2 GiB a step; each mode half a second and half a GiB more than the one before."""
    for number, mode in enumerate(MODES, start=1):
        write(tmp_path, mode, seconds=0.5 * number, peak_bytes=(3 + number) * 2**29)
    return tmp_path


def write(folder: Path, mode: str, **values: Any) -> None:
    cost = {"seconds": 1.0, "steps": 10, "peak_bytes": 2**30, "device": "cpu", **values}
    (folder / f"{mode}.json").write_text(json.dumps(cost))


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def refused(folder: Path) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["--input_dir", str(folder)])
    return str(caught.value)


def test_table_gives_time_and_memory_of_every_mode_beside_enhancement(
    input_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--input_dir", str(input_dir)])
    _, _, *body = rows(capsys.readouterr().out)
    assert body == [
        ["enhancement", "0.500", "1.00", "2.00", "1.00"],
        ["none", "1.000", "2.00", "2.50", "1.25"],
        ["first_order", "1.500", "3.00", "3.00", "1.50"],
        ["finite_difference", "2.000", "4.00", "3.50", "1.75"],
        ["unrolled", "2.500", "5.00", "4.00", "2.00"],
        ["implicit", "3.000", "6.00", "4.50", "2.25"],
    ]


def test_file_holds_what_is_printed(input_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--input_dir", str(input_dir)])
    assert (input_dir / "costs.md").read_text() == "# Cost of a training step\n\n" + capsys.readouterr().out


def test_unknown_memory_is_a_dash(input_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(input_dir, "unrolled", peak_bytes=None)
    main(["--input_dir", str(input_dir)])
    assert ["unrolled", "1.000", "2.00", "–", "–"] in rows(capsys.readouterr().out)


def test_number_of_steps_is_told(input_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(input_dir, "implicit", steps=4)
    main(["--input_dir", str(input_dir)])
    assert "median of 4 to 10 steps" in capsys.readouterr().out


def test_missing_files_are_named(input_dir: Path) -> None:
    (input_dir / "none.json").unlink()
    (input_dir / "implicit.json").unlink()
    assert "lacks none.json, implicit.json" in refused(input_dir)


def test_measurement_without_a_step_is_refused(input_dir: Path) -> None:
    write(input_dir, "unrolled", seconds=None)
    assert "steps_per_epoch" in refused(input_dir)


def test_different_devices_are_not_compared(input_dir: Path) -> None:
    write(input_dir, "unrolled", device="cuda")
    assert "different devices (cpu, cuda)" in refused(input_dir)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_file_of_another_kind_is_refused(input_dir: Path, text: str) -> None:
    (input_dir / "unrolled.json").write_text(text)
    assert "is no measurement" in refused(input_dir)
