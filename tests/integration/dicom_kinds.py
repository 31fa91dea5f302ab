# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM objects of many kinds, with the modules that their definitions ask for, as scanners write them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

__all__ = ["KINDS", "PIXELS", "ct_series", "enhanced_mr", "packed"]

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


def enhanced_ct(folder: Path) -> list[Path]:
    """An enhanced CT object, whose values are in Hounsfield units."""
    (file,) = enhanced_mr(folder)
    dataset = pydicom.dcmread(file)
    dataset.SOPClassUID, dataset.Modality = EnhancedCTImageStorage, "CT"
    for keyword in (
        *("MagneticFieldStrength", "ResonantNucleus", "KSpaceFiltering", "ApplicableSafetyStandardAgency"),
        *("ComplexImageComponent", "AcquisitionContrast"),
    ):
        del dataset[keyword]
    (shared,) = dataset.SharedFunctionalGroupsSequence
    (frame_type,) = shared.MRImageFrameTypeSequence
    del shared.MRImageFrameTypeSequence, frame_type.ComplexImageComponent, frame_type.AcquisitionContrast
    shared.CTImageFrameTypeSequence = [frame_type]
    (values,) = shared.PixelValueTransformationSequence
    values.RescaleIntercept, values.RescaleType = -1024, "HU"
    return [save(dataset, folder / "enhanced.dcm")]


def radiograph(folder: Path) -> list[Path]:
    dataset = patient(ComputedRadiographyImageStorage, "CR")
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "AcquisitionNumber"):
        del dataset[keyword]
    dataset.ImageType, dataset.PatientOrientation = ["ORIGINAL", "PRIMARY"], ["L", "F"]
    dataset.ViewPosition, dataset.ImagerPixelSpacing = "AP", [0.2, 0.2]
    dataset.BodyPartExamined = "CHEST"
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PixelData = PIXELS[0].tobytes()
    return [save(dataset, folder / "radiograph.dcm")]


def pet_series(folder: Path) -> list[Path]:
    """A slope for each slice, as PET has it, with a value at the end of the stored range."""
    files = []
    for i in range(len(PIXELS)):
        dataset = patient(PositronEmissionTomographyImageStorage, "PT")
        for keyword in ("WindowCenter", "WindowWidth", "PatientPosition"):
            del dataset[keyword]
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 1
        dataset.Units, dataset.CountsSource, dataset.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
        dataset.NumberOfSlices, dataset.CorrectedImage, dataset.DecayCorrection = len(PIXELS), ["ATTN"], "NONE"
        dataset.CollimatorType, dataset.ImageIndex, dataset.FrameReferenceTime = "NONE", i + 1, 0
        dataset.ActualFrameDuration, dataset.RandomsCorrectionMethod = 1000, "NONE"
        dataset.AttenuationCorrectionMethod, dataset.ReconstructionMethod = "CT", "OSEM"
        dataset.RadiopharmaceuticalInformationSequence = []
        dataset.PatientOrientationCodeSequence = dataset.PatientGantryRelationshipCodeSequence = []
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.25 * (i + 1), 0
        dataset.DoseCalibrationFactor = 1
        place_slice(dataset, i, 0)
        stored = (PIXELS[i] * 100).astype(np.int16)
        stored[2, 3] = 32767
        dataset.PixelData = stored.tobytes()
        files.append(save(dataset, folder / f"{i}.dcm"))
    return files


def screenshot(folder: Path) -> list[Path]:
    dataset = patient(SecondaryCaptureImageStorage, "OT")
    for keyword in ("WindowCenter", "WindowWidth", "FrameOfReferenceUID", "PositionReferenceIndicator"):
        del dataset[keyword]
    dataset.ImageType, dataset.ConversionType, dataset.PatientOrientation = ["DERIVED", "SECONDARY"], "WSD", ""
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = PIXELS[0].astype(np.uint8).tobytes()
    return [save(dataset, folder / "screenshot.dcm")]


def colour_ultrasound(folder: Path) -> list[Path]:
    (film,) = ultrasound_film(folder)
    dataset = pydicom.dcmread(film)
    dataset.SOPClassUID = UltrasoundImageStorage
    for keyword in ("NumberOfFrames", "FrameTime", "FrameIncrementPointer"):
        del dataset[keyword]
    dataset.PixelData = dataset.PixelData[: 3 * PIXELS[0].size]
    film.unlink()
    return [save(dataset, folder / "colour.dcm")]


def grey_film(folder: Path) -> list[Path]:
    (film,) = ultrasound_film(folder)
    dataset = pydicom.dcmread(film)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    del dataset.PlanarConfiguration
    dataset.PixelData = PIXELS.astype(np.uint8).tobytes()
    return [save(dataset, film)]


KINDS: dict[str, Callable[[Path], list[Path]]] = {
    "CT": ct_series,
    "MR": mr_series,
    "CR": radiograph,
    "PET": pet_series,
    "secondary capture": screenshot,
    "colour ultrasound": colour_ultrasound,
    "colour ultrasound film": ultrasound_film,
    "ultrasound film": grey_film,
    "enhanced MR": enhanced_mr,
    "enhanced CT": enhanced_ct,
}
"""Each writes the files of one series into a folder."""


def packed(file: Path) -> Path:
    """Compress the pixels of a file without loss, in its place."""
    dataset = pydicom.dcmread(file)
    frames = dataset.pixel_array.reshape(-1, *dataset.pixel_array.shape[-3 if dataset.SamplesPerPixel == 3 else -2 :])
    dataset.PixelData = encapsulate([_codestream(frame) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    if dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "YBR_RCT", 0
    dataset.save_as(file, enforce_file_format=True)
    return file


def _codestream(frame: np.ndarray) -> bytes:
    # Pillow writes no signs: of what is not negative there are none to lose.
    picture = Image.fromarray(frame.astype(np.uint16) if frame.dtype == np.int16 else frame)
    stream = io.BytesIO()
    picture.save(stream, "JPEG2000", irreversible=False, no_jp2=True, mct=int(frame.ndim == 3))
    return stream.getvalue()
