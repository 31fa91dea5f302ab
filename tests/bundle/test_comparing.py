# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The runs that need references by style."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bundle.conftest import Run, refused

STYLES = ("plain", "sharp")


@pytest.fixture
def styled(labelled_dir: Path) -> str:
    """A datalist of the pictures, with styles and references by style."""
    lq = [f"lq/patient{number}.png" for number in range(6)]
    entries: list[dict[str, Any]] = [
        {
            "image": image,
            "label": image.replace("lq/", "labels/lq/"),
            "patient": Path(image).stem,
            "references": dict.fromkeys(STYLES, image.replace("lq/", "references/")),
        }
        for image in lq
    ]
    unpaired = [{key: entry[key] for key in ("image", "label", "patient")} for entry in entries]
    high = [
        {"image": f"hq/other{number}.png", "label": f"labels/hq/other{number}.png", "style": STYLES[number % 2]}
        for number in range(4)
    ]
    lists = {"training_lq": unpaired[:3], "training_hq": high, "validation": entries[3:4], "testing": entries[4:]}
    (labelled_dir / "styled.json").write_text(json.dumps(lists))
    return "styled.json"


def test_methods_are_compared_and_a_reader_reads_them(run: Run, styled: str, tmp_path: Path) -> None:
    run(datalist=styled)
    copies = str(tmp_path / "dataset" / "lq")
    run("comparing", ("methods.yaml",), datalist=styled, others={"Copy": copies}, downstream_steps=2)
    table = (tmp_path / "output_dir" / "methods" / "methods.md").read_text()
    for style in STYLES:
        for method in ("input", "Copy", "N4", "N4, non-local means", "HQG-Net", "reference"):
            assert any(
                [cell.strip() for cell in line.split("|")[1:3]] == [style, method] for line in table.splitlines()
            )
    assert " Dice " in table


def test_without_styles_the_reference_of_each_image_is_compared_with(run: Run, styled: str, tmp_path: Path) -> None:
    lists = json.loads((tmp_path / "dataset" / styled).read_text())
    for entry in lists["training_hq"]:
        del entry["style"]
    for entry in (*lists["validation"], *lists["testing"]):
        entry["reference"] = entry.pop("references")["plain"]
    (tmp_path / "dataset" / styled).write_text(json.dumps(lists))
    run(datalist=styled, task="none")
    run("comparing", ("methods.yaml",), datalist=styled, task="none", classical=False)
    table = (tmp_path / "output_dir" / "methods" / "methods.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines()]
    assert all(["HQ", method] in rows for method in ("input", "HQG-Net", "reference"))


def test_without_labels_there_is_no_reader(run: Run, styled: str, tmp_path: Path) -> None:
    run(datalist=styled, task="none")
    run("comparing", ("methods.yaml",), datalist=styled, task="none", classical=False)
    table = (tmp_path / "output_dir" / "methods" / "methods.md").read_text()
    assert "HQG-Net" in table
    assert not any(word in table for word in (" N4 ", " Dice ", "S (UNet)"))


def test_results_follow_guides_is_measured_on_the_same_datalist(run: Run, styled: str, tmp_path: Path) -> None:
    run(datalist=styled, task="none")
    run("guidance", ("guidance.yaml",), datalist=styled)
    assert (tmp_path / "output_dir" / "guidance" / "guidance.csv").is_file()


def test_without_references_by_style_nothing_is_compared(run: Run, styled: str, tmp_path: Path) -> None:
    run(datalist=styled)
    lists = json.loads((tmp_path / "dataset" / styled).read_text())
    for entry in lists["testing"]:
        del entry["references"]
    (tmp_path / "dataset" / styled).write_text(json.dumps(lists))
    message = refused(run, "comparing", ("methods.yaml",), datalist=styled, downstream_steps=2)
    assert '"testing" "references" of plain, sharp' in message
