# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What there is to know of a trained network, and of the installation that runs it."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .model_spec import ModelSpec, content_digest, pixel_size_in_words
from .version import __version__

__all__ = ["model_card"]

AXES = ("sagittal", "coronal", "axial")
LIBRARIES = ("torch", "monai", "numpy", "nibabel", "pydicom", "pillow", "itk", "pytorch-ignite")


def model_card(model_file: Path) -> dict[str, Any]:
    """Return what a user may want to know of a network and of this installation.

    Raises:
        InputError: when there is no network.
    """
    spec = ModelSpec.load(model_file)
    network, limits = spec.network, spec.thresholds or {}
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        versions[name] = metadata.version(name)
    scaling = f"window {list(spec.window)}" if spec.window else f"percentiles {list(spec.percentiles)} of each image"
    return {
        "program": f"hqgnet {__version__}",
        "weights": f"{model_file}, SHA-256 {content_digest(model_file)}…",
        "network": {name: network[name] for name in ("spatial_dims", "in_channels", "channels")},
        "scaling": f"{scaling} become 0 and 1",
        "pixels": f"{pixel_size_in_words(spec.pixel_size)} mm" if spec.pixel_size else "of any size",
        "volumes": f"{AXES[spec.slice_axis]} slices" if network["spatial_dims"] == 2 else "whole",
        "styles": sorted(spec.styles or {}) or "none",
        "calibration": f"{len(limits['limits'])} limits from {limits['cases']} images" if limits else "none",
        "downstream": spec.downstream["task"] if spec.downstream else "none",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": versions,
    }
