# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from scripts.cases import BatchEnhancement, Case, CaseImage, EnhancedCase, Provenance, find_cases, open_case
from scripts.errors import InputError
from scripts.reports import BatchReport

PROVENANCE = Provenance("HQG-Net", "1.0", "abc")
Enhance = Callable[[CaseImage], EnhancedCase]


def halved(case: CaseImage) -> EnhancedCase:
    return EnhancedCase(case.image.as_tensor() / 2, None, None)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Three pictures and a volume, in two folders."""
    random = np.random.RandomState(0)
    folder = tmp_path / "studies"
    for name in ("a/one", "a/two", "b/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(0, 255, (20, 24), np.uint8)).save(folder / f"{name}.png")
    volume = nib.Nifti1Image(random.randint(0, 999, (18, 20, 3)).astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0]))
    nib.save(volume, folder / "b" / "volume.nii.gz")
    return folder


def batch(source: Path, enhance: Enhance = halved, **settings: Any) -> BatchEnhancement:
    output = source.parent / "results"
    cases, problems = find_cases(source, output_dir=output)
    stand_in: Any = enhance
    return BatchEnhancement(
        cases, problems, stand_in, output, PROVENANCE, BatchReport(output), progress=False, **settings
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


RESULTS = {"a/one.png", "a/two.png", "b/three.png", "b/volume.nii.gz"}


def test_results_lie_as_their_sources_do(studies: Path) -> None:
    assert batch(studies).run() == 0
    made = files(studies.parent / "results")
    assert made >= RESULTS | {"report.csv", "report.html"}
    assert all(name in RESULTS or name.startswith("report") for name in made)
    before, after = (Image.open(folder / "a/one.png") for folder in (studies, studies.parent / "results"))
    np.testing.assert_allclose(np.asarray(after), np.asarray(before) / 2, atol=0.5)


def test_a_bad_file_does_not_stop_the_others(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (studies / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    assert batch(studies).run() == 1
    assert files(studies.parent / "results") >= RESULTS
    output = capsys.readouterr()
    assert "4 done" in output.out
    assert "slices/s: read" in output.out
    assert "1 failed" in output.out
    assert "broken.png" in output.err
    assert "broken.png" in (studies.parent / "results" / "report.csv").read_text()


def test_status_is_2_when_nothing_was_done(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "broken.png").write_bytes(b"nothing")
    assert batch(tmp_path / "studies").run() == 2


def test_a_network_that_fails_on_one_image_is_reported(studies: Path) -> None:
    def refusing(case: CaseImage) -> EnhancedCase:
        if case.image.ndim == 4:
            raise RuntimeError("out of memory\nand so on")
        return halved(case)

    work = batch(studies, refusing)
    assert work.run() == 1
    record = work.report.find("b/volume")
    assert record is not None
    assert (record.status, record.message) == ("failed", "RuntimeError: out of memory")
    assert "b/volume.nii.gz" not in files(studies.parent / "results")


def test_resuming_does_only_what_is_not_done(studies: Path) -> None:
    opened: list[str] = []

    def recording(case: Case) -> CaseImage:
        opened.append(case.name)
        return open_case(case)

    batch(studies).run()
    results = studies.parent / "results"
    (results / "a" / "two.png").unlink()
    Image.fromarray(np.zeros((20, 24), np.uint8) + np.arange(24, dtype=np.uint8)).save(studies / "b" / "three.png")
    assert batch(studies, resume=True, open_image=recording).run() == 0
    assert opened == ["a/two", "b/three"]
    assert (results / "report.csv").read_text().count(",done,") == 4


def test_other_settings_are_not_resumed(studies: Path) -> None:
    opened: list[str] = []

    def recording(case: Case) -> CaseImage:
        opened.append(case.name)
        return open_case(case)

    batch(studies, settings={"model": "old"}).run()
    batch(studies, settings={"model": "new"}, resume=True, open_image=recording).run()
    assert len(opened) == 4


def test_without_resume_everything_is_done_again(studies: Path) -> None:
    batch(studies).run()
    batch(studies, lambda case: EnhancedCase(case.image.as_tensor() / 4, None, None)).run()
    before, after = (Image.open(folder / "a/one.png") for folder in (studies, studies.parent / "results"))
    np.testing.assert_allclose(np.asarray(after), np.asarray(before) / 4, atol=0.5)


def test_ctrl_c_keeps_what_is_done_and_leaves_nothing_half_written(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(case: CaseImage) -> EnhancedCase:
        if case.image.ndim == 4:
            raise KeyboardInterrupt
        return halved(case)

    assert batch(studies, interrupted).run() == 130
    results = studies.parent / "results"
    assert {name for name in files(results) if not name.startswith("report")} == RESULTS - {"b/volume.nii.gz"}
    assert (results / "report.csv").read_text().count(",done,") == 3
    assert not list(results.glob(".partial*"))
    assert "--resume" in capsys.readouterr().out


def test_a_full_disk_leaves_no_half_a_result(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, result: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        target.with_name(f"{target.name}.png").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scripts.cases.raster.RasterCase.write", full)
    work = batch(studies)
    assert work.run() == 1
    results = studies.parent / "results"
    assert {name for name in files(results) if not name.startswith("report")} == {"b/volume.nii.gz"}
    record = work.report.find("a/one")
    assert record is not None
    assert "No space left" in record.message


def test_a_map_of_deviation_lies_beside_its_result(studies: Path) -> None:
    def uncertain(case: CaseImage) -> EnhancedCase:
        return EnhancedCase(case.image.as_tensor() / 2, torch.full((1, *case.image.shape[1:]), 0.5), None)

    batch(studies, uncertain).run()
    assert files(studies.parent / "results") >= {"a/one_deviation.tif", "b/volume_deviation.nii.gz"}


def test_volumes_can_be_written_as_nifti(studies: Path) -> None:
    work = batch(studies, output_format="nifti")
    assert work.run() == 1
    source, result = (nib.load(folder / "b/volume.nii.gz") for folder in (studies, studies.parent / "results"))
    np.testing.assert_array_equal(source.affine, result.affine)
    np.testing.assert_allclose(result.get_fdata(), source.get_fdata() / 2, atol=0.5)
    record = work.report.find("a/one")
    assert record is not None
    assert "no volume" in record.message


def test_a_result_never_takes_the_place_of_its_source(studies: Path) -> None:
    cases, problems = find_cases(studies)
    enhance: Any = halved
    with pytest.raises(InputError, match="take the place of an original"):
        BatchEnhancement(cases, problems, enhance, studies, PROVENANCE, BatchReport(studies))


def test_an_unknown_format_is_refused(studies: Path) -> None:
    with pytest.raises(InputError, match="output_format"):
        batch(studies, output_format="bmp")
