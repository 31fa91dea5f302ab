# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from tests.io.bad_files import nifti_bytes

from scripts.errors import InputError
from scripts.io import Case, Provenance, opener
from scripts.io.dicom import DICOMCase
from scripts.io.discovery import find_cases
from scripts.io.formats import content_format
from scripts.io.nifti import NiftiCase
from scripts.io.opening import open_case, open_image
from scripts.io.raster import RasterCase


def nifti(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 3), np.int16), np.eye(4)), file)
    return file


def png(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(file, "PNG")
    return file


def dicom(file: Path, series: str = "1.2.3", position: float = 0, description: str = "T1") -> Path:
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", series
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "MR", description, int(series[-1])
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 4, 4, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, position]
    dataset.PixelData = bytes(32)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file


def series(folder: Path, uid: str = "1.2.3", description: str = "T1") -> None:
    for i in range(3):
        dicom(folder / f"{uid}-{i}", uid, i, description)


def names(*args: Any, **kwargs: Any) -> list[str]:
    """Names of the cases, where there is no problem."""
    cases, problems = find_cases(*args, **kwargs)
    assert problems == []
    return [case.name for case in cases]


def problems(*args: Any) -> dict[str, str]:
    """Messages of the problems, by the names of their sources, where there is no case."""
    cases, found = find_cases(*args)
    assert cases == []
    return {problem.source.name: problem.message for problem in found}


# ---------------------------------------------------------------------------------------------------------- names


def test_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    file = nifti(tmp_path / "scan.1.nii.gz")
    assert find_cases(file) == ([Case("scan.1", "nifti", (file,))], [])


def test_a_tree_is_called_by_its_paths_in_natural_order(tmp_path: Path) -> None:
    for name in ("p10/scan.nii.gz", "p2/scan.png", "p2/deep/er/x.nii", "a.nii"):
        (png if name.endswith("png") else nifti)(tmp_path / name)
    assert names(tmp_path) == ["a", "p2/deep/er/x", "p2/scan", "p10/scan"]


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii")
    assert names(str(tmp_path)) == ["a"]


def test_a_series_alone_in_its_folder_is_called_by_the_folder(tmp_path: Path) -> None:
    series(tmp_path / "study" / "t1")
    series(tmp_path / "study" / "t2", "1.2.4")
    cases, _ = find_cases(tmp_path)
    assert [(case.name, case.format, len(case.files)) for case in cases] == [
        ("study/t1", "dicom", 3),
        ("study/t2", "dicom", 3),
    ]


def test_a_series_folder_may_be_the_input(tmp_path: Path) -> None:
    series(tmp_path / "t1")
    assert names(tmp_path / "t1") == ["t1"]


def test_two_series_of_one_folder_are_called_by_their_own_names_inside(tmp_path: Path) -> None:
    series(tmp_path / "study", "1.2.3", "T1")
    series(tmp_path / "study", "1.2.4", "T2")
    assert names(tmp_path) == ["study/3-T1", "study/4-T2"]


def test_a_series_beside_another_image_is_named_inside_the_folder(tmp_path: Path) -> None:
    series(tmp_path / "study")
    nifti(tmp_path / "study" / "deep" / "a.nii")
    assert names(tmp_path) == ["study/3-T1", "study/deep/a"]


def test_a_single_dicom_file_is_called_by_its_name(tmp_path: Path) -> None:
    dicom(tmp_path / "x" / "chest.dcm")
    assert names(tmp_path) == ["x/chest"]


def test_what_would_have_the_same_name_is_numbered(tmp_path: Path) -> None:
    for name in ("a.nii", "a.png", "A.nii.gz", "a_2.png"):
        (png if name.endswith("png") else nifti)(tmp_path / name)
    cases, _ = find_cases(tmp_path)
    assert {case.files[0].name: case.name for case in cases} == {
        "A.nii.gz": "A",
        "a.nii": "a_3",
        "a.png": "a_4",
        "a_2.png": "a_2",
    }


def test_names_do_not_depend_on_the_order_of_a_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.nii", "a.nii.gz", "b/a.nii", "b/c.nii", "b_c.nii"):
        nifti(tmp_path / name)
    series(tmp_path / "s")
    expected = find_cases(tmp_path)
    listed = Path.iterdir

    def shuffled(folder: Path) -> list[Path]:
        entries = list(listed(folder))
        random.Random(1).shuffle(entries)
        return entries

    monkeypatch.setattr(Path, "iterdir", shuffled)
    assert find_cases(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ('a:b*c?"<>|', "a_b_c_____"),
        ("tab\there", "tab_here"),
        ("Müller 北京", "Müller 北京"),
        ("con", "_con"),
        ("x. ", "x"),
    ],
)
def test_letters_that_a_file_system_may_not_take_are_replaced(name: str, expected: str, tmp_path: Path) -> None:
    nifti(tmp_path / f"{name}.nii")
    assert names(tmp_path) == [expected]


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    source = nifti(tmp_path / "a.nii")
    os.rename(source, os.fsencode(tmp_path) + b"/\xff.nii")
    assert names(tmp_path) == ["_"]


def test_long_names_are_cut_and_told_apart(tmp_path: Path) -> None:
    for end in "ab":
        nifti(tmp_path / f"{'ö' * 120}{end}.nii")
    assert names(tmp_path) == ["ö" * 90, "ö" * 90 + "_2"]


def test_each_of_several_inputs_gives_its_name(tmp_path: Path) -> None:
    nifti(tmp_path / "x" / "a.nii")
    series(tmp_path / "y")
    nifti(tmp_path / "b.nii")
    assert names([tmp_path / "x", tmp_path / "y", tmp_path / "b.nii"]) == ["b", "x/a", "y"]


def test_an_image_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    nifti(tmp_path / "x" / "a.nii")
    assert len(names([tmp_path, tmp_path / "x", tmp_path / "x" / "a.nii"])) == 1


# --------------------------------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("name", ["scan.png", "scan.nii.gz", "scan", "scan.dat", "1.2.840"])
@pytest.mark.parametrize(("write", "expected"), [(png, "raster"), (nifti, "nifti"), (dicom, "dicom")])
def test_the_content_tells_the_format_whatever_the_name(write: Any, expected: str, name: str, tmp_path: Path) -> None:
    source = write(tmp_path / ("source.nii" if write is nifti else "source"))
    source.rename(tmp_path / name)
    assert content_format(tmp_path / name) == expected


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "BMP", "GIF"])
def test_every_raster_format_is_known(format_: str, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a", format_)
    assert content_format(tmp_path / "a") == "raster"


@pytest.mark.parametrize(
    ("start", "bare"),
    [
        (b"\x02\0\0\0UL\x04\0\xc0\0\0\0", "dicom"),
        (b"\x08\0\x16\0UI\x1a\x001.2", "dicom"),
        (b"\0\x08\0\x16UI\0\x1a1.2", "dicom"),  # of the other byte order
        (b"\x08\0\x16\0\x1a\0\0\x001.2", None),  # in implicit VR
        (b"\x08\0\x01\0\x04\0\0\0\xff\0\0\0", None),
        (b"\x08\0\x12\0\x08\0\0\x0020260101", None),
    ],
)
def test_dicom_without_preamble_is_known_by_its_first_element_and_maybe_its_suffix(
    start: bytes, bare: str | None, tmp_path: Path
) -> None:
    for name, expected in (("a.dcm", "dicom"), ("a.IMA", "dicom"), ("a", bare)):
        (tmp_path / name).write_bytes(start + bytes(99))
        assert content_format(tmp_path / name) == expected


@pytest.mark.parametrize("start", [b"\x08\0 hundred and more", b"8 slices of a brain", b"\x08\0\x16\0\xff\xff\xff\xff"])
def test_anything_else_is_no_dicom_whatever_its_suffix(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(start)
    assert content_format(tmp_path / "a.dcm") is None


@pytest.mark.parametrize("skipped", [0, 132])
def test_packed_dicom_is_refused_with_the_mend(skipped: int, tmp_path: Path) -> None:
    packed = gzip.compress(dicom(tmp_path / "x" / "a").read_bytes()[skipped:])
    (tmp_path / "a.dcm.gz").write_bytes(packed)
    _, (problem,) = find_cases(tmp_path / "a.dcm.gz")
    assert "it is a packed DICOM file: unpack it first" in problem.message
    with pytest.raises(InputError, match="it is a packed DICOM file: unpack it first"):
        open_image(tmp_path / "a.dcm.gz")


@pytest.mark.parametrize(
    "name",
    [".hidden.nii", ".git/a.nii", "__MACOSX/a.nii", "Thumbs.db", "desktop.ini", "DICOMDIR", "notes.txt", "table.CSV"]
    + ["datalist.json", "README.md", "a.xml", "report.pdf", "report.html"],
)
def test_what_lies_beside_images_is_passed_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"anything")
    assert find_cases(tmp_path) == ([], [])


@pytest.mark.parametrize("output", ["output", "deep/output"])
def test_the_output_folder_is_passed_over(output: str, tmp_path: Path) -> None:
    nifti(tmp_path / output / "done.nii")
    nifti(tmp_path / "a.nii")
    assert names(tmp_path, output_dir=tmp_path / output) == ["a"]


def test_an_output_folder_around_the_input_hides_nothing(tmp_path: Path) -> None:
    nifti(tmp_path / "input" / "a.nii")
    assert names(tmp_path / "input", output_dir=tmp_path) == ["a"]


def test_links_are_followed_and_a_folder_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    nifti(tmp_path / "elsewhere" / "a.nii")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "input" / "second").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "input")
    assert names(tmp_path / "input", follow_links=True) == ["link/a"]


def test_copies_of_slices_are_taken_once_with_a_word(tmp_path: Path) -> None:
    series(tmp_path)
    slices = sorted(tmp_path.iterdir())
    for file in slices[:2]:
        (tmp_path / f"copy of {file.name}").write_bytes(file.read_bytes())
    # A program that passes a file on writes its name before the dataset.
    dataset = pydicom.dcmread(slices[2])
    dataset.file_meta.SourceApplicationEntityTitle = "ARCHIVE"
    dataset.save_as(tmp_path / "sent", enforce_file_format=True)
    ((case,), found) = find_cases(tmp_path)
    assert case.files == tuple(slices)
    assert {problem.source.name: problem.message.partition(": ")[2] for problem in found} == {
        **{f"copy of {file.name}": f'it is a copy of "{file}"' for file in slices[:2]},
        "sent": f'it is a copy of "{slices[2]}"',
    }
    assert all(problem.passed_over for problem in found)
    assert open_image(tmp_path).image.shape == (1, 4, 4, 3)


def test_another_image_under_the_number_of_a_slice_is_no_copy(tmp_path: Path) -> None:
    series(tmp_path)
    dataset = pydicom.dcmread(min(tmp_path.iterdir()))
    dataset.PixelData = b"\1" * 32
    dataset.save_as(tmp_path / "other", enforce_file_format=True)
    ((case,), found) = find_cases(tmp_path)
    assert (len(case.files), found) == (4, [])


@pytest.mark.skipif(os.name == "nt", reason="names may not hold such letters")
def test_what_a_terminal_would_obey_is_no_part_of_a_message(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2Jb\n.dcm").write_bytes(b"anything")
    (_, (problem,)) = find_cases(tmp_path)
    assert '"' + str(tmp_path / "a?[2Jb?.dcm") + '"' in problem.message
    uid = MRImageStorage.removesuffix("4") + "\n\x1b.4"
    dicom(tmp_path / "c.dcm")
    dataset = pydicom.dcmread(tmp_path / "c.dcm")
    dataset.SOPClassUID, dataset.Modality = uid, "AU"
    dataset.save_as(tmp_path / "c.dcm")
    (_, (problem,)) = find_cases(tmp_path / "c.dcm")
    assert "of an unknown kind (1.2.840.10008.5.1.4.1.1.??.4)" in problem.message


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find_cases(tmp_path) == ([], [])


# -------------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.nii", b"", "it is empty"),
        ("a.bin", b"anything", "it is neither NIfTI, DICOM, PNG, TIFF, JPEG, BMP nor GIF: convert it, or leave it out"),
        ("a.dcm", b"anything", "it is neither NIfTI"),
        ("a.nii.gz", gzip.compress(b"anything"), "it is neither NIfTI"),
        ("a.nii.gz", b"\x1f\x8banything", "it is neither NIfTI"),
        ("a.hdr", bytes(348), "images in two files are not supported: convert it to .nii.gz"),
        ("a.bmp", b"BMI of patients", "it is neither NIfTI"),
    ],
)
def test_what_is_no_image_is_named_with_its_reason(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert problems(tmp_path)[name].startswith(f'cannot read "{tmp_path / name}": ')
    assert reason in problems(tmp_path)[name]


def test_a_file_that_is_no_image_is_a_problem_even_where_a_folder_would_hide_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("anything")
    assert "it is neither NIfTI" in problems(tmp_path / "notes.txt")["notes.txt"]


def test_dicom_that_is_no_image_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"anything")
    assert 'a.dcm": ' in problems(tmp_path)["a.dcm"]


def test_links_to_nothing_and_to_themselves_are_problems(tmp_path: Path) -> None:
    (tmp_path / "nothing").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert "a link to nothing" in problems(tmp_path)["nothing"]
    assert "symbolic links" in problems(tmp_path)["self"]


def test_a_pipe_is_a_problem_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in problems(tmp_path)["pipe"]


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, refused: Path) -> None:
    """Take away a permission, of which root has all."""
    original = getattr(Path, method)

    def checked(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == refused:
            raise PermissionError(13, "Permission denied")
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, method, checked)


def test_a_file_without_permission_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "open", png(tmp_path / "a.png"))
    assert problems(tmp_path)["a.png"].endswith("Permission denied")


def test_a_folder_without_permission_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").mkdir()
    refuse(monkeypatch, "iterdir", tmp_path / "secret")
    assert "cannot be listed (Permission denied)" in problems(tmp_path)["secret"]


@pytest.mark.parametrize("input_", ["nowhere", "", []])
def test_an_input_that_does_not_exist_is_refused_with_its_mend(input_: Any) -> None:
    with pytest.raises(InputError, match="there is no .*: set --input_dir to"):
        find_cases(input_)


# -------------------------------------------------------------------------------------------------------- datalist


@pytest.mark.parametrize("wrap", [lambda entries: entries, lambda entries: {"testing": entries, "validation": [7]}])
@pytest.mark.parametrize("entry", [lambda path: path, lambda path: {"image": path, "patient": "x"}])
def test_a_datalist_names_the_cases_by_their_paths(wrap: Any, entry: Any, tmp_path: Path) -> None:
    nifti(tmp_path / "p" / "a.nii")
    nifti(tmp_path / "p" / "not_listed.nii")
    series(tmp_path / "q")
    (tmp_path / "list.json").write_text(json.dumps(wrap([entry("q"), entry("p/a.nii")])))
    assert names([], tmp_path / "list.json") == ["p/a", "q"]


def test_paths_count_from_the_input_folder_or_else_from_the_datalist(tmp_path: Path) -> None:
    nifti(tmp_path / "data" / "a.nii")
    nifti(tmp_path / "lists" / "b.nii")
    elsewhere = nifti(tmp_path / "c" / "d.nii")
    (tmp_path / "lists" / "list.json").write_text(json.dumps(["a.nii", "b.nii", str(elsewhere)]))
    assert names(tmp_path / "data", tmp_path / "lists" / "list.json") == ["a", "b", "d"]


def test_what_a_datalist_lacks_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('["a.nii"]')
    assert "a link to nothing, or was removed" in find_cases([], tmp_path / "list.json")[1][0].message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the datalist"),
        ("{}", 'has no list "testing"'),
        ('{"testing": 3}', 'has no list "testing"'),
        ("[7]", 'entry 0 of the datalist .* has no "image"'),
        ('[{"label": "a"}]', 'has no "image"'),
        ('[""]', 'has no "image"'),
    ],
)
def test_a_datalist_that_cannot_be_used_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(InputError, match=message):
        find_cases([], tmp_path / "list.json")


# --------------------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize(("write", "expected"), [(png, RasterCase), (nifti, NiftiCase), (dicom, DICOMCase)])
def test_a_case_is_opened_by_the_reader_of_its_format(write: Any, expected: type, tmp_path: Path) -> None:
    write(tmp_path / "a.nii")
    cases, _ = find_cases(tmp_path)
    assert isinstance(open_case(cases[0]), expected)


def test_real_data_of_mixed_formats_are_found(shared_data: Path) -> None:
    cases, found = find_cases([shared_data / "brain_mr_dicom", shared_data / "hippocampus"])
    assert found == []
    assert {case.format for case in cases} == {"dicom", "nifti"}


def test_results_of_earlier_runs_are_passed_over(tmp_path: Path) -> None:
    for name in ("scan.png", "results/scan.png", "results/report/scan_before.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    for name in ("report.csv", "report.html"):
        (tmp_path / "results" / name).touch()
    assert [case.name for case in find_cases(tmp_path)[0]] == ["scan"]


def test_links_that_lead_out_of_the_input_are_followed_only_when_asked(tmp_path: Path) -> None:
    for name in ("input/a.nii", "input/sub/b.nii", "elsewhere/c.nii", "elsewhere/d.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(nifti_bytes())
    (tmp_path / "input" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "input" / "d.nii").symlink_to(tmp_path / "elsewhere" / "d.nii")
    (tmp_path / "input" / "inside").symlink_to(tmp_path / "input" / "sub")
    cases, problems = find_cases(tmp_path / "input")
    assert {case.name.split("/")[-1] for case in cases} == {"a", "b"}
    assert {problem.source.name for problem in problems} == {"out", "d.nii"}
    assert all(problem.passed_over and "--follow_links True" in problem.message for problem in problems)
    cases, problems = find_cases(tmp_path / "input", follow_links=True)
    assert {case.name.split("/")[-1] for case in cases} == {"a", "b", "c", "d"}
    assert problems == []


@pytest.mark.parametrize("name", ["@eaDir", "thumbnails", "Thumbs", "#recycle"])
def test_folders_of_thumbnails_are_passed_over(name: str, tmp_path: Path) -> None:
    for file in ("a.nii", f"{name}/a.nii", f"sub/{name}/a.nii"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(nifti_bytes())
    cases, problems = find_cases(tmp_path)
    assert ([case.name for case in cases], problems) == (["a"], [])


@pytest.mark.parametrize("name", ["=cmd", "+1", "-rf", "@sum"])
def test_no_name_begins_as_a_formula_or_an_option_does(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / f"{name}.nii").write_bytes(nifti_bytes())
    ((case,), _) = find_cases(tmp_path)
    assert case.name == f"_{name}/_{name}"


def test_nan_is_background_where_asked_for(tmp_path: Path) -> None:
    values = np.random.RandomState(0).rand(6, 5, 4).astype(np.float32) + 3
    values[:2] = np.nan
    (tmp_path / "a.nii").write_bytes(nifti_bytes(values))
    ((case,), _) = find_cases(tmp_path)
    assert bool(opener(False)(case).image.isnan().any())
    image = opener(True)(case)
    assert image.padding is not None
    assert np.array_equal(image.padding[0].numpy(), np.isnan(values))
    assert float(image.image.min()) == np.nanmin(values)
    assert bool(image.without_padding().isfinite().all())
    result = image.write(image.image.as_tensor() * 2, tmp_path / "result", Provenance("a", "b", "c"))
    assert np.array_equal(nib.load(result).get_fdata(), (2 * values).astype(np.float64), equal_nan=True)


def test_an_image_of_nan_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_bytes(np.full((4, 4, 4), np.nan, np.float32)))
    ((case,), _) = find_cases(tmp_path)
    with pytest.raises(InputError, match="none of its values is a number"):
        opener(True)(case)
