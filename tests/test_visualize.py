# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from scripts.io import open_image
from scripts.transforms import OrientVolumesd
from scripts.visualize import compose_grid, display_plane, enlarged

RAS = np.diag([1.0, 1.0, 1.0, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume_with_mark(affine: np.ndarray, mark: tuple[int, int, int], shape: tuple[int, ...] = (5, 6, 7)) -> MetaTensor:
    pixels = torch.zeros(1, *shape)
    pixels[(0, *mark)] = 1
    return MetaTensor(pixels, affine=torch.as_tensor(affine))


def place_of_mark(plane: np.ndarray) -> tuple[int, int]:
    row, column = np.argwhere(plane == 1)[0]
    return int(row), int(column)


# The mark is at the patient's right, anterior and superior end of the middle slice.
@pytest.mark.parametrize(
    ("slice_axis", "mark", "shape"),
    [(2, (4, 5, 3), (6, 5)), (1, (4, 3, 6), (7, 5)), (0, (2, 5, 6), (7, 6))],
)
@pytest.mark.parametrize("affine", [RAS, LPS], ids=["RAS", "LPS"])
def test_anterior_or_superior_is_up_and_right_or_anterior_is_left(
    affine: np.ndarray, slice_axis: int, mark: tuple[int, int, int], shape: tuple[int, int]
) -> None:
    size = (5, 6, 7)
    if affine is LPS:
        mark = (size[0] - 1 - mark[0], size[1] - 1 - mark[1], mark[2])
    if slice_axis == 1:
        mark = (mark[0], size[1] // 2, mark[2])
    plane, _ = display_plane(volume_with_mark(affine, mark), slice_axis)
    assert plane.shape == shape
    assert place_of_mark(plane) == (0, 0)


def test_middle_slice_of_a_volume_is_shown() -> None:
    pixels = torch.arange(5.0).expand(1, 3, 3, 5)
    plane, _ = display_plane(pixels, slice_axis=2)
    assert (plane == 2).all()


TAKEN = np.arange(12, dtype=np.uint8).reshape(3, 4)


def write_radiograph(file: Path, frames: int = 1) -> None:
    """A radiograph, or a film of an ultrasound scanner, without a position in the patient."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = ComputedRadiographyImageStorage if frames == 1 else UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid() for _ in range(3))
    dataset.Modality = "CR" if frames == 1 else "US"
    dataset.Rows, dataset.Columns = TAKEN.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = np.repeat(TAKEN[None], frames, axis=0).tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(file, enforce_file_format=True)


def written(folder: Path, kind: str) -> Path:
    file = folder / f"taken.{kind}"
    if kind in ("png", "gif", "tif", "bmp"):
        Image.fromarray(TAKEN).save(file)
    else:
        write_radiograph(file, frames=5 if kind == "film" else 1)
    return file


@pytest.mark.parametrize("kind", ["png", "gif", "tif", "bmp", "radiograph", "film"])
def test_an_image_in_pixel_space_comes_out_as_it_was_taken(kind: str, tmp_path: Path) -> None:
    image = open_image(written(tmp_path, kind)).image
    turned = OrientVolumesd("image")({"image": image})["image"]
    for shown in (image, turned):
        np.testing.assert_array_equal(display_plane(shown)[0], TAKEN)


def test_colour_image_keeps_its_channels_last() -> None:
    assert display_plane(torch.rand(3, 8, 10))[0].shape == (10, 8, 3)


def test_spacing_follows_the_rows_and_columns() -> None:
    volume = volume_with_mark(np.diag([1.0, 2.0, 5.0, 1.0]), (0, 0, 0))
    assert display_plane(volume, slice_axis=0)[1] == (5.0, 2.0)


def test_a_grid_has_a_place_for_every_picture() -> None:
    red, green = (Image.new("RGB", (300, 20), colour) for colour in ("red", "green"))
    grid = np.asarray(compose_grid(["left", "right"], [("first", [red, None]), ("", [None, green])]))
    (reds, greens) = (np.argwhere((grid == np.array(colour)).all(axis=-1)) for colour in ((255, 0, 0), (0, 128, 0)))
    assert len(reds) == len(greens) == 300 * 20
    assert (reds.max(axis=0) < greens.min(axis=0)).all()


def test_a_long_title_has_room() -> None:
    cell = Image.new("RGB", (10, 10))
    assert compose_grid(["a"], [("", [cell])], title="a title " * 20).width > 600


def test_enlarging_repeats_pixels_in_the_proportions_of_the_patient() -> None:
    pixels = np.array([[[0] * 3, [255] * 3]], dtype=np.uint8)
    picture = enlarged(pixels, (3.0, 1.0), 30)
    assert picture.size == (20, 30)
    assert np.unique(np.asarray(picture)).tolist() == [0, 255]
