# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.metrics import PSNRMetric
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRangePercentiles

from scripts.data.datalist import load_datalist
from scripts.errors import InputError
from scripts.experiments import demo, simulated_patients, simulated_scanners
from scripts.io import write_dicom_series, write_nifti

pytest.importorskip("nilearn")

PATIENTS = 9
VOLUMES: dict[str, Any] = {"patients": PATIENTS, "seed": 7, "scanners": "one"}
SLICES: dict[str, Any] = {"patients": PATIENTS, "seed": 7, "task": "classification"}
SEVERAL: dict[str, Any] = {"patients": PATIENTS, "seed": 7}
GROUPS = ("training_lq", "training_hq", "validation", "testing")

load = Compose([LoadImage(reader="ITKReader"), EnsureChannelFirst(), Orientation("RAS", labels=None)])


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def as_array(path: Path) -> np.ndarray:
    return np.asarray(load(path))[0]


@pytest.fixture(scope="module")
def template() -> simulated_patients.Template:
    return simulated_patients.load_template()


@pytest.fixture(scope="module", autouse=True)
def _one_template(template: simulated_patients.Template) -> Iterator[None]:
    """It is read once, and not changed: the data of the same seed have the same bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "load_template", lambda: template)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo") / "data"
    assert demo.make_demo_data(made, **VOLUMES)
    return made


@pytest.fixture(scope="module")
def slices_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo") / "slices"
    assert demo.make_demo_data(made, **SLICES)
    return made


@pytest.fixture(scope="module")
def datalist(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "datalist.json").read_text())


@pytest.fixture(scope="module")
def entries(datalist: dict[str, Any]) -> list[dict[str, str]]:
    return [entry for group in GROUPS for entry in datalist[group]]


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    demo.make_demo_data(tmp_path / "again", **VOLUMES)
    assert digests(tmp_path / "again") == digests(folder)


def test_another_seed_gives_other_patients(template: simulated_patients.Template) -> None:
    one, two = (simulated_patients.simulate_patient(template, np.random.RandomState(seed)).label for seed in (0, 1))
    assert (one != two).mean() > 0.1


def test_every_patient_is_in_one_group_only(datalist: dict[str, Any], entries: list[dict[str, str]]) -> None:
    assert [len(datalist[group]) for group in GROUPS] == [3, 3, 1, 2]
    assert len({entry["patient"] for entry in entries}) == PATIENTS


@pytest.mark.parametrize(("patients", "sizes"), [(9, [3, 3, 1, 2]), (40, [13, 13, 4, 10]), (45, [15, 15, 5, 10])])
def test_patients_are_split_in_thirds(patients: int, sizes: list[int]) -> None:
    assert [len(indices) for indices in demo._split(patients).values()] == sizes


def test_no_two_patients_have_the_same_anatomy(folder: Path, entries: list[dict[str, str]]) -> None:
    labels = [as_array(folder / entry["label"]) for entry in entries]
    assert all((a != b).mean() > 0.1 for a, b in itertools.combinations(labels, 2))


def test_all_files_of_a_patient_share_shape_and_geometry(folder: Path, entries: list[dict[str, str]]) -> None:
    for entry in entries:
        images = [load(folder / entry[key]) for key in ("image", "label", "reference") if key in entry]
        for image in images:
            assert tuple(image.shape) == (1, *simulated_patients.SPATIAL_SIZE)
            torch.testing.assert_close(image.affine, images[-1].affine, atol=1e-4, rtol=0)
            np.testing.assert_allclose(image.pixdim, simulated_patients.SPACING, atol=1e-5)


def test_heads_lie_at_different_places_in_the_scanner(folder: Path, entries: list[dict[str, str]]) -> None:
    assert len({tuple(load(folder / entry["label"]).affine[:3, 3].tolist()) for entry in entries}) == PATIENTS


def test_labels_hold_the_four_classes_and_every_slice_much_brain(folder: Path, entries: list[dict[str, str]]) -> None:
    for entry in entries:
        label = nib.load(folder / entry["label"])
        assert label.get_data_dtype() == np.uint8
        assert set(np.unique(label.dataobj)) == set(demo.LABELS)
        assert (np.asarray(label.dataobj) > 0).mean(axis=(0, 1)).min() > 0.15


def test_clean_images_have_empty_air_and_white_matter_brighter_than_grey_than_fluid(
    folder: Path, datalist: dict[str, Any]
) -> None:
    for entry in datalist["training_hq"]:
        image, label = as_array(folder / entry["image"]), as_array(folder / entry["label"])
        assert image[0].max() == 0
        fluid, grey, white = (image[label == value].mean() for value in (1, 2, 3))
        assert fluid < grey < white < 1300


def test_low_quality_images_are_noisy_in_air_and_far_from_their_reference(
    folder: Path, datalist: dict[str, Any]
) -> None:
    scale = ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True)
    psnr = []
    for entry in datalist["testing"]:
        image, reference = load(folder / entry["image"]), load(folder / entry["reference"])
        assert image[0, 0].std() > 0
        psnr.append(float(PSNRMetric(1.0)(scale(image)[None], scale(reference)[None]).mean()))
    assert 13 < np.mean(psnr) < 19


def test_high_quality_styles_alternate_and_differ_in_contrast(folder: Path, datalist: dict[str, Any]) -> None:
    contrast: dict[str, list[float]] = {"flat": [], "steep": []}
    for entry in datalist["training_hq"]:
        image, label = as_array(folder / entry["image"]), as_array(folder / entry["label"])
        contrast[entry["style"]].append(float(image[label == 2].mean() / image[label == 3].mean()))
    assert [len(values) for values in contrast.values()] == [2, 1]
    assert min(contrast["flat"]) > max(contrast["steep"]) + 0.05


@pytest.mark.parametrize("group", ["training_lq", "training_hq", "testing"])
def test_both_formats_occur_in(group: str, datalist: dict[str, Any], folder: Path) -> None:
    assert {(folder / entry["image"]).is_dir() for entry in datalist[group]} == {True, False}


def test_dicom_is_read_as_the_nifti_file_would_be(tmp_path: Path) -> None:
    volume = np.random.RandomState(0).randint(0, 1200, (6, 8, 4)).astype(np.int16)
    affine = np.diag([2.0, 2.5, 4.0, 1.0])
    affine[:3, 3] = -91.25, 40.5, -13.37
    write_nifti(volume[None], affine, tmp_path / "volume")
    write_dicom_series(tmp_path / "series", volume, affine, "P001", "test")
    nifti, dicom = load(tmp_path / "volume.nii.gz"), load(tmp_path / "series")
    np.testing.assert_array_equal(dicom, nifti)
    np.testing.assert_array_equal(np.asarray(dicom)[0], volume)
    np.testing.assert_allclose(dicom.affine, affine, atol=1e-4)
    np.testing.assert_allclose(nifti.affine, affine, atol=1e-4)


def test_a_dicom_series_has_one_identity_and_a_valid_one_for_every_slice(
    folder: Path, datalist: dict[str, Any]
) -> None:
    entry = next(entry for entry in datalist["testing"] if (folder / entry["image"]).is_dir())
    slices = [pydicom.dcmread(path) for path in sorted((folder / entry["image"]).iterdir())]
    assert [ds.InstanceNumber for ds in slices] == list(range(1, simulated_patients.SPATIAL_SIZE[2] + 1))
    assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({ds[keyword].value for ds in slices}) == 1
    assert all(ds.SOPInstanceUID.is_valid and ds.SOPClassUID == pydicom.uid.MRImageStorage for ds in slices)
    assert {ds.PatientID for ds in slices} == {entry["patient"]}


def test_series_of_two_patients_have_different_identifiers(folder: Path) -> None:
    series = [pydicom.dcmread(path) for path in sorted(folder.rglob("slice_001.dcm"))]
    assert len({ds.SeriesInstanceUID for ds in series}) == len(series) > 1


def test_the_projects_own_reader_accepts_the_datalist(folder: Path) -> None:
    lists = load_datalist(folder)
    assert [len(lists[group]) for group in GROUPS] == [3, 3, 1, 2]


def test_licence_and_readme_come_along(folder: Path) -> None:
    assert "Copyright (C) 1993-2009 Louis Collins" in (folder / "LICENSE-MNI152.txt").read_text()
    assert "Not for diagnosis" in (folder / "README.txt").read_text()


def test_complete_data_are_left_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "load_template", lambda: pytest.fail("the data were made again"))
    assert not demo.make_demo_data(folder, **VOLUMES)


@pytest.fixture
def copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data; making them is cut short, since only the decision to do so is of interest."""

    def stop() -> None:
        raise InterruptedError

    monkeypatch.setattr(demo, "load_template", stop)
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("missing", ["datalist.json", "train/labels/P001.nii.gz", "train/lq/P002/slice_005.dcm"])
def test_incomplete_data_are_made_anew(copy: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(InterruptedError):
        demo.make_demo_data(copy, **VOLUMES)


def test_data_of_another_seed_are_replaced_by_force_only(copy: Path) -> None:
    with pytest.raises(InputError, match="--force"):
        demo.make_demo_data(copy, **{**VOLUMES, "seed": 8})
    with pytest.raises(InterruptedError):
        demo.make_demo_data(copy, **{**VOLUMES, "seed": 8}, force=True)


def test_data_for_another_task_are_replaced_by_force_only(copy: Path) -> None:
    with pytest.raises(InputError, match=r"seed 7 for segmentation, scanners one: .* --force"):
        demo.make_demo_data(copy, **SLICES)
    with pytest.raises(InterruptedError):
        demo.make_demo_data(copy, **SLICES, force=True)


def test_data_made_anew_take_the_place_of_the_old_ones(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(shutil.copytree(folder, tmp_path / "old"))
    (old / "datalist.json").unlink()
    (old / "train" / "stale.nii.gz").touch()
    monkeypatch.setattr(demo, "load_template", lambda: None)
    monkeypatch.setattr(demo, "make_patient", lambda *_: [{"patient": "P"}])
    assert demo.make_demo_data(old, **VOLUMES)
    assert (old / "datalist.json").exists()
    assert not (old / "train" / "stale.nii.gz").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_failure_midway_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(demo, "make_patient", fail)
    with pytest.raises(InputError, match="no space left"):
        demo.make_demo_data(tmp_path / "data", patients=PATIENTS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not demo data"):
        demo.make_demo_data(tmp_path, patients=PATIENTS, force=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("arguments", [{"patients": 8}, {"patients": "many"}, {"seed": -1}, {"seed": 0.5}])
def test_a_wrong_number_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        demo.make_demo_data(tmp_path / "data", **arguments)


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='--task is "detection" but must be segmentation or classification'):
        demo.make_demo_data(tmp_path / "data", task="detection")


def test_a_missing_nilearn_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(InputError, match="pip install"):
        simulated_patients.load_template()


def test_the_command_ends_with_one_sentence_and_status_1(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="^error: --patients is 5 "):
        demo.main(["--output_dir", str(tmp_path / "data"), "--patients", "5"])


def test_the_command_says_what_is_there_and_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(["--output_dir", str(folder), "--patients", str(PATIENTS), "--seed", "7", "--scanners", "one"])
    printed = capsys.readouterr().out
    assert "Already there" in printed
    assert str(folder / "datalist.json") in printed


# ------------------------------------------------------------------------------------------------- classification


def volume(folder: Path, entries: list[dict[str, Any]], key: str, patient: str) -> np.ndarray:
    """A patient's slices, put together again."""
    return np.stack([nib.load(folder / e[key]).dataobj for e in entries if e["patient"] == patient], axis=-1)


def test_half_of_every_patients_slices_have_lesions(slices_folder: Path) -> None:
    for entries in load_datalist(slices_folder).values():
        labels: dict[str, list[int]] = {}
        for entry in entries:
            labels.setdefault(entry["patient"], []).append(entry["label"])
        assert all(sorted(values) == [0] * 8 + [1] * 8 for values in labels.values())


def test_slices_keep_the_place_that_they_have_in_the_volume(folder: Path, slices_folder: Path) -> None:
    whole = nib.load(folder / "train/labels/P001.nii.gz").affine
    for index in (0, 9):
        image = nib.load(slices_folder / f"train/lq/P001/slice_{index + 1:02d}.nii.gz")
        assert image.shape == simulated_patients.SPATIAL_SIZE[:2]
        np.testing.assert_allclose(image.affine @ [3, 4, 0, 1], whole @ [3, 4, index, 1], atol=1e-3)


def test_slices_differ_from_the_patient_without_lesions_where_their_label_says_so(
    folder: Path, slices_folder: Path
) -> None:
    lists = load_datalist(slices_folder)
    entries = lists["validation"] + lists["testing"]
    for patient in {entry["patient"] for entry in entries}:
        clean = as_array(next(folder.glob(f"*/reference/{patient}.nii.gz")))
        changed = volume(slices_folder, entries, "reference", patient) != clean
        area = changed.sum(axis=(0, 1)) * 4
        labels = np.array([entry["label"] for entry in entries if entry["patient"] == patient], dtype=bool)
        assert area[~labels].max() == 0
        assert area[labels].min() >= simulated_patients.MIN_LESION_AREA


def test_a_low_quality_slice_shows_the_lesions_of_its_reference(folder: Path, slices_folder: Path) -> None:
    lists = load_datalist(slices_folder)["testing"]
    patient = lists[0]["patient"]
    lesions = as_array(folder / f"test/reference/{patient}.nii.gz") - volume(slices_folder, lists, "reference", patient)
    centre = lesions > 0.5 * lesions.max()
    darker = as_array(folder / f"test/lq/{patient}.nii.gz") - volume(slices_folder, lists, "image", patient)
    assert darker[centre].mean() > 5 * abs(darker[lesions == 0].mean())


def test_lesions_are_dark_round_and_in_white_matter(template: simulated_patients.Template) -> None:
    head = simulated_patients.simulate_patient(template, np.random.RandomState(0))
    image, has_lesions = simulated_patients.draw_lesions(head, np.random.RandomState(1))
    half = image < (1 - simulated_patients.LESION_CONTRAST / 2) * head.image
    assert (image <= head.image).all()
    assert (head.label[half] == 3).mean() > 0.9
    assert has_lesions.sum() == 8
    pixels = half.sum(axis=(0, 1))[has_lesions]
    # Two to four discs of 3.5 to 5 mm radius, pixels of 2 mm.
    assert pixels.min() >= 2 * 9
    assert pixels.max() <= 4 * 21


def test_the_same_random_state_draws_the_same_lesions(template: simulated_patients.Template) -> None:
    head = simulated_patients.simulate_patient(template, np.random.RandomState(0))
    one, two, other = (simulated_patients.draw_lesions(head, np.random.RandomState(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_slice_without_room_gets_no_lesion_and_no_label() -> None:
    narrow = np.zeros(simulated_patients.SPATIAL_SIZE, np.uint8)
    narrow[40:42, 40:42] = 3
    head = simulated_patients.Patient(np.full(simulated_patients.SPATIAL_SIZE, 0.8, np.float32), narrow, np.eye(4))
    image, has_lesions = simulated_patients.draw_lesions(head, np.random.RandomState(0))
    assert np.array_equal(image, head.image)
    assert not has_lesions.any()


def test_complete_slices_are_left_as_they_are(slices_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "load_template", lambda: pytest.fail("the data were made again"))
    assert not demo.make_demo_data(slices_folder, **SLICES)


def test_the_readme_names_the_classes_of_the_task(folder: Path, slices_folder: Path) -> None:
    texts = [(made / "README.txt").read_text() for made in (folder, slices_folder)]
    assert ["grey matter" in text for text in texts] == [True, False]
    assert ["lesions" in text for text in texts] == [False, True]


# ----------------------------------------------------------------------------------------------- several scanners


@pytest.fixture(scope="module")
def several_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo") / "several"
    assert demo.make_demo_data(made, **SEVERAL)
    return made


@pytest.fixture(scope="module")
def several(several_folder: Path) -> dict[str, list[dict[str, Any]]]:
    return load_datalist(several_folder)


def test_high_quality_patients_come_from_every_scanner_in_turn(several: dict[str, list[dict[str, Any]]]) -> None:
    assert [entry["style"] for entry in several["training_hq"]] == list(simulated_scanners.SCANNERS)


def test_a_patient_held_out_has_references_by_every_scanner_and_a_guide_of_his_own(
    several: dict[str, list[dict[str, Any]]],
) -> None:
    styles = {entry["image"]: entry["style"] for entry in several["training_hq"]}
    for entry in several["validation"] + several["testing"]:
        assert set(entry["references"]) == set(simulated_scanners.SCANNERS)
        assert entry["reference"] == entry["references"][entry["style"]]
        assert styles[entry["guide"]] == entry["style"]


def test_scanners_differ_by_tone_and_by_tissue_contrast(several: dict[str, list[dict[str, Any]]]) -> None:
    entry = several["testing"][0]
    label = as_array(entry["label"])
    means = {
        style: np.array([as_array(Path(path))[label == value].mean() for value in (1, 2, 3)])
        for style, path in entry["references"].items()
    }
    order = {style: values.argsort().tolist() for style, values in means.items()}
    assert order["scanner_a"] == order["scanner_b"] == [0, 1, 2]
    assert order["scanner_c"] == [2, 1, 0]
    assert means["scanner_b"][0] < 0.7 * means["scanner_a"][0]


def test_heads_have_a_dark_skull_within_a_scalp(several: dict[str, list[dict[str, Any]]]) -> None:
    entry = several["training_hq"][0]
    image, label = as_array(Path(entry["image"])), as_array(Path(entry["label"]))
    middle = image[:, image.shape[1] // 2, 6] / image.max()
    brain = np.flatnonzero(label[:, image.shape[1] // 2, 6])
    beside = middle[: brain[0]]
    scalp = int(beside.argmax())
    assert beside[scalp] > 0.5
    assert beside[scalp : brain[0]].min() < 0.3 * beside[scalp]


def test_lesions_of_every_kind_change_the_image_where_they_are(template: simulated_patients.Template) -> None:
    head = simulated_scanners.draw_head(
        simulated_patients.simulate_anatomy(template, np.random.RandomState(0)),
        np.random.RandomState(0),
    )
    scanner = simulated_scanners.SCANNERS["scanner_a"]
    bare = dataclasses.replace(head, lesions=torch.zeros_like(head.lesions))
    assert head.lesions.amax() > 0.3
    assert float(head.lesions.sum() / (head.tissue[:3].sum() + 1)) < 0.1
    images = [simulated_scanners.scan(which, scanner, np.random.RandomState(1)) for which in (bare, head)]
    shown = simulated_patients.pairs_of_planes_averaged(head.lesions.amax(0)[None])[0].numpy()
    changed = np.abs(images[1] - images[0])
    assert changed[shown > 0.3].mean() > 0.05
    assert changed[shown == 0].max() < 0.05


def test_one_scanner_is_all_that_classification_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--scanners one only"):
        demo.make_demo_data(tmp_path / "data", task="classification", scanners="several")
    with pytest.raises(InputError, match='--scanners is "two" but must be several or one'):
        demo.make_demo_data(tmp_path / "data", scanners="two")


def test_data_by_several_scanners_are_left_as_they_are(several_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "load_template", lambda: pytest.fail("the data were made again"))
    assert not demo.make_demo_data(several_folder, **SEVERAL)
