# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhancement from Python, held to what the batch program writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from tests.bundle.test_inference import AFFINE, phantom

import scripts
from scripts.api import Enhancer
from scripts.errors import InputError
from scripts.inference import BatchEnhancement, load_enhancer
from scripts.io import Provenance, find_cases, write_dicom_series
from scripts.reports import BatchReport, SafetyThresholds

MODELS = Path(__file__).resolve().parents[1] / "bundle" / "models"


@pytest.fixture(scope="module")
def enhance() -> Enhancer:
    return Enhancer.from_bundle(device="cpu", samples=2)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaled NIfTI volume of int16, a DICOM series and a picture."""
    folder = tmp_path_factory.mktemp("clinic") / "studies"
    folder.mkdir()
    volume = nib.Nifti1Image(phantom(40, 48, 3).astype(np.int16), AFFINE)
    volume.header.set_slope_inter(0.5, 10)
    nib.save(volume, folder / "t1.nii.gz")
    write_dicom_series(folder / "ben", phantom(40, 48, 3).astype(np.int16), AFFINE, "ben", "ben")
    Image.fromarray(phantom(48, 40).astype(np.uint16)).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def results(studies: Path) -> Path:
    """What the batch makes of them."""
    enhancer, spec = load_enhancer(MODELS / "model.pt", "cpu", samples=2)
    output = studies.parent / "results"
    cases, problems = find_cases(studies)
    report = BatchReport(output, SafetyThresholds.from_dict(spec.thresholds))
    provenance = Provenance("HQG-Net", "0", "0" * 12)
    assert BatchEnhancement(cases, problems, enhancer, output, provenance, report, progress=False).run() == 0
    return output


def stored(path: Path) -> np.ndarray:
    if path.is_dir():
        return np.stack([pydicom.dcmread(file).pixel_array for file in sorted(path.iterdir())])
    return np.asarray(nib.load(path).dataobj) if path.name.endswith(".gz") else np.asarray(Image.open(path))


@pytest.mark.parametrize("name", ["t1.nii.gz", "ben", "photo.png"])
def test_a_path_is_enhanced_and_saved_as_the_batch_does(
    enhance: Enhancer, studies: Path, results: Path, tmp_path: Path, name: str
) -> None:
    saved = enhance(studies / name).save(tmp_path / "new" / "result")
    assert saved.name == "result" + "".join(Path(name).suffixes)
    np.testing.assert_array_equal(stored(saved), stored(results / name))


def test_the_verdict_and_the_measures_are_those_of_the_report(enhance: Enhancer, studies: Path, results: Path) -> None:
    result = enhance(studies / "t1.nii.gz")
    row = next(row for row in (results / "report.csv").read_text().splitlines() if row.startswith("t1"))
    assert f",{result.verdict}," in row
    assert f"{result.measures['structure']:.4f}"[:5] in row
    assert result.verdict == "check"
    assert result.reasons


def test_an_image_of_nibabel_comes_back_as_one(enhance: Enhancer, studies: Path, results: Path) -> None:
    source = nib.load(studies / "t1.nii.gz")
    made = enhance(source).like_source()
    expected = nib.load(results / "t1.nii.gz")
    assert isinstance(made, nib.Nifti1Image)
    np.testing.assert_array_equal(made.dataobj.get_unscaled(), expected.dataobj.get_unscaled())
    np.testing.assert_array_equal(made.affine, source.affine)
    assert (made.dataobj.slope, made.dataobj.inter) == (0.5, 10)


def test_images_of_nibabel_in_memory_are_taken_with_their_values(enhance: Enhancer) -> None:
    values = phantom(40, 48, 3)
    nifti, mgh = nib.Nifti1Image(values, AFFINE), nib.MGHImage(values.astype(np.float32), AFFINE)
    expected = enhance(MetaTensor(torch.from_numpy(values[None]), affine=torch.from_numpy(AFFINE))).image
    np.testing.assert_array_equal(enhance(nifti).image.numpy(), expected.numpy())
    np.testing.assert_allclose(enhance(mgh).image.numpy(), expected.numpy(), rtol=1e-5)
    assert nifti.get_data_dtype() == np.float64


def test_an_array_and_a_tensor_give_the_voxels_of_the_file(enhance: Enhancer, studies: Path) -> None:
    from_file = enhance(studies / "t1.nii.gz")
    array = nib.load(studies / "t1.nii.gz").get_fdata()[None].astype(np.float32)
    of_array, of_tensor = enhance(array).like_source(), enhance(torch.from_numpy(array)).like_source()
    assert type(of_array) is np.ndarray
    assert type(of_tensor) is torch.Tensor
    np.testing.assert_array_equal(of_array, from_file.image.numpy())
    np.testing.assert_array_equal(of_tensor, from_file.image.numpy())


def test_an_array_does_not_know_its_pixels_and_metadata_tell_them(enhance: Enhancer, tmp_path: Path) -> None:
    array, affine = phantom(40, 48, 3)[None].astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(array[0], affine), tmp_path / "a.nii.gz")
    from_file = enhance(tmp_path / "a.nii.gz").image.numpy()
    known = MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine))
    np.testing.assert_array_equal(enhance(known).image.numpy(), from_file)
    assert not np.allclose(enhance(array).image.numpy(), from_file, atol=1)


def test_a_picture_of_columns_and_rows_gives_the_voxels_of_its_file(enhance: Enhancer, studies: Path) -> None:
    array = np.asarray(Image.open(studies / "photo.png")).T[None]
    result = enhance(array)
    np.testing.assert_array_equal(result.image.numpy(), enhance(studies / "photo.png").image.numpy())
    assert result.image.dtype == torch.float32


def test_a_metatensor_keeps_affine_and_metadata_and_its_slices_follow_the_affine(enhance: Enhancer) -> None:
    turned = np.array([[0, 0, 4.8, 0], [1.5, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1.0]])  # slices along the patient's x
    image = MetaTensor(torch.from_numpy(phantom(40, 48, 3)[None]), affine=torch.from_numpy(turned))
    image.meta["patient"] = "anna"
    result = enhance(image)
    assert type(result.like_source()) is MetaTensor
    assert result.image.meta["patient"] == "anna"
    np.testing.assert_array_equal(result.image.affine, turned)
    np.testing.assert_array_equal(result.deviation.affine, turned)
    assert result.image.shape == image.shape
    assert result.deviation.shape == (1, 40, 48, 3)
    assert float(result.deviation.max()) > 0


def test_units_are_those_of_the_source(enhance: Enhancer) -> None:
    array = phantom(40, 48)[None].astype(np.float32)
    first, second = enhance(array).image, enhance(array * 100 - 5000).image
    assert first.max() > 300
    np.testing.assert_allclose((second.numpy() + 5000) / 100, first.numpy(), atol=0.5)


def test_a_guide_is_a_style_an_array_or_files(enhance: Enhancer, studies: Path) -> None:
    array = phantom(40, 48)[None]
    prototype = enhance(array).image
    style = Enhancer.from_bundle(MODELS, device="cpu", guide=enhance.styles[0])
    of_files = Enhancer.from_bundle(MODELS.parent, device="cpu", guide=studies / "t1.nii.gz")
    of_array = Enhancer.from_bundle(MODELS, device="cpu")
    of_array.follow(nib.load(studies / "t1.nii.gz"))
    assert not torch.equal(style(array).image, prototype)
    assert torch.equal(of_files(array).image, of_array(array).image)
    assert not torch.equal(of_files(array).image, prototype)
    of_array.follow(None)
    assert torch.equal(of_array(array).image, prototype)


def test_a_model_without_limits_gives_no_verdict(tmp_path: Path) -> None:
    shutil.copy(MODELS / "model.pt", tmp_path)
    content = json.loads((MODELS / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**content, "thresholds": None}))
    result = Enhancer.from_bundle(tmp_path, device="cpu")(phantom(40, 48)[None])
    assert result.verdict is None
    assert result.deviation is None
    assert result.measures


def test_nan_is_background_where_asked_for(tmp_path: Path) -> None:
    values = phantom(40, 48, 3).astype(np.float32)
    values[:5] = np.nan
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "a.nii.gz")
    enhance = Enhancer.from_bundle(device="cpu", nan_as_padding=True)
    of_file, of_array = enhance(tmp_path / "a.nii.gz"), enhance(values[None])
    for result in (of_file.image.numpy()[0], nib.load(of_file.save(tmp_path / "b.nii.gz")).get_fdata()):
        np.testing.assert_array_equal(np.isnan(result), np.isnan(values))
        assert not np.array_equal(result[5:], values[5:])
    np.testing.assert_array_equal(of_array.like_source(), of_file.image.numpy())
    assert all(np.isfinite(list(of_file.measures.values())))
    with pytest.raises(InputError, match="the image cannot be taken: none of its values is a number"):
        enhance(np.full((1, 40, 48), np.nan))


def test_values_that_saving_would_cut_are_counted_with_a_word(tmp_path: Path) -> None:
    shutil.copy(MODELS / "model.pt", tmp_path)
    content = json.loads((MODELS / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**content, "thresholds": None}))
    Image.fromarray((phantom(48, 40) > 400).astype(np.uint8) * 255).save(tmp_path / "a.png")
    result = Enhancer.from_bundle(tmp_path, device="cpu")(tmp_path / "a.png")
    source = np.asarray(Image.open(tmp_path / "a.png")).T
    values = np.rint(result.image.numpy()[0])
    assert result.clipped == np.count_nonzero(((values > 255) & (source < 255)) | ((values < 0) & (source > 0)))
    assert (result.verdict, len(result.reasons)) == (None, int(result.clipped > 1e-3 * source.size))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (phantom(40, 48), r"shape \(40, 48\) is no image: give \(channels, columns, rows\).*array\[None\]"),
        (phantom(40, 48, 3), "has 40 channels and the network takes 1.*array"),
        (np.zeros((1, 0, 5)), "is no image"),
        (np.full((1, 40, 48), "a"), "give real numbers"),
        (torch.zeros(1, 40, 48, dtype=torch.complex64), "give real numbers"),
        (np.zeros((1, 40, 48)), "is constant"),
        (np.full((1, 40, 48), np.nan), "not finite"),
        (phantom(8, 8)[None], "8×8 pixels but the network needs at least"),
        (MetaTensor(torch.from_numpy(phantom(40, 48, 3)[None]), affine=torch.zeros(4, 4)), "cannot be inverted"),
        ("no/such/file.nii", "there is no such file"),
        ([1, 2], "a list is no image: give an array"),
        (nib.Nifti1Image(np.zeros((40, 48, 3, 2)), np.eye(4)), "holds 2 volumes"),
        (nib.Nifti1Image(np.zeros((40, 48, 3), np.complex64), np.eye(4)), "complex"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(enhance: Enhancer, image: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        enhance(image)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_saving_refuses_arrays_other_suffixes_and_places_that_are_taken(
    enhance: Enhancer, studies: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no file format"):
        enhance(phantom(40, 48)[None]).save(tmp_path / "result.nii.gz")
    result = enhance(studies / "t1.nii.gz")
    with pytest.raises(InputError, match=r"end with \.nii\.gz"):
        result.save(tmp_path / "result.png")
    result.save(tmp_path / "result.nii.gz")
    with pytest.raises(InputError, match="is there already"):
        result.save(tmp_path / "result")
    assert [path.name for path in tmp_path.iterdir()] == ["result.nii.gz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bundle_or_model_dir": "/no/such"}, "no trained network"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"guide": "no_such_style"}, "no guide"),
        ({"samples": 1}, "samples must be 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Enhancer.from_bundle(**{"device": "cpu", **arguments})  # type: ignore[arg-type]


def test_the_package_offers_the_enhancer_and_its_version() -> None:
    assert scripts.Enhancer is Enhancer
    assert scripts.__version__ == json.loads((MODELS.parent / "configs/metadata.json").read_text())["version"]
    assert {"Enhancer", "__version__"} <= set(dir(scripts))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scripts.nothing
