# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from scripts.errors import InputError, find_input_error
from scripts.inference import CaseEnhancer, calibrate, inference_preprocessing
from scripts.inferers import ConsistentInferer
from scripts.io import PATIENT_SPACE, SPACE, Case, CaseImage, Problem, Provenance, find_cases, open_case
from scripts.model_spec import ModelSpec


class Volume(CaseImage):
    """An image in memory."""

    def __init__(
        self,
        values: torch.Tensor,
        affine: np.ndarray | None = None,
        padding: torch.Tensor | None = None,
        slice_axis: int | None = None,
        evenly_spaced: bool = True,
    ) -> None:
        self.image = MetaTensor(values.float(), affine=torch.eye(4) if affine is None else torch.as_tensor(affine))
        self.padding = padding
        self.slice_axis = slice_axis
        self.evenly_spaced = evenly_spaced

    def write(self, result: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        raise NotImplementedError

    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        raise NotImplementedError


class Recording(nn.Module):
    """An enhancer that does what it is told, and remembers what it saw."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.change = change
        self.seen: list[torch.Tensor] = []
        self.stride, self.minimum_size = 1, 1
        self.final = nn.Conv2d(16, 1, 1)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return image.new_zeros(len(image), 2)

    def forward(self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None) -> torch.Tensor:
        self.seen.append(image)
        return self.change(image, cue.view(-1, 1, *[1] * (image.ndim - 2)))


class Network(nn.Module):
    """Stands in for HQGNet."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.enhancer = Recording(change)
        self.stride = self.minimum_size = 1
        self.width = 16
        self.register_buffer("prototype_mean", torch.zeros(1))
        self.register_buffer("prototype_std", torch.ones(1))

    def enhance_with_cue(
        self, image: torch.Tensor, cue: torch.Tensor, code: torch.Tensor | None = None
    ) -> torch.Tensor:
        enhanced: torch.Tensor = self.enhancer(image, cue.expand(len(image), -1), code)
        return enhanced

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return image.new_zeros(len(image), 1)

    def encode_guide(self, guide: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = guide.flatten(1).mean(1, keepdim=True)
        return mean, torch.zeros_like(mean)


def same(image: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
    return image


def enhancer(
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = same,
    spatial_dims: int = 2,
    slice_axis: int = 2,
    **settings: Any,
) -> CaseEnhancer:
    spec = ModelSpec({"in_channels": 1, "spatial_dims": spatial_dims}, (0.5, 99.5), slice_axis=slice_axis)
    network: Any = Network(change)
    return CaseEnhancer(network, inference_preprocessing(spec, 4), ConsistentInferer(spatial_dims), **settings)


def seen(enhance: CaseEnhancer) -> list[torch.Tensor]:
    recording: Any = enhance.network.enhancer
    return recording.seen


def volume(*size: int, scale: float = 1000.0) -> torch.Tensor:
    return scale * torch.rand((1, *size), generator=torch.Generator().manual_seed(0)).square()


SAGITTAL = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])


def test_an_unchanged_image_comes_back_in_its_own_units_and_place() -> None:
    values = volume(6, 7, 8) - 300
    result = enhancer()(Volume(values, SAGITTAL)).result
    torch.testing.assert_close(result, values, atol=1e-3, rtol=0)


def test_what_the_scaling_cuts_off_is_put_back() -> None:
    values = volume(20, 20)
    values[0, 3, 4], values[0, 5, 6] = 30000.0, -9000.0
    half = enhancer(lambda image, cue: image * 0.5)(Volume(values)).result
    low, high = np.percentile(values.numpy(), (0.5, 99.5))
    assert float(half[0, 3, 4]) == pytest.approx(30000 - (high - low) / 2, abs=0.1)
    assert float(half[0, 5, 6]) == pytest.approx(-9000, abs=0.1)


def test_padding_is_left_alone_and_does_not_count_in_the_scaling() -> None:
    values, padding = volume(20, 20), torch.zeros(1, 20, 20, dtype=torch.bool)
    padding[:, :5] = True
    values[padding] = -2000.0
    enhance = enhancer(lambda image, cue: 1 - image)
    result = enhance(Volume(values, padding=padding)).result
    assert bool((result[padding] == -2000.0).all())
    assert float(seen(enhance)[-1].median()) < 0.4
    assert float(result[~padding].min()) >= -1


@pytest.mark.parametrize(("slice_axis", "plane"), [(0, (7, 8)), (1, (6, 8)), (2, (6, 7))])
def test_slices_are_those_of_the_acquisition(slice_axis: int, plane: tuple[int, int]) -> None:
    enhance = enhancer()
    enhanced = enhance(Volume(volume(6, 7, 8), slice_axis=slice_axis))
    assert sorted(seen(enhance)[-1].shape[2:]) == sorted(plane)
    assert enhanced.slice_axis == slice_axis


def test_slices_of_a_turned_volume_are_still_those_of_the_acquisition() -> None:
    enhance = enhancer()
    enhanced = enhance(Volume(volume(6, 7, 9), SAGITTAL, slice_axis=2))
    # RAS axes: the array's third axis points right, its first anterior, its second inferior.
    assert tuple(seen(enhance)[-1].shape[2:]) == (6, 7)
    assert enhanced.slice_axis == 2


def test_without_an_axis_of_acquisition_slices_are_those_of_training() -> None:
    enhance = enhancer(slice_axis=2)
    enhanced = enhance(Volume(volume(6, 7, 9), SAGITTAL))
    # Superior to inferior is the second axis of the array.
    assert enhanced.slice_axis == 1


def test_a_3d_network_sees_the_whole_volume() -> None:
    enhance = enhancer(spatial_dims=3)
    assert enhance(Volume(volume(6, 7, 8), slice_axis=1)).slice_axis == 1
    assert seen(enhance)[-1].shape == (1, 1, 6, 7, 8)


def test_a_3d_network_does_not_take_unevenly_spaced_slices() -> None:
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps it
        enhancer(spatial_dims=3)(Volume(volume(6, 7, 8), evenly_spaced=False))
    assert "unevenly spaced" in str(find_input_error(caught.value))


def test_deviation_is_in_the_units_of_the_image() -> None:
    values = volume(12, 12)
    enhanced = enhancer(lambda image, cue: 0.5 + 0.01 * cue + 0 * image, samples=50, seed=1)(Volume(values))
    low, high = np.percentile(values.numpy(), (0.5, 99.5))
    assert enhanced.deviation is not None
    expected = 0.01 * (high - low)  # the deviation of the draws is 1
    assert enhanced.deviation.shape == (1, 12, 12)
    torch.testing.assert_close(enhanced.deviation, torch.full((1, 12, 12), expected), atol=0.02, rtol=0.02)


def test_there_is_no_deviation_without_samples() -> None:
    assert enhancer()(Volume(volume(8, 8))).deviation is None


def test_one_sample_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        enhancer(samples=1)


def test_a_chosen_guide_takes_the_place_of_the_prototype() -> None:
    enhance = enhancer(lambda image, cue: 0 * image + cue)
    enhance.follow([Volume(volume(8, 8)), Volume(volume(8, 8, 3))])
    cues = [float(enhance.preprocessing({"image": Volume(volume(8, 8))})["image"].mean())]
    scaled = enhance.preprocessing({"image": Volume(volume(8, 8, 3))})["image"]
    cues += [float(plane.mean()) for plane in scaled[0].unbind(-1)]
    assert float(enhance.cue.mean) == pytest.approx(float(np.mean(cues)), abs=1e-5)
    assert float(enhance.cue.std) == pytest.approx(float(np.std(cues)), abs=1e-5)


@pytest.mark.parametrize(("pixel_size", "guide_size", "side"), [(2.0, 1.0, 8), (2.0, None, 4), (None, 0.5, 8)])
def test_guides_are_brought_to_the_pixels_of_the_high_quality_set(
    pixel_size: float | None, guide_size: float | None, side: int
) -> None:
    ranges = [None if size is None else [[size, size]] * 2 for size in (pixel_size, guide_size)]
    enhance = enhancer(guide_pixel_size=ranges[1])
    enhance.inferer.pixel_size = ranges[0]
    network: Any = enhance.network
    sides: list[int] = []
    network.encode_guide = lambda guide: (sides.append(guide.shape[-1]), torch.zeros(1, 1), torch.zeros(1, 1))[1:]
    guide = Volume(volume(8, 8, 3))
    guide.image.meta[SPACE] = PATIENT_SPACE
    enhance.follow([guide])
    assert set(sides) == {side}


STYLES = {"north": {"mean": [0.7], "std": [0.1]}, "south": {"mean": [0.2], "std": [0.3]}}


def test_a_style_of_the_training_set_may_be_the_guide() -> None:
    enhance = enhancer(lambda image, cue: 0 * image + cue)
    enhance.follow_named("south", STYLES)
    assert (float(enhance.cue.mean), float(enhance.cue.std)) == pytest.approx((0.2, 0.3))


def test_a_file_may_be_the_guide_too(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(volume(8, 8, 3)[0].numpy(), np.eye(4)), tmp_path / "guide.nii.gz")
    enhance = enhancer()
    enhance.follow_named(tmp_path / "guide.nii.gz", STYLES)
    assert 0 < float(enhance.cue.mean) < 1


@pytest.mark.parametrize(("styles", "word"), [(STYLES, "styles of the model, north, south"), (None, "names no styles")])
def test_a_guide_that_is_neither_a_style_nor_a_file_is_refused_with_what_there_is(styles: Any, word: str) -> None:
    with pytest.raises(InputError, match=f'no guide "east".*{word}'):
        enhancer().follow_named("east", styles)


def test_one_cue_has_no_spread_to_draw_samples_from() -> None:
    with pytest.raises(InputError, match="one cue"):
        enhancer(samples=2).follow([Volume(volume(8, 8))])


def test_empty_slices_stay_empty() -> None:
    values = volume(12, 14, 5)
    values[..., 0], values[..., 3] = 0.0, 7.0
    enhanced = enhancer(lambda image, cue: 0.5 + 0.1 * cue + 0 * image, samples=2)(Volume(values))
    assert bool((enhanced.result[..., 0] == 0).all())
    assert bool((enhanced.result[..., 3] == 7).all())
    assert enhanced.deviation is not None
    assert [float(plane.max()) > 0 for plane in enhanced.deviation[0].unbind(-1)] == [False, True, True, False, True]


def test_a_single_slice_is_seen_as_a_plane_whatever_its_axis_is_called() -> None:
    enhance = enhancer()
    enhance(Volume(volume(12, 14, 1), slice_axis=1))
    assert sorted(seen(enhance)[-1].shape[2:]) == [12, 14]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32])
def test_an_identity_gives_back_a_nifti_file_value_for_value(dtype: type, tmp_path: Path) -> None:
    affine = np.array([[0.1, 1.7, 0.3, -20.0], [-1.9, 0.2, 0.1, 33.0], [0.2, -0.1, 5.0, 7.0], [0, 0, 0, 1.0]])
    values = np.random.RandomState(0).uniform(0, 250, (12, 14, 5)).astype(dtype)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    case = open_case(find_cases(tmp_path / "scan.nii.gz")[0][0])
    written = case.write(enhancer()(case).result, tmp_path / "result", Provenance("a", "b", "c"))
    source, result = nib.load(tmp_path / "scan.nii.gz"), nib.load(written)
    assert result.get_data_dtype() == dtype
    assert result.affine.tobytes() == source.affine.tobytes()
    difference = np.abs(np.asarray(result.dataobj, float) - np.asarray(source.dataobj, float)).max()
    assert difference <= (1e-4 if dtype is np.float32 else 0)


def test_calibration_wants_images_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="broken"):
        calibrate(enhancer(), [], [Problem(tmp_path, "the file is broken")], tmp_path / "model.pt")


def test_a_guide_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "guide.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"guide.*cannot be used"):
        enhancer().follow_files(tmp_path)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        enhancer(lambda image, cue: image / 0 * 0)(Volume(volume(8, 8)))


def test_calibration_is_stored_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    ModelSpec({"spatial_dims": 2}, (0.5, 99.5)).save(tmp_path / "model.pt")
    images = {str(number): Volume(volume(40, 40) + 10 * number) for number in range(3)}
    monkeypatch.setattr("scripts.inference.case_enhancer.open_case", lambda case: images[case.name])
    calibrate(enhancer(), [Case(name, "nifti", ()) for name in images], [], tmp_path / "model.pt")
    thresholds = ModelSpec.load(tmp_path / "model.pt").thresholds
    assert thresholds is not None
    assert thresholds["cases"] == 3
