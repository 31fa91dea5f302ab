# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from tests.io.compression import compress

from scripts.errors import InputError
from scripts.io import Provenance
from scripts.io.dicom import DICOMCase

PROVENANCE = Provenance("HQG-Net bundle", "0.3.0", "0123456789ab", "4 samples")
REPRODUCIBLE = PROVENANCE._replace(reproducible=True)

ROWS, COLUMNS, SLICES = 6, 5, 3
VOLUME = np.arange(SLICES * ROWS * COLUMNS).reshape(SLICES, ROWS, COLUMNS)
EVEN = ((0.0, 0.0, 0.0), (0.0, 0.0, 4.0), (0.0, 0.0, 8.0))
TILTED = ((1.0, 2.0, 3.0), (1.0, 3.5, 7.0), (1.0, 5.0, 11.0))

Writer = Callable[..., Path]
SeriesWriter = Callable[..., list[Path]]


def make(pixels: np.ndarray, **attributes: Any) -> Dataset:
    """An MR image of 16 unsigned bits; `None` takes an attribute away."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "MR", 12, "T1"
    dataset.ImageType, dataset.PatientName = ["ORIGINAL", "PRIMARY", "M"], "A^B"
    dataset.SamplesPerPixel = pixels.shape[-1] if pixels.ndim > 2 and pixels.shape[-1] == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:] if dataset.SamplesPerPixel == 1 else pixels.shape[-3:-1]
    dataset.PixelRepresentation = int(attributes.get("PixelRepresentation") or 0)
    dataset.BitsAllocated = dataset.BitsStored = 16
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration, dataset.BitsAllocated, dataset.BitsStored = 0, 8, 8
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [2, 0.5], [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, 0]
    for name, value in attributes.items():
        setattr(dataset, name, value)
        if value is None:
            del dataset[name]
    if "HighBit" not in attributes and "BitsStored" in dataset:
        dataset.HighBit = dataset.BitsStored - 1
    if "PixelData" not in attributes:
        bits = np.asarray(pixels).astype(np.int64) & ((1 << dataset.BitsAllocated) - 1)
        dataset.PixelData = bits.astype(f"<u{dataset.BitsAllocated // 8}").tobytes()
    dataset["PixelData"].VR = "OB" if dataset.get("BitsAllocated") == 8 else "OW"
    return dataset


def save(dataset: Dataset, file: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file


@pytest.fixture
def image(tmp_path: Path) -> Writer:
    """Write one file."""

    def write(pixels: np.ndarray = VOLUME[0], name: str = "a.dcm", **attributes: Any) -> Path:
        return save(make(pixels, **attributes), tmp_path / "source" / name)

    return write


@pytest.fixture
def series(image: Writer) -> SeriesWriter:
    """Write `VOLUME` as a series; the files' names and instance numbers run against the slices."""

    def write(
        positions: Sequence[Sequence[float]] = EVEN,
        pixels: np.ndarray = VOLUME,
        per_slice: Callable[[int], dict[str, Any]] = lambda i: {},
        **attributes: Any,
    ) -> list[Path]:
        return [
            image(
                pixels[i],
                f"{9 - i}.dcm",
                **{"ImagePositionPatient": list(position), "InstanceNumber": 9 - i, **attributes, **per_slice(i)},
            )
            for i, position in enumerate(positions)
        ]

    return write


def enhanced(pixels: np.ndarray = VOLUME, positions: Sequence[Sequence[float]] = EVEN, **attributes: Any) -> Dataset:
    """An enhanced MR object whose first frame has a rescaling of its own."""

    def transformation(slope: float) -> Dataset:
        item = Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, 1, "US"
        return item

    place = {"PixelSpacing": None, "ImageOrientationPatient": None, "ImagePositionPatient": None}
    dataset = make(
        pixels, **{**place, "SOPClassUID": EnhancedMRImageStorage, "NumberOfFrames": len(pixels), **attributes}
    )
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    shared, measures, orientation, frame_type = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2, 0.5], 4
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.MRImageFrameTypeSequence, shared.PixelValueTransformationSequence = [frame_type], [transformation(2)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place_of_frame in positions:
        group, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = list(place_of_frame)
        group.PlanePositionSequence = [plane]
        groups.append(group)
    groups[0].PixelValueTransformationSequence = [transformation(3)]
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def itk_image(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Values (columns, rows, slices) and affine to RAS as ITK has them."""
    found = itk.imread([str(file) for file in files] if len(files) > 1 else str(files[0]))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(found.GetDirection()) * np.asarray(found.GetSpacing())
    affine[:3, 3] = found.GetOrigin()
    return itk.array_from_image(found).T, np.diag([-1, -1, 1, 1]) @ affine


def written(case: DICOMCase, tmp_path: Path, result: torch.Tensor | None = None) -> list[pydicom.FileDataset]:
    """The datasets of a result, unchanged by default, in the order of the files' names."""
    place = case.write(case.image if result is None else result, tmp_path / "result", PROVENANCE)
    return [pydicom.dcmread(file) for file in ([place] if place.is_file() else sorted(place.iterdir()))]


def deviation_of(case: DICOMCase, tmp_path: Path, deviation: torch.Tensor) -> list[pydicom.FileDataset]:
    place = case.write_deviation(deviation, tmp_path / "deviation", PROVENANCE)
    return [pydicom.dcmread(file) for file in ([place] if place.is_file() else sorted(place.iterdir()))]


# -------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"RescaleSlope": 0.5, "RescaleIntercept": -1000},
        {"RescaleSlope": -2, "RescaleIntercept": 3},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12},
        {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2, "RescaleIntercept": -50},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": 1},
        {"BitsStored": 12},
        {"BitsStored": 12, "PixelRepresentation": 1},
        {"BitsAllocated": 8, "BitsStored": 8},
        {"BitsAllocated": 32, "BitsStored": 32},
    ],
    ids=str,
)
def test_values_are_those_of_itk(attributes: dict[str, Any], image: Writer) -> None:
    signed = attributes.get("PixelRepresentation")
    file = image(VOLUME[1] - (40 if signed else 0), **attributes)
    expected, _ = itk_image([file])
    assert np.array_equal(DICOMCase.read([file]).image[0].numpy(), expected.reshape(COLUMNS, ROWS, 1))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEGLSNearLossless_16.dcm",
        "image_dfl.dcm",
        "examples_overlay.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "examples_jpeg2k.dcm",
        "examples_rgb_color.dcm",
    ],
)
def test_compressed_and_encoded_files_are_read_as_itk_reads_them(name: str) -> None:
    file = Path(str(get_testdata_file(name)))
    expected, _ = itk_image([file])
    image = DICOMCase.read([file]).image.numpy()
    assert np.array_equal(image, expected.reshape(image.shape))


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14_1", "JPEGLosslessProcess14", "JPEGLSLossless"])
def test_values_of_lossless_jpeg_are_those_before_compression(process: str, image: Writer, tmp_path: Path) -> None:
    file = image(VOLUME[0] - 20, PixelRepresentation=1, RescaleSlope=2, name="plain.dcm")
    compress(file, tmp_path / "a.dcm", process)
    case = DICOMCase.read([tmp_path / "a.dcm"])
    assert np.array_equal(case.image[0, ..., 0].numpy().T, 2 * (VOLUME[0] - 20))
    (result,) = written(case, tmp_path)
    assert np.array_equal(result.pixel_array, VOLUME[0] - 20)


def test_a_codec_that_breaks_down_takes_nothing_along(tmp_path: Path) -> None:
    file = Path(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")))
    content = bytearray(file.read_bytes())
    content[content.index(b"\xff\xd8\xff\xf7") + 6] = 239  # a precision that GDCM does not survive
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(InputError, match="compressed as JPEG-LS .* are damaged or beyond the decoders"):
        DICOMCase.read([tmp_path / "a.dcm"])
    assert DICOMCase.read([file]).image.max() == 2145


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "examples_ybr_color.dcm"])
def test_lossy_colour_is_that_of_pydicom(name: str) -> None:
    file = Path(str(get_testdata_file(name)))
    expected = np.atleast_3d(pydicom.pixels.pixel_array(file))
    image = DICOMCase.read([file]).image.numpy().T
    assert np.array_equal(image.reshape(expected.shape), expected)


def test_bits_of_an_overlay_are_no_part_of_a_value(image: Writer) -> None:
    file = image(VOLUME[1] | 0x7000, BitsStored=12)
    assert np.array_equal(DICOMCase.read([file]).image[0, ..., 0].numpy().T, VOLUME[1])


def test_the_sign_is_extended_from_the_bits_stored(image: Writer) -> None:
    file = image((VOLUME[0] - 9) & 0x0FFF, BitsStored=12, PixelRepresentation=1)
    assert np.array_equal(DICOMCase.read([file]).image[0, ..., 0].numpy().T, VOLUME[0] - 9)


def test_values_in_the_high_bits_are_moved_down(image: Writer) -> None:
    file = image((VOLUME[0] - 9) << 4, BitsStored=12, HighBit=15, PixelRepresentation=1)
    assert np.array_equal(DICOMCase.read([file]).image[0, ..., 0].numpy().T, VOLUME[0] - 9)


def test_each_slice_has_its_own_rescaling(series: SeriesWriter) -> None:
    case = DICOMCase.read(series(per_slice=lambda i: {"RescaleSlope": i + 0.5, "RescaleIntercept": 100 * i}))
    expected = [VOLUME[i] * (i + 0.5) + 100 * i for i in range(SLICES)]
    assert np.array_equal(case.image[0].numpy().T, np.array(expected, np.float32))


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_planes_are_channels(planar: int, image: Writer) -> None:
    colours = VOLUME.transpose(1, 2, 0)
    data = (VOLUME if planar else colours).astype(np.uint8).tobytes()
    file = image(colours, PlanarConfiguration=planar, PixelData=data, ImagePositionPatient=None)
    assert np.array_equal(DICOMCase.read([file]).image.numpy(), VOLUME.swapaxes(1, 2))


def test_a_palette_is_turned_into_colour(image: Writer) -> None:
    palette = {
        f"{colour}PaletteColorLookupTable{name}": value
        for colour, shift in (("Red", 0), ("Green", 10), ("Blue", 20))
        for name, value in (
            ("Descriptor", [4, 0, 16]),
            ("Data", struct.pack("<4H", *(256 * (shift + i) for i in range(4)))),
        )
    }
    indices = VOLUME[0] % 4
    file = image(indices, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, **palette)
    case = DICOMCase.read([file])
    assert np.array_equal(case.image[..., 0].numpy().swapaxes(1, 2), [indices, indices + 10, indices + 20])


def test_padding_is_told(image: Writer) -> None:
    case = DICOMCase.read([image(VOLUME[0], PixelPaddingValue=7)])
    assert case.padding is not None
    assert np.array_equal(case.padding[0, ..., 0].numpy().T, VOLUME[0] == 7)


def test_a_range_of_padding_is_told(image: Writer) -> None:
    case = DICOMCase.read([image(VOLUME[0], PixelPaddingValue=9, PixelPaddingRangeLimit=7)])
    assert case.padding is not None
    assert np.array_equal(case.padding[0, ..., 0].numpy().T, (VOLUME[0] >= 7) & (VOLUME[0] <= 9))


def test_padding_that_was_written_without_its_sign_is_known(image: Writer) -> None:
    dataset = make(VOLUME[0] - 8, PixelRepresentation=1)
    dataset.add_new("PixelPaddingValue", "US", 0xFFFD)
    case = DICOMCase.read([save(dataset, Path(image()).with_name("b.dcm"))])
    assert case.padding is not None
    assert case.padding.sum() == 1


def test_padding_that_occurs_nowhere_is_none(image: Writer) -> None:
    assert DICOMCase.read([image(VOLUME[0], PixelPaddingValue=999)]).padding is None


# ------------------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize("positions", [EVEN, TILTED])
def test_slices_are_ordered_by_their_position(positions: Sequence[Sequence[float]], series: SeriesWriter) -> None:
    case = DICOMCase.read(series(positions)[::-1])
    assert np.array_equal(case.image[0].numpy().T, VOLUME)


def test_the_affine_of_an_even_series_is_that_of_itk(series: SeriesWriter) -> None:
    turned = [0.8, 0.6, 0, 0, 0, -1]
    files = series(
        [(5, 6, 7), (5 - 0.6 * 2, 6 + 0.8 * 2, 7), (5 - 0.6 * 4, 6 + 0.8 * 4, 7)], ImageOrientationPatient=turned
    )
    case = DICOMCase.read(files)
    values, affine = itk_image(files)
    assert np.allclose(case.image.affine.numpy(), affine)
    assert np.array_equal(case.image[0].numpy(), values)


def test_a_tilted_gantry_gives_a_sheared_affine(series: SeriesWriter) -> None:
    case = DICOMCase.read(series(TILTED))
    assert case.evenly_spaced
    for i, position in enumerate(TILTED):
        assert np.allclose(case.image.affine.numpy() @ [0, 0, i, 1], [-position[0], -position[1], position[2], 1])


@pytest.mark.parametrize(("last", "even"), [(8.1, True), (9.0, False), (12.0, False)])
def test_uneven_and_missing_slices_are_read_and_told(last: float, even: bool, series: SeriesWriter) -> None:
    case = DICOMCase.read(series([(0, 0, 0), (0, 0, 4), (0, 0, last)]))
    assert case.evenly_spaced is even
    assert case.image.shape == (1, COLUMNS, ROWS, SLICES)


def test_a_slice_on_its_own_is_a_volume_as_thick_as_the_slice(image: Writer) -> None:
    case = DICOMCase.read([image(SliceThickness=3, ImagePositionPatient=[1, 2, 3])])
    assert (case.image.shape, case.slice_axis) == ((1, COLUMNS, ROWS, 1), 2)
    assert case.image.affine.tolist() == [[-0.5, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]


def test_an_image_without_a_place_is_a_photograph(image: Writer) -> None:
    case = DICOMCase.read([image(ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)])
    assert (case.image.shape, case.slice_axis) == ((1, COLUMNS, ROWS), None)
    assert torch.equal(case.image.affine, torch.eye(4, dtype=torch.float64))


def test_a_film_has_frames_but_no_affine(image: Writer) -> None:
    case = DICOMCase.read([image(VOLUME, NumberOfFrames=SLICES, SOPClassUID=UltrasoundMultiFrameImageStorage)])
    assert np.array_equal(case.image[0].numpy().T, VOLUME)
    assert (case.slice_axis, case.evenly_spaced) == (2, False)


def test_frames_of_an_enhanced_object_are_ordered_and_rescaled_one_by_one(tmp_path: Path) -> None:
    case = DICOMCase.read([save(enhanced(positions=EVEN[::-1]), tmp_path / "a.dcm")])
    expected = [VOLUME[2] * 2 + 1, VOLUME[1] * 2 + 1, VOLUME[0] * 3 + 1]
    assert np.array_equal(case.image[0].numpy().T, expected)
    assert case.image.affine.diagonal().tolist() == [-0.5, -2, 4, 1]


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": None}, "its header gives no rows"),
        ({"Columns": 0}, "its header gives no columns"),
        ({"BitsAllocated": None, "PixelData": bytes(60)}, "its header gives no bits allocated"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "it is a segmentation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "it is a structured report"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "it is a radiotherapy object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30"}, "it is a parametric map"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "it is a whole-slide image, whose frames are tiles"),
        ({"PhotometricInterpretation": "CMYK"}, 'its photometric interpretation "CMYK" is not supported'),
        ({"PhotometricInterpretation": "RGB"}, "it has 1 samples per pixel where RGB has 3"),
        ({"BitsAllocated": 64, "PixelData": bytes(240)}, "its pixels take 64 bits where 8, 16 or 32 are supported"),
        ({"BitsStored": 12, "HighBit": 5}, "its header puts 12 bits up to bit 5 into 16, which is impossible"),
        ({"RescaleSlope": 0}, "its rescale slope is 0, so that every value is the same"),
        ({"RescaleSlope": "NaN"}, 'its rescale slope "NaN" is not a finite number: mend it'),
        (
            {"ModalityLUTSequence": [Dataset()]},
            r"its values go through a table \(modality LUT\), which cannot be undone",
        ),
        ({"PixelData": bytes(58)}, "its pixel data is cut short: 58 of 60 bytes are there"),
        ({"PixelData": b""}, "its pixel data is empty"),
        ({"Rows": 60000, "Columns": 60000}, r"its header says that it holds 3.6e\+09 pixels, more than any image has"),
        (
            {"Rows": 20000, "Columns": 20000},
            "its pixel data is cut short: the header promises 800000000 bytes of pixels",
        ),
        ({"NumberOfFrames": -1}, "its header says that it holds -1 frames"),
        ({"SOPInstanceUID": None}, "it has no SOP instance UID"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "its values need more digits than 32-bit floating point has"),
        ({"RescaleIntercept": 1e9}, "its values need more digits than 32-bit floating point has"),
        ({"ImagePositionPatient": [0, 0]}, "its image position patient .* is not 3 numbers: mend it"),
    ],
    ids=str,
)
def test_a_file_that_holds_no_usable_image_is_refused(attributes: dict[str, Any], message: str, image: Writer) -> None:
    file = image(VOLUME[0] + (2**30 if attributes.get("BitsStored") == 32 else 0))
    dataset = make(VOLUME[0] + (2**30 if attributes.get("BitsStored") == 32 else 0), **attributes)
    dataset.file_meta = pydicom.dcmread(file).file_meta
    dataset.save_as(file)
    with pytest.raises(InputError, match=f'^cannot read "{file}": {message}'):
        DICOMCase.read([file])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelSpacing": None}, "lies in the patient but gives no pixel spacing: mend its header"),
        ({"PixelSpacing": [0, 1]}, "lies in the patient but gives no pixel spacing: mend its header"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "is not two directions at right angles: mend it"),
    ],
    ids=str,
)
def test_a_place_that_cannot_be_told_is_refused(attributes: dict[str, Any], message: str, image: Writer) -> None:
    with pytest.raises(InputError, match=message):
        DICOMCase.read([image(**attributes)])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, '"\\S+9.dcm" and "\\S+7.dcm" lie in different planes'),
        ({"PixelSpacing": [2, 0.6]}, "differ in pixel spacing: put them into series of their own"),
        ({"ImagePositionPatient": [0, 0, 4]}, "holds 3 images at 2 positions .*: split it into one series for each"),
        ({"ImagePositionPatient": None}, '"\\S+7.dcm" has no position in the patient, unlike its series'),
        ({"PhotometricInterpretation": "MONOCHROME1"}, r"differ in photometric \(MONOCHROME2 and MONOCHROME1\)"),
        ({"BitsStored": 12}, r"differ in bits stored \(16 and 12\): put them into series of their own"),
        ({"PixelRepresentation": 1}, r"differ in signed \(False and True\)"),
        ({"Rows": 5, "Columns": 6}, r"differ in rows \(6 and 5\)"),
        ({"SeriesInstanceUID": "1.2.9"}, "are of different series: give one series at a time"),
    ],
    ids=str,
)
def test_files_that_make_no_volume_are_refused(attributes: dict[str, Any], message: str, series: SeriesWriter) -> None:
    files = series(per_slice=lambda i: attributes if i == 2 else {})
    with pytest.raises(InputError, match=message):
        DICOMCase.read(files)


def test_the_same_image_in_two_files_is_refused(series: SeriesWriter) -> None:
    files = series(SOPInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match=r"are the same image \(SOP instance\): keep one of each"):
        DICOMCase.read(files)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"RescaleSlope": 0}, 'cannot read "\\S+8.dcm", "\\S+7.dcm": its rescale slope'),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, '"\\S+9.dcm" and "\\S+8.dcm", "\\S+7.dcm" lie in different'),
        ({"ImagePositionPatient": None}, '"\\S+8.dcm", "\\S+7.dcm" have no position in the patient'),
        ({"PixelSpacing": None}, '"\\S+8.dcm", "\\S+7.dcm" lie in the patient but give no pixel spacing'),
        ({"PixelSpacing": [2, 0.6]}, '"\\S+9.dcm" and "\\S+8.dcm", "\\S+7.dcm" differ in pixel spacing'),
        ({"PixelData": bytes(2)}, 'cannot read "\\S+8.dcm", "\\S+7.dcm": its pixel data is cut short'),
    ],
    ids=str,
)
def test_all_slices_with_one_fault_are_named(attributes: dict[str, Any], message: str, series: SeriesWriter) -> None:
    files = series(per_slice=lambda i: attributes if i else {})
    with pytest.raises(InputError, match=message):
        DICOMCase.read(files)


def test_several_files_without_a_place_are_refused(series: SeriesWriter) -> None:
    with pytest.raises(InputError, match="have no position in the patient and so make no volume: give them one by one"):
        DICOMCase.read(series(ImagePositionPatient=None))


def test_no_file_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="needs at least one file"):
        DICOMCase.read([])


@pytest.mark.parametrize("positions", [EVEN[:2], [EVEN[0]] * 3])
def test_frames_that_make_no_volume_are_refused(positions: Sequence[Sequence[float]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="describes 2 frames but holds 3|holds 3 images at 1 positions"):
        DICOMCase.read([save(enhanced(positions=positions), tmp_path / "a.dcm")])


@pytest.mark.parametrize(("content", "message"), [(b"", "it is no DICOM file"), (b"neither", "it is no DICOM file")])
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(InputError, match=f'^cannot read "\\S+a.dcm": {message}$'):
        DICOMCase.read([tmp_path / "a.dcm"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='^cannot read "\\S+a.dcm": .*No such file'):
        DICOMCase.read([tmp_path / "a.dcm"])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_file_that_ends_early_is_refused(share: float, image: Writer) -> None:
    file = image()
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InputError, match=f'^cannot read "{file}": [^\n]+$'):
        DICOMCase.read([file])


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "MR_small_jp2klossless.dcm"]
)
def test_a_compressed_file_that_ends_early_is_refused(name: str, tmp_path: Path) -> None:
    content = Path(str(get_testdata_file(name))).read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[: int(0.9 * len(content))])
    with pytest.raises(InputError, match='^cannot read "\\S+a.dcm": [^\n]+$'):
        DICOMCase.read([tmp_path / "a.dcm"])


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("1.2.840.113619.9.9", 'its transfer syntax "1.2.840.113619.9.9" is unknown'),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        (JPEGBaseline8Bit, "compressed as JPEG Baseline .* are damaged"),
    ],
)
def test_pixels_that_cannot_be_decoded_are_refused(syntax: str, message: str, image: Writer) -> None:
    file = image()
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax.startswith("1.2.840.10008"):
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    with pytest.raises(InputError, match=f'^cannot read "{file}": .*({message})'):
        DICOMCase.read([file])


def test_a_compressed_image_of_another_size_than_its_header_says_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
    dataset.Rows = dataset.Columns = 4000
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="its header says 4000×4000 pixels but the compressed image is 100×100$"):
        DICOMCase.read([tmp_path / "a.dcm"])


def test_compressed_frames_that_are_missing_are_told(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm")))
    dataset.NumberOfFrames = 3
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match='^cannot read "\\S+a.dcm": '):
        DICOMCase.read([tmp_path / "a.dcm"])


# ---------------------------------------------------------------------------------------------------- the result


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PixelRepresentation": 1},
        {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": 1, "RescaleSlope": 0.013},
        {"RescaleSlope": 0.00048828, "RescaleIntercept": -7.13},
        {"RescaleSlope": -3, "RescaleIntercept": 1024},
        {"BitsAllocated": 8, "BitsStored": 8},
        {"BitsAllocated": 32, "BitsStored": 32},
        {"PixelPaddingValue": 30},
    ],
    ids=str,
)
def test_an_unchanged_image_has_the_stored_values_of_its_source(
    attributes: dict[str, Any], series: SeriesWriter, tmp_path: Path
) -> None:
    shift = 40 if attributes.get("PixelRepresentation") else 0
    files = series(pixels=VOLUME - shift, **attributes)
    for result, file in zip(written(DICOMCase.read(files), tmp_path), sorted(files), strict=True):
        source = pydicom.dcmread(file)
        assert result.PixelData == source.PixelData
        for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation"):
            assert result[tag].value == source[tag].value
        assert result.get("RescaleSlope") == source.get("RescaleSlope")


def test_every_bit_of_16_is_kept(image: Writer, tmp_path: Path) -> None:
    file = image(np.arange(2**16).reshape(256, 256), RescaleSlope=0.0213, RescaleIntercept=-17.5)
    (result,) = written(DICOMCase.read([file]), tmp_path)
    assert result.PixelData == pydicom.dcmread(file).PixelData


def test_an_odd_number_of_bytes_is_filled_up(image: Writer, tmp_path: Path) -> None:
    file = image(VOLUME[0, :3, :3], BitsAllocated=8, BitsStored=8, PixelData=bytes(range(9)) + b"\0")
    (result,) = written(DICOMCase.read([file]), tmp_path)
    assert (result.PixelData, result["PixelData"].VR) == (bytes(range(9)) + b"\0", "OB")


def test_slices_go_back_to_the_file_they_came_from(series: SeriesWriter, tmp_path: Path) -> None:
    files = series(per_slice=lambda i: {"RescaleSlope": i + 1})
    case = DICOMCase.read(files)
    results = written(case, tmp_path, case.image + torch.tensor([6.0, 12.0, 18.0]))
    for result, i in zip(results, (2, 1, 0), strict=True):
        assert np.array_equal(result.pixel_array, VOLUME[i] + 6)


def test_values_beyond_the_stored_bits_are_cut(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image(BitsStored=12, PixelRepresentation=1)])
    result = torch.full_like(case.image, 1e6)
    result[:, 0] = -1e6
    (dataset,) = written(case, tmp_path, result)
    assert (dataset.pixel_array.min(), dataset.pixel_array.max()) == (-2048, 2047)


def pet(series: SeriesWriter, **attributes: Any) -> list[Path]:
    """A PET series whose slices each use all 16 bits, with a slope of their own."""
    pixels = np.stack([np.linspace(0, 32767, ROWS * COLUMNS).astype(int).reshape(ROWS, COLUMNS)] * SLICES)
    kind = {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "PixelRepresentation": 1}
    return series(pixels=pixels, per_slice=lambda i: {"RescaleSlope": 0.1 * (i + 1)}, **kind, **attributes)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_slope_is_widened_where_a_slice_is_brighter_than_it_can_say(
    photometric: str, series: SeriesWriter, tmp_path: Path
) -> None:
    case = DICOMCase.read(pet(series, PhotometricInterpretation=photometric))
    factors = torch.tensor([1.3, 1.0, 2.0])
    wanted = case.image.as_tensor() * factors
    assert case.values_cut(wanted) == 0
    results = written(case, tmp_path, wanted)
    again = DICOMCase.read([tmp_path / "result" / f"{name}.dcm" for name in (7, 8, 9)])
    assert (again.image.as_tensor() - wanted).abs().max() <= 0.3
    slopes = [float(result.RescaleSlope) for result in results[::-1]]
    assert slopes == pytest.approx([0.13, 0.2, 0.6] if photometric == "MONOCHROME2" else slopes, rel=1e-3)
    assert slopes[1] == 0.2
    assert all(result.RescaleIntercept == 0 for result in results if "RescaleIntercept" in result)


def test_slices_of_one_slope_keep_one(series: SeriesWriter, tmp_path: Path) -> None:
    case = DICOMCase.read(series(pixels=VOLUME * 700, RescaleSlope=0.5))
    wanted = case.image.as_tensor() * torch.tensor([1.0, 1.0, 1.5])
    slopes = {float(result.RescaleSlope) for result in written(case, tmp_path, wanted)}
    assert len(slopes) == 1
    assert slopes.pop() > 0.5
    again = DICOMCase.read(sorted((tmp_path / "result").iterdir()))
    assert (again.image.as_tensor() - wanted).abs().max() <= 0.5


def test_frames_of_an_enhanced_object_get_slopes_of_their_own(tmp_path: Path) -> None:
    case = DICOMCase.read([save(enhanced(VOLUME * 700), tmp_path / "a.dcm")])
    wanted = case.image.as_tensor() * torch.tensor([9.0, 1.0, 1.2])
    assert case.values_cut(wanted) == 0
    written(case, tmp_path, wanted)
    assert (DICOMCase.read([tmp_path / "result.dcm"]).image.as_tensor() - wanted).abs().max() <= 5


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"RescaleSlope": 1, "RescaleIntercept": -9},
        {"RescaleSlope": 2, "RealWorldValueMappingSequence": [Dataset()]},
    ],
    ids=str,
)
def test_without_a_slope_that_may_change_what_is_cut_is_counted(
    attributes: dict[str, Any], image: Writer, tmp_path: Path
) -> None:
    values = VOLUME[0].copy()
    values[0, 0] = 255
    case = DICOMCase.read([image(values, BitsAllocated=8, BitsStored=8, **attributes)])
    assert case.values_cut(case.image.as_tensor()) == 0
    wanted = case.image.as_tensor() + 460 * attributes.get("RescaleSlope", 1)
    assert case.values_cut(wanted) == ROWS * COLUMNS - 1
    (result,) = written(case, tmp_path, wanted)
    assert np.all(result.pixel_array == 255)
    assert result.get("RescaleSlope") == attributes.get("RescaleSlope")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_stays_and_no_value_becomes_padding(photometric: str, image: Writer, tmp_path: Path) -> None:
    file = image(PixelPaddingValue=5, PixelPaddingRangeLimit=7, PhotometricInterpretation=photometric)
    case = DICOMCase.read([file])
    shown_as_6 = 65535 - 6 if photometric == "MONOCHROME1" else 6
    (result,) = written(case, tmp_path, torch.full_like(case.image, shown_as_6))
    padding = (VOLUME[0] >= 5) & (VOLUME[0] <= 7)
    assert np.array_equal(result.pixel_array, np.where(padding, VOLUME[0], 8))


def test_values_next_to_padding_at_the_upper_end_move_down(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image(np.where(VOLUME[0] == 3, 4095, VOLUME[0]), PixelPaddingValue=4095, BitsStored=12)])
    (result,) = written(case, tmp_path, torch.full_like(case.image, 1e6))
    assert np.array_equal(result.pixel_array, np.where(VOLUME[0] == 3, 4095, 4094))


@pytest.mark.parametrize(("signed", "vr"), [(0, "US"), (1, "SS")])
def test_extreme_values_are_told_anew(signed: int, vr: str, image: Writer, tmp_path: Path) -> None:
    dataset = make(VOLUME[0] - 9 * signed, PixelRepresentation=signed)
    for tag in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        dataset.add_new(tag, vr, 0)
    case = DICOMCase.read([save(dataset, tmp_path / "a.dcm")])
    (result,) = written(case, tmp_path, case.image + 2)
    assert result.SmallestImagePixelValue == 2 - 9 * signed
    assert result.LargestImagePixelValue == 31 - 9 * signed
    assert vr == result["LargestImagePixelValue"].VR


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "examples_palette.dcm",
        "examples_ybr_color.dcm",
    ],
)
def test_colour_is_written_as_rgb(name: str, tmp_path: Path) -> None:
    case = DICOMCase.read([Path(str(get_testdata_file(name)))])
    (result,) = written(case, tmp_path)
    assert (result.PhotometricInterpretation, result.SamplesPerPixel, result.PlanarConfiguration) == ("RGB", 3, 0)
    assert "RedPaletteColorLookupTableData" not in result
    again = DICOMCase.read([tmp_path / "result.dcm"])
    assert torch.equal(again.image.as_tensor(), case.image.as_tensor())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_any_encoding_becomes_explicit_little_endian(syntax: str, tmp_path: Path) -> None:
    dataset = make(VOLUME[0], WindowCenter=3, RescaleSlope=2)
    dataset.add_new((0x6000, 0x0010), "US", 4)
    dataset.add_new((0x6000, 0x3000), "OW", b"\x01\x02\x03\x04")
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = VOLUME[0].astype(">u2").tobytes()
    (result,) = written(DICOMCase.read([save(dataset, tmp_path / "a.dcm", syntax)]), tmp_path)
    assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (result.WindowCenter, result.PatientName) == (3, "A^B")
    expected = b"\x02\x01\x04\x03" if syntax == ExplicitVRBigEndian else b"\x01\x02\x03\x04"
    assert result[0x6000, 0x3000].value == expected
    assert np.array_equal(result.pixel_array, VOLUME[0])


def test_a_file_without_preamble_becomes_a_proper_one(tmp_path: Path) -> None:
    dataset = make(VOLUME[0])
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=True, little_endian=True)
    (result,) = written(DICOMCase.read([tmp_path / "a.dcm"]), tmp_path)
    assert np.array_equal(result.pixel_array, VOLUME[0])
    assert pydicom.misc.is_dicom(tmp_path / "result.dcm")


def test_a_multi_frame_file_stays_one(tmp_path: Path) -> None:
    file = save(enhanced(positions=EVEN[::-1]), tmp_path / "a.dcm")
    (result,) = written(DICOMCase.read([file]), tmp_path)
    assert result.NumberOfFrames == 3
    assert result.PixelData == pydicom.dcmread(file).PixelData


def test_a_result_of_another_shape_or_with_holes_is_a_mistake_of_the_caller(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image()])
    with pytest.raises(ValueError, match="the shape is"):
        case.write(case.image[..., 0], tmp_path / "a", PROVENANCE)
    with pytest.raises(ValueError, match="must be finite"):
        case.write(case.image * torch.nan, tmp_path / "a", PROVENANCE)


def test_sources_are_left_alone(series: SeriesWriter, tmp_path: Path) -> None:
    files = series()
    before = [file.read_bytes() for file in files]
    written(DICOMCase.read(files), tmp_path)
    assert [file.read_bytes() for file in files] == before


# ---------------------------------------------------------------------------------------------------- the header


def test_files_keep_their_names(series: SeriesWriter, tmp_path: Path) -> None:
    written(DICOMCase.read(series()), tmp_path)
    assert sorted(file.name for file in (tmp_path / "result").iterdir()) == ["7.dcm", "8.dcm", "9.dcm"]


def test_files_of_the_same_name_are_numbered_by_slice(series: SeriesWriter, tmp_path: Path) -> None:
    files = []
    for i, file in enumerate(series()):
        files.append(file.rename(tmp_path / f"{'bca'[i]}.dcm"))
        (tmp_path / "bca"[i]).mkdir()
        files[-1] = files[-1].rename(tmp_path / "bca"[i] / "IM")
    results = written(DICOMCase.read(files), tmp_path)
    assert sorted(file.name for file in (tmp_path / "result").iterdir()) == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert [result.ImagePositionPatient[2] for result in results] == [0, 4, 8]


def test_instances_and_series_are_new_and_study_and_frame_of_reference_are_not(
    series: SeriesWriter, tmp_path: Path
) -> None:
    files = series()
    results = written(DICOMCase.read(files), tmp_path)
    sources = {pydicom.dcmread(file).SOPInstanceUID for file in files}
    made = {result.SOPInstanceUID for result in results}
    assert len(made) == 3
    assert not made & sources
    assert all(uid.is_valid for uid in made)
    assert {(r.StudyInstanceUID, r.FrameOfReferenceUID) for r in results} == {("1.2.1", "1.2.3")}
    assert all(r.file_meta.MediaStorageSOPInstanceUID == r.SOPInstanceUID for r in results)


def test_one_run_makes_one_series(series: SeriesWriter, tmp_path: Path) -> None:
    assert len({result.SeriesInstanceUID for result in written(DICOMCase.read(series()), tmp_path)}) == 1


def uids(case: DICOMCase, place: Path, provenance: Provenance, deviation: bool = False) -> set[str]:
    write = case.write_deviation if deviation else case.write
    files = sorted(write(case.image, place, provenance).iterdir())
    return {
        uid for file in files for uid in (pydicom.dcmread(file).SOPInstanceUID, pydicom.dcmread(file).SeriesInstanceUID)
    }


def test_identifiers_follow_from_source_model_and_settings_on_request(series: SeriesWriter, tmp_path: Path) -> None:
    case = DICOMCase.read(series())
    made = uids(case, tmp_path / "a", REPRODUCIBLE)
    assert made == uids(case, tmp_path / "b", REPRODUCIBLE)
    for i, other in enumerate(({"model": "x"}, {"settings": "x"}, {"version": "x"})):
        assert not made & uids(case, tmp_path / str(i), REPRODUCIBLE._replace(**other))
    assert not made & uids(case, tmp_path / "deviation", REPRODUCIBLE, deviation=True)


def test_identifiers_are_random_otherwise(series: SeriesWriter, tmp_path: Path) -> None:
    case = DICOMCase.read(series())
    assert not uids(case, tmp_path / "a", PROVENANCE) & uids(case, tmp_path / "b", PROVENANCE)


def test_a_source_without_a_series_gets_one(image: Writer, tmp_path: Path) -> None:
    (result,) = written(DICOMCase.read([image(SeriesInstanceUID=None)]), tmp_path)
    assert result.SeriesInstanceUID.is_valid
    assert result.SeriesInstanceUID != result.SOPInstanceUID


def test_the_image_type_says_derived_and_made_after_the_examination(image: Writer, tmp_path: Path) -> None:
    (result,) = written(DICOMCase.read([image(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "ADD"])]), tmp_path)
    assert result.ImageType == ["DERIVED", "SECONDARY", "AXIAL", "ADD"]


@pytest.mark.parametrize(
    ("description", "number", "expected", "derived_number"),
    [
        ("T1", 12, "T1 HQG-Net enhanced", 1201),
        (None, None, "HQG-Net enhanced", 1),
        ("x" * 64, 36459, "x" * 47 + " HQG-Net enhanced", 3645901),
        ("T1", 2**31 - 1, "T1 HQG-Net enhanced", 748364701),
    ],
)
def test_the_series_is_described_and_numbered(
    description: str | None, number: int | None, expected: str, derived_number: int, image: Writer, tmp_path: Path
) -> None:
    case = DICOMCase.read([image(SeriesDescription=description, SeriesNumber=number)])
    (result,) = written(case, tmp_path)
    assert result.SeriesDescription == expected
    assert len(result.SeriesDescription) <= 64
    assert result.SeriesNumber == derived_number


def test_the_derivation_names_its_source_and_its_making(image: Writer, tmp_path: Path) -> None:
    file = image(DerivationDescription="Cropped")
    source = pydicom.dcmread(file)
    (result,) = written(DICOMCase.read([file]), tmp_path)
    made = "HQG-Net bundle 0.3.0, weights 0123456789ab, 4 samples"
    assert result.DerivationDescription == f"Cropped; Enhanced by a neural network (HQG-Net); {made}"
    assert result.DerivationCodeSequence[0].CodeValue == "123110"
    (reference,) = result.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID != result.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (equipment,) = result.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert (equipment.Manufacturer, equipment.ManufacturerModelName) == ("HQG-Net bundle", "HQG-Net")
    assert equipment.SoftwareVersions == ["0.3.0", "weights 0123456789ab"]
    assert equipment.ContributionDateTime[:8] == result.InstanceCreationDate


def test_an_earlier_derivation_and_earlier_equipment_stay(image: Writer, tmp_path: Path) -> None:
    code, equipment = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113072", "DCM", "Multiplanar reformatting"
    equipment.Manufacturer = "Other"
    case = DICOMCase.read([image(DerivationCodeSequence=[code], ContributingEquipmentSequence=[equipment])])
    (result,) = written(case, tmp_path)
    assert [item.CodeValue for item in result.DerivationCodeSequence] == ["113072", "123110"]
    assert [item.Manufacturer for item in result.ContributingEquipmentSequence] == ["Other", "HQG-Net bundle"]


def test_what_is_said_of_the_making_fits_any_character_set(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image()])
    provenance = PROVENANCE._replace(settings="guide C:\\Bücher\\" + "x" * 2000)
    result = pydicom.dcmread(case.write(case.image, tmp_path / "result", provenance))
    assert "guide C:/B?cher/" in result.DerivationDescription
    assert len(result.DerivationDescription) <= 1024


def test_a_long_earlier_description_gives_way(image: Writer, tmp_path: Path) -> None:
    (result,) = written(DICOMCase.read([image(DerivationDescription="x" * 1024)]), tmp_path)
    assert result.DerivationDescription.endswith("4 samples")
    assert len(result.DerivationDescription) == 1024


def test_a_class_that_stands_in_the_file_header_only_is_found(image: Writer, tmp_path: Path) -> None:
    file = image()
    dataset = pydicom.dcmread(file)
    del dataset.SOPClassUID
    dataset.save_as(file)
    (result,) = written(DICOMCase.read([file]), tmp_path)
    assert result.SOPClassUID == MRImageStorage


def test_all_else_is_kept(image: Writer, tmp_path: Path) -> None:
    dataset = make(
        VOLUME[0], WindowCenter=[1, 2], BurnedInAnnotation="NO", LossyImageCompression="01", ContentTime="101112"
    )
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", "Müller^Jörg"
    dataset.private_block(0x0029, "VENDOR", create=True).add_new(1, "OB", b"\x01\x02")
    nested = Dataset()
    nested.ReferencedSOPClassUID, nested.ReferencedSOPInstanceUID = MRImageStorage, "1.2.77"
    dataset.ReferencedImageSequence = [nested]
    file = save(dataset, tmp_path / "a.dcm")
    (result,) = written(DICOMCase.read([file]), tmp_path)
    source = pydicom.dcmread(file)
    changed = {
        "ImageType",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesDescription",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "DerivationDescription",
        "DerivationCodeSequence",
        "SourceImageSequence",
        "ContributingEquipmentSequence",
    }
    tags = {element.tag for element in source} | {element.tag for element in result}
    differ = {tag for tag in tags if tag not in source or tag not in result or source[tag] != result[tag]}
    assert {pydicom.datadict.keyword_for_tag(tag) for tag in differ} == changed


def test_what_was_true_of_the_source_only_is_dropped(image: Writer, tmp_path: Path) -> None:
    dataset = make(VOLUME[0] | 0x1000, BitsStored=12, IconImageSequence=[Dataset()], LargestPixelValueInSeries=9)
    dataset.DigitalSignaturesSequence = dataset.MACParametersSequence = [Dataset()]
    for group, embedded in ((0x6000, True), (0x6002, False)):
        dataset.add_new((group, 0x0010), "US", ROWS)
        dataset.add_new((group, 0x0011), "US", COLUMNS)
        dataset.add_new((group, 0x0102), "US", 12 if embedded else 0)
        if not embedded:
            dataset.add_new((group, 0x3000), "OW", bytes(4))
    (result,) = written(DICOMCase.read([save(dataset, tmp_path / "a.dcm")]), tmp_path)
    for keyword in (
        "IconImageSequence",
        "DigitalSignaturesSequence",
        "MACParametersSequence",
        "LargestPixelValueInSeries",
    ):
        assert keyword not in result
    assert not result.group_dataset(0x6000)
    assert result[0x6002, 0x3000].value == bytes(4)
    assert np.array_equal(result.pixel_array, VOLUME[0])


def test_a_lossy_source_is_told(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        dataset.pop(keyword, None)
    dataset.save_as(tmp_path / "a.dcm")
    (result,) = written(DICOMCase.read([tmp_path / "a.dcm"]), tmp_path)
    assert (result.LossyImageCompression, result.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert result.LossyImageCompressionRatio == pytest.approx(30000 / len(dataset.PixelData), rel=0.01)


def test_the_lossy_history_of_a_lossless_source_is_kept(image: Writer, tmp_path: Path) -> None:
    history = {"LossyImageCompression": "01", "LossyImageCompressionRatio": [4, 2]}
    (result,) = written(DICOMCase.read([image(**history)]), tmp_path)
    assert {key: result[key].value for key in history} == history


def test_frames_of_an_enhanced_object_say_what_they_are_derived_from(tmp_path: Path) -> None:
    file = save(enhanced(ContentQualification="PRODUCT"), tmp_path / "a.dcm")
    source = pydicom.dcmread(file)
    (result,) = written(DICOMCase.read([file]), tmp_path)
    assert result.ImageType == ["DERIVED", "PRIMARY", "M", "NONE"]
    assert result.ContentQualification == "RESEARCH"
    (frame_type,) = result.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    assert frame_type.FrameType == ["DERIVED", "PRIMARY", "M", "NONE"]
    for number, group in enumerate(result.PerFrameFunctionalGroupsSequence, start=1):
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (source.SOPInstanceUID, number)
    (study,) = result.SourceImageEvidenceSequence
    (in_series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, in_series.SeriesInstanceUID) == (source.StudyInstanceUID, source.SeriesInstanceUID)
    assert in_series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_zone_of_the_dataset_is_that_of_its_creation(image: Writer, tmp_path: Path) -> None:
    (result,) = written(DICOMCase.read([image(TimezoneOffsetFromUTC="-0930")]), tmp_path)
    assert result.ContributingEquipmentSequence[0].ContributionDateTime.endswith("-0930")


# ----------------------------------------------------------------------------------------------------- deviation


def test_a_deviation_is_kept_to_a_ten_thousandth_of_its_maximum(series: SeriesWriter, tmp_path: Path) -> None:
    case = DICOMCase.read(series(RescaleSlope=0.5, RescaleIntercept=-3, PixelPaddingValue=4, PixelRepresentation=1))
    deviation = torch.rand(case.image.shape, generator=torch.Generator().manual_seed(0)) * 0.037
    datasets = deviation_of(case, tmp_path, deviation)
    read = DICOMCase.read(list((tmp_path / "deviation").iterdir()))
    assert (read.image - deviation).abs().max() < 1e-4 * deviation.max()
    assert torch.equal(read.image.affine, case.image.affine)
    assert max(int(dataset.pixel_array.max()) for dataset in datasets) == 65535
    for dataset in datasets:
        assert (dataset.BitsStored, dataset.PixelRepresentation, dataset.RescaleIntercept) == (16, 0, 0)
        assert dataset.WindowWidth == pytest.approx(float(deviation.max()))
        assert "PixelPaddingValue" not in dataset


def test_a_deviation_of_nothing_is_zero(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image()])
    (dataset,) = deviation_of(case, tmp_path, torch.zeros_like(case.image))
    assert dataset.pixel_array.max() == 0


@pytest.mark.parametrize(
    ("attributes", "units", "kind"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "HU", CTImageStorage),
        ({"RescaleType": "MGML", "RescaleSlope": 1}, "MGML", MRImageStorage),
        ({}, "US", MRImageStorage),
        (
            {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT"},
            "US",
            PositronEmissionTomographyImageStorage,
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}, "US", SecondaryCaptureImageStorage),
    ],
    ids=str,
)
def test_a_deviation_has_the_units_of_the_image(
    attributes: dict[str, Any], units: str, kind: str, image: Writer, tmp_path: Path
) -> None:
    case = DICOMCase.read([image(**attributes)])
    (dataset,) = deviation_of(case, tmp_path, case.image)
    assert (dataset.RescaleType, dataset.SOPClassUID) == (units, kind)
    assert dataset.SeriesDescription == "T1 HQG-Net standard deviation"
    assert dataset.SeriesNumber == 1202


@pytest.mark.parametrize(("kind", "modality", "bits"), [(CTImageStorage, "CT", 15), (MRImageStorage, "MR", 16)])
def test_a_deviation_of_ct_fits_into_signed_numbers(
    kind: str, modality: str, bits: int, image: Writer, tmp_path: Path
) -> None:
    """Programs straighten a series of a tilted gantry as signed 16-bit numbers."""
    case = DICOMCase.read([image(SOPClassUID=kind, Modality=modality)])
    (dataset,) = deviation_of(case, tmp_path, case.image - case.image.min())
    assert (dataset.BitsStored, dataset.HighBit) == (bits, bits - 1)
    assert int(dataset.pixel_array.max()) == 2**bits - 1


def test_a_deviation_of_colour_is_grey(tmp_path: Path) -> None:
    case = DICOMCase.read([Path(str(get_testdata_file("examples_palette.dcm")))])
    (dataset,) = deviation_of(case, tmp_path, case.image.mean(0, keepdim=True))
    assert (dataset.PhotometricInterpretation, dataset.SamplesPerPixel) == ("MONOCHROME2", 1)
    assert "PlanarConfiguration" not in dataset
    assert "RedPaletteColorLookupTableDescriptor" not in dataset


def test_a_deviation_of_an_inverted_image_is_not_inverted(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")])
    (dataset,) = deviation_of(case, tmp_path, torch.arange(30.0).reshape(1, 6, 5, 1).transpose(1, 2))
    assert (dataset.PhotometricInterpretation, dataset.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert np.all(np.diff(dataset.pixel_array[:, 0].astype(int)) > 0)


def test_a_deviation_of_an_enhanced_object_has_one_transformation(tmp_path: Path) -> None:
    case = DICOMCase.read([save(enhanced(), tmp_path / "a.dcm")])
    (dataset,) = deviation_of(case, tmp_path, case.image)
    assert torch.allclose(DICOMCase.read([tmp_path / "deviation.dcm"]).image, case.image, atol=0.01)
    assert dataset.ImageType == ["DERIVED", "PRIMARY", "M", "STD_DEVIATION"]
    assert all("PixelValueTransformationSequence" not in group for group in dataset.PerFrameFunctionalGroupsSequence)


def test_a_deviation_of_a_film_is_a_film(image: Writer, tmp_path: Path) -> None:
    case = DICOMCase.read([image(VOLUME, NumberOfFrames=SLICES, SOPClassUID=UltrasoundMultiFrameImageStorage)])
    deviation_of(case, tmp_path, case.image)
    again = DICOMCase.read([tmp_path / "deviation.dcm"])
    assert torch.allclose(again.image, case.image, atol=0.01)


# --------------------------------------------------------------------------------------------------- real images


@pytest.mark.parametrize("pattern", ["brain_mr_dicom/12-*", "brain_mr_dicom/36459-*", "head_ct_dicom"])
def test_a_real_series_that_is_not_changed_has_its_stored_values(
    pattern: str, shared_data: Path, tmp_path: Path
) -> None:
    (folder,) = shared_data.glob(pattern)
    files = sorted(folder.iterdir())
    case = DICOMCase.read(files[::-1])
    place = case.write(case.image, tmp_path / "result", PROVENANCE)
    assert all(pydicom.dcmread(place / file.name).PixelData == pydicom.dcmread(file).PixelData for file in files)
    again = DICOMCase.read(sorted(place.iterdir()))
    assert torch.equal(again.image.affine, case.image.affine)


def test_the_real_head_is_tilted_padded_and_uneven(shared_data: Path) -> None:
    case = DICOMCase.read(sorted((shared_data / "head_ct_dicom").iterdir()))
    assert case.padding is not None
    assert case.image[case.padding].unique().tolist() == [-1500]
    assert not case.evenly_spaced
    row, column, step = case.image.affine[:3, :3].T
    tilt = torch.acos(torch.dot(torch.linalg.cross(row, column), step) / row.norm() / column.norm() / step.norm())
    assert float(torch.rad2deg(tilt)) == pytest.approx(18.5, abs=0.5)


def test_the_affine_of_a_real_brain_is_that_of_itk(shared_data: Path) -> None:
    (folder,) = (shared_data / "brain_mr_dicom").glob("12-*")
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(folder))
    ordered = [Path(name) for name in names.GetInputFileNames()]
    case = DICOMCase.read(sorted(ordered))
    values, affine = itk_image(ordered)
    assert np.array_equal(case.image[0].numpy(), values)
    assert np.allclose(case.image.affine.numpy(), affine, atol=1e-3)
