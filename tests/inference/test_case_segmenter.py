# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from PIL import Image, ImageOps
from torch import nn

from scripts.errors import InputError
from scripts.inference import CaseSegmenter, check_grid_of_classes, load_enhancer, write_classes
from scripts.io import open_image
from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet

# The axes run to the back, to the left and downwards.
TURNED = np.array([[0, -1.0, 0, 5], [-1.0, 0, 0, 7], [0, 0, -3.0, 0], [0, 0, 0, 1]])


class Bright(nn.Module):
    """Class 1 where the image is brighter than a half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images, images - 0.5], dim=1)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    arguments = {"spatial_dims": 2, "in_channels": 1, "channels": [4, 8], "guidance_channels": [4]}
    torch.manual_seed(0)
    torch.save(HQGNet(**arguments).state_dict(), tmp_path / "model.pt")
    ModelSpec(arguments, percentiles=(0, 100)).save(tmp_path / "model.pt")
    return tmp_path / "model.pt"


def volume(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 1000, (20, 24, 3)).astype(np.int16)
    values.flat[:2] = 0, 1000
    nib.save(nib.Nifti1Image(values, TURNED), folder / "image.nii.gz")
    return folder / "image.nii.gz"


def test_labels_lie_on_the_grid_of_a_turned_volume(model_file: Path, tmp_path: Path) -> None:
    case = open_image(volume(tmp_path))
    enhancer, _ = load_enhancer(model_file, "cpu")
    labels = CaseSegmenter(enhancer, Bright())(case, enhance=False)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, (case.image.as_tensor() > 500).to(torch.uint8))


def test_the_downstream_network_reads_the_enhanced_image_unless_told_otherwise(
    model_file: Path, tmp_path: Path
) -> None:
    case = open_image(volume(tmp_path))
    enhancer, _ = load_enhancer(model_file, "cpu")
    segment = CaseSegmenter(enhancer, Bright())
    _, (enhanced, _) = enhancer.enhance(case)
    turned, _ = enhancer.as_it_is(case)
    assert not torch.equal(segment(case), segment(case, enhance=False))
    assert int(segment(case).sum()) == int((enhanced > 0.5).sum())
    assert int(segment(case, enhance=False).sum()) == int((turned > 0.5).sum())


def test_results_and_their_classes_are_made_in_one_pass(model_file: Path, tmp_path: Path) -> None:
    case = open_image(volume(tmp_path))
    enhancer, _ = load_enhancer(model_file, "cpu")
    segment = CaseSegmenter(enhancer, Bright())
    passes: list[int] = []
    enhancer.network.register_forward_hook(lambda *_: passes.append(1))
    alone = enhancer(case)
    needed = len(passes)
    enhanced, classes = segment.enhance(case)
    assert len(passes) == 2 * needed
    assert torch.equal(enhanced.result, alone.result)
    assert torch.equal(classes, segment(case))


def test_classes_of_a_turned_photograph_are_shown_as_it_is(model_file: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    case = open_image(tmp_path / "p.png")
    enhancer, _ = load_enhancer(model_file, "cpu")
    classes = CaseSegmenter(enhancer, Bright())(case, enhance=False)
    assert torch.equal(classes, (case.image.as_tensor() > 127.5).to(torch.uint8))
    with Image.open(write_classes(classes, case, tmp_path / "classes")) as written:
        shown = np.asarray(ImageOps.exif_transpose(written))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "p.png"))) > 127.5
    np.testing.assert_array_equal(shown, expected)


def test_padding_has_no_class(model_file: Path, tmp_path: Path) -> None:
    case = open_image(volume(tmp_path))
    case.padding = torch.zeros(case.image.shape, dtype=torch.bool)
    case.padding[..., :5, :] = True
    enhancer, _ = load_enhancer(model_file, "cpu")
    assert not CaseSegmenter(enhancer, Bright())(case, enhance=False)[case.padding].any()


def test_the_network_reads_pixels_of_the_size_of_training(model_file: Path, tmp_path: Path) -> None:
    class Watched(Bright):
        sizes: torch.Size | None = None

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.sizes = images.shape[2:]
            return super().forward(images)

    spec = ModelSpec.load(model_file)
    spec.pixel_size = [[0.5, 0.5], [0.5, 0.5]]
    spec.save(model_file)
    case = open_image(volume(tmp_path))
    enhancer, _ = load_enhancer(model_file, "cpu")
    network = Watched()
    labels = CaseSegmenter(enhancer, network, divisor=2)(case, enhance=False)
    assert network.sizes == (48, 40)  # twice the planes of the volume, turned to RAS
    assert labels.shape == case.image.shape
    assert (labels == (case.image.as_tensor() > 500)).float().mean() > 0.9


@pytest.mark.parametrize(("suffix", "kind"), [("nii.gz", nib.Nifti1Image), ("png", None)])
def test_classes_are_written_on_the_grid_of_their_image(
    suffix: str, kind: type[nib.Nifti1Image] | None, model_file: Path, tmp_path: Path
) -> None:
    if kind is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 28)).astype(np.uint8)).save(tmp_path / "p.png")
    case = open_image(volume(tmp_path) if kind else tmp_path / "p.png")
    classes = (case.image.as_tensor() > 100).to(torch.uint8)
    file = write_classes(classes, case, tmp_path / "classes")
    assert file.name == f"classes.{suffix}"
    written = open_image(file)
    assert torch.equal(written.image.as_tensor().to(torch.uint8), classes)
    np.testing.assert_allclose(written.image.affine, case.image.affine)


def test_classes_of_unevenly_spaced_slices_are_refused(tmp_path: Path) -> None:
    case = open_image(volume(tmp_path))
    case.evenly_spaced = False
    with pytest.raises(InputError, match="without --segment"):
        check_grid_of_classes(case)


def test_a_photograph_is_segmented_as_it_lies(model_file: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28)).astype(np.uint8)
    pixels.flat[:2] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    enhancer, _ = load_enhancer(model_file, "cpu")
    labels = CaseSegmenter(enhancer, Bright())(open_image(tmp_path / "photo.png"), enhance=False)
    np.testing.assert_array_equal(labels[0].numpy().T, pixels > 127.5)


def test_the_network_beside_the_weights_is_loaded(model_file: Path, tmp_path: Path) -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [2, 4], "strides": [2]}
    network = UNet(**arguments)
    torch.save(network.state_dict(), tmp_path / "downstream.pt")
    spec = ModelSpec.load(model_file)
    described = {"_target_": "monai.networks.nets.unet.UNet", **arguments}
    spec.downstream = {"network": described, "task": "segmentation", "num_classes": 3, "multi_label": False}
    spec.save(model_file)
    enhancer, _ = load_enhancer(model_file, "cpu")
    segmenter = CaseSegmenter.load(enhancer, model_file)
    assert segmenter.divisor == 2
    assert set(segmenter(open_image(volume(tmp_path))).unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("downstream", "sentence"),
    [(None, "does not say how a downstream network was built"), ({"task": "classification"}, "is for classification")],
)
def test_a_model_without_segmentation_is_refused(
    downstream: dict[str, str] | None, sentence: str, model_file: Path
) -> None:
    spec = ModelSpec.load(model_file)
    spec.downstream = downstream
    spec.save(model_file)
    enhancer, _ = load_enhancer(model_file, "cpu")
    with pytest.raises(InputError, match=sentence):
        CaseSegmenter.load(enhancer, model_file)
