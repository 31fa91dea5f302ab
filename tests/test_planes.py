# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import torch
from monai.data import MetaTensor

from scripts.inferers import ConsistentInferer
from scripts.io import PATIENT_SPACE, PIXEL_SPACE, SPACE
from scripts.networks import HQGNet
from scripts.planes import (
    PIXEL_SIZE,
    pixel_size_of_set,
    planes_of,
    resized,
    voxel_size,
    warn_of_other_axis,
    warn_of_small_patches,
    zoom_to,
)


def volume(size: tuple[int, ...], sides: tuple[float, float, float], space: str = PATIENT_SPACE) -> MetaTensor:
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    return MetaTensor(image, affine=torch.diag(torch.tensor([*sides, 1.0])), meta={SPACE: space})


class Recorder(HQGNet):
    """A network that keeps the shapes it is given."""

    shapes: list[tuple[int, ...]]

    def enhance_with_cue(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> torch.Tensor:
        self.shapes.append(tuple(image.shape[1:]))
        return image


@pytest.fixture
def network() -> Recorder:
    made = Recorder(channels=(4, 8), guidance_channels=(4, 8)).eval()
    made.shapes = []
    return made


def test_the_size_is_that_of_the_affine_where_it_means_something() -> None:
    assert voxel_size(volume((8, 8, 4), (1.5, 2.0, 4.0))) == [1.5, 2.0, 4.0]
    assert voxel_size(volume((8, 8, 4), (1.5, 2.0, 4.0))[None]) == [1.5, 2.0, 4.0]
    assert voxel_size(volume((8, 8, 4), (1.0, 1.0, 1.0), PIXEL_SPACE)) is None
    assert voxel_size(torch.zeros(1, 8, 8)) is None


def test_the_range_of_a_set_holds_both_axes_of_its_planes() -> None:
    items = [{"image": torch.zeros(1, 8, 8, 4), PIXEL_SIZE: sides} for sides in ([1.0, 1.2, 5.0], [0.9, 1.1, 6.0])]
    unknown = {"image": torch.zeros(1, 8, 8, 4)}
    assert pixel_size_of_set(planes_of([*items, unknown], 2, slice_axis=2)) == [[0.9, 1.2]] * 2
    assert pixel_size_of_set(planes_of(items, 2, slice_axis=0)) == [[1.1, 6.0]] * 2
    assert pixel_size_of_set(planes_of(items, 3, slice_axis=2)) == [[0.9, 1.0], [1.1, 1.2], [5.0, 6.0]]
    assert pixel_size_of_set(planes_of([unknown], 2, slice_axis=2)) is None


def test_training_across_another_axis_than_the_acquisition_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sagittal = {"image": torch.zeros(1, 8, 30, 30), PIXEL_SIZE: [5.0, 1.0, 1.0]}
    even = {"image": torch.zeros(1, 30, 30, 30), PIXEL_SIZE: [1.0, 1.0, 1.0]}
    single = {"image": torch.zeros(1, 1, 30, 30), PIXEL_SIZE: [5.0, 1.0, 1.0]}
    warn_of_other_axis(planes_of([sagittal, even], 2, slice_axis=0), 0)
    warn_of_other_axis(planes_of([even, single], 2, slice_axis=2), 2)
    warn_of_other_axis(planes_of([sagittal], 3, slice_axis=2), 2)
    assert not caplog.text
    warn_of_other_axis(planes_of([sagittal, even], 2, slice_axis=2), 2)
    assert "1 of the first 2 low-quality volumes were acquired in slices along axis 0" in caplog.text
    assert "Set --slice_axis 0" in caplog.text


def test_an_image_can_be_brought_to_other_pixels_than_those_of_the_inferer(network: Recorder) -> None:
    image = volume((40, 48, 4), (1.0, 1.0, 4.0))[None]
    inferer = ConsistentInferer(2, pixel_size=[[2.0, 2.0]] * 2)
    assert inferer.at_training_size(image, network, 2).shape == (1, 1, 20, 24, 4)
    assert inferer.at_training_size(image, network, 2, [[1.0, 1.0]] * 2).shape == (1, 1, 40, 48, 4)


def test_axes_that_grow_are_interpolated_where_others_shrink() -> None:
    ramp = torch.linspace(0, 1, 8).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 8, 8)
    result = resized(ramp, (16, 8, 4), slice_axis=2)[0, 0, :, 0, 0]
    assert (result.diff() > 0)[1:-1].all()


@pytest.mark.parametrize(("size", "zoom"), [(0.5, 0.25), (1.0, 0.5), (1.4, 1.0), (2.5, 1.0), (4.4, 1.0), (9.0, 3.0)])
def test_pixels_that_are_nearly_those_of_training_stay(size: float, zoom: float) -> None:
    assert zoom_to([size, 2.0], [[2.0, 3.0]] * 2) == pytest.approx([zoom, 1.0])


@pytest.mark.parametrize(("slice_axis", "seen"), [(2, (1, 20, 24)), (0, (1, 24, 20))])
def test_planes_are_enhanced_at_the_pixels_of_training_and_brought_back(
    network: Recorder, slice_axis: int, seen: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    image = volume((40, 48, 40), (1.0, 1.0, 1.0))
    inferer = ConsistentInferer(2, pixel_size=[[2.0, 2.0]] * 2)
    with caplog.at_level(logging.INFO):
        result = inferer(image[None], network, slice_axis=slice_axis)
        inferer(image[None], network, slice_axis=slice_axis)
    assert result.shape == (1, 1, 40, 48, 40)
    assert set(network.shapes) == {seen}
    assert caplog.text.count("pixels of 1 x 1 mm") == 1
    # What is large stays: the planes' means, and their places.
    torch.testing.assert_close(result.mean(dim=(3, 4)), image.as_tensor()[None].mean(dim=(3, 4)), atol=0.02, rtol=0)


def test_an_image_of_nearly_those_pixels_or_of_unknown_ones_is_left_as_it_is(network: Recorder) -> None:
    inferer = ConsistentInferer(2, pixel_size=[[2.0, 2.0]] * 2)
    for image in (volume((40, 48, 3), (1.5, 1.5, 4.0)), volume((40, 48, 3), (1.0, 1.0, 1.0), PIXEL_SPACE)):
        result = inferer(image[None], network)
        torch.testing.assert_close(result[0], image.as_tensor())
    assert set(network.shapes) == {(1, 40, 48)}


def test_planes_stay_as_large_as_the_network_takes(network: Recorder) -> None:
    inferer = ConsistentInferer(2, pixel_size=[[4.0, 4.0]] * 2)
    least = network.minimum_size
    inferer(volume((2 * least, 8 * least, 3), (1.0, 1.0, 4.0))[None], network)
    assert set(network.shapes) == {(1, least, 2 * least)}


def test_a_volume_is_resampled_for_a_network_of_volumes() -> None:
    network = Recorder(spatial_dims=3, channels=(4, 8), guidance_channels=(4, 8)).eval()
    network.shapes = []
    inferer = ConsistentInferer(3, pixel_size=[[2.0, 2.0], [2.0, 2.0], [1.0, 1.0]])
    result = inferer(volume((16, 24, 16), (1.0, 4.0, 1.0))[None], network)
    assert result.shape == (1, 1, 16, 24, 16)
    assert set(network.shapes) == {(1, 8, 48, 16)}


def test_the_plane_of_a_single_slice_is_the_one_that_training_takes() -> None:
    item = {"image": torch.zeros(1, 1, 30, 40), PIXEL_SIZE: [5.0, 0.9, 1.1]}
    assert planes_of([item], 2, slice_axis=2) == [([30, 40], [0.9, 1.1], None)]


@pytest.mark.parametrize(
    ("shape", "patch", "warned"),
    [
        ((450, 900), (128, 128), "128 x 128 are 4 % of an image of 450 x 900"),
        ((450, 900), (224, 448), None),
        ((64, 64), (96, 112), None),  # padded to the crop
        ((96, 112, 300), (96, 112), None),  # slices of a volume
        ((256, 256, 200), (64, 64, 32), "64 x 64 x 32 are 1 % of an image of 256 x 256 x 200"),
    ],
)
def test_crops_that_are_a_small_part_of_the_images_are_told(
    shape: tuple[int, ...], patch: tuple[int, ...], warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_small_patches(planes_of([{"image": torch.zeros(1, *shape)}] * 3, len(patch), slice_axis=2), patch)
    assert (warned is None) == (not caplog.records)
    assert warned is None or warned in caplog.text


def test_the_image_in_the_middle_decides(caplog: pytest.LogCaptureFixture) -> None:
    sizes = (64, 64, 1000)
    with caplog.at_level(logging.WARNING):
        items = ({"image": torch.zeros(1, size, size)} for size in sizes)
        warn_of_small_patches(planes_of(items, 2, slice_axis=2), (64, 64))
    assert not caplog.records
