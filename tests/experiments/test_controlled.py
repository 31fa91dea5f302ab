# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.data.datalist import LISTS, load_datalist
from scripts.errors import InputError
from scripts.experiments import controlled as command
from scripts.experiments.controlled import make_experiment
from scripts.experiments.degrade import degrade, degrade_images

NAMES = [f"{letter}.png" for letter in "abcdefghijkl"]


def write_picture(path: Path, number: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(number).randint(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write_picture(tmp_path / "clean" / "images" / name, number)
        write_picture(tmp_path / "clean" / "labels" / name)
    return tmp_path / "clean"


def make(clean: Path, output: Path, **arguments: object) -> dict[str, list[dict[str, str]]]:
    return make_experiment(clean / "images", clean / "labels", output, **arguments)[0]  # type: ignore[arg-type]


def patients(lists: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {name: "".join(entry["patient"][0] for entry in lists[name]) for name in LISTS}


def test_the_split_of_seed_0_stays_that_of_published_figures(clean: Path, tmp_path: Path) -> None:
    expected = {"training_lq": "bjif", "training_hq": "kcdh", "validation": "e", "testing": "alg"}
    assert patients(make(clean, tmp_path / "out")) == expected


def test_another_seed_splits_otherwise(clean: Path, tmp_path: Path) -> None:
    assert patients(make(clean, tmp_path / "0")) != patients(make(clean, tmp_path / "1", seed=1))


@pytest.mark.parametrize(("validation", "number"), [(1, 1), (2, 2), (10, 2)])
def test_validation_takes_a_third_of_the_held_out_at_most(
    clean: Path, tmp_path: Path, validation: int, number: int
) -> None:
    for name in ("m.png", "n.png"):
        write_picture(clean / "images" / name)
        write_picture(clean / "labels" / name)
    lists = make(clean, tmp_path / "out", validation=validation)
    assert [len(lists[name]) for name in LISTS] == [4, 4, number, 6 - number]


def test_the_datalist_is_read_back_with_degraded_images_and_clean_references(clean: Path, tmp_path: Path) -> None:
    make(clean, tmp_path / "out")
    lists = load_datalist(tmp_path / "out")
    for entry in lists["training_lq"] + lists["validation"] + lists["testing"]:
        assert entry["image"] == str(tmp_path / "out" / "lq" / entry["patient"])
    for entry in lists["training_hq"]:
        assert entry["image"] == str(clean / "images" / entry["patient"])
    for entry in lists["validation"] + lists["testing"]:
        assert entry["reference"] == str(clean / "images" / entry["patient"])
    assert not any("reference" in entry for entry in lists["training_lq"] + lists["training_hq"])
    assert all(entry["label"] == str(clean / "labels" / entry["patient"]) for name in LISTS for entry in lists[name])


def test_images_are_degraded_like_the_whole_folder_and_guides_are_not(clean: Path, tmp_path: Path) -> None:
    lists = make(clean, tmp_path / "out", seed=3, noise_std_range=(0.2, 0.3))
    degrade_images(clean / "images", tmp_path / "all", seed=3, noise_std_range=(0.2, 0.3))
    degraded = {file.name: file.read_bytes() for file in (tmp_path / "out" / "lq").iterdir()}
    assert degraded.keys() == set(NAMES) - {entry["patient"] for entry in lists["training_hq"]}
    assert all(pixels == (tmp_path / "all" / name).read_bytes() for name, pixels in degraded.items())
    assert all(pixels != (clean / "images" / name).read_bytes() for name, pixels in degraded.items())


def test_an_experiment_around_its_clean_images_can_be_moved(clean: Path, tmp_path: Path) -> None:
    make(clean, clean)
    shutil.move(clean, tmp_path / "moved")
    assert load_datalist(tmp_path / "moved")["testing"][0]["reference"].startswith(str(tmp_path / "moved" / "images"))


def test_a_label_may_have_another_suffix(clean: Path, tmp_path: Path) -> None:
    (clean / "labels" / "a.png").rename(clean / "labels" / "a.tif")
    lists = make(clean, tmp_path / "out")
    label = next(entry["label"] for name in LISTS for entry in lists[name] if entry["patient"] == "a.png")
    assert label == str(clean / "labels" / "a.tif")


def test_a_label_of_the_very_name_comes_first(clean: Path, tmp_path: Path) -> None:
    write_picture(clean / "labels" / "a.bmp")
    lists = make(clean, tmp_path / "out")
    assert str(clean / "labels" / "a.bmp") not in {entry["label"] for name in LISTS for entry in lists[name]}


def test_other_files_and_subfolders_are_passed_over(clean: Path, tmp_path: Path) -> None:
    for folder in (clean / "images", clean / "labels"):
        write_picture(folder / "more" / "z.png")
        write_picture(folder / ".z.png")
        (folder / "z.txt").write_text("no image")
    assert "z" not in "".join(patients(make(clean, tmp_path / "out")).values())


def test_the_command_says_how_many_images_have_no_label(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clean / "labels" / "b.png").unlink()
    write_picture(clean / "images" / "unlabelled.png")
    folders = [f"--{name}_dir={clean / f'{name}s'}" for name in ("image", "label")]
    command.main([*folders, f"--output_dir={tmp_path / 'out'}"])
    out = capsys.readouterr().out
    assert "Left out 2 images" in out
    assert "3 training_lq, 3 training_hq, 1 validation, 4 testing" in out


def test_the_command_passes_its_ranges_on(clean: Path, tmp_path: Path) -> None:
    nothing = {"gamma_range": "1,1", "zoom_range": "1,1", "bias_strength_range": "0,0", "smooth_sigma_range": "0,0"}
    arguments = {"image_dir": clean / "images", "label_dir": clean / "labels", "output_dir": tmp_path / "out"}
    command.main([f"--{name}={value}" for name, value in {**arguments, **nothing, "noise_std_range": "0,0"}.items()])
    for file in (tmp_path / "out" / "lq").iterdir():
        np.testing.assert_array_equal(
            np.asarray(Image.open(file)), np.asarray(Image.open(clean / "images" / file.name))
        )


def test_an_unknown_range_is_refused_with_the_known_ones(clean: Path, tmp_path: Path) -> None:
    arguments = [f"--image_dir={clean / 'images'}", f"--label_dir={clean / 'labels'}", f"--output_dir={tmp_path}"]
    with pytest.raises(SystemExit, match="no option --noise_range") as refusal:
        command.main([*arguments, "--noise_range=0,0"])
    known = [name for name in inspect.signature(degrade).parameters if name.endswith("_range")]
    assert len(known) == 5
    assert all(name in str(refusal.value) for name in known)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_missing_folder_is_named(clean: Path, tmp_path: Path, name: str) -> None:
    shutil.rmtree(clean / name)
    with pytest.raises(InputError, match=f"no folder .*{name}"):
        make(clean, tmp_path / "out")


def test_fewer_than_nine_labelled_images_are_refused(clean: Path, tmp_path: Path) -> None:
    for name in NAMES[8:]:
        (clean / "labels" / name).unlink()
    with pytest.raises(InputError, match="only 8 of 12 images"):
        make(clean, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("seed", [1]), ("validation", 0), ("validation", 0.5), ("zoom_range", (2, 3))]
)
def test_a_forbidden_number_is_named(clean: Path, tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InputError, match=name.removesuffix("_range")):
        make(clean, tmp_path / "out", **{name: value})


@pytest.mark.parametrize("output", ["images", "images/out"])
def test_an_output_inside_the_clean_images_is_refused(clean: Path, output: str) -> None:
    with pytest.raises(InputError, match="inside the folder of the clean images"):
        make(clean, clean / output)


def test_an_output_that_is_a_file_is_refused(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        make(clean, tmp_path / "out")


@pytest.mark.parametrize("name", ["datalist.json", "lq/a.png"])
def test_nothing_that_is_there_is_overwritten(clean: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out" / "lq").mkdir(parents=True)
    (tmp_path / "out" / name).write_text("precious")
    with pytest.raises(InputError, match="is there already"):
        make(clean, tmp_path / "out")


def test_one_folder_for_images_and_labels_is_refused(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of their own"):
        make_experiment(clean / "images", clean / "images", tmp_path / "out")


def test_two_images_of_one_name_are_refused(clean: Path, tmp_path: Path) -> None:
    write_picture(clean / "images" / "a.bmp")
    with pytest.raises(InputError, match='both called "a"'):
        make(clean, tmp_path / "out")


def test_two_labels_for_one_image_are_refused(clean: Path, tmp_path: Path) -> None:
    (clean / "labels" / "a.png").rename(clean / "labels" / "a.bmp")
    write_picture(clean / "labels" / "a.tif")
    with pytest.raises(InputError, match='the label of "a.png"'):
        make(clean, tmp_path / "out")


def test_a_file_that_cannot_be_degraded_is_named_and_nothing_stays(clean: Path, tmp_path: Path) -> None:
    held_out = make(clean, tmp_path / "first")["testing"][-1]["patient"]
    (clean / "images" / held_out).write_text("no image")
    with pytest.raises(InputError, match=f"{held_out}.*1 images could not be degraded"):
        make(clean, tmp_path / "out")
    assert not any(file.is_file() for file in (tmp_path / "out").rglob("*"))


def test_the_datalist_of_a_function_call_is_the_one_written(clean: Path, tmp_path: Path) -> None:
    lists = make(clean, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "datalist.json").read_text()) == lists
