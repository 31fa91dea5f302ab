# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import UNet

from scripts.errors import InputError
from scripts.inferers import ClassificationInferer, EnhancementInferer, SegmentationInferer


class RecordingNetwork(torch.nn.Module):
    """Adds each plane's own mean and remembers the shapes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor, offset: float = 0.0) -> torch.Tensor:
        self.shapes.append(tuple(image.shape))
        return image + image.mean(dim=tuple(range(1, image.ndim)), keepdim=True) + offset


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 1, 7, 9)), (3, (2, 1, 7, 9, 5))])
def test_image_of_the_networks_dimension_goes_through_whole(spatial_dims: int, shape: tuple[int, ...]) -> None:
    network = RecordingNetwork()
    EnhancementInferer(spatial_dims)(torch.rand(shape), network)
    assert network.shapes == [shape]


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_volume_through_a_2d_network_equals_its_slices_one_by_one(slice_axis: int) -> None:
    volume = torch.rand(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    network = RecordingNetwork()
    pred = EnhancementInferer(2, slice_axis=slice_axis, batch_size=4)(volume, network)
    expected = torch.stack([network(plane) for plane in volume.unbind(slice_axis + 2)], dim=slice_axis + 2)
    torch.testing.assert_close(pred, expected)


def test_slices_go_through_in_batches() -> None:
    network = RecordingNetwork()
    EnhancementInferer(2, batch_size=4)(torch.rand(1, 1, 5, 6, 7), network)
    assert network.shapes == [(4, 1, 5, 6), (3, 1, 5, 6)]


def test_further_arguments_reach_the_network_with_every_batch_of_slices() -> None:
    volume = torch.rand(1, 1, 4, 4, 3)
    inferer = EnhancementInferer(2, batch_size=2)
    moved = inferer(volume, RecordingNetwork(), offset=1.0)
    torch.testing.assert_close(moved, inferer(volume, RecordingNetwork()) + 1)


def test_volume_keeps_its_affine() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0]))
    pred = EnhancementInferer(2)(MetaTensor(torch.rand(1, 1, 4, 4, 3), affine=affine), RecordingNetwork())
    torch.testing.assert_close(pred.affine, affine, check_dtype=False)


@pytest.mark.parametrize(("spatial_dims", "shape"), [(3, (1, 1, 8, 8)), (2, (1, 1, 8)), (2, (1, 1, 4, 4, 4, 4))])
def test_image_of_another_dimension_is_refused(spatial_dims: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{spatial_dims}-D network"):
        EnhancementInferer(spatial_dims)(torch.rand(shape), RecordingNetwork())


@pytest.mark.parametrize("arguments", [{"spatial_dims": 4}, {"slice_axis": 3}, {"batch_size": 0}])
def test_argument_out_of_range_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError):
        EnhancementInferer(**{"spatial_dims": 2, **arguments})


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(2, 1, 3, (4, 6, 8), (2, 2))


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 1, 19, 21), (1, 1, 19, 21, 3)])
def test_segmentation_gives_logits_of_the_images_size(shape: tuple[int, ...]) -> None:
    logits = SegmentationInferer(spatial_dims=2)(torch.rand(shape), unet())
    assert logits.shape == (shape[0], 3, *shape[2:])


def test_segmentation_pads_nothing_that_fits() -> None:
    network, image = unet().eval(), torch.rand(1, 1, 16, 32)
    assert torch.equal(SegmentationInferer(spatial_dims=2)(image, network), network(image))


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_classification_of_a_volume_is_the_mean_over_its_slices(slice_axis: int) -> None:
    volume = torch.rand(2, 1, 5, 6, 7)
    logits = ClassificationInferer(2, slice_axis, batch_size=2)(volume, lambda x: x.flatten(2).amax(-1))
    assert torch.allclose(logits, volume.movedim(slice_axis + 2, 2).flatten(3).amax(-1).mean(-1))


def test_classification_of_an_image_is_the_networks() -> None:
    image = torch.rand(2, 1, 5, 6)
    assert torch.equal(ClassificationInferer(2)(image, lambda x: x.flatten(1)), image.flatten(1))
