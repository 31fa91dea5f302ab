# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from scripts.data.datalist import make_datalist


def told(folder: Path, caplog: pytest.LogCaptureFixture, *names: str) -> str:
    """What is told of a data set with these files beside five low-quality images and one high-quality one."""
    for name in (*(f"lq/a{i}.png" for i in range(5)), "hq/b.png", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    make_datalist(folder)
    return caplog.text.replace(str(folder), "DIR")


def test_files_with_the_names_of_images_are_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ("labels/lq/a1.nii.gz", "labels/hq/b.png", "references/a1.png", "references/a2.png", "labels/readme.txt")
    assert told(tmp_path, caplog, *names) == ""


@pytest.mark.parametrize("folder", ["labels", "labels/lq"])
def test_labels_that_match_no_image_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    text = told(tmp_path, caplog, f"{folder}/a1.png", *(f"{folder}/c{i}.png" for i in range(40)))
    assert (
        f'40 labels match no image: "DIR/{folder}/c0.png", "DIR/{folder}/c1.png", "DIR/{folder}/c10.png", ...' in text
    )


def test_a_label_beside_the_folders_of_the_domains_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert '1 label matches no image: "DIR/labels/a1.png"' in told(
        tmp_path, caplog, "labels/lq/a0.png", "labels/a1.png"
    )


def test_references_that_match_no_low_quality_image_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "1 reference matches no image" in told(tmp_path, caplog, "references/b.png", "references/a0.png")


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("labels/a1_mask.png", "a1.png"),
        ("labels/A2-seg.nii.gz", "a2.png"),
        ("labels/case7.nii.gz", "case7_0000.nii.gz"),
    ],
)
def test_names_that_differ_by_an_ending_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, label: str, image: str
) -> None:
    text = told(tmp_path, caplog, "lq/case7_0000.nii.gz", "labels/a0.png", label)
    assert f'Give "{Path(label).name}" and its image "{image}" the same name' in text


@pytest.mark.parametrize(("other", "name"), [("masks", "labels"), ("labelsTr", "labels"), ("clean", "references")])
def test_a_folder_with_the_name_of_another_convention_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str, name: str
) -> None:
    assert f'"DIR/{other}" is not read: call it "{name}"' in told(tmp_path, caplog, f"{other}/a1.png")


def test_training_images_have_no_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told(tmp_path, caplog, *(f"references/a{i}.png" for i in range(5)))
    lists = make_datalist(tmp_path)
    assert [len([1 for entry in lists[name] if "reference" in entry]) for name in lists] == [0, 0, 1, 1]
