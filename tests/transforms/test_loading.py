# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image, ImageOps
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from tests.io.bad_files import deep_png

from scripts.errors import InputError
from scripts.io import image_format, image_stem, open_image
from scripts.transforms import CheckImaged, OrientVolumesd, ReadImaged

SeriesWriter = Callable[..., Path]


def read(path: Path, key: str = "image") -> MetaTensor:
    image: MetaTensor = ReadImaged(key)({key: str(path)})[key]
    return image


def write_dicom(file: Path, values: np.ndarray, position: tuple[float, ...] = (0, 0, 0), **attributes: Any) -> None:
    """One MR slice of 16-bit values (rows × columns), 2 mm × 0.5 mm pixels."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.3"
    dataset.Modality, dataset.SeriesDate = "MR", "20240101"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [2, 0.5], [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = list(position)
    dataset.PixelData = values.astype(np.uint16).tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)


VOLUME = np.arange(4 * 5 * 3).reshape(4, 5, 3)


@pytest.fixture
def series(tmp_path: Path) -> SeriesWriter:
    """Write `VOLUME` (rows, columns, slices) as a series whose files are in an order other than the slices'."""

    def write(positions: tuple[tuple[float, ...], ...], **attributes: Any) -> Path:
        for i, position in enumerate(positions):
            write_dicom(tmp_path / "series" / f"{9 - i}", VOLUME[..., i], position, **attributes)
        return tmp_path / "series"

    return write


EVEN = ((0.0, 0.0, 0.0), (0.0, 0.0, 4.0), (0.0, 0.0, 8.0))

# ------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_nifti_is_read_with_its_geometry(name: str, tmp_path: Path) -> None:
    affine = np.array([[-2.0, 0, 0, 9], [0, 3, 0, -8], [0, 0, 4, 7], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(VOLUME.astype(np.int16), affine), tmp_path / name)
    image = read(tmp_path / name)
    assert image.dtype == torch.float32
    assert np.array_equal(image[0].numpy(), VOLUME)
    assert np.array_equal(image.affine.numpy(), affine)


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 5), (1, 4, 5)), ((4, 5, 6, 1), (1, 4, 5, 6)), ((4, 5, 1, 1, 3), (3, 4, 5, 1))]
)
def test_channels_of_nifti_come_first(shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").shape == expected


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        *(("L", suffix, 1) for suffix in ("png", "tif", "tiff", "bmp", "gif")),
        *(("RGB", suffix, 3) for suffix in ("png", "tif", "bmp")),
        ("RGBA", "png", 3),
        ("LA", "png", 1),
        ("1", "png", 1),
        ("I;16", "png", 1),
        ("I;16", "tif", 1),
        ("F", "tif", 1),
    ],
)
def test_pictures_are_read_columns_first(mode: str, suffix: str, channels: int, tmp_path: Path) -> None:
    Image.new(mode, (6, 4)).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}")
    assert (image.shape, image.dtype) == ((channels, 6, 4), torch.float32)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG"])
def test_jpeg_is_read(suffix: str, tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (200, 100, 50)).save(tmp_path / f"a.{suffix}")
    assert read(tmp_path / f"a.{suffix}").mean((1, 2)).tolist() == pytest.approx([200, 100, 50], abs=3)


def test_16_bit_colour_keeps_its_bits(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(deep_png())
    image = read(tmp_path / "deep.png")
    assert len(image) == 3
    assert float(image.max()) > 255


def test_colours_for_printing_are_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (6, 4)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="colours of the kind CMYK: save it as RGB"):
        read(tmp_path / "a.tif")


def test_a_time_series_is_refused_as_in_inference(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="holds 2 volumes"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("slopes", [(1.0, 0.01, 1.0), (2.0, 1.0, 0.5)])
def test_every_slice_has_its_own_rescale_slope(series: SeriesWriter, tmp_path: Path, slopes: tuple[float, ...]) -> None:
    for number, slope in enumerate(slopes):
        write_dicom(tmp_path / "series" / f"{number}", VOLUME[..., number], (0, 0, 4.0 * number), RescaleSlope=slope)
    assert np.allclose(read(tmp_path / "series")[0].numpy(), VOLUME.swapaxes(0, 1) * np.array(slopes))


def test_pixel_padding_takes_no_part_in_the_scaling(tmp_path: Path) -> None:
    stored = np.full((4, 5), 924)
    stored[0, 0], stored[1:, 1:] = 0, 1084
    ct = {"SOPClassUID": pydicom.uid.CTImageStorage, "Modality": "CT", "PixelPaddingValue": 0}
    write_dicom(tmp_path / "a.dcm", stored, RescaleSlope=1, RescaleIntercept=-1000, RescaleType="HU", **ct)
    image = read(tmp_path / "a.dcm")
    assert (float(image.min()), float(image.max())) == (-76, 84)


def test_an_image_of_padding_alone_is_refused_by_name(tmp_path: Path) -> None:
    ct = {"SOPClassUID": pydicom.uid.CTImageStorage, "Modality": "CT", "PixelPaddingValue": 5}
    write_dicom(tmp_path / "a.dcm", np.full((4, 5), 5), **ct)
    with pytest.raises(InputError, match=r"a\.dcm.*all of it is pixel padding"):
        read(tmp_path / "a.dcm")


def test_training_sees_the_image_of_inference(series: SeriesWriter) -> None:
    path = series(EVEN, PixelPaddingValue=7, RescaleSlope=0.5, RescaleIntercept=-3)
    assert torch.equal(read(path).as_tensor(), open_image(path).without_padding().as_tensor())


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_values_are_kept(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(tmp_path / f"a.{suffix}")
    assert read(tmp_path / f"a.{suffix}").flatten().tolist() == [0, 300, 65535]


@pytest.mark.parametrize(("colours", "channels"), [([0, 0, 0, 9, 9, 9], 1), ([0, 0, 0, 9, 8, 7], 3)])
def test_a_palette_becomes_grey_or_colour(colours: list[int], channels: int, tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpixel((1, 0), 1)
    palette.putpalette(colours)
    palette.save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[:, 1, 0].tolist() == colours[3 : 3 + channels]


def test_a_dicom_series_is_read_in_the_order_of_its_slices(series: SeriesWriter) -> None:
    image = read(series(EVEN))
    assert image.dtype == torch.float32
    assert np.array_equal(image[0].numpy(), VOLUME.swapaxes(0, 1))
    # 0.5 mm between columns, 2 mm between rows; DICOM's left and posterior are negative right and anterior
    assert image.affine.diag().tolist() == pytest.approx([-0.5, -2, 4, 1])


def test_a_single_dicom_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", VOLUME[..., 1])
    assert np.array_equal(read(tmp_path / "a.dcm")[0, ..., 0].numpy(), VOLUME[..., 1].T)


def test_rescale_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", VOLUME[..., 0], RescaleSlope=2, RescaleIntercept=-1000, RescaleType="HU",
                SOPClassUID=pydicom.uid.CTImageStorage, Modality="CT")  # fmt: skip
    assert np.array_equal(read(tmp_path / "a.dcm")[0, ..., 0].numpy(), 2 * VOLUME[..., 0].T - 1000)


def test_monochrome1_is_shown_the_right_way_round(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", VOLUME[..., 0], PhotometricInterpretation="MONOCHROME1")
    image = read(tmp_path / "a.dcm")[0, ..., 0].numpy()
    assert np.array_equal(image - image.min(), (VOLUME[..., 0].max() - VOLUME[..., 0]).T)


def test_a_tilted_gantry_gives_a_sheared_affine(series: SeriesWriter) -> None:
    image = read(series(((0, 0, 0), (0, 1, 4), (0, 2, 8))))
    assert image.affine[:3, 2].tolist() == pytest.approx([0, -1, 4])
    assert image.affine[:3, 1].tolist() == pytest.approx([0, -2, 0])


@pytest.mark.parametrize("key", ["image", "label"])
def test_metadata_is_no_more_than_geometry_and_name(key: str, series: SeriesWriter) -> None:
    path = series(EVEN)
    meta = read(path, key).meta
    assert meta["filename_or_obj"] == str(path)
    assert not any("|" in str(name) for name in meta)


# -------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 1, 255], torch.uint8),
        ([0, 1, 300], torch.int32),
        ([-1, 0, 1], torch.int32),
        ([0, 0.5, 1], torch.float32),
        ([0, 1, 1.9999998], torch.uint8),
    ],
)
def test_labels_stay_whole_numbers(values: list[float], dtype: torch.dtype, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.array(values, np.float32).reshape(3, 1), np.eye(4)), tmp_path / "a.nii")
    label = read(tmp_path / "a.nii", "label")
    assert label.flatten().tolist() == pytest.approx(values)
    assert label.dtype == dtype


def test_a_label_of_few_bytes_may_have_more_classes_than_fit_in_them(tmp_path: Path) -> None:
    image = torch.arange(64.0).reshape(1, 8, 8)
    check = CheckImaged("image", channels=1, spatial_dims=2, label_key="label", num_classes=256 + 2)
    label = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    assert check({"image": image, "label": label})["label"] is label
    with pytest.raises(InputError, match="value 258 but classes go from 0 to 257"):
        check({"image": image, "label": torch.full((1, 8, 8), 258)})


def test_a_palette_label_holds_its_indices(tmp_path: Path) -> None:
    palette = Image.new("P", (3, 1))
    palette.putdata([0, 1, 2])
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", "label").flatten().tolist() == [0, 1, 2]


def test_only_label_keys_are_labels(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    item = ReadImaged(["image", "mask"], label_keys="mask")(dict.fromkeys(["image", "mask"], str(tmp_path / "a.png")))
    assert (item["image"].dtype, item["mask"].dtype) == (torch.float32, torch.uint8)


def test_a_key_may_be_missing_if_allowed(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    item = {"image": str(tmp_path / "a.png")}
    assert set(ReadImaged(["image", "label"], allow_missing_keys=True)(item)) == {"image"}
    with pytest.raises(KeyError):
        ReadImaged(["image", "label"])(item)


@pytest.mark.parametrize(("label", "named"), [(1, "the number 1"), ([0, 1], r"the list \[0, 1\]")])
def test_a_class_where_a_label_image_is_due_is_refused_with_its_mend(
    label: int | list[int], named: str, tmp_path: Path
) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(
        InputError,
        match=f'^the label of "\\S*a.png" is {named}: add configs/classification.yaml to --config_file, or give a',
    ):
        ReadImaged(["image", "label"])({"image": str(tmp_path / "a.png"), "label": label})


# --------------------------------------------------------------------------------------------------- unreadable


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.tif", "a.jpg", "a.bmp", "a.dcm", "a.txt"])
def test_a_file_that_is_not_what_it_seems_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"neither image nor anything")
    with pytest.raises(InputError, match=rf'^cannot read "\S*{name}": [^\n]+$'):
        read(tmp_path / name)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(InputError, match='cannot read "'):
        read(tmp_path / "a.png")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='cannot read ".*nowhere.png": there is no such file'):
        read(tmp_path / "nowhere.png")


def test_a_stack_of_pages_is_refused_rather_than_cut_to_its_first(tmp_path: Path) -> None:
    pages = [Image.new("L", (4, 4), i) for i in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="holds 3 pages"):
        read(tmp_path / "a.tif")


def test_a_folder_without_dicom_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 0 DICOM series"):
        read(tmp_path)


def test_a_folder_with_two_series_is_refused(series: SeriesWriter, tmp_path: Path) -> None:
    series(EVEN)
    write_dicom(tmp_path / "series" / "other", VOLUME[..., 0], SeriesInstanceUID="1.2.4")
    with pytest.raises(InputError, match="holds 2 DICOM series"):
        read(tmp_path / "series")


def test_a_series_with_a_missing_slice_is_refused(series: SeriesWriter) -> None:
    with pytest.raises(InputError, match="missing or unevenly spaced slices"):
        read(series(((0, 0, 0), (0, 0, 4), (0, 0, 12))))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.NII.gz", "nifti"), ("a.IMA", "dicom"), ("a.jpeg", "raster"), ("DICOMDIR", None), ("a.txt", None), ("a", None)],
)
def test_the_suffix_tells_the_format(name: str, expected: str | None, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert image_format(tmp_path / name) == expected


def test_a_dicom_file_without_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    write_dicom(tmp_path / "1.2.840", VOLUME[..., 0])
    assert image_format(tmp_path / "1.2.840") == "dicom"


@pytest.mark.parametrize(
    ("name", "stem"), [("x/p.1.nii.gz", "p.1"), ("p.PNG", "p"), ("IM.7", "IM.7"), (".png", ".png")]
)
def test_the_stem_is_the_name_without_the_suffix_of_an_image(name: str, stem: str) -> None:
    assert image_stem(name) == stem


# -------------------------------------------------------------------------------------------------------- checks


def check(image: torch.Tensor, label: torch.Tensor | None = None, **kwargs: Any) -> None:
    arguments = {"channels": 1, "spatial_dims": 2, "minimum_size": 4, "label_key": "label", "num_classes": 3, **kwargs}
    item = {"image": MetaTensor(image, meta={"filename_or_obj": "dir/a.png"})}
    if label is not None:
        item["label"] = MetaTensor(label, meta={"filename_or_obj": "dir/b.png"})
    result = CheckImaged("image", **arguments)(item)
    assert result == item


def ramp(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "kwargs"),
    [
        ((1, 4, 4), {}),
        ((1, 4, 4, 1), {}),
        ((1, 4, 4, 9), {}),
        ((1, 2, 4, 4), {"slice_axis": 0}),
        ((3, 4, 5), {"channels": 3, "minimum_size": (4, 5)}),
        ((1, 4, 4, 4), {"spatial_dims": 3}),
    ],
)
def test_a_good_image_passes(shape: tuple[int, ...], kwargs: dict[str, Any]) -> None:
    check(ramp(*shape), ramp(1, *shape[1:]) % 3, **kwargs)


@pytest.mark.parametrize(
    ("image", "kwargs", "message"),
    [
        (
            ramp(3, 4, 4),
            {},
            r'"dir/a.png" has 3 channel\(s\) but the network takes 1: convert it, or train with --channels 3',
        ),
        (
            ramp(1, 4, 4),
            {"channels": 3},
            r"has 1 channel\(s\) but the network takes 3: convert it, or train with --channels 1",
        ),
        (ramp(1, 4, 4), {"spatial_dims": 3}, '"dir/a.png" has 2 spatial dimensions .*: set --spatial_dims 2'),
        (ramp(1, 4, 4, 4, 4), {}, '"dir/a.png" has 4 spatial dimensions .*: split'),
        (ramp(1, 3, 4), {}, '"dir/a.png" is 3×4 pixels .* at least 4×4'),
        (ramp(1, 4, 3, 9), {}, "is 4×3 pixels"),
        (ramp(1, 4, 4, 3), {"spatial_dims": 3}, "is 4×4×3 pixels"),
        (torch.full((1, 4, 4), torch.nan), {}, '"dir/a.png" holds values that are not finite'),
        (1 / ramp(1, 4, 4), {}, "not finite"),
        (torch.full((1, 4, 4), 7.0), {}, '"dir/a.png" is constant .*is 7'),
    ],
)
def test_what_is_wrong_with_an_image_is_named(image: torch.Tensor, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(image, **kwargs)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.zeros(1, 4, 5), '"dir/b.png" is 4×5 but its image "dir/a.png" is 4×4'),
        (torch.zeros(3, 4, 4), '"dir/b.png" has 3 channels'),
        (torch.full((1, 4, 4), 255, dtype=torch.uint8), '"dir/b.png" holds the value 255 but classes go from 0 to 2'),
        (torch.full((1, 4, 4), 3, dtype=torch.uint8), "holds the value 3 "),
        (torch.full((1, 4, 4), -1), "holds the value -1"),
        (torch.full((1, 4, 4), 0.5), "holds the value 0.5"),
        (torch.full((1, 4, 4), torch.nan), "holds the value nan"),
    ],
)
def test_what_is_wrong_with_a_label_is_named(label: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(ramp(1, 4, 4), label)


def test_a_label_that_is_a_class_is_refused_by_the_check() -> None:
    image = MetaTensor(ramp(1, 4, 4), meta={"filename_or_obj": "dir/a.png"})
    with pytest.raises(
        InputError, match='^the label of "dir/a.png" is the number 1: add configs/classification.yaml to --config_file'
    ):
        CheckImaged("image", 1, 2, label_key="label")({"image": image, "label": 1})


def test_values_of_a_label_are_free_without_a_number_of_classes() -> None:
    check(ramp(1, 4, 4), torch.full((1, 4, 4), 255), num_classes=None)


def test_an_image_without_a_file_is_named_by_its_key() -> None:
    with pytest.raises(InputError, match="the image is constant"):
        CheckImaged("image", 1, 2)({"image": torch.zeros(1, 4, 4)})


# --------------------------------------------------------------------------------------------------- real images


def test_a_real_mr_series_is_read(shared_data: Path) -> None:
    folder = sorted((shared_data / "brain_mr_dicom").iterdir())[0]
    image = read(folder)
    first = min((pydicom.dcmread(f) for f in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    assert np.array_equal(image[0, ..., 0].numpy(), first.pixel_array.T)
    assert image.affine[:3, 3].tolist() == pytest.approx(
        [-p if i < 2 else p for i, p in enumerate(first.ImagePositionPatient)]
    )


def test_a_real_ct_folder_with_two_spacings_is_refused(shared_data: Path) -> None:
    with pytest.raises(InputError, match="missing or unevenly spaced slices"):
        read(shared_data / "head_ct_dicom")


def test_a_real_nifti_volume_and_its_label_pass_the_check(shared_data: Path) -> None:
    folders = [shared_data / "hippocampus" / name for name in ("images", "labels")]
    name = sorted(folders[0].iterdir())[0].name
    item = ReadImaged(["image", "label"])({"image": str(folders[0] / name), "label": str(folders[1] / name)})
    CheckImaged("image", 1, 2, 16, label_key="label", num_classes=3)(item)
    assert item["label"].dtype == torch.uint8


@pytest.mark.parametrize("pattern", ["drive/images/*.tif", "drimdb_good/*.jpg", "eyeq_usable/image/*.png"])
def test_real_fundus_photographs_are_read_in_colour(pattern: str, shared_data: Path) -> None:
    image = read(sorted(shared_data.glob(pattern))[0])
    CheckImaged("image", 3, 2, 256)({"image": image})
    assert image.mean((1, 2)).argmax() == 0, "a fundus is red"


def test_a_real_vessel_label_is_read(shared_data: Path) -> None:
    label = read(sorted((shared_data / "drive" / "1st_manual").iterdir())[0], "label")
    assert label.unique().tolist() == [0, 255]


def test_volumes_are_turned_to_ras_and_back_and_photographs_are_left() -> None:
    affine = torch.diag(torch.tensor([-1.0, -2.0, 3.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.rand(1, 4, 5, 6), affine=affine)
    orient = OrientVolumesd(["image", "label"], allow_missing_keys=True)
    turned = orient({"image": volume})
    assert torch.equal(turned["image"].as_tensor(), volume.as_tensor().flip(1, 2))
    assert turned["image"].affine.diagonal()[:3].tolist() == [1, 2, 3]
    assert torch.equal(orient.inverse(turned)["image"].as_tensor(), volume.as_tensor())
    photograph = MetaTensor(torch.rand(3, 4, 5), affine=affine)
    assert torch.equal(orient({"image": photograph})["image"].as_tensor(), photograph.as_tensor())


def test_nan_is_padding_where_asked(tmp_path: Path) -> None:
    values = np.arange(1, 8 * 9 * 10 + 1, dtype=np.float32).reshape(8, 9, 10)
    values[0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    item = ReadImaged("image", source_key="source", nan_as_padding=True)({"image": tmp_path / "a.nii"})
    assert torch.equal(item["source_padding"][0], torch.from_numpy(np.isnan(values)))
    assert float(item["image"][0, 0].max()) == float(item["image"].min()) == 91
    assert bool(ReadImaged("image")({"image": tmp_path / "a.nii"})["image"].isnan().any())


def test_a_photograph_is_turned_upright_unless_a_result_goes_back_there(tmp_path: Path) -> None:
    photograph = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    exif = photograph.getexif()
    exif[0x0112] = 6
    photograph.save(tmp_path / "a.png", exif=exif)
    assert ReadImaged("image")({"image": tmp_path / "a.png"})["image"].shape == (1, 6, 8)
    kept = ReadImaged("image", source_key="source")({"image": tmp_path / "a.png"})
    assert kept["image"].shape == kept["source"].shape == (1, 8, 6)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photograph_goes_upright_to_the_network_and_its_result_back(orientation: int, tmp_path: Path) -> None:
    photograph = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    exif = photograph.getexif()
    exif[0x0112] = orientation
    photograph.save(tmp_path / "a.png", exif=exif)
    read = ReadImaged("image", source_key="source")({"image": tmp_path / "a.png"})
    orient = OrientVolumesd("image")
    upright = orient(read)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_array_equal(upright["image"][0].numpy().T, shown)
    back = orient.inverse(upright)["image"]
    assert torch.equal(back.as_tensor(), read["source"].as_tensor())
    assert back.meta["exif_orientation"] == orientation


# ------------------------------------------------------------------------------------------- where a label lies


def oriented_pair(tmp_path: Path, label_affine: np.ndarray, label: np.ndarray, affine: np.ndarray) -> Any:
    image = np.arange(8 * 9 * 10, dtype=np.float32).reshape(8, 9, 10)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "image.nii")
    nib.save(nib.Nifti1Image(label, label_affine), tmp_path / "label.nii")
    item = ReadImaged(["image", "label"])({"image": tmp_path / "image.nii", "label": tmp_path / "label.nii"})
    return OrientVolumesd(["image", "label"])(item)


AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
MIRROR = np.array([[-1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
MARKED = np.zeros((8, 9, 10), np.uint8)
MARKED[1, 2, 3] = 1


@pytest.mark.parametrize(
    "label_affine",
    [
        np.array([[1.0, 0, 0, 30], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]),  # 30 mm apart
        np.diag([1.0, 2.0, 4.0, 1.0]),  # another spacing
        np.eye(4),
    ],
)
def test_a_label_that_lies_elsewhere_is_refused(label_affine: np.ndarray, tmp_path: Path) -> None:
    item = oriented_pair(tmp_path, label_affine, MARKED, AFFINE)
    check = CheckImaged("image", 1, 3, label_key="label", num_classes=2)
    with pytest.raises(InputError, match=r'label.nii" lies up to [\d.]+ voxels away from its image .*image.nii"'):
        check(item)


def test_a_label_that_is_stored_another_way_lands_where_it_lies(tmp_path: Path) -> None:
    item = oriented_pair(tmp_path, AFFINE @ MIRROR, MARKED[::-1].copy(), AFFINE)
    checked = CheckImaged("image", 1, 3, label_key="label", num_classes=2)(item)
    assert checked["label"][0].nonzero().tolist() == [[1, 2, 3]]


def test_rounding_of_a_header_is_no_other_place(tmp_path: Path) -> None:
    CheckImaged("image", 1, 3, label_key="label", num_classes=2)(oriented_pair(tmp_path, AFFINE + 1e-3, MARKED, AFFINE))


def test_a_picture_of_a_label_has_no_place_to_compare(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.arange(20, dtype=np.float32).reshape(4, 5), AFFINE), tmp_path / "image.nii")
    Image.fromarray(np.ones((5, 4), np.uint8)).save(tmp_path / "label.png")
    item = ReadImaged(["image", "label"])({"image": tmp_path / "image.nii", "label": tmp_path / "label.png"})
    CheckImaged("image", 1, 2, label_key="label", num_classes=2)(item)
