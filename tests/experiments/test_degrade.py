# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImage, Orientation
from PIL import Image

from scripts.errors import InputError
from scripts.experiments import degrade as command
from scripts.experiments.degrade import degrade_images
from scripts.io import write_dicom_series, write_nifti
from scripts.transforms.degradation import RandScannerDegradation

AFFINE = np.diag([-1.0, 1.5, 1.2, 1.0])
AFFINE[:3, 3] = 3, -4, 5


def volume(*size: int) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in size], indexing="ij")
    return 100 + 900 * (sum(a**2 for a in axes) < 1)


def write_picture(path: Path, mode: str) -> Path:
    pixels = np.clip(volume(30, 40) / 4, 0, 255).astype(np.uint8)
    image = Image.fromarray((volume(30, 40) * 20).astype(np.uint16)) if mode == "I;16" else Image.fromarray(pixels)
    (image.convert("RGB") if mode == "RGB" else image).save(path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("size", [(35, 50, 35), (20, 24)])
def test_nifti_keeps_name_geometry_and_type(tmp_path: Path, dtype: type, name: str, size: tuple[int, ...]) -> None:
    (tmp_path / "in").mkdir()
    image = nib.Nifti1Image((volume(*size) / 4).astype(dtype), AFFINE)
    image.set_sform(AFFINE, code=2)
    image.to_filename(tmp_path / "in" / name)
    written, failures = degrade_images(tmp_path / "in", tmp_path / "out")
    assert (written, failures) == ([tmp_path / "out" / name], [])
    degraded = nib.load(written[0])
    assert degraded.get_data_dtype() == dtype
    assert degraded.shape == size
    assert degraded.header["sform_code"] == 2
    np.testing.assert_allclose(degraded.affine, AFFINE)
    values = np.asarray(degraded.dataobj)
    assert 25 <= values.min() < values.max() <= 250
    assert np.abs(values - np.asarray(image.dataobj, dtype=float)).mean() > 5


def test_nifti_with_a_slope_keeps_its_storage_type_and_unit(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(16, 16, 16) / 1000, AFFINE)
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "a.nii")
    degrade_images(tmp_path / "a.nii", tmp_path / "out", noise_std_range=(0, 0), bias_strength_range=(0, 0))
    degraded = nib.load(tmp_path / "out" / "a.nii")
    assert degraded.get_data_dtype() == np.int16
    assert np.asarray(degraded.dataobj).max() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.png", "L"), ("a.png", "I;16"), ("a.tif", "RGB"), ("a.jpg", "RGB")]
)
def test_pictures_keep_size_mode_and_format(tmp_path: Path, name: str, mode: str) -> None:
    with Image.open(write_picture(tmp_path / name, mode)) as before:
        degrade_images(tmp_path / name, tmp_path / "out")
        with Image.open(tmp_path / "out" / name) as after:
            assert (after.size, after.mode, after.format) == (before.size, before.mode, before.format)
            assert not np.array_equal(np.asarray(after), np.asarray(before))


def test_without_any_degradation_a_picture_stays(tmp_path: Path) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (12, 20, 3)).astype(np.uint8)
    picture[0, :2] = [[0, 0, 0], [255, 255, 255]]
    Image.fromarray(picture).save(tmp_path / "a.png")
    nothing = {"gamma_range": (1, 1), "zoom_range": (1, 1)}
    nothing |= dict.fromkeys(("bias_strength_range", "smooth_sigma_range", "noise_std_range"), (0, 0))
    degrade_images(tmp_path / "a.png", tmp_path / "out", **nothing)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), picture)


def test_a_dicom_series_becomes_a_nifti_file_with_its_geometry(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = 3, -4, 5
    write_dicom_series(tmp_path / "in" / "patient", volume(12, 14, 5).astype(np.int16), affine, "P", "test")
    written, _ = degrade_images(tmp_path / "in", tmp_path / "out")
    assert written == [tmp_path / "out" / "patient.nii.gz"]
    degraded = Orientation("RAS", labels=None)(LoadImage(ensure_channel_first=True)(written[0]))
    np.testing.assert_allclose(degraded.affine, affine, atol=1e-4)
    assert nib.load(written[0]).get_data_dtype() == np.int16


def test_pixel_padding_takes_no_part(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "in" / "a", 100 + volume(12, 14, 5).astype(np.int16), np.eye(4), "P", "test")
    for file in (tmp_path / "in" / "a").iterdir():
        dataset = pydicom.dcmread(file)
        stored = dataset.pixel_array.copy()
        stored[:2] = 0
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.PixelData = stored.tobytes()
        dataset.save_as(file)
    (file,), _ = degrade_images(tmp_path / "in", tmp_path / "out", noise_std_range=(0, 0))
    assert nib.load(file).get_fdata().min() >= 200


def test_thick_slices_are_not_blurred_into_one_another(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 6), np.float32)
    values[5:15, 5:15, 3] = 1000
    nib.Nifti1Image(values, np.diag([1, 1, 5, 1.0])).to_filename(tmp_path / "a.nii")
    degrade_images(tmp_path / "a.nii", tmp_path / "out", bias_strength_range=(0, 0), noise_std_range=(0, 0))
    assert np.asarray(nib.load(tmp_path / "out" / "a.nii").dataobj)[..., [2, 4]].max() < 1


def test_draws_depend_on_seed_and_name_and_not_on_the_other_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name, "L")
    degrade_images(tmp_path / "in", tmp_path / "both")
    degrade_images(tmp_path / "in" / "b.png", tmp_path / "alone")
    degrade_images(tmp_path / "in", tmp_path / "other", seed=1)
    a, b, alone, other = (
        (tmp_path / name).read_bytes() for name in ("both/a.png", "both/b.png", "alone/b.png", "other/b.png")
    )
    assert b == alone
    assert b != other
    assert a != b


def test_subfolders_are_kept_and_earlier_results_are_not_degraded_again(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_picture(tmp_path / "sub" / "a.png", "L")
    (tmp_path / "notes.txt").write_text("no image")
    for _ in range(2):
        written, failures = degrade_images(tmp_path, tmp_path / "out")
        assert (written, failures) == ([tmp_path / "out" / "sub" / "a.png"], [])


def test_some_of_the_images_are_degraded_like_all(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / "in" / name, "L")
    degrade_images(tmp_path / "in", tmp_path / "all")
    written, _ = degrade_images(tmp_path / "in", tmp_path / "some", images=["c.png", tmp_path / "in" / "a.png"])
    assert written == [tmp_path / "some" / "c.png", tmp_path / "some" / "a.png"]
    assert all(file.read_bytes() == (tmp_path / "all" / file.name).read_bytes() for file in written)


def test_a_bad_file_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_broken.png").write_text("no image")
    write_nifti((np.ones((8, 8, 8), np.int16))[None], AFFINE, tmp_path / "in" / "b_constant")
    write_nifti((np.full((8, 8, 8), np.nan, np.float32))[None], AFFINE, tmp_path / "in" / "c_nan")
    write_picture(tmp_path / "in" / "d.png", "L")
    written, failures = degrade_images(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in written] == ["d.png"]
    assert len(failures) == 3
    for failure, name in zip(failures, ("a_broken.png", "b_constant.nii.gz", "c_nan.nii.gz"), strict=True):
        assert name in failure


def test_the_command_reports_a_bad_file_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_text("no image")
    write_picture(tmp_path / "good.png", "L")
    with pytest.raises(SystemExit, match="^error: 1 "):
        command.main(["--input_dir", str(tmp_path), "--output_dir", str(tmp_path / "out"), "--zoom_range", "0.5,0.6"])
    assert "broken.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "good.png").exists()


def test_clean_images_are_never_overwritten(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", "L")
    with pytest.raises(InputError, match="another folder"):
        degrade_images(tmp_path, tmp_path)
    with pytest.raises(InputError, match="another folder"):
        degrade_images(tmp_path / "a.png", tmp_path)


@pytest.mark.parametrize("name", ["missing", "empty", "text.txt"])
def test_input_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no image")
    with pytest.raises(InputError, match=name):
        degrade_images(tmp_path / name, tmp_path / "out")


def test_a_series_and_a_file_of_one_name_are_refused(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "in" / "a", volume(8, 8, 4).astype(np.int16), np.eye(4), "P", "test")
    write_nifti((volume(8, 8, 4).astype(np.int16))[None], np.eye(4), tmp_path / "in" / "a")
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        degrade_images(tmp_path / "in", tmp_path / "out")


def test_the_command_has_the_defaults_of_the_transform() -> None:
    transform = inspect.signature(RandScannerDegradation).parameters
    ranges = {n: p for n, p in inspect.signature(command.degrade).parameters.items() if n.endswith("_range")}
    assert len(ranges) == 5
    assert all(parameter.default == transform[name].default for name, parameter in ranges.items())
