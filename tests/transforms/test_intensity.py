# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, Invertd

from scripts.errors import InputError
from scripts.transforms import ReadImaged, RescaleIntensityd


def rescale(values: Any, **kwargs: Any) -> torch.Tensor:
    return RescaleIntensityd("image", **kwargs)({"image": torch.as_tensor(values, dtype=torch.float32)})["image"]


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    values = np.random.RandomState(0).randint(-1024, 3072, (7, 6, 5)).astype(np.int16)
    affine = np.array([[-2.0, 0, 0, 9], [0, 3, 0, -8], [0, 0, 4, 7], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_minimum_and_upper_percentile_become_0_and_1() -> None:
    values = torch.arange(201.0).view(1, 3, 67) + 40
    scaled = rescale(values, upper=50, clip=False)
    assert torch.allclose(scaled, (values - 40) / 100)


def test_values_beyond_the_range_are_clipped() -> None:
    scaled = rescale(torch.arange(201.0).view(1, 3, 67), lower=25, upper=75)
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_a_window_is_the_same_for_every_image() -> None:
    assert rescale([[[0.0, 51.0, 255.0]]], window=(0, 255)).tolist() == [[[0.0, pytest.approx(0.2), 1.0]]]


def test_channels_share_their_range_unless_each_has_its_own() -> None:
    colour = torch.stack([torch.linspace(0, 1, 9), torch.linspace(0, 4, 9)]).view(2, 3, 3)
    assert rescale(colour, upper=100).amax((1, 2)).tolist() == [0.25, 1]
    assert rescale(colour, upper=100, channel_wise=True).amax((1, 2)).tolist() == [1, 1]


def test_a_nearly_empty_image_is_scaled_by_its_maximum() -> None:
    image = torch.zeros(1, 100, 100)
    image[0, 3, 4] = 8
    assert rescale(image).max() == 1


def test_more_values_than_torch_quantile_takes_can_be_scaled() -> None:
    image = torch.zeros(1, 4097, 4097)
    image[0, 1:] = 2
    assert rescale(image).max() == 1


@pytest.mark.parametrize("kwargs", [{}, {"lower": 1, "upper": 99}, {"channel_wise": True}, {"window": (-1024, 3071)}])
@pytest.mark.parametrize("clip", [False, True])
def test_inverse_gives_back_whole_scanner_values(clip: bool, kwargs: dict[str, Any], nifti: Path) -> None:
    image = ReadImaged("image")({"image": str(nifti)})["image"]
    transform = RescaleIntensityd("image", clip=clip, **kwargs)
    scaled = transform({"image": image})
    info = scaled["image"].applied_operations[-1]["extra_info"]
    restored = transform.inverse(scaled)["image"]
    expected = image.clamp(info["low"][0], info["high"][0]) if clip else image
    # the range itself lies between whole numbers where percentiles do
    assert torch.allclose(restored.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-3)
    kept = (image >= info["low"][0]) & (image <= info["high"][0]) if clip else torch.ones_like(image, dtype=torch.bool)
    assert torch.equal(restored.round()[kept], image[kept])


def test_inverse_leaves_no_trace_of_the_scaling(nifti: Path) -> None:
    transform = RescaleIntensityd("image")
    item = transform.inverse(transform(ReadImaged("image")({"image": str(nifti)})))
    assert item["image"].applied_operations == []


def test_geometry_and_file_name_stay_with_the_image(nifti: Path) -> None:
    image = ReadImaged("image")({"image": str(nifti)})["image"]
    scaled = RescaleIntensityd("image")({"image": image})["image"]
    assert torch.equal(scaled.affine, image.affine)
    assert scaled.meta["filename_or_obj"] == str(nifti)


def test_the_image_that_was_passed_in_is_left_as_it_was(nifti: Path) -> None:
    item = ReadImaged("image")({"image": str(nifti)})
    before = item["image"].clone()
    RescaleIntensityd("image")(item)
    assert torch.equal(item["image"], before)
    assert item["image"].applied_operations == []


def test_invertd_gives_a_prediction_the_units_of_its_own_image(nifti: Path) -> None:
    pipeline = Compose([ReadImaged("image"), RescaleIntensityd("image", upper=100)])
    half = nib.load(nifti)
    nib.save(nib.Nifti1Image(half.get_fdata() / 2, half.affine), nifti.parent / "half.nii")
    batch = list_data_collate([pipeline({"image": str(nifti.parent / name)}) for name in (nifti.name, "half.nii")])
    batch["pred"] = MetaTensor(torch.ones_like(batch["image"].as_tensor()))
    items = [Invertd("pred", pipeline, orig_keys="image", nearest_interp=False)(x) for x in decollate_batch(batch)]
    top = half.get_fdata().max()
    assert [float(item["pred"].max()) for item in items] == pytest.approx([top, top / 2])


@pytest.mark.parametrize(
    "kwargs", [{"lower": 50, "upper": 50}, {"lower": -1}, {"upper": 101}, {"window": (3, 3)}, {"window": (1, 2, 3)}]
)
def test_a_range_out_of_order_is_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="out of order"):
        RescaleIntensityd("image", **kwargs)


def test_a_constant_image_is_refused() -> None:
    with pytest.raises(InputError, match="constant"):
        rescale(torch.full((1, 4, 4), 7.0))


def test_a_real_dicom_series_comes_back_whole(shared_data: Path) -> None:
    folder = sorted((shared_data / "brain_mr_dicom").iterdir())[0]
    transform = RescaleIntensityd("image", clip=False)
    restored = transform.inverse(transform(ReadImaged("image")({"image": str(folder)})))["image"]
    stored = {int(v) for file in folder.iterdir() for v in np.unique(pydicom.dcmread(file).pixel_array)}
    assert {int(v) for v in torch.unique(restored.round())} == stored


@pytest.mark.parametrize(
    ("values", "window", "warned"),
    [
        (np.linspace(0, 60000, 1000), (0, 255), True),  # 16 bits in the window of 8
        (np.linspace(0, 1, 1000), (-160, 240), True),  # scaled already
        (np.linspace(-1000, 1000, 1000), (-160, 240), False),  # air and bone around a window of soft tissue
        (np.linspace(0, 255, 1000), (0, 255), False),
        (np.linspace(0, 60000, 1000), None, False),
    ],
)
def test_a_window_that_does_not_fit_is_warned_of_once(
    values: np.ndarray, window: tuple[float, float] | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    transform = RescaleIntensityd("image", window=window)
    image = torch.from_numpy(values.astype(np.float32)).reshape(1, 10, 100)
    for _ in range(2):
        transform({"image": image})
    messages = [record.getMessage() for record in caplog.records if "does not fit" in record.getMessage()]
    assert len(messages) == warned
    assert all("Set --window" in message for message in messages)
