# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import InputError
from scripts.inference.results import ResultFolder
from scripts.io import Case


def made(results: ResultFolder, name: str, content: str = "new") -> list[Path]:
    path = results.partial(name).with_suffix(".txt")
    path.write_text(content)
    return [path]


def test_results_move_to_their_places(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path / "out")
    with results.opened():
        files = made(results, "study/scan")
        outputs = results.claim("study/scan", files)
        assert not (tmp_path / "out" / "study").exists()
        results.settle(files, outputs)
    assert outputs == ["study/scan.txt"]
    assert (tmp_path / "out" / "study" / "scan.txt").read_text() == "new"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["study"]


def test_what_an_earlier_run_made_is_replaced_folders_too(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path / "out")
    (tmp_path / "out" / "series").mkdir(parents=True)
    (tmp_path / "out" / "series" / "old.dcm").touch()
    with results.opened():
        folder = results.partial("series")
        folder.mkdir()
        (folder / "new.dcm").touch()
        results.settle([folder], results.claim("series", [folder], own=["series"]))
    assert [path.name for path in (tmp_path / "out" / "series").iterdir()] == ["new.dcm"]


def test_what_is_not_the_cases_own_is_not_replaced(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan.txt").write_text("notes")
    with results.opened(), pytest.raises(InputError, match="in the way"):
        results.claim("scan", made(results, "scan"), own=["other.txt"])


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path / "out")
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    (tmp_path / "out" / ".partial" / "half.nii").touch()
    with results.opened():
        assert not (tmp_path / "out" / ".partial").exists()


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with (
        ResultFolder(tmp_path).opened(),
        pytest.raises(InputError, match="Another run"),
        ResultFolder(tmp_path).opened(),
    ):
        pass
    with ResultFolder(tmp_path).opened():
        pass


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="is a file"):
        ResultFolder(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("scan", "scan.nii.gz"),
        ("scan", "scan.PNG"),
        ("Scan", "scan.png"),
        ("study", "study/study/0001.dcm"),
        ("study/series", "study/series/0001.dcm"),
    ],
)
def test_originals_are_not_in_the_way_of_results(name: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place of an original"):
        ResultFolder(tmp_path).refuse_originals([Case(name, "dicom", (tmp_path / file,))])


def test_links_to_originals_are_originals(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "image.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "image.png")
    with pytest.raises(InputError, match="place of an original"):
        ResultFolder(tmp_path).refuse_originals([Case("link", "raster", (tmp_path / "link.png",))])


def test_results_may_lie_beside_originals(tmp_path: Path) -> None:
    ResultFolder(tmp_path / "out").refuse_originals([Case("scan", "nifti", (tmp_path / "scan.nii.gz",))])
