# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet

from scripts.errors import InputError
from scripts.experiments.simulated_patients import load_template, simulate_patient
from scripts.handlers import load_model
from scripts.inferers import (
    ClassificationInferer,
    ConsistentInferer,
    EnhancementInferer,
    SegmentationInferer,
    usable_device,
)
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet

MODEL = Path(__file__).resolve().parents[1] / "bundle" / "models" / "model.pt"


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


@pytest.mark.parametrize("shape", [(1, 1, 12, 12), (1, 1, 12, 12, 3)])
def test_a_classification_network_sees_plain_tensors(shape: tuple[int, ...]) -> None:
    seen: list[type] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(type(images))
        return images.mean(dim=(2, 3))

    logits = ClassificationInferer(2)(MetaTensor(torch.rand(shape)), network)
    assert logits.shape == (1, 1)
    assert set(seen) == {torch.Tensor}


@pytest.mark.parametrize("shape", [(1, 1, 12, 12), (1, 1, 12, 12, 3)])
def test_a_network_sees_plain_tensors(shape: tuple[int, ...]) -> None:
    seen: list[type] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(type(images))
        return images

    image = MetaTensor(torch.rand(shape), affine=2 * torch.eye(4))
    result = EnhancementInferer(2)(image, network)
    assert set(seen) == {torch.Tensor}
    assert torch.equal(result.affine, image.affine)


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


@pytest.fixture
def enhancer() -> HQGNet:
    """A network that does something to an image: the correction of a new one is zero."""
    torch.manual_seed(0)
    network = HQGNet(2, 1, (4, 8), cue_channels=3, code_channels=4).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


@torch.no_grad()
def test_a_plane_within_the_window_goes_through_whole(enhancer: HQGNet) -> None:
    image = torch.rand(1, 1, 20, 24)
    torch.testing.assert_close(ConsistentInferer(2, window=32)(image, enhancer), enhancer(image))


@torch.no_grad()
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_all_slices_of_a_volume_get_the_mean_code(enhancer: HQGNet, slice_axis: int) -> None:
    volume = torch.rand(1, 1, 10, 12, 14)
    planes = volume[0].movedim(slice_axis + 1, 0)
    code = enhancer.enhancer.encode(planes).mean(0, keepdim=True).expand(len(planes), -1)
    cue = enhancer.prototype_mean.expand(len(planes), -1)
    expected = enhancer.enhancer(planes, cue, code).movedim(0, slice_axis + 1)[None]
    torch.testing.assert_close(ConsistentInferer(2)(volume, enhancer, slice_axis=slice_axis), expected)


@torch.no_grad()
def test_the_cue_that_is_given_is_used(enhancer: HQGNet) -> None:
    image, cue = torch.rand(1, 1, 20, 24), torch.ones(1, 3)
    torch.testing.assert_close(ConsistentInferer(2)(image, enhancer, cue), enhancer.enhancer(image, cue))


def _smooth(*size: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(*(torch.linspace(0, 9, length) for length in size), indexing="ij")
    return (0.5 + 0.25 * rows.sin() + 0.2 * (2 * columns).cos())[None, None].clamp(0, 1)


@pytest.fixture(scope="module")
def trained() -> HQGNet:
    """The supplied network: seams are what a trained network makes of the edges of its windows."""
    network = HQGNet(**ModelSpec.load(MODEL).network).eval()
    load_model(network, MODEL)
    return network


@pytest.fixture(scope="module")
def uneven() -> torch.Tensor:
    """A noisy slice of a head, four times its size: some windows hold little, and by itself each would be spread."""
    head = torch.as_tensor(simulate_patient(load_template(), np.random.RandomState(0)).image[..., 6])
    noise = 0.1 * torch.randn(head.shape, generator=torch.Generator().manual_seed(0))
    poor = (0.7 * head + noise).clamp(0, 1)[None, None, :, 8:104]
    return F.interpolate(poor, scale_factor=4, mode="bilinear")


@torch.no_grad()
def test_windows_leave_no_seams(trained: HQGNet, uneven: torch.Tensor) -> None:
    tiled, whole = ConsistentInferer(2, window=192)(uneven, trained), trained(uneven)
    excess = (tiled.diff(dim=3).abs() - whole.diff(dim=3).abs()).mean(dim=(0, 1, 2))
    # Windows begin at 144 and 192, and end at 192 and 336.
    assert float(excess[[143, 191, 335]].max()) < 0.01


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(0.7, marks=pytest.mark.xfail(strict=True, reason="a limit that the model card names")),
        1.5,
    ],
)
@torch.no_grad()
def test_windows_agree_with_the_whole_as_well_as_each_by_itself(
    trained: HQGNet, uneven: torch.Tensor, share: float
) -> None:
    whole = trained(uneven)
    together = ConsistentInferer(2, window=192)(uneven, trained)
    alone = SlidingWindowInferer((192, 192), mode="gaussian")(uneven, trained)
    assert float((together - whole).abs().mean()) < share * float((alone - whole).abs().mean())


@torch.no_grad()
def test_slices_larger_than_the_window_are_tiled(enhancer: HQGNet) -> None:
    volume = _smooth(128, 160)[..., None].expand(-1, -1, -1, -1, 3)
    tiled = ConsistentInferer(2, window=64)(volume, enhancer)
    assert tiled.shape == volume.shape
    torch.testing.assert_close(tiled[..., 0], tiled[..., 2])


@torch.no_grad()
def test_a_volume_larger_than_the_window_is_tiled_for_a_3d_network() -> None:
    network = HQGNet(3, 1, (4, 8), cue_channels=3, head="residual").eval()
    volume = torch.rand(1, 1, 24, 16, 16)
    # A new network gives back what it gets, up to the ends of its range.
    pred = ConsistentInferer(3, window=16)(volume, network)
    torch.testing.assert_close(pred, network(volume), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_window_suits_the_network(enhancer: HQGNet) -> None:
    image = torch.rand(1, 1, 60, 60)
    torch.testing.assert_close(
        ConsistentInferer(2, window=31)(image, enhancer), ConsistentInferer(2, window=32)(image, enhancer)
    )
    wide = HQGNet(2, 1, (64, 64), cue_channels=3).eval()
    torch.testing.assert_close(
        ConsistentInferer(2)(torch.rand(1, 1, 520, 16, generator=torch.Generator().manual_seed(0)), wide),
        ConsistentInferer(2, window=512)(torch.rand(1, 1, 520, 16, generator=torch.Generator().manual_seed(0)), wide),
    )


def test_a_window_that_is_mostly_edge_is_refused(enhancer: HQGNet) -> None:
    with pytest.raises(InputError, match="--window to 16 or more"):
        ConsistentInferer(2, window=8)(torch.rand(1, 1, 60, 60), enhancer)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert usable_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device cpu"):
        usable_device("gpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims"),
        ({"window": 0}, "window"),
        ({"overlap": 1.0}, "overlap"),
        ({"batch_size": 0}, "batch_size"),
        ({"parts": 0}, "parts"),
    ],
)
def test_wrong_settings_of_the_consistent_inferer_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ConsistentInferer(**{"spatial_dims": 2, **settings})


def test_an_image_of_other_dimension_is_refused(enhancer: HQGNet) -> None:
    with pytest.raises(InputError, match="1 spatial dimension"):
        ConsistentInferer(2)(torch.rand(1, 1, 20), enhancer)


@torch.no_grad()
def test_windows_see_beyond_their_edges(enhancer: HQGNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window is widened by four strides on every side, more than the network's zero padding reaches."""
    sizes: list[tuple[int, ...]] = []
    enhance = HQGNet.enhance_with_cue

    def recorded(self: HQGNet, image: torch.Tensor, *arguments: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(image.shape[2:]))
        return enhance(self, image, *arguments)

    monkeypatch.setattr(HQGNet, "enhance_with_cue", recorded)
    ConsistentInferer(2, window=16)(torch.rand(1, 1, 40, 40), enhancer)
    assert set(sizes) == {(16 + 8 * enhancer.stride, 16 + 8 * enhancer.stride)}
