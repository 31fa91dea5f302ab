# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Programs that we did not write look at DICOM results: dciodvfy, dcm2niix, ITK, nibabel and Orthanc."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
from tests.integration.dicom_kinds import KINDS, ct_series, enhanced_mr, packed
from tests.integration.servers import free_port, orthanc_settings, program

from scripts.io import Provenance, find_cases, open_case
from scripts.io.dicom import DICOMCase
from scripts.io.nifti import NiftiCase

pytestmark = pytest.mark.integration

PROVENANCE = Provenance("HQG-Net bundle", "0.3.0", "0123456789ab", "4 samples")


def shared_series(shared_data: Path, pattern: str) -> list[Path]:
    (folder,) = shared_data.glob(pattern)
    return sorted(folder.iterdir())


def derive(files: Sequence[Path], folder: Path) -> tuple[list[Path], list[Path]]:
    """Write a result that is a little brighter than its source, and a deviation."""
    case = DICOMCase.read(files)
    folder.mkdir(exist_ok=True)
    made = [
        case.write(case.image + 3, folder / "result", PROVENANCE),
        case.write_deviation(case.image.std(0, keepdim=True, correction=0) + 0.5, folder / "deviation", PROVENANCE),
    ]
    result, deviation = ([place] if place.is_file() else sorted(place.iterdir()) for place in made)
    return result, deviation


def errors_in(file: Path) -> set[str]:
    run = subprocess.run([program("dciodvfy"), str(file)], capture_output=True, text=True, errors="replace", timeout=60)
    return {line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")}


REAL = ("brain_mr_dicom/12-*", "brain_mr_dicom/36459-*", "head_ct_dicom")


WAYS = ("plain", "packed")
PLACED = ("CT", "MR", "PET", "enhanced MR", "enhanced CT")
"""Kinds that lie in the patient."""


@pytest.fixture(params=[f"{way} {kind}" for kind in KINDS for way in WAYS])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """The files of a made object of each kind, as it is and with compressed pixels."""
    way, kind = request.param.split(" ", 1)
    made = KINDS[kind](tmp_path / "source")
    return [packed(file) for file in made] if way == "packed" else made


def test_dciodvfy_finds_no_error_that_the_source_lacks(files: list[Path], tmp_path: Path) -> None:
    result, deviation = derive(files, tmp_path / "derived")
    known = errors_in(files[0])
    # Enhanced objects lack what is known of the scan.
    assert not known or "Enhanced" in pydicom.dcmread(files[0]).SOPClassUID.name
    assert errors_in(result[0]) <= known
    assert errors_in(deviation[0]) <= known


def test_itk_reads_the_values_that_were_written(files: list[Path], tmp_path: Path) -> None:
    for made in derive(files, tmp_path / "derived"):
        ((case,), problems) = find_cases(made[0].parent if len(made) > 1 else made[0])
        assert problems == []
        ours = open_case(case).image.numpy()  # (C, columns, rows, slices)
        ours = ours[..., None] if ours.ndim == 3 else ours
        slices = sorted(made, key=position)
        for number, file in enumerate(slices):
            theirs = itk.array_from_image(itk.imread(str(file)))
            frames = ours if len(slices) == 1 else ours[..., number : number + 1]
            expected = frames.T if len(ours) > 1 else frames[0].T
            np.testing.assert_allclose(theirs.reshape(expected.shape), expected, rtol=1e-5, atol=1e-4)


def position(file: Path) -> float:
    place = pydicom.dcmread(file, stop_before_pixels=True).get("ImagePositionPatient")
    return float(place[2]) if place else 0.0


@pytest.mark.parametrize("files", [f"{way} {kind}" for kind in PLACED for way in WAYS], indirect=True)
def test_dcm2niix_and_nibabel_find_the_geometry_and_the_values_of_the_result(files: list[Path], tmp_path: Path) -> None:
    result, _ = derive(files, tmp_path / "derived")
    case = DICOMCase.read(result)
    (image,) = converted(result, tmp_path / "of_result")
    ours, theirs = case.image.numpy()[0], image.get_fdata()
    back = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.io_orientation(case.image.affine))
    turned = nib.orientations.apply_orientation(theirs, back)
    np.testing.assert_allclose(turned, ours, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        image.affine @ nib.orientations.inv_ornt_aff(back, theirs.shape), case.image.affine.numpy(), atol=1e-4
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_itk_and_nibabel_read_a_nifti_result_alike(dtype: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (9, 8, 7)).astype(dtype)
    source = nib.Nifti1Image(values, np.array([[0, -2.0, 0, 9], [1.5, 0, 0, -7], [0, 0, 4, 3], [0, 0, 0, 1]]))
    source.header.set_slope_inter(0.5 if dtype != np.float32 else 1, 10 if dtype != np.float32 else 0)
    nib.save(source, tmp_path / "a.nii.gz")
    case = NiftiCase.read(tmp_path / "a.nii.gz")
    result = case.image.as_tensor() * 3 + 200  # more than the stored type holds with the slope of the source
    made = nib.load(case.write(result, tmp_path / "b", PROVENANCE))
    image = itk.imread(str(tmp_path / "b.nii.gz"))
    theirs = itk.array_from_image(image).T
    np.testing.assert_allclose(made.get_fdata(), result[0].numpy(), atol=1)
    np.testing.assert_allclose(theirs, made.get_fdata(), rtol=1e-5)
    flip = np.diag([-1.0, -1, 1])  # LPS
    matrix = flip @ itk.array_from_matrix(image.GetDirection()) @ np.diag(image.GetSpacing())
    np.testing.assert_allclose(matrix, made.affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(flip @ np.array(image.GetOrigin()), made.affine[:3, 3], atol=1e-5)
    np.testing.assert_array_equal(made.affine, source.affine)


@pytest.mark.parametrize("pattern", REAL)
def test_dciodvfy_finds_no_error_that_a_real_source_lacks(pattern: str, shared_data: Path, tmp_path: Path) -> None:
    files = shared_series(shared_data, pattern)
    result, deviation = derive(files, tmp_path / "derived")
    for source, enhanced, spread in zip(files[::9], result[::9], deviation[::9], strict=True):
        known = errors_in(source)
        assert errors_in(enhanced) <= known
        assert errors_in(spread) <= known


def converted(files: Sequence[Path], folder: Path) -> list[nib.Nifti1Image]:
    """What dcm2niix makes of files, in the order of the shapes and names of its own."""
    (folder / "in").mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / "in" / file.name)
    subprocess.run(
        [program("dcm2niix"), "-f", "%n", "-o", str(folder), str(folder / "in")],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return [nib.load(file) for file in sorted(folder.glob("*.nii"))]


def assert_same_geometry(files: Sequence[Path], tmp_path: Path) -> None:
    result, deviation = derive(files, tmp_path / "derived")
    expected = converted(files, tmp_path / "of_source")
    assert expected
    for name, made in (("result", result), ("deviation", deviation)):
        found = converted(made, tmp_path / f"of_{name}")
        assert [image.shape for image in found] == [image.shape for image in expected]
        for image, reference in zip(found, expected, strict=True):
            assert np.array_equal(image.affine, reference.affine)


@pytest.mark.parametrize("tilt", [0.0, 0.8])
def test_dcm2niix_makes_the_same_affine_of_a_ct_series(tilt: float, tmp_path: Path) -> None:
    assert_same_geometry(ct_series(tmp_path / "source", tilt), tmp_path)


def test_dcm2niix_makes_the_same_affine_of_an_enhanced_object(tmp_path: Path) -> None:
    assert_same_geometry(enhanced_mr(tmp_path / "source"), tmp_path)


@pytest.mark.parametrize("pattern", REAL)
def test_dcm2niix_makes_the_same_affine_of_a_real_series(pattern: str, shared_data: Path, tmp_path: Path) -> None:
    assert_same_geometry(shared_series(shared_data, pattern), tmp_path)


def test_dcm2niix_reads_the_values_of_the_result(tmp_path: Path) -> None:
    files = ct_series(tmp_path / "source")
    result, _ = derive(files, tmp_path / "derived")
    (source,), (enhanced,) = converted(files, tmp_path / "of_source"), converted(result, tmp_path / "of_result")
    difference = enhanced.get_fdata() - source.get_fdata()
    padding = source.get_fdata() == 5 - 1024
    assert padding.any()
    assert np.array_equal(difference, np.where(padding, 0, np.where(source.get_fdata() == 2 - 1024, 4, 3)))


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[str]:
    """Address of an archive of its own."""
    server, http = program("Orthanc"), free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    settings = orthanc_settings(folder, http)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([server, str(settings)], stdout=log, stderr=log)
        address = f"http://127.0.0.1:{http}"
        try:
            wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            requests.get(f"{address}/system", timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail("Orthanc does not answer")


def upload(address: str, files: Sequence[Path]) -> None:
    for file in files:
        answer = requests.post(f"{address}/instances", data=file.read_bytes(), timeout=30)
        answer.raise_for_status()
        assert answer.json()["Status"] == "Success"


def test_orthanc_files_everything_under_the_study_of_the_source(orthanc: str, tmp_path: Path) -> None:
    files = ct_series(tmp_path / "source")
    result, deviation = derive(files, tmp_path / "derived")
    upload(orthanc, [*files, *result, *deviation])
    (study,) = requests.get(f"{orthanc}/studies?expand", timeout=30).json()
    series = [requests.get(f"{orthanc}/series/{uid}", timeout=30).json() for uid in study["Series"]]
    found = {item["MainDicomTags"]["SeriesDescription"]: len(item["Instances"]) for item in series}
    assert found == {"Head": 4, "Head HQG-Net enhanced": 4, "Head HQG-Net standard deviation": 4}


@pytest.mark.parametrize("pattern", REAL)
def test_orthanc_files_a_real_result_under_the_study_of_the_source(
    pattern: str, orthanc: str, shared_data: Path, tmp_path: Path
) -> None:
    files = shared_series(shared_data, pattern)
    result, deviation = derive(files, tmp_path / "derived")
    upload(orthanc, [*files, *result, *deviation])
    (study,) = requests.get(f"{orthanc}/studies?expand", timeout=30).json()
    assert len(study["Series"]) == 3
    assert requests.get(f"{orthanc}/statistics", timeout=30).json()["CountInstances"] == 3 * len(files)
