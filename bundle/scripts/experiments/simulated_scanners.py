# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulated scanners: the same head, with scalp, skull and lesions, as each of several scanners would show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from monai.transforms.utils import distance_transform_edt
from monai.utils import convert_to_tensor
from torch.nn import functional as F

from .simulated_patients import (
    FINE_SIZE,
    SPACING,
    SPATIAL_SIZE,
    Anatomy,
    column,
    pairs_of_planes_averaged,
    random_field,
)

__all__ = ["POOR_SCANNER", "SCANNERS", "Head", "Scanner", "draw_head", "scan"]

FINE_SPACING = 2.0
"""Side in mm of the voxels of the grid on which anatomy is made."""

LESIONS_PER_PATIENT = (1, 5)
LESION_RADII = (3.0, 11.0)
"""Half-axes of a lesion in mm."""

LESION_KINDS = ("dark", "bright", "textured")


@dataclass(frozen=True)
class Scanner:
    """What a scanner makes of tissue.

    Attributes:
        signal: mean intensity in [0, 1] of cerebrospinal fluid and other brain, grey matter, white matter, skull,
            scalp.
        gamma: exponent that is applied to the intensities: a change of tone alone.
        blur: standard deviation in mm, within the slice, of its point spread.
        texture: relative amplitude of its texture.
        texture_scale: over how many mm that texture is smooth.
        template_texture: share of the template's T1 texture that shows; negative where dark tissue is bright.
        spread: standard deviation of each mean, from patient to patient.
    """

    signal: tuple[float, float, float, float, float]
    gamma: float = 1.0
    blur: float = 0.0
    texture: float = 0.02
    texture_scale: float = 4.0
    template_texture: float = 0.3
    spread: float = 0.01


SCANNERS = {
    "scanner_a": Scanner(signal=(0.25, 0.60, 0.86, 0.06, 0.90), blur=0.6, texture=0.02, texture_scale=4.0),
    "scanner_b": Scanner(signal=(0.25, 0.60, 0.86, 0.06, 0.90), gamma=1.7, texture=0.02, texture_scale=4.0),
    "scanner_c": Scanner(
        signal=(0.90, 0.58, 0.38, 0.05, 0.25), blur=0.9, texture=0.04, texture_scale=6.0, template_texture=-0.3
    ),
}
"""Target scanners by name: b is a in another tone and sharper; c shows fluid bright, white matter dark and no fat."""

POOR_SCANNER = Scanner(signal=(0.26, 0.60, 0.88, 0.08, 0.88), texture=0.0, spread=0.02)
"""The scanner of the low-quality images, before their degradation."""


@dataclass(frozen=True)
class Head:
    """One person's head with all that is not brain, on a grid of 2 mm.

    Attributes:
        tissue: share of fluid and other brain, grey matter, white matter, skull and scalp: (5, *FINE_SIZE); the rest of
            a voxel is air.
        texture: of the template, see :class:`Anatomy`.
        lesions: (dark, bright, textured): how far each kind of lesion has changed the tissue, in [0, 1]:
            (3, *FINE_SIZE).
        label: tissue classes, see `LABELS`: uint8 of shape `SPATIAL_SIZE`.
    """

    tissue: torch.Tensor
    texture: torch.Tensor
    lesions: torch.Tensor
    label: np.ndarray


def draw_head(anatomy: Anatomy, random_state: np.random.RandomState) -> Head:
    r"""Draw skull, scalp and lesions around and into one person's brain.

    With d the distance to the brain: fluid for d below about 2 mm, skull for about 6 mm, scalp for about 5 mm, each as
    thick as was drawn for this person, and thicker or thinner from place to place. One to five lesions, dark, bright or
    textured, are ellipsoids with half-axes of 3 to 11 mm somewhere in the brain; every scanner shows the same ones.

    Args:
        anatomy: the brain.
        random_state: all randomness comes from here.
    """
    outside, inside = (_distance_to_rest(mask) for mask in (anatomy.mask < 0.5, anatomy.mask >= 0.5))
    # The filter pads with zeros, which would be the brain's surface.
    padded = F.pad((outside - inside).float()[None, None], [4] * 6, mode="replicate")
    distance = GaussianFilter(3, 1.0)(padded)[0, 0, 4:-4, 4:-4, 4:-4]
    distance = distance + 0.8 * random_field(random_state, 22.0, FINE_SIZE)[0]
    fluid, bone, skin = random_state.uniform((1.5, 4.5, 3.5), (3.0, 7.0, 6.5))
    edges = [torch.sigmoid((end - distance) / 0.7) for end in np.cumsum([fluid, bone, skin]).tolist()]
    free = 1 - anatomy.mask
    shells = torch.stack([edges[0], edges[1] - edges[0], edges[2] - edges[1]]) * free
    tissue = torch.cat([anatomy.tissue, shells[1:]])
    tissue[0] += shells[0]
    return Head(tissue, anatomy.texture, _draw_lesions(anatomy.mask, random_state), anatomy.label())


def _distance_to_rest(mask: torch.Tensor) -> torch.Tensor:
    """Return the distance in mm of every voxel in a mask to the next one outside of it, and 0 elsewhere."""
    return convert_to_tensor(distance_transform_edt(mask[None], sampling=[FINE_SPACING] * 3))[0]


def _draw_lesions(mask: torch.Tensor, random_state: np.random.RandomState) -> torch.Tensor:
    axes = [torch.arange(n) * FINE_SPACING for n in FINE_SIZE]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    places = (mask > 0.9).nonzero()
    lesions = torch.zeros(len(LESION_KINDS), *FINE_SIZE)
    for _ in range(random_state.randint(LESIONS_PER_PATIENT[0], LESIONS_PER_PATIENT[1] + 1)):
        kind = random_state.randint(len(LESION_KINDS))
        centre = (places[random_state.randint(len(places))] * FINE_SPACING).tolist()
        radii = random_state.uniform(*LESION_RADII, 3)
        strength = random_state.uniform(0.4, 0.8)
        # In units of the radius; the rim fades over about 1.5 mm.
        away = (((place - column(centre)) / column(radii)) ** 2).sum(0).sqrt()
        shape = strength * torch.sigmoid((1 - away) * float(radii.min()) / 0.8)
        lesions[kind] = torch.maximum(lesions[kind], shape)
    return lesions * mask


def scan(head: Head, scanner: Scanner, random_state: np.random.RandomState) -> np.ndarray:
    r"""Return the image of a head by a scanner, float32 of shape `SPATIAL_SIZE` in [0, 1].

    .. math:: x = \sum_k m_k p_k + \tau\,x_{T1}, \quad
        x \leftarrow x (1 - l_{dark}),\ x + l_{bright}(1 - x),\ x (1 + l_{textured}\,n),\quad x \leftarrow x (1 + a\,t)

    with tissue shares p, the scanner's means m (each drawn anew with its spread), the template's texture, and Gaussian
    random fields n (smooth over 5 mm) and t. Then come partial volumes, the point spread and the exponent.

    Args:
        head: the person.
        scanner: the scanner.
        random_state: all randomness comes from here.
    """
    signal = random_state.normal(scanner.signal, scanner.spread)
    image = torch.tensordot(torch.as_tensor(signal, dtype=torch.float32), head.tissue, dims=1)
    image = image + scanner.template_texture * head.texture
    dark, bright, textured = head.lesions
    image = image * (1 - dark)
    image = image + bright * (1 - image).clamp_min(0)
    image = image * (1 + 0.5 * textured * random_field(random_state, 5.0, FINE_SIZE)[0])
    image = image * (1 + scanner.texture * random_field(random_state, scanner.texture_scale, FINE_SIZE)[0])
    image = pairs_of_planes_averaged(image[None])
    if scanner.blur > 0:
        sigma = [scanner.blur / SPACING[0], scanner.blur / SPACING[1], 1e-4]
        image = GaussianFilter(3, sigma)(image[None])[0]
    result: np.ndarray = (image[0].clamp(0, 1) ** scanner.gamma).numpy()
    assert result.shape == SPATIAL_SIZE
    return result
