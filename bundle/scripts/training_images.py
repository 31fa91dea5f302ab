# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What training learns from its images before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model_spec import ModelSpec
from .planes import pixel_size_of_set, planes_of, warn_of_other_axis, warn_of_small_patches
from .transforms import fit_falling, fit_noise

__all__ = ["look_at_images"]


def look_at_images(data: Any, settings: Mapping[str, Any], degradation: Any, spec: ModelSpec) -> None:
    """Fit the images to restore to the low-quality ones, note the size of pixels, and warn of what will not fit.

    Args:
        data: a :class:`scripts.data.UnpairedDataset`; each of its high-quality images is degraded with tone curves that
            suit it afterwards.
        settings: of :func:`scripts.command_line.executed_settings`.
        degradation: of the training data; its noise becomes that of the low-quality images.
        spec: takes the size of the pixels.
    """
    axis = settings["slice_axis"]
    fit_noise(degradation, data.images, axis)
    data.degrade_each(fit_falling(degradation, data.images, data.guides, data.styles, axis))
    planes, guides = (planes_of(items, settings["spatial_dims"], axis) for items in (data.images, data.guides))
    warn_of_small_patches(planes, settings["patch_size"])
    warn_of_other_axis(planes, axis)
    spec.pixel_size, spec.guide_pixel_size = pixel_size_of_set(planes), pixel_size_of_set(guides)
