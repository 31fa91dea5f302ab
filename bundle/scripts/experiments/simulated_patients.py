# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Simulated heads, deformed from the MNI152 template, with lesions where they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from monai.transforms import Resample, Resize
from monai.transforms.utils import create_rotate

from ..errors import InputError

__all__ = [
    "SPACING",
    "SPATIAL_SIZE",
    "Anatomy",
    "Patient",
    "Template",
    "draw_lesions",
    "load_template",
    "simulate_anatomy",
    "simulate_patient",
]

SPATIAL_SIZE = (96, 112, 16)
SPACING = (2.0, 2.0, 4.0)
"""Voxel size of the images in mm; slices are the last axis."""

FINE_SIZE = (SPATIAL_SIZE[0], SPATIAL_SIZE[1], 2 * SPATIAL_SIZE[2])
"""Size of the grid of 2 mm on which anatomy is made."""

LESION_RADIUS = (3.5, 5.0)
"""In mm."""

LESION_EDGE = 1.0
"""Scale in mm over which a lesion fades at its rim."""

LESION_CONTRAST = 0.75
"""Share of the signal that the white matter loses in a lesion."""

LESIONS_PER_SLICE = (2, 4)
MIN_LESION_AREA = 20.0
"""Area in mm² from which a slice counts as one with lesions; the smallest single lesion has nearly twice as much."""


@dataclass(frozen=True)
class Template:
    """The anatomy that every patient is deformed from.

    Attributes:
        maps: T1 intensity, probability of cerebrospinal fluid or other brain, of grey matter, and of white matter, each
            in [0, 1]: float32 tensor of shape (4, X, Y, Z).
        affine: voxel to RAS+ millimetres, diagonal.
    """

    maps: torch.Tensor
    affine: np.ndarray


@dataclass(frozen=True)
class Anatomy:
    """One person's head, on a grid of 2 mm, before any scanner has seen it.

    Attributes:
        tissue: share of cerebrospinal fluid or other brain, of grey and of white matter in each voxel: (3, *FINE_SIZE).
        mask: share of brain, the sum of these.
        texture: what the template's T1 image shows beyond its tissues, 0 outside of the brain.
    """

    tissue: torch.Tensor
    mask: torch.Tensor
    texture: torch.Tensor

    def label(self) -> np.ndarray:
        """Return the most probable class of each voxel of the image, see `LABELS`: uint8 of shape `SPATIAL_SIZE`."""
        shares = pairs_of_planes_averaged(torch.cat([1 - self.mask[None], self.tissue]))
        return shares.argmax(0).numpy().astype(np.uint8)


@dataclass(frozen=True)
class Patient:
    """One simulated head.

    Attributes:
        image: clean T1-like intensities in [0, 1], air 0: float32 of shape `SPATIAL_SIZE`.
        label: tissue classes, see `LABELS`: uint8 of the same shape.
        affine: voxel to RAS+ millimetres.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def load_template() -> Template:
    """Load T1, grey and white matter of the MNI152 template from the nilearn package; nothing is downloaded.

    Cerebrospinal fluid and other brain is what the brain mask holds beyond grey and white matter.

    Raises:
        InputError: where nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise InputError(
            "the demo data need the MNI152 template of nilearn, which is not installed: "
            'run pip install ".[demo]" in the folder of pyproject.toml'
        ) from error
    image = datasets.load_mni152_template(resolution=1)
    t1, grey, white, mask = (
        np.asarray(source.dataobj, dtype=np.float32)
        for source in (
            image,
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
            datasets.load_mni152_brain_mask(resolution=1),
        )
    )
    other = np.clip(mask - grey - white, 0, 1)
    return Template(torch.from_numpy(np.stack([t1 * mask, other, grey * mask, white * mask])), np.asarray(image.affine))


def simulate_anatomy(template: Template, random_state: np.random.RandomState) -> Anatomy:
    r"""Deform the template into one person's head.

    The template is sampled once, at :math:`p - w\,e^{-|(p - v)/s|^2} (p - v)` with
    :math:`p = c + R S^{-1} x + u_{22}(x) + u_7(x)`: a head scaled by 0.92 to 1.08 per axis, turned by up to 6 degrees
    and displaced by Gaussian random fields that are smooth over 22 mm (standard deviation 2.5 to 3 mm per axis) and
    over 7 mm (1.3 mm); w in [-0.25, 0.4] shrinks or widens the ventricles around v.

    Tissue probabilities are sharpened (:math:`p_k^2 / \sum_j p_j^2`), since those of the template average 152 people.

    Args:
        template: the anatomy to start from.
        random_state: all randomness comes from here.
    """
    maps = _deformed(template, random_state, FINE_SIZE)
    probability = maps[1:].clamp(0, 1)
    mask = probability.sum(0).clamp(0, 1)
    sharp = probability**2
    sharp = sharp / sharp.sum(0).clamp_min(1e-6) * mask
    texture = maps[0] - torch.tensordot(torch.tensor([0.34, 0.65, 0.84]), probability, dims=1)
    return Anatomy(sharp, mask, texture * mask)


def simulate_patient(template: Template, random_state: np.random.RandomState, gamma: float = 1.0) -> Patient:
    """Simulate one head without scalp: own anatomy (:func:`simulate_anatomy`), tissue contrast and position.

    Intensities follow from tissue means drawn for this patient, and keep half of the template's texture. Slices average
    two planes of 2 mm, hence have partial volumes. The label is the most probable class.

    Args:
        template: the anatomy to start from.
        random_state: all randomness comes from here.
        gamma: exponent applied to the intensities: the contrast style, see `CONTRAST_STYLES`.
    """
    anatomy = simulate_anatomy(template, random_state)
    own = [random_state.normal(mean, std) for mean, std in ((0.28, 0.03), (0.62, 0.02), (0.88, 0.015))]
    image = torch.tensordot(torch.tensor(own, dtype=torch.float32), anatomy.tissue, dims=1) + 0.5 * anatomy.texture
    image = pairs_of_planes_averaged(image[None])[0].clamp(0, 1) ** gamma
    return Patient(image.numpy(), anatomy.label(), draw_position(random_state))


def draw_position(random_state: np.random.RandomState) -> np.ndarray:
    """Draw where a patient lies in the scanner: voxel to RAS+ millimetres."""
    # Rounded to what a DICOM decimal string can hold, so that both formats agree.
    origin = np.round(-(np.array(SPATIAL_SIZE) - 1) / 2 * np.array(SPACING) + random_state.uniform(-15, 15, 3), 2)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return affine


def pairs_of_planes_averaged(volume: torch.Tensor) -> torch.Tensor:
    """Return slices of 4 mm of a volume with planes of 2 mm, (..., 2 Z) to (..., Z)."""
    return volume.unflatten(-1, (-1, 2)).mean(-1)


def _deformed(template: Template, random_state: np.random.RandomState, size: tuple[int, ...]) -> torch.Tensor:
    """Sample the template's maps on a grid of 2 mm through one patient's deformation: (4, *size)."""
    axes = [torch.arange(n) * 2.0 - (n - 1) for n in size]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"))

    angles = np.deg2rad(random_state.uniform(-1, 1, 3) * (3, 3, 6))
    rotation = np.asarray(create_rotate(3, tuple(angles)))[:3, :3]
    inverse_scale = np.diag(1 / random_state.uniform(0.92, 1.08, 3))
    # The centre of the field of view: about 10 mm above the commissures, where all slices show plenty of brain.
    centre = np.array([0.0, -16.0, 11.0]) + random_state.uniform(-4, 4, 3)
    point = torch.tensordot(torch.as_tensor(rotation @ inverse_scale, dtype=torch.float32), position, dims=1)
    point = point + column(centre)
    for correlation, amplitude in ((22.0, (2.5, 3.0, 2.5)), (7.0, (1.3, 1.3, 1.3))):
        point = point + random_field(random_state, correlation, size) * column(amplitude)

    offset = point - column((0.0, -12.0, 16.0))
    widening = random_state.uniform(-0.25, 0.4)
    near_ventricles = torch.exp(-((offset / column((24.0, 34.0, 20.0))) ** 2).sum(0))
    point = point - widening * near_ventricles * offset

    shape = np.array(template.maps.shape[1:])
    # MONAI resamples at voxel positions counted from the middle of the volume.
    voxel = (point - column(template.affine[:3, 3])) / column(np.diag(template.affine)[:3]) - column((shape - 1) / 2)
    resample = Resample(mode="bilinear", padding_mode="zeros", dtype=np.float32)
    return torch.as_tensor(resample(template.maps, grid=torch.cat([voxel, torch.ones_like(voxel[:1])])))


def column(values: Any) -> torch.Tensor:
    """Return a vector as (n, 1, 1, 1), to be combined with n volumes."""
    return torch.tensor(np.array(values), dtype=torch.float32)[:, None, None, None]


def random_field(random_state: np.random.RandomState, correlation: float, size: tuple[int, ...]) -> torch.Tensor:
    """Three Gaussian random fields of unit variance on a grid of 2 mm, smoothed over `correlation` mm: (3, *size)."""
    step = correlation / 2
    margin = 6
    coarse = [int(np.ceil(2 * n / step)) + 1 for n in size]
    noise = torch.from_numpy(random_state.normal(size=(1, 3, *[n + 2 * margin for n in coarse])).astype(np.float32))
    field = GaussianFilter(3, correlation / step)(noise)[0]
    field = field[:, margin:-margin, margin:-margin, margin:-margin]
    field = torch.as_tensor(Resize(size, mode="trilinear", align_corners=True)(field))
    # White noise after a Gaussian filter of standard deviation s has, in 3-D, the variance (4 pi s^2)^(-3/2).
    return field * float((4 * np.pi * (correlation / step) ** 2) ** 0.75)


def draw_lesions(
    head: Patient, random_state: np.random.RandomState, gamma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw dark lesions into the white matter of half of the slices.

    .. math:: x \leftarrow x\,(1 - 0.75\,s)^\gamma, \quad s(p) = \max_i \sigma\big((r_i - |p - c_i|) / 1\,mm\big)

    Each of these slices gets two to four discs, where there is room, of radius :math:`r_i` from 3.5 to 5 mm around
    :math:`c_i`; every disc lies in white matter altogether and keeps clear of the others. A lesion is as thick as its
    slice and leaves the neighbouring slices untouched, so that none is half in a slice whose label does not say so.

    A slice counts as one with lesions when :math:`s > 1/2` in at least 20 mm² of it.

    Args:
        head: the patient, not changed.
        random_state: all randomness comes from here.
        gamma: exponent that was applied to the patient's intensities, see :func:`simulate_patient`.

    Returns:
        The image with lesions, float32 of shape `SPATIAL_SIZE`, and for every slice whether it shows lesions: bool of
        shape (Z,).
    """
    strength = np.zeros(head.image.shape, dtype=np.float32)
    place = np.stack(np.meshgrid(*(np.arange(n) for n in SPATIAL_SIZE[:2]), indexing="ij"), axis=-1)
    in_plane = np.array(SPACING[:2])
    for index in random_state.permutation(SPATIAL_SIZE[2])[: SPATIAL_SIZE[2] // 2]:
        for _ in range(random_state.randint(LESIONS_PER_SLICE[0], LESIONS_PER_SLICE[1] + 1)):
            radius = random_state.uniform(*LESION_RADIUS)
            free = (head.label[..., index] == 3) & (strength[..., index] < 0.05)
            centres = np.argwhere(_eroded(free, radius / in_plane))
            if not len(centres):
                break
            distance = np.linalg.norm((place - centres[random_state.randint(len(centres))]) * in_plane, axis=-1)
            disc = 1 / (1 + np.exp((distance - radius) / LESION_EDGE))
            strength[..., index] = np.maximum(strength[..., index], disc)
    area = (strength > 0.5).sum(axis=(0, 1)) * in_plane.prod()
    image = head.image * (1 - LESION_CONTRAST * strength) ** np.float32(gamma)
    return image.astype(np.float32), area >= MIN_LESION_AREA


def _eroded(mask: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Where an ellipse of these half-axes, in pixels, lies in a two-dimensional mask altogether."""
    reach = np.ceil(radii).astype(int)
    offsets = [np.array(index) - reach for index in np.ndindex(*(2 * reach + 1))]
    inside = [tuple(offset) for offset in offsets if ((offset / radii) ** 2).sum() <= 1]
    # The head is far from the borders, across which roll would carry it.
    return np.logical_and.reduce([np.roll(mask, offset, axis=(0, 1)) for offset in inside])
