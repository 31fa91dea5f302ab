# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.uid import BasicTextSRStorage
from tests.io.bad_files import dicom_bytes

from scripts.errors import InputError
from scripts.inference import BatchEnhancement, EnhancedCase
from scripts.inference.results import ResultFolder
from scripts.io import Case, CaseImage, Provenance, find_cases, open_case, write_dicom_series
from scripts.reports import BatchReport

PROVENANCE = Provenance("HQG-Net", "1.0", "abc")
Enhance = Callable[[CaseImage], EnhancedCase]


def halved(case: CaseImage) -> EnhancedCase:
    return EnhancedCase(case.image.as_tensor() / 2, None, 2 if case.image.ndim == 4 else None)


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


def test_what_is_cut_to_the_stored_range_is_counted_and_to_be_checked(studies: Path) -> None:
    def brighter(case: CaseImage) -> EnhancedCase:
        return EnhancedCase(case.image.as_tensor() + 100, None, 2 if case.image.ndim == 4 else None)

    work = batch(studies, brighter)
    assert work.run() == 0
    picture, volume = work.report.find("a/one"), work.report.find("b/volume")
    assert picture is not None
    assert volume is not None
    before = np.asarray(Image.open(studies / "a/one.png"))
    assert picture.clipped == np.count_nonzero((before > 155) & (before < 255))
    assert "do not fit the stored type and were cut" in picture.reasons[-1]
    assert picture.verdict == "check"
    assert volume.clipped == 0
    assert not [reason for reason in volume.reasons if "were cut" in reason]


def test_objects_that_are_no_images_are_no_failures(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (studies / "a" / "report.dcm").write_bytes(dicom_bytes(SOPClassUID=BasicTextSRStorage, PixelData=None, Rows=None))
    (studies / "a" / "labels.dcm").write_bytes(dicom_bytes(Modality="SEG"))
    assert batch(studies).run() == 0
    output = capsys.readouterr()
    assert "4 done" in output.out
    assert "0 failed; 2 passed over" in output.out
    assert "report.dcm" in output.err
    table = (studies.parent / "results" / "report.csv").read_text()
    assert table.count(",passed over,") == 2
    page = (studies.parent / "results" / "report.html").read_text()
    assert "it is a structured report" in page


def test_status_is_2_when_nothing_was_done(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "broken.png").write_bytes(b"nothing")
    assert batch(tmp_path / "studies").run() == 2


def test_a_network_that_fails_on_one_image_is_reported(studies: Path) -> None:
    def refusing(case: CaseImage) -> EnhancedCase:
        if case.image.ndim == 4:
            raise RuntimeError("an odd shape\nand so on")
        return halved(case)

    work = batch(studies, refusing)
    assert work.run() == 1
    record = work.report.find("b/volume")
    assert record is not None
    assert (record.status, record.message) == ("failed", "RuntimeError: an odd shape")
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

    monkeypatch.setattr("scripts.io.raster.RasterCase.write", full)
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


def test_the_classes_of_a_result_lie_beside_it(studies: Path) -> None:
    write_dicom_series(studies / "c", 10 * np.ones((18, 20, 3), np.int16), np.diag([2.0, 3.0, 4.0, 1.0]), "c", "c")

    class Segmenter:
        def enhance(self, case: CaseImage) -> tuple[EnhancedCase, torch.Tensor]:
            return halved(case), (case.image.as_tensor()[:1] > 100).to(torch.uint8)

    segmenter = Segmenter()
    assert batch(studies, segmenter=segmenter).run() == 0
    beside = {"a/one_segmentation.png", "b/volume_segmentation.nii.gz", "c_segmentation.nii.gz"}
    assert files(studies.parent / "results") >= beside
    assert batch(studies, segmenter=segmenter, resume=True).run() == 0
    assert batch(studies).run() == 0
    assert not [name for name in files(studies.parent / "results") if "_segmentation" in name]


def test_volumes_can_be_written_as_nifti(studies: Path) -> None:
    write_dicom_series(studies / "c", 10 * np.ones((18, 20, 3), np.int16), np.diag([2.0, 3.0, 4.0, 1.0]), "c", "c")
    work = batch(studies, output_format="nifti")
    assert work.run() == 1
    result = nib.load(studies.parent / "results" / "c.nii.gz")
    np.testing.assert_allclose(nib.affines.voxel_sizes(result.affine), (2, 3, 4))
    np.testing.assert_allclose(result.get_fdata(), 5)
    assert b"model abc" in bytes(result.header["descrip"])
    record = work.report.find("a/one")
    assert record is not None
    assert "no volume" in record.message


def test_a_disk_that_is_full_for_the_report_too_is_told(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scripts.reports.batch_report.BatchReport.add", full)
    monkeypatch.setattr("scripts.reports.batch_report.BatchReport.write", full)
    assert batch(studies).run() == 2
    output = capsys.readouterr()
    assert "0 done" in output.out
    assert "report could not be written: No space left" in output.out
    assert "a/one" in output.err


def test_what_somebody_put_in_the_way_of_a_result_stays(studies: Path) -> None:
    (studies.parent / "results" / "a").mkdir(parents=True)
    (studies.parent / "results" / "a" / "one.png").write_text("somebody's notes")
    work = batch(studies)
    assert work.run() == 1
    assert (studies.parent / "results" / "a" / "one.png").read_text() == "somebody's notes"
    record = work.report.find("a/one")
    assert record is not None
    assert "is in the way" in record.message
    assert batch(studies, resume=True).run() == 1
    assert (studies.parent / "results" / "a" / "one.png").read_text() == "somebody's notes"


def test_a_result_that_was_placed_when_the_run_was_killed_is_done_again(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Stands for the end of the process."""

    def killed(self: Any, made: Any, outputs: Any, own: Any) -> None:
        settle(self, made, outputs, own)
        raise KilledError

    settle = ResultFolder.settle
    with monkeypatch.context() as patch:
        patch.setattr(ResultFolder, "settle", killed)
        with pytest.raises(KilledError):
            batch(studies, lambda case: EnhancedCase(case.image.as_tensor() / 4, None, None)).run()
    assert batch(studies, resume=True).run() == 0
    before, after = (Image.open(folder / "a/one.png") for folder in (studies, studies.parent / "results"))
    np.testing.assert_allclose(np.asarray(after), np.asarray(before) / 2, atol=0.5)


def test_a_deviation_of_an_earlier_run_does_not_stay_beside_a_new_result(studies: Path) -> None:
    def uncertain(case: CaseImage) -> EnhancedCase:
        return EnhancedCase(case.image.as_tensor() / 2, torch.full((1, *case.image.shape[1:]), 0.5), None)

    batch(studies, uncertain).run()
    batch(studies).run()
    assert not [name for name in files(studies.parent / "results") if "_deviation" in name]


def test_a_deviation_that_was_removed_is_made_again(studies: Path) -> None:
    def uncertain(case: CaseImage) -> EnhancedCase:
        return EnhancedCase(case.image.as_tensor() / 2, torch.full((1, *case.image.shape[1:]), 0.5), None)

    batch(studies, uncertain).run()
    deviation = studies.parent / "results" / "a" / "one_deviation.tif"
    deviation.unlink()
    assert batch(studies, uncertain, resume=True).run() == 0
    assert deviation.is_file()


def test_a_result_that_was_cut_short_is_made_again(studies: Path) -> None:
    batch(studies).run()
    result = studies.parent / "results" / "b" / "volume.nii.gz"
    whole = result.read_bytes()
    result.write_bytes(whole[:20])
    assert batch(studies, resume=True).run() == 0
    assert result.read_bytes() == whole


def test_an_input_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    with pytest.raises(InputError, match="no image"):
        batch(tmp_path / "studies").run()
    assert not (tmp_path / "results").exists()


def test_being_terminated_is_like_ctrl_c(studies: Path) -> None:
    def terminated(case: CaseImage) -> EnhancedCase:
        os.kill(os.getpid(), signal.SIGTERM)
        return halved(case)

    former = signal.getsignal(signal.SIGTERM)
    assert batch(studies, terminated).run() == 130
    assert (studies.parent / "results" / "report.csv").is_file()
    assert signal.getsignal(signal.SIGTERM) == former


def test_a_failure_tells_that_an_earlier_result_is_still_there(studies: Path) -> None:
    def failing(case: CaseImage) -> EnhancedCase:
        raise InputError("this one cannot be enhanced")

    batch(studies).run()
    work = batch(studies, failing)
    assert work.run() == 2
    record = work.report.find("a/one")
    assert record is not None
    assert "earlier run made of it is still there" in record.message
    assert batch(studies).run() == 0


def test_a_nifti_source_keeps_its_header_whatever_the_format_asked_for(studies: Path) -> None:
    batch(studies, output_format="nifti").run()
    assert nib.load(studies.parent / "results" / "b" / "volume.nii.gz").get_data_dtype() == np.int16


def test_an_unknown_format_is_refused(studies: Path) -> None:
    with pytest.raises(InputError, match="output_format"):
        batch(studies, output_format="bmp")


def test_too_little_memory_is_told_with_the_mend(studies: Path) -> None:
    def greedy(case: CaseImage) -> EnhancedCase:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    work = batch(studies, greedy)
    work.run()
    record = work.report.find("a/one")
    assert record is not None
    assert "--window" in record.message
