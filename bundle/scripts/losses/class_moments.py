# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What labels say about the look of an image: how bright each class is, and how much it varies."""

from __future__ import annotations

import torch
from torch import nn

from ..data import UNLABELLED
from ..errors import require

__all__ = ["ClassMomentsLoss", "class_moments"]


class ClassMomentsLoss(nn.Module):
    r"""Compare the intensities of each class in the result with those in its guide, of another patient.

    .. math::
        L = \frac{1}{|P|} \sum_{(b, k) \in P} \overline{|\mu_k(\hat x_b) - \mu_k(z_b)|}
            + \lambda\,\overline{|\sigma_k(\hat x_b) - \sigma_k(z_b)|}

    with mean :math:`\mu_k` and standard deviation :math:`\sigma_k` of the pixels of class k, a mean over channels, and
    the pairs P of image and class that both label maps show in enough pixels. Background, class 0, is left out: it is
    everything that nobody has labelled. No position is compared, so image and guide may show any anatomy.

    Args:
        deviation_weight: :math:`\lambda`. Defaults to 0.5.
        minimum_pixels: of a class in the image, and in the guide, from which on it counts. Defaults to 50.

    Raises:
        InputError: for a negative weight, or fewer than one pixel.
    """

    def __init__(self, deviation_weight: float = 0.5, minimum_pixels: int = 50) -> None:
        super().__init__()
        require(deviation_weight >= 0, f"deviation_weight must be 0 or more, not {deviation_weight}.")
        require(minimum_pixels >= 1, f"minimum_pixels must be 1 or more, not {minimum_pixels}.")
        self.deviation_weight = deviation_weight
        self.minimum_pixels = minimum_pixels

    def forward(
        self, pred: torch.Tensor, label: torch.Tensor, guide: torch.Tensor, guide_label: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss, a scalar; 0 where no class is in both.

        Args:
            pred: result, (B, C, *spatial).
            label: class numbers of its pixels, (B, 1, *spatial), ``UNLABELLED`` where nobody has said.
            guide: (B, C, *any spatial).
            guide_label: likewise, on the guide's grid.
        """
        classes = 1 + int(torch.maximum(label.max(), guide_label.max()).clamp_min(0))
        counts, means, deviations = class_moments(pred, label, classes)
        guide_counts, guide_means, guide_deviations = class_moments(guide, guide_label, classes)
        shared = (torch.minimum(counts, guide_counts) >= self.minimum_pixels)[:, 1:]
        distance = (means - guide_means).abs() + self.deviation_weight * (deviations - guide_deviations).abs()
        return (distance.mean(dim=1)[:, 1:] * shared).sum() / shared.sum().clamp_min(1)


def class_moments(
    images: torch.Tensor, labels: torch.Tensor, classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return how many pixels each class has, and mean and standard deviation of their intensities.

    Args:
        images: (B, C, *spatial).
        labels: class numbers below ``classes``, (B, 1, *spatial); ``UNLABELLED`` counts nowhere.
        classes: number of classes.

    Returns:
        Counts, (B, classes); means and deviations, each (B, C, classes), 0 for a class without pixels.
    """
    values = images.flatten(2).float()
    # One more class takes what is not labelled.
    numbers = labels.flatten(1).round().long()
    numbers = torch.where(numbers == UNLABELLED, classes, numbers)
    counts = values.new_zeros(len(values), classes + 1).scatter_add(1, numbers, torch.ones_like(values[:, 0]))
    places = numbers.unsqueeze(1).expand_as(values)

    def average(x: torch.Tensor) -> torch.Tensor:
        sums = x.new_zeros(*x.shape[:2], classes + 1).scatter_add(2, places, x)
        return sums / counts.clamp_min(1).unsqueeze(1)

    means = average(values)
    variances = average((values - means.gather(2, places)).square())
    # The square root has no finite slope at 0.
    deviations = (variances + torch.finfo(variances.dtype).eps).sqrt()
    return counts[:, :classes], means[..., :classes], deviations[..., :classes]
