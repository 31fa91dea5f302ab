# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A trained network, ready to enhance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..handlers import load_model
from ..inferers import ConsistentInferer, usable_device
from ..model_spec import ModelSpec, pixel_size_in_words
from ..networks import HQGNet
from .case_enhancer import CaseEnhancer, inference_preprocessing

__all__ = ["describe_settings", "guide_and_tone", "load_enhancer"]


def load_enhancer(
    model_file: str | Path,
    device: str | torch.device | None = None,
    samples: int = 0,
    seed: int = 0,
    tone: str = "guide",
) -> tuple[CaseEnhancer, ModelSpec]:
    """Load a network with the scaling of its training and the defaults of inference.yaml.

    Args:
        model_file: ``model.pt``, with ``model.json`` beside it.
        device: where to run the network. Defaults to a GPU where there is one.
        samples: draws of the cue for the uncertainty; 0: none.
        seed: of the draws.
        tone: see :class:`scripts.inferers.ConsistentInferer`.

    Returns:
        What enhances a case, guided by the stored prototype, and the specification of the model.

    Raises:
        InputError: when a file is missing or cannot be used, or the device is not there.
    """
    spec = ModelSpec.load(model_file)
    device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = load_model(HQGNet(**spec.network), model_file).to(device).eval()
    inferer = ConsistentInferer(
        network.spatial_dims, batch_size=4 if device.type == "cuda" else 1, pixel_size=spec.pixel_size, tone=tone
    )
    preprocessing = inference_preprocessing(spec, network.minimum_size)
    return CaseEnhancer(
        network, preprocessing, inferer, samples=samples, seed=seed, guide_pixel_size=spec.guide_pixel_size
    ), spec


def guide_and_tone(guide: str | None, tone: str) -> str | None:
    """Return how a guide is called, with the tone where it is not the guide's."""
    return guide if tone == "guide" else f"{guide or 'the stored prototype'} with the tone of the source"


def describe_settings(
    guide: str | None,
    samples: int,
    seed: int,
    window: object = None,
    overlap: float = 0.25,
    amp: bool = False,
    backend: str = "torch",
    pixel_size: Sequence[Sequence[float]] | None = None,
) -> str:
    """Return in words what a result depends on besides source and weights; derived images and reports keep it.

    Args:
        guide: how the guide is called; None: the stored prototype.
        samples: see :class:`CaseEnhancer`.
        seed: likewise.
        window: see :class:`scripts.inferers.ConsistentInferer`.
        overlap: likewise.
        amp: mixed precision.
        backend: see :func:`find_engine`.
        pixel_size: see :class:`scripts.inferers.ConsistentInferer`.
    """
    return (
        f"guided by {guide or 'the stored prototype'}, {samples or 'no'} draws of the cue (seed {seed}), "
        f"window {window or 'by default'}, overlap {overlap}, mixed precision {amp}"
        + ("" if backend == "torch" else f", by {backend}")
        + (f", pixels of training {pixel_size_in_words(pixel_size)} mm" if pixel_size else "")
    )
