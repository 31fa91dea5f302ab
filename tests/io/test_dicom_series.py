# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from scripts.errors import InputError
from scripts.io.dicom_series import find_series, series_name

Writer = Callable[..., Path]


@pytest.fixture
def image(tmp_path: Path) -> Writer:
    """Write a CT slice of 2×2 pixels; `None` takes an attribute away."""

    def write(name: str, **attributes: Any) -> Path:
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.1", "1.2.2"
        dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "CT", 3, "Head"
        dataset.Rows = dataset.Columns = 2
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        dataset.add_new("PixelData", "OW", bytes(8))
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
            if value is None:
                del dataset[keyword]
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return write


def test_files_of_one_series_are_a_case(image: Writer) -> None:
    files = [image("a"), image("b", SeriesInstanceUID="1.2.3", SeriesNumber=4), image("c")]
    assert find_series(files) == ([(files[0], files[2]), (files[1],)], {})


def test_cases_are_in_the_order_of_series_numbers(image: Writer) -> None:
    files = [image(str(i), SeriesNumber=number, SeriesInstanceUID=f"1.2.{i}") for i, number in enumerate((10, 9, None))]
    assert find_series(files)[0] == [(files[2],), (files[1],), (files[0],)]


def test_a_multi_frame_file_is_a_case_of_its_own(image: Writer) -> None:
    files = [image("a"), image("b", NumberOfFrames=2), image("c"), image("d", NumberOfFrames=1)]
    assert find_series(files)[0] == [(files[0], files[2], files[3]), (files[1],)]


@pytest.mark.parametrize("missing", ["SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"])
def test_files_without_a_series_or_a_place_are_cases_of_their_own(missing: str, image: Writer) -> None:
    files = [image("a", **{missing: None}), image("b", **{missing: None})]
    assert find_series(files)[0] == [(files[0],), (files[1],)]


def test_a_slice_without_a_place_stays_with_its_series_which_must_tell(image: Writer) -> None:
    files = (image("a"), image("b", ImagePositionPatient=None))
    assert find_series(files)[0] == [files]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "it is a structured report"),
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "it is a DICOMDIR, an index of other files"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "it is a document"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.67"}, "it is no image (Real World Value Mapping)"),
        ({"Rows": None}, "its header gives no rows"),
        ({"PixelData": None}, "it holds no pixel data"),
    ],
)
def test_files_that_hold_no_image_are_told_with_the_reason(
    attributes: dict[str, Any], reason: str, image: Writer
) -> None:
    good, bad = image("a"), image("b", **attributes)
    cases, rejected = find_series([good, bad])
    assert cases == [(good,)]
    assert {file: rejection.reason for file, rejection in rejected.items()} == {bad: reason}
    assert rejected[bad].harmless == ("its header" not in reason and "pixel data" not in reason)


def test_a_number_that_is_none_is_told(image: Writer) -> None:
    file = image("a", NumberOfFrames=1)
    file.write_bytes(file.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00x "))
    cases, rejected = find_series([file])
    assert (cases, rejected[file].reason) == ([], 'its number of frames "x" is no number: mend it in its header')


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, "it is no DICOM file"),
        (100, "it is no DICOM file"),
        (140, "it"),
        (-20, "it holds no pixel data"),
        (-9, "it ends in the middle of its header"),
    ],
)
def test_files_that_end_early_are_told_with_the_reason(length: int, reason: str, image: Writer) -> None:
    file = image("a")
    file.write_bytes(file.read_bytes()[:length])
    cases, rejected = find_series([file])
    assert cases == []
    assert reason in rejected[file].reason


def test_a_value_that_is_cut_off_is_told(image: Writer) -> None:
    file = image("a", PatientComments="x" * 1000)
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"xxxx") + 10])
    assert find_series([file])[1][file].reason == "it ends in the middle of its header"


def test_files_that_are_missing_or_not_to_be_read_are_told(tmp_path: Path) -> None:
    _, rejected = find_series([tmp_path / "nowhere", tmp_path])
    assert "No such file" in rejected[tmp_path / "nowhere"].reason
    assert "Is a directory" in rejected[tmp_path].reason


def test_real_objects_of_other_kinds_are_told() -> None:
    files = [Path(str(get_testdata_file(name))) for name in ("rtplan.dcm", "waveform_ecg.dcm", "liver_1frame.dcm")]
    reasons = ["it is a radiotherapy object", "it is a waveform", "it is a segmentation"]
    cases, rejected = find_series(files)
    assert (cases, [rejected[file].reason for file in files]) == ([], reasons)


@pytest.mark.parametrize(
    ("number", "description", "expected"),
    [
        (12, "T1post", "12-T1post"),
        (3, "ax T2/FLAIR <5mm>", "3-ax-T2-FLAIR-5mm"),
        (3, "../../etc", "3-etc"),
        (3, "Schädel nativ", "3-Schädel-nativ"),
        (3, None, "3-CT"),
        (None, "Head", "Head"),
        (3, "x" * 64, f"3-{'x' * 62}"),
    ],
)
def test_a_series_is_named_for_a_file_system(
    number: int | None, description: str | None, expected: str, image: Writer
) -> None:
    file = image("a", SpecificCharacterSet="ISO_IR 192", SeriesNumber=number, SeriesDescription=description)
    assert series_name([file]) == expected


def test_a_series_that_says_nothing_has_a_name(image: Writer) -> None:
    assert series_name([image("a", SeriesNumber=None, SeriesDescription=None, Modality=None)]) == "series"


def test_what_is_no_image_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        series_name([tmp_path / "nowhere"])


def test_real_series_are_found(shared_data: Path) -> None:
    files = [file for name in ("brain_mr_dicom", "head_ct_dicom") for file in (shared_data / name).rglob("*.dcm")]
    cases, rejected = find_series(sorted(files))
    assert sorted((series_name(case), len(case)) for case in cases) == [
        ("12-T1post", 22),
        ("2-CT", 28),
        ("36459-FLAIR_reg", 22),
    ]
    assert not rejected
