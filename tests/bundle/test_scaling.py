# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from tests.bundle.conftest import TINY, UNET, as_arguments

from scripts.experiments.scaling import Rate, efficiency_table, main


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]


def test_efficiency_is_the_rate_of_a_process_relative_to_the_least_number() -> None:
    found = [
        *(Rate("training", number, rate, "batches/s") for number, rate in ((2, 4.0), (1, 2.5), (4, 7.5))),
        Rate("inference", 2, 3.0, "slices/s"),
    ]
    assert rows("\n".join(efficiency_table(found))) == [
        ["training", "2", "4 batches/s", "1.60", "80%"],
        ["training", "1", "2.5 batches/s", "1.00", "100%"],
        ["training", "4", "7.5 batches/s", "3.00", "75%"],
        ["inference", "2", "3 slices/s", "1.00", "100%"],
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--work", "evaluation"], 'Unknown work "evaluation": use some of enhancement, none,'),
        (["--processes", "0 2"], '--processes are whole numbers from 1 on, such as "1 2", not "0 2"'),
        (["--processes", "two"], "--processes are whole numbers from 1 on"),
        (["--processes", "[]"], "--processes is empty"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main(["--dataset_dir", str(tmp_path), "--output_dir", str(tmp_path / "figures"), *arguments])
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_two_processes_are_measured_beside_one(
    labelled_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**TINY, **UNET, "steps_per_epoch": 4, "epochs": 1, "warmup_epochs": 0, "restoration_epochs": 0}
    settings = " ".join(as_arguments(given))
    folders = ["--dataset_dir", str(labelled_dir), "--output_dir", str(tmp_path / "figures")]
    main([*folders, "--work", "first_order inference", f"--settings={settings}", "--inference_settings=--device cpu"])
    printed = capsys.readouterr().out
    found = [row[:2] for row in rows(printed)]
    assert found == [[work, number] for work in ("training, first_order", "inference") for number in "12"]
    assert all(float(row[2].split()[0]) > 0 for row in rows(printed))
    assert rows((tmp_path / "figures" / "scaling.md").read_text()) == rows(printed)


@pytest.mark.slow
def test_labels_are_needed_for_a_hypergradient(dataset_dir: Path, tmp_path: Path) -> None:
    settings = " ".join(as_arguments(TINY))
    folders = ["--dataset_dir", str(dataset_dir), "--output_dir", str(tmp_path / "figures")]
    with pytest.raises(SystemExit, match="has no labels"):
        main([*folders, "--processes", "1", "--work", "first_order", f"--settings={settings} --steps_per_epoch 3"])
