# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from scripts.data import UNLABELLED
from scripts.errors import InputError
from scripts.losses import ClassMomentsLoss, class_moments


def checkerboard(classes: int, size: int = 12) -> torch.Tensor:
    """A label map, (1, 1, size, size), that shows every class alike."""
    return (torch.arange(size * size) % classes).reshape(1, 1, size, size).float()


def painted(label: torch.Tensor, values: list[float], noise: float = 0.0) -> torch.Tensor:
    """An image with these intensities by class."""
    image = torch.tensor(values)[label.long()]
    return image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))


def test_moments_are_those_of_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(2, 3, 8, 9, generator=generator), checkerboard(4, 12)[..., :8, :9].expand(2, 1, 8, 9)
    counts, means, deviations = class_moments(images, labels, 4)
    for image, label, count, mean, deviation in zip(images, labels, counts, means, deviations, strict=True):
        for number in range(4):
            inside = image[:, label[0] == number]
            assert count[number] == inside.shape[1]
            torch.testing.assert_close(mean[:, number], inside.mean(1))
            torch.testing.assert_close(deviation[:, number], inside.std(1, correction=0), atol=1e-5, rtol=1e-5)


def test_an_absent_class_has_no_pixels_and_no_moments() -> None:
    counts, means, _ = class_moments(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4), 3)
    assert counts.tolist() == [[0, 16, 0]]
    assert means[0, 0, [0, 2]].tolist() == [0, 0]


def test_unlabelled_pixels_count_nowhere() -> None:
    label = checkerboard(3)
    image, part = painted(label, [0.0, 0.4, 0.8]), label.clone()
    part[..., 6:, :] = UNLABELLED
    image[..., 6:, :] = 9.0
    counts, means, _ = class_moments(image, part, 3)
    assert counts.sum() == 72
    torch.testing.assert_close(means, torch.tensor([[[0.0, 0.4, 0.8]]]))


def test_loss_is_the_mean_distance_of_the_moments() -> None:
    label = checkerboard(3, 24)
    pred, guide = painted(label, [0.1, 0.4, 0.8]), painted(label, [0.9, 0.5, 0.6])
    assert float(ClassMomentsLoss()(pred, label, guide, label)) == pytest.approx(0.15, abs=1e-5)


def test_deviation_counts_with_its_weight() -> None:
    label = checkerboard(2, 40)
    flat, noisy = painted(label, [0.0, 0.5]), painted(label, [0.0, 0.5], noise=0.1)
    without, half, whole = (float(ClassMomentsLoss(weight)(noisy, label, flat, label)) for weight in (0.0, 0.5, 1.0))
    assert half - without == pytest.approx(0.05, abs=0.005)
    assert whole - without == pytest.approx(2 * (half - without), rel=1e-4)


def test_anatomy_does_not_count() -> None:
    label = checkerboard(3, 24)
    image = painted(label, [0.1, 0.4, 0.8], noise=0.05)
    assert float(ClassMomentsLoss()(image, label, image.flip(-1), label.flip(-1))) == pytest.approx(0, abs=1e-6)


def test_background_does_not_count() -> None:
    label = checkerboard(2, 24)
    assert float(ClassMomentsLoss()(painted(label, [0.0, 0.5]), label, painted(label, [1.0, 0.5]), label)) == 0


@pytest.mark.parametrize("pixels", [64, 65])
def test_a_class_with_too_few_pixels_does_not_count(pixels: int) -> None:
    label = torch.zeros(1, 1, 16, 16)
    label[..., :4, :] = 1
    distance = ClassMomentsLoss(minimum_pixels=pixels)(torch.ones_like(label), label, torch.zeros_like(label), label)
    assert float(distance) == (1 if pixels == 64 else 0)


@pytest.mark.parametrize("which", ["image", "guide"])
def test_an_image_without_labels_asks_for_nothing(which: str) -> None:
    label = checkerboard(3, 24)
    none = torch.full_like(label, UNLABELLED)
    labels = (none, label) if which == "image" else (label, none)
    pred = torch.rand(1, 1, 24, 24, requires_grad=True)
    loss = ClassMomentsLoss()(pred, labels[0], torch.rand(1, 1, 24, 24), labels[1])
    loss.backward()
    assert float(loss.detach()) == 0
    assert pred.grad is not None
    assert float(pred.grad.abs().sum()) == 0


def test_descent_brings_each_class_to_its_guide() -> None:
    label = checkerboard(4, 24)
    guide = painted(label, [0.0, 0.2, 0.9, 0.4], noise=0.05)
    pred = torch.full((1, 1, 24, 24), 0.5).add(painted(label, [0.0] * 4, noise=0.01)).requires_grad_(True)
    optimizer = torch.optim.Adam([pred], lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        ClassMomentsLoss()(pred, label, guide, label).backward()
        optimizer.step()
    _, means, deviations = class_moments(pred.detach(), label, 4)
    _, wanted, spread = class_moments(guide, label, 4)
    torch.testing.assert_close(means[..., 1:], wanted[..., 1:], atol=0.02, rtol=0)
    torch.testing.assert_close(deviations[..., 1:], spread[..., 1:], atol=0.02, rtol=0)


def test_gradient_is_finite_where_a_class_is_constant() -> None:
    label = checkerboard(2, 24)
    pred = torch.full((1, 1, 24, 24), 0.5, requires_grad=True)
    ClassMomentsLoss()(pred, label, torch.zeros(1, 1, 24, 24), label).backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()


def test_volumes_and_colour_work() -> None:
    label = checkerboard(2, 24).reshape(1, 1, 4, 12, 12)
    loss = ClassMomentsLoss()(torch.zeros(1, 3, 4, 12, 12), label, torch.ones(1, 3, 4, 12, 12), label)
    assert float(loss) == pytest.approx(1)


@pytest.mark.parametrize("arguments", [{"deviation_weight": -0.1}, {"minimum_pixels": 0}])
def test_settings_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        ClassMomentsLoss(**arguments)  # type: ignore[arg-type]
