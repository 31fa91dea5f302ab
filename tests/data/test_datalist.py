# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from scripts.data import datalist
from scripts.data.datalist import LISTS, load_datalist, make_datalist, natural_order, write_datalist
from scripts.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write_header(file: Path, patient: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.PatientID = patient
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.MRImageStorage, generate_uid()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(file, enforce_file_format=True)


def write_json(folder: Path, **lists: Any) -> Path:
    (folder / "datalist.json").write_text(json.dumps(lists))
    return folder / "datalist.json"


def patients(lists: dict[str, list[dict[str, str]]], *names: str) -> set[str]:
    return {entry["patient"] for name in names for entry in lists[name]}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"lq/a{i}.nii.gz" for i in range(10)), *(f"hq/b{i}.png" for i in range(4)))
    return tmp_path


# ------------------------------------------------------------------------------------------------ made from folders


def test_every_lq_image_is_in_exactly_one_list(folders: Path) -> None:
    lists = load_datalist(folders, validation_fraction=0.2, test_fraction=0.3)
    assert [len(lists[name]) for name in LISTS] == [5, 4, 2, 3]
    assert patients(lists, "training_lq", "validation", "testing") == {f"a{i}" for i in range(10)}


def test_images_of_a_patient_stay_together(tmp_path: Path) -> None:
    touch(tmp_path, *(f"lq/p{p}/slice{i}.png" for p in range(5) for i in range(4)), "hq/b.png")
    lists = load_datalist(tmp_path)
    assert [len(lists[name]) for name in ("training_lq", "validation", "testing")] == [12, 4, 4]
    assert not patients(lists, "training_lq") & patients(lists, "validation", "testing")
    assert not patients(lists, "validation") & patients(lists, "testing")


def test_loose_dicom_files_belong_to_the_patient_of_their_header(tmp_path: Path) -> None:
    for i in range(4):
        write_header(tmp_path / "lq" / f"{i}.dcm", f"P{i // 2}")
    touch(tmp_path, "hq/b.png")
    assert [entry["patient"] for entry in load_datalist(tmp_path)["training_lq"]] == ["P0", "P0", "P1", "P1"]


def test_a_sub_folder_with_dicom_files_is_one_entry(tmp_path: Path) -> None:
    for i in range(3):
        write_header(tmp_path / "lq" / "anna" / "t1" / f"IM{i}", "")
    touch(tmp_path, "hq/b.png")
    assert load_datalist(tmp_path)["training_lq"] == [{"image": str(tmp_path / "lq/anna/t1"), "patient": "anna"}]


def test_hq_images_of_held_out_patients_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{domain}/p{i}.png" for domain in ("lq", "hq") for i in range(8)))
    lists = load_datalist(tmp_path)
    assert patients(lists, "training_hq") == patients(lists, "training_lq")


def test_the_split_does_not_depend_on_the_order_of_the_listing(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_datalist(folders)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((top, dirs, files[::-1]) for top, dirs, files in walk(*a, **k)))
    assert load_datalist(folders) == expected


def test_the_seed_decides_the_split(folders: Path) -> None:
    assert load_datalist(folders, seed=1) == load_datalist(folders, seed=1)
    assert len({str(load_datalist(folders, seed=seed)["testing"]) for seed in range(5)}) > 1


@pytest.mark.parametrize(("number", "sizes"), [(1, [1, 0, 0]), (2, [2, 0, 0]), (3, [1, 1, 1]), (4, [2, 1, 1])])
def test_few_patients_are_held_out_from_three_on(number: int, sizes: list[int], tmp_path: Path) -> None:
    touch(tmp_path, *(f"lq/a{i}.png" for i in range(number)), "hq/b.png")
    lists = load_datalist(tmp_path)
    assert [len(lists[name]) for name in ("training_lq", "validation", "testing")] == sizes


def test_that_nobody_is_held_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "lq/a.png", "hq/b.png")
    with caplog.at_level(logging.INFO):
        load_datalist(tmp_path)
    assert "no patient is held out" in caplog.text


def test_a_fraction_of_zero_holds_nobody_out(folders: Path) -> None:
    lists = load_datalist(folders, validation_fraction=0, test_fraction=0.1)
    assert (len(lists["validation"]), len(lists["testing"])) == (0, 1)


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5)])
def test_impossible_fractions_are_refused(fractions: tuple[float, float], folders: Path) -> None:
    with pytest.raises(InputError, match="less than 1 together"):
        load_datalist(folders, None, *fractions)


def test_labels_and_references_are_found_by_stem(tmp_path: Path) -> None:
    touch(tmp_path, *(f"lq/a{i}.nii.gz" for i in range(3)), "hq/b.png", "labels/a1.png", "labels/b.png")
    touch(tmp_path, *(f"references/a{i}.nii" for i in range(3)))
    lists = load_datalist(tmp_path)
    labels = {entry["patient"]: entry.get("label") for name in LISTS for entry in lists[name]}
    assert labels == {
        "a0": None,
        "a1": str(tmp_path / "labels/a1.png"),
        "a2": None,
        "b": str(tmp_path / "labels/b.png"),
    }
    (entry,) = lists["testing"]
    assert entry["reference"] == str(tmp_path / f"references/{entry['patient']}.nii")


def test_a_label_with_the_path_of_its_image_goes_before_one_with_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "lq/p1/t1.png", "lq/p2/t1.png", "hq/b.png", "labels/p1/t1.png")
    labels = [entry.get("label") for entry in load_datalist(tmp_path)["training_lq"]]
    assert labels == [str(tmp_path / "labels/p1/t1.png"), None]


def test_label_folders_for_each_domain_tell_like_names_apart(tmp_path: Path) -> None:
    touch(tmp_path, "lq/1.png", "hq/1.png", "hq/2.png", "labels/lq/1.png")
    lists = load_datalist(tmp_path)
    assert lists["training_lq"][0]["label"] == str(tmp_path / "labels/lq/1.png")
    assert not any("label" in entry for entry in lists["training_hq"])


def test_hidden_and_unknown_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "lq/a.png", "lq/.b.png", "lq/.c/d.png", "lq/Thumbs.db", "lq/readme.txt", "lq/DICOMDIR", "hq/b.png")
    assert [entry["patient"] for entry in load_datalist(tmp_path)["training_lq"]] == ["a"]


@pytest.mark.parametrize("name", ["a.nii", "a.NII.GZ", "a.png", "a.tif", "a.TIFF", "a.jpg", "a.jpeg", "a.bmp"])
def test_every_supported_format_is_found(name: str, tmp_path: Path) -> None:
    touch(tmp_path, f"lq/{name}", "hq/b.png")
    assert load_datalist(tmp_path)["training_lq"] == [{"image": str(tmp_path / "lq" / name), "patient": "a"}]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), 'no folder ".*lq"'),
        (("lq/a.png",), 'no folder ".*hq"'),
        (("lq/a.txt", "hq/a.png"), 'lq" holds no images'),
    ],
)
def test_missing_and_empty_folders_are_named(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        load_datalist(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_missing_dataset_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--dataset_dir"):
        load_datalist(name)


# ------------------------------------------------------------------------------------------------- read from a file


def test_a_datalist_in_the_folder_goes_before_the_folders(folders: Path) -> None:
    write_json(folders, training_lq=[{"image": "lq/a1.nii.gz"}], training_hq=[{"image": "hq/b1.png"}])
    assert [len(entries) for entries in load_datalist(folders).values()] == [1, 1, 0, 0]


def test_paths_count_from_the_dataset_folder_or_else_from_the_datalist(tmp_path: Path) -> None:
    touch(tmp_path, "data/a.png", "lists/b.png")
    file = write_json(tmp_path / "lists", training_lq=[{"image": "a.png"}], training_hq=[{"image": "b.png"}])
    lists = load_datalist(tmp_path / "data", file)
    assert lists["training_lq"] == [{"image": str(tmp_path / "data/a.png"), "patient": "a"}]
    assert lists["training_hq"] == [{"image": str(tmp_path / "lists/b.png"), "patient": "b"}]


def test_other_keys_of_decathlon_files_and_entries_are_let_be(folders: Path) -> None:
    lq, hq = [{"image": "lq/a1.nii.gz", "style": "T1"}], [{"image": "hq/b1.png"}]
    write_json(folders, name="x", labels={"0": "background"}, numTraining=1, training_lq=lq, training_hq=hq)
    assert load_datalist(folders)["training_lq"][0]["style"] == "T1"


def test_a_misspelt_key_is_logged(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    lq, hq = [{"image": "lq/a1.nii.gz", "labels": "x"}], [{"image": "hq/b1.png"}]
    write_json(folders, training_lq=lq, training_hq=hq)
    load_datalist(folders)
    assert '"labels" is not used, "label" would be' in caplog.text


def test_images_of_one_file_name_are_patients_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "1/t1.png", "2/t1.png", "3/t1.png")
    lq, hq = [{"image": "1/t1.png"}, {"image": "2/t1.png"}], [{"image": "3/t1.png"}]
    write_json(tmp_path, training_lq=lq, training_hq=hq)
    assert len(patients(load_datalist(tmp_path), *LISTS)) == 3


A, B = {"image": "lq/a1.nii.gz"}, {"image": "hq/b1.png"}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"training": [A]}, 'unknown list "training"'),
        ({"training_lq": A, "training_hq": [B]}, '"training_lq" .* is not a list'),
        ({"training_lq": ["lq/a1.nii.gz"], "training_hq": [B]}, 'entry 0 of training_lq .* has no "image"'),
        ({"training_lq": [A, {"label": "x"}], "training_hq": [B]}, 'entry 1 of training_lq .* has no "image"'),
        ({"training_lq": [{**A, "reference": 3}], "training_hq": [B]}, '"reference" of entry 0 .* is not a path'),
        ({"training_lq": [], "training_hq": [B]}, 'no low-quality .* "training_lq"'),
        ({"training_lq": [A]}, 'no high-quality .* "training_hq"'),
        ({"training_lq": [{"image": "x.png"}, {**A, "label": "y"}], "training_hq": [B]}, r'"\S*x.png" \(and 1 more'),
        (
            {"training_lq": [A], "training_hq": [B], "testing": [A]},
            'patient "a1" is both in training_lq and in testing',
        ),
        ({"training_lq": [A], "training_hq": [B], "validation": [B]}, 'patient "b1" is both in training_hq'),
        (
            {"training_lq": [{**A, "patient": 7}], "training_hq": [B], "testing": [{**B, "patient": "7"}]},
            'patient "7" is both in training_lq and in testing',
        ),
    ],
)
def test_what_is_wrong_in_a_datalist_is_named(lists: dict[str, Any], message: str, folders: Path) -> None:
    write_json(folders, **lists)
    with pytest.raises(InputError, match=message):
        load_datalist(folders)


@pytest.mark.parametrize("label", [0, 3, [0, 1, 1], [0]])
def test_a_label_may_be_a_class_or_a_list_of_them(label: Any, folders: Path) -> None:
    write_json(folders, training_lq=[{**A, "label": label}], training_hq=[B])
    assert load_datalist(folders)["training_lq"][0]["label"] == label


@pytest.mark.parametrize(
    ("label", "named"),
    [
        (1.5, "1.5"),
        (1.0, "1.0"),
        (-1, "-1"),
        (True, "true"),
        ([], r"\[\]"),
        ([0, 2], r"\[0, 2\]"),
        ([True], r"\[true\]"),
        ({"a": 1}, '{"a": 1}'),
        ("true", '"true"'),
        ("1", '"1"'),
        ("[0, 1]", r'"\[0, 1\]"'),
    ],
)
def test_a_label_that_is_neither_path_nor_class_is_refused(label: Any, named: str, folders: Path) -> None:
    write_json(folders, training_lq=[{**A, "label": label}], training_hq=[B])
    with pytest.raises(InputError, match=f'^"label" of entry 0 of training_lq .* is {named}: give a path in quotes'):
        load_datalist(folders)


def test_a_label_file_may_be_called_like_a_class(folders: Path) -> None:
    touch(folders, "1")
    write_json(folders, training_lq=[{**A, "label": "1"}], training_hq=[B])
    assert load_datalist(folders)["training_lq"][0]["label"] == str(folders / "1")


def test_a_patient_may_be_in_both_training_lists(folders: Path) -> None:
    write_json(folders, training_lq=[{**A, "patient": "p"}], training_hq=[{**B, "patient": "p"}])
    assert patients(load_datalist(folders), "training_lq", "training_hq") == {"p"}


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_is_no_datalist_is_refused(content: str, folders: Path) -> None:
    (folders / "datalist.json").write_text(content)
    with pytest.raises(InputError, match="datalist.json"):
        load_datalist(folders)


def test_a_missing_datalist_is_refused(folders: Path) -> None:
    with pytest.raises(InputError, match='no datalist file "other.json"'):
        load_datalist(folders, "other.json")


# ---------------------------------------------------------------------------------------------------------- written


def test_a_written_datalist_reads_as_the_lists_it_was_made_from(folders: Path) -> None:
    expected = make_datalist(folders, seed=3)
    write_datalist(str(folders), str(folders / "datalist.json"), seed=3)
    assert load_datalist(folders) == expected


def test_classes_are_written_as_they_are(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = make_datalist(folders)
    lists["training_lq"][0]["label"], lists["training_hq"][0]["label"] = 1, [0, 1]
    monkeypatch.setattr(datalist, "make_datalist", lambda *_: copy.deepcopy(lists))
    write_datalist(str(folders), str(folders / "datalist.json"))
    assert load_datalist(folders) == lists


def test_the_command_writes_the_file(folders: Path) -> None:
    datalist.main(["--dataset_dir", str(folders), "--output_file", str(folders / "list.json"), "--seed", "3"])
    assert load_datalist(folders, "list.json") == make_datalist(folders, seed=3)


def test_the_command_tells_a_mistake_in_one_line() -> None:
    # A text as the status of SystemExit is printed, and the status is 1.
    with pytest.raises(SystemExit, match=r'^error: there is no dataset folder "\S*nowhere": [^\n]+$'):
        datalist.main(["--dataset_dir", "nowhere", "--output_file", "x.json"])


def test_natural_order_counts_and_takes_other_digits_for_letters() -> None:
    assert sorted(["s10", "s9", "s²"], key=natural_order) == ["s9", "s10", "s²"]


# ----------------------------------------------------------------------------------- one image under several names


def fill(folder: Path, **contents: bytes) -> None:
    for name, content in contents.items():
        file = folder / name.replace("__", "/").replace("_png", ".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five low-quality images of five patients, two high-quality ones of others."""
    fill(tmp_path, **{f"lq__p{i}__a_png": b"lq %d" % i for i in range(5)}, hq__x_png=b"hq 1", hq__y_png=b"hq 2")
    return tmp_path


def lq_images(lists: dict[str, list[dict[str, str]]]) -> list[str]:
    return sorted(entry["image"] for name in ("training_lq", "validation", "testing") for entry in lists[name])


def test_a_loop_of_links_does_not_multiply_images(pictures: Path) -> None:
    (pictures / "lq" / "loop").symlink_to(pictures / "lq")
    (pictures / "lq" / "p0" / "up").symlink_to(pictures / "lq")
    (pictures / "lq" / "again").symlink_to(pictures / "lq" / "p1")
    assert len(lq_images(make_datalist(pictures))) == 5


def test_copies_and_links_count_once(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(pictures, lq__other__copy_png=b"lq 3", lq__p0__b_png=b"lq 4")
    (pictures / "lq" / "z.png").symlink_to(pictures / "lq" / "p1" / "a.png")
    assert len(lq_images(make_datalist(pictures))) == 5
    assert sum("it counts once" in record.getMessage() for record in caplog.records) == 3


def test_a_high_quality_copy_is_of_the_patient_of_its_original(pictures: Path) -> None:
    fill(pictures, **{f"hq__copy{i}_png": b"lq %d" % i for i in range(5)})
    lists = make_datalist(pictures)
    held_out = patients(lists, "validation", "testing")
    assert len(lists["training_hq"]) == 2 + 5 - len(held_out)
    assert not patients(lists, "training_hq") & held_out


@pytest.mark.parametrize("name", ["@eaDir", "thumbnails", "Thumbs"])
def test_thumbnails_are_no_patients(name: str, pictures: Path) -> None:
    fill(pictures, **{f"lq__{name}__small{i}_png": b"small %d" % i for i in range(3)})
    assert len(lq_images(make_datalist(pictures))) == 5


@pytest.mark.parametrize("copy_of", ["lq/../lq/p0/a.png", "link.png", "copy.png"])
def test_one_image_is_not_in_two_parts_of_a_datalist(copy_of: str, pictures: Path) -> None:
    (pictures / "link.png").symlink_to(pictures / "lq" / "p0" / "a.png")
    fill(pictures, copy_png=b"lq 0")
    lists: dict[str, Any] = {
        "training_lq": [{"image": "lq/p0/a.png", "patient": "one"}],
        "training_hq": [{"image": "hq/x.png", "patient": "two"}],
        "testing": [{"image": copy_of, "patient": "three"}],
    }
    with pytest.raises(InputError, match="are the same image: keep it in one of training, validation and testing"):
        load_datalist(pictures, write_json(pictures, **lists))


def test_an_image_counts_once_in_a_list_of_a_datalist(pictures: Path) -> None:
    images = [{"image": path, "patient": str(i)} for i, path in enumerate(("lq/p0/a.png", "lq/../lq/p0/a.png"))]
    lists = load_datalist(pictures, write_json(pictures, training_lq=images, training_hq=[{"image": "hq/x.png"}]))
    assert len(lists["training_lq"]) == 1


# ------------------------------------------------------------------------------------------------- lists handed over


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    touch(tmp_path, "good/p/1.nii.gz", "good/p/2.nii.gz", "good/q.png", "a.png", "q.png", "b.png")
    return tmp_path


def handed_over(folder: Path, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
    training = [{"image": str(folder / name)} for name in ("a.png", "q.png")]
    return load_datalist("", **{"training": training, "hq_data": str(folder / "good"), **arguments})


def test_lists_that_are_handed_over_need_no_data_set(pool: Path) -> None:
    lists = handed_over(pool, validation=[{"image": str(pool / "b.png"), "patient": 7}])
    assert [len(lists[name]) for name in LISTS] == [2, 3, 1, 0]
    assert lists["validation"][0]["patient"] == "7"


def test_a_high_quality_image_of_the_same_name_is_of_the_same_patient(pool: Path) -> None:
    hq = handed_over(pool)["training_hq"]
    # The dataset knows an entry without a patient by its path.
    assert [entry["patient"] for entry in hq] == ["p", "p", str(pool / "q.png")]


def test_a_list_that_is_handed_over_stays_as_it_is(pool: Path) -> None:
    fill(pool, a_png=b"one", q_png=b"one", good__q_png=b"two", good__r_png=b"two")
    lists = handed_over(pool)
    assert [Path(entry["image"]).name for entry in lists["training_lq"]] == ["a.png", "q.png"]
    assert [Path(entry["image"]).name for entry in lists["training_hq"]] == ["1.nii.gz", "2.nii.gz", "q.png"]


def test_an_image_that_is_handed_over_twice_is_in_one_part(pool: Path) -> None:
    fill(pool, a_png=b"one", b_png=b"one")
    with pytest.raises(InputError, match="are the same image"):
        handed_over(pool, validation=[{"image": str(pool / "b.png"), "patient": 7}])


@pytest.mark.parametrize("kind", ["file", "plain file", "list", "paths"])
def test_the_pool_may_be_a_datalist_or_a_list(pool: Path, kind: str) -> None:
    names = ["good/p/1.nii.gz", "good/q.png"]
    content: Any = {"training_hq": [{"image": name, "style": "s"} for name in names]}
    if kind == "plain file":
        content = content["training_hq"]
    (pool / "good.json").write_text(json.dumps(content))
    paths = [str(pool / name) for name in names]
    given = {"list": [{"image": path} for path in paths], "paths": paths}.get(kind, str(pool / "good.json"))
    assert [entry["image"] for entry in handed_over(pool, hq_data=given)["training_hq"]] == paths


def test_the_pool_takes_the_place_of_a_data_sets_images(folders: Path, pool: Path) -> None:
    lists = load_datalist(folders, hq_data=str(pool / "good"))
    assert len(lists["training_hq"]) == 3
    assert lists["training_lq"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hq_data": None}, "set hq_data"),
        ({"hq_data": []}, "no high-quality training images"),
        ({"training": [{"label": "x"}]}, 'entry 0 of training_lq has no "image"'),
        ({"validation": [{"image": "/nowhere.png"}]}, "nowhere.png"),
        ({"hq_data": "/nowhere.json"}, "nowhere.json"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(pool: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        handed_over(pool, **arguments)
