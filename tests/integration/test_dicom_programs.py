# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Programs that we did not write look at DICOM results: dciodvfy, dcm2niix and Orthanc."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from tests.integration.servers import free_port, orthanc_settings, program

from scripts.io import Provenance
from scripts.io.dicom import DICOMCase

pytestmark = pytest.mark.integration

PROVENANCE = Provenance("HQG-Net bundle", "0.3.0", "0123456789ab", "4 samples")
PIXELS = np.random.default_rng(0).integers(0, 250, (4, 10, 8)).astype(np.uint16)


def patient(kind: str, modality: str) -> Dataset:
    """The modules that all images have in common."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, generate_uid()
    dataset.ImageType, dataset.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], modality
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "A^B", "7", "19700101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = "1.2.826.0.1.3680043.8.498.3", ""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20240102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "101112"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.SeriesNumber, dataset.SeriesDescription, dataset.AcquisitionNumber, dataset.InstanceNumber = 3, "Head", 1, 1
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.PatientPosition = "Maker", "One", "HFS"
    dataset.BodyPartExamined = "HEAD"
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = "1", "1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = PIXELS.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 100, 200
    return dataset


def save(dataset: Dataset, file: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file


def place_slice(dataset: Dataset, i: int, tilt: float) -> None:
    dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), i + 1
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 3
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-3, -2 + tilt * i, 3 * i]
    dataset.PixelData = PIXELS[i].tobytes()


def ct_series(folder: Path, tilt: float = 0.0) -> list[Path]:
    files = []
    for i in range(len(PIXELS)):
        dataset = patient(CTImageStorage, "CT")
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType, dataset.KVP = 1, -1024, "HU", 120
        dataset.add_new("PixelPaddingValue", "US", 5)
        dataset.GantryDetectorTilt = float(np.degrees(np.arctan2(tilt, 3)))
        place_slice(dataset, i, tilt)
        files.append(save(dataset, folder / f"{i}.dcm"))
    return files


def mr_series(folder: Path) -> list[Path]:
    files = []
    for i in range(len(PIXELS)):
        dataset = patient(MRImageStorage, "MR")
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
        dataset.MRAcquisitionType, dataset.EchoTime, dataset.EchoTrainLength = "2D", 10, 1
        dataset.RepetitionTime = 600
        dataset.add_new("SmallestImagePixelValue", "US", 0)
        place_slice(dataset, i, 0)
        files.append(save(dataset, folder / f"{i}.dcm"))
    return files


def ultrasound_film(folder: Path) -> list[Path]:
    dataset = patient(UltrasoundMultiFrameImageStorage, "US")
    for keyword in ("WindowCenter", "WindowWidth", "FrameOfReferenceUID", "PositionReferenceIndicator"):
        del dataset[keyword]
    dataset.ImageType, dataset.PatientOrientation = ["ORIGINAL", "PRIMARY"], ""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.NumberOfFrames, dataset.FrameTime, dataset.FrameIncrementPointer = len(PIXELS), 40, 0x00181063
    dataset.LossyImageCompression = "00"
    dataset.PixelData = np.stack([PIXELS] * 3, -1).astype(np.uint8).tobytes()
    return [save(dataset, folder / "film.dcm")]


def enhanced_mr(folder: Path) -> list[Path]:
    """An enhanced MR object with the functional groups that tell its geometry and its values."""
    dataset = patient(EnhancedMRImageStorage, "MR")
    for keyword in ("WindowCenter", "WindowWidth"):
        del dataset[keyword]
    four = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    dataset.ImageType, dataset.NumberOfFrames = four, len(PIXELS)
    dataset.AcquisitionDateTime, dataset.AcquisitionDuration, dataset.ContentQualification = (
        "20240102101112",
        1.0,
        "PRODUCT",
    )
    dataset.MagneticFieldStrength, dataset.ResonantNucleus, dataset.KSpaceFiltering = 3, "1H", "NONE"
    dataset.ApplicableSafetyStandardAgency, dataset.PresentationLUTShape = "IEC", "IDENTITY"
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique, dataset.ComplexImageComponent = "NONE", "MAGNITUDE"
    dataset.AcquisitionContrast, dataset.AcquisitionContextSequence = "T1", []
    organization, dimension = Dataset(), Dataset()
    organization.DimensionOrganizationUID = dimension.DimensionOrganizationUID = generate_uid()
    dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = 0x00200032, 0x00209113
    dataset.DimensionOrganizationSequence, dataset.DimensionIndexSequence = [organization], [dimension]
    measures, orientation, frame_type, values, window, anatomy = (Dataset() for _ in range(6))
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 3
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    frame_type.FrameType, frame_type.AcquisitionContrast, frame_type.ComplexImageComponent = four, "T1", "MAGNITUDE"
    frame_type.PixelPresentation, frame_type.VolumetricProperties = "MONOCHROME", "VOLUME"
    frame_type.VolumeBasedCalculationTechnique = "NONE"
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, "US"
    window.WindowCenter, window.WindowWidth = 100, 200
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "69536005", "SCT", "Head"
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = [region], "U"
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.MRImageFrameTypeSequence, shared.PixelValueTransformationSequence = [frame_type], [values]
    shared.FrameVOILUTSequence, shared.FrameAnatomySequence = [window], [anatomy]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for i in range(len(PIXELS)):
        group, content, plane = Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionNumber, content.FrameReferenceDateTime = 1, "20240102101112"
        content.FrameAcquisitionDateTime, content.FrameAcquisitionDuration = "20240102101112", 1.0
        content.DimensionIndexValues, content.StackID, content.InStackPositionNumber = i + 1, "1", i + 1
        plane.ImagePositionPatient = [-3, -2, 3 * i]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.PixelData = PIXELS.tobytes()
    return [save(dataset, folder / "enhanced.dcm")]


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


@pytest.mark.parametrize("make", [ct_series, mr_series, ultrasound_film, enhanced_mr])
def test_dciodvfy_finds_no_error_that_the_source_lacks(make: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    files = make(tmp_path / "source")
    result, deviation = derive(files, tmp_path / "derived")
    known = errors_in(files[0])
    assert errors_in(result[0]) <= known
    assert errors_in(deviation[0]) <= known


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
