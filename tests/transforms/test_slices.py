# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle

import pytest
import torch
from monai.data import MetaTensor

from scripts.transforms import RandSliced
from scripts.transforms.slices import slices_with_content, through_plane_axis


def volume(depth: int = 6) -> torch.Tensor:
    """Slice i holds values of i to i + 0.9, all of it foreground from slice 1 on."""
    return torch.linspace(0, 0.9, 4 * 5).view(1, 4, 5, 1) + torch.arange(float(depth))


def draws(image: torch.Tensor, number: int = 60, **kwargs: float) -> set[int]:
    transform = RandSliced("image", spatial_dims=2, **kwargs).set_random_state(0)
    return {int(transform({"image": image})["image"].min()) for _ in range(number)}


def test_a_volume_becomes_one_of_its_slices() -> None:
    image = volume()
    result = RandSliced("image", 2, min_foreground=0).set_random_state(3)({"image": image})["image"]
    assert result.shape == (1, 4, 5)
    assert any(torch.equal(result, image[..., i]) for i in range(6))


@pytest.mark.parametrize(("axis", "shape"), [(0, (1, 5, 6)), (1, (1, 4, 6)), (2, (1, 4, 5))])
def test_the_slice_axis_can_be_chosen(axis: int, shape: tuple[int, ...]) -> None:
    assert RandSliced("image", 2, slice_axis=axis)({"image": volume()})["image"].shape == shape


def test_every_slice_with_content_is_drawn() -> None:
    assert draws(volume(6)) == set(range(6))


def test_nearly_empty_slices_are_not_drawn() -> None:
    image = volume(6)
    image[:, 1:, :, 2] = 0
    image[:, :, :, 4] = 0.1 * torch.rand(1, 4, 5)
    assert draws(image, min_foreground=0.5).isdisjoint({2, 4})


def test_constant_slices_are_not_drawn() -> None:
    image = volume(6)
    image[..., 3] = 3
    assert 3 not in draws(image)


def test_where_no_slice_has_enough_the_fullest_are_taken() -> None:
    image = torch.zeros(1, 4, 4, 3)
    image[0, 0, 0, 0] = image[0, :2, 0, 1] = 1
    assert slices_with_content(image, 2, 0.9).tolist() == [1]


def test_all_keys_lose_the_same_slice() -> None:
    image = volume()
    item = RandSliced(["image", "label"], 2)({"image": image, "label": image.int()})
    assert torch.equal(item["image"].int(), item["label"])


def test_a_key_may_be_missing() -> None:
    item = RandSliced(["image", "label"], 2, allow_missing_keys=True)({"image": volume()})
    assert set(item) == {"image"}


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (3, 4, 5)), (3, (1, 4, 5, 6))])
def test_arrays_of_the_dimensions_of_the_network_pass(spatial_dims: int, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    assert RandSliced("image", spatial_dims)({"image": image})["image"] is image


def test_arrays_of_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="2-D slice"):
        RandSliced("image", 2)({"image": torch.rand(1, 2, 3, 4, 5)})


@pytest.mark.parametrize(("shape", "axis"), [((1, 4, 5), 0), ((4, 5, 1), 2), ((4, 5, 6), 2), ((1, 1, 6), 2)])
def test_a_single_slice_stored_as_a_volume_is_cut_where_it_is_flat(shape: tuple[int, ...], axis: int) -> None:
    assert through_plane_axis(shape) == axis


def test_the_result_is_a_plain_tensor_that_shares_the_memory_of_the_volume() -> None:
    image = MetaTensor(volume())
    result = RandSliced("image", 2)({"image": image})["image"]
    assert type(result) is torch.Tensor
    assert result.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_draws_the_same_slices(again: object) -> None:
    transform, image = RandSliced("image", 2).set_random_state(1), volume()
    transform({"image": image})
    twin = again(transform)  # type: ignore[operator]
    assert [int(t({"image": image})["image"].min()) for t in (transform,) * 5] == [
        int(t({"image": image})["image"].min()) for t in (twin,) * 5
    ]
