# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What :mod:`scripts.experiments.speed` compares: our networks and steps, and those of others.

Ours come from ``configs/train.yaml``, so that what is measured is what is trained.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import PatchDiscriminator
from torch import nn
from torch.nn import functional as F

from ..files import bundle_root
from ..networks import HQGNet
from .classical import correct_bias, denoise, scikit_image

__all__ = [
    "DEMO",
    "PAPER",
    "CycleGANStep",
    "EnhancementStep",
    "ResNetGenerator",
    "bias_field_correction",
    "hqgnet",
    "non_local_means",
    "phantom",
]

Run = Callable[[], Any]

DEMO: dict[str, Any] = {}
"""Settings of the demo's network: those of ``configs/train.yaml``."""

PAPER: dict[str, Any] = {"network_channels": [128, 256, 512], "guidance_channels": [128, 256]}
"""Settings of a network of about the size in the paper."""


def _part(part: str, settings: dict[str, Any]) -> Any:
    parser = ConfigParser()
    parser.read_config(str(Path(bundle_root(), "configs", "train.yaml")))
    parser.update(settings)
    return parser.get_parsed_content(part)


def hqgnet(settings: dict[str, Any], spatial_dims: int = 2) -> HQGNet:
    """Return our network, of random weights."""
    network: HQGNet = _part("network_def", {"spatial_dims": spatial_dims, **settings})
    return network


def phantom(size: int, batch: int = 1, spatial_dims: int = 2, seed: int = 0) -> torch.Tensor:
    """Return images (batch, 1, *spatial) in [0, 1]: an ellipse of smooth texture with noise on a dark ground."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid([torch.linspace(-1, 1, size)] * spatial_dims, indexing="ij")
    inside = sum((axis / (0.9 - 0.1 * number)) ** 2 for number, axis in enumerate(axes)) < 1
    texture = 0.6 + 0.2 * torch.stack([torch.cos(5 * axis) for axis in axes]).prod(0)
    noise = 0.05 * torch.randn((batch, 1, *texture.shape), generator=generator)
    return (inside * texture + noise).clamp(0, 1)


class EnhancementStep:
    """A step of :class:`scripts.engines.EnhancementTrainer`, as ``configs/train.yaml`` sets it up, on a fixed batch.

    Args:
        settings: of the configuration.
        size: side of the images.
        batch: number of images that are restored; one of them is a low-quality image's step as well.
        device: where to train.
        restores: whether it is a step of the first epochs, which restore alone. Defaults to False.
        spatial_dims: 2 or 3. Defaults to 2.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        size: int,
        batch: int,
        device: torch.device,
        restores: bool = False,
        spatial_dims: int = 2,
    ) -> None:
        trainer = {
            "train_data_loader": [],
            "train_handlers": [],
            "epoch_length": 1,
            "decollate": False,
            "bilevel": None,
        }
        self.trainer = _part(
            "train#trainer",
            {
                **{f"train#trainer#{name}": value for name, value in trainer.items()},
                "device": device,
                "spatial_dims": spatial_dims,
                "task": "none",
                **settings,
            },
        )
        self.trainer.state.epoch = self.trainer.state.max_epochs if not restores else 1
        keys = ("image", "guide", "clean", "degraded")
        self.batch = {key: phantom(size, batch, spatial_dims, seed) for seed, key in enumerate(keys)}

    def __call__(self) -> None:
        """Take the step."""
        self.trainer._iteration(self.trainer, self.batch)


class ResNetGenerator(nn.Sequential):
    """The generator of CycleGAN (Zhu et al. 2017, arXiv 1703.10593): residual blocks at a quarter of the resolution.

    Args:
        channels: of the image. Defaults to 1.
        filters: of the first convolution; four times as many in the blocks. Defaults to 64.
        blocks: number of residual blocks. Defaults to 9.
    """

    def __init__(self, channels: int = 1, filters: int = 64, blocks: int = 9) -> None:
        def normalised(convolution: nn.Module, width: int) -> list[nn.Module]:
            return [convolution, nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]

        wide = 4 * filters
        layers = normalised(_reflecting(channels, filters, 7), filters)
        for width in (filters, 2 * filters):
            layers += normalised(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), 2 * width)
        layers += [_ResidualBlock(wide) for _ in range(blocks)]
        for width in (wide, wide // 2):
            enlarging = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
            layers += normalised(enlarging, width // 2)
        super().__init__(*layers, _reflecting(filters, channels, 7), nn.Tanh())


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _reflecting(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
            _reflecting(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = features + self.body(features)
        return result


def _reflecting(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")


class CycleGANStep:
    """A training step of CycleGAN on a fixed batch: both generators, cycle and identity terms, both discriminators.

    The discriminators are 70×70 PatchGANs. The buffer of earlier results is left out; it takes no time.

    Args:
        generator: makes one of the two generators.
        size: side of the images.
        batch: number of images of either set.
        device: where to train.
        cycle_weight: of the L1 distance after both ways. Defaults to 10.
        identity_weight: of the L1 distance of an image of the target set from its result. Defaults to 5.
    """

    def __init__(
        self,
        generator: Callable[[], nn.Module],
        size: int,
        batch: int,
        device: torch.device,
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
    ) -> None:
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.generators = [generator().to(device).train() for _ in range(2)]
        self.discriminators = [
            PatchDiscriminator(2, 64, 1, num_layers_d=3, norm="INSTANCE").to(device).train() for _ in range(2)
        ]
        self.optimizer, self.d_optimizer = (
            torch.optim.Adam(itertools.chain.from_iterable(net.parameters() for net in nets), 2e-4, (0.5, 0.999))
            for nets in (self.generators, self.discriminators)
        )
        self.images = [phantom(size, batch, seed=seed).to(device) for seed in range(2)]

    def __call__(self) -> None:
        """Take the step."""
        fakes = [generator(image) for generator, image in zip(self.generators, self.images, strict=True)]
        for network in self.discriminators:
            network.requires_grad_(False)
        loss = torch.zeros((), device=fakes[0].device)
        for one in range(2):
            other = 1 - one
            loss = loss + _squared(self.discriminators[one](fakes[one])[-1], 1.0)
            cycled = self.generators[other](fakes[one])
            loss = loss + self.cycle_weight * F.l1_loss(cycled, self.images[one])
            loss = loss + self.identity_weight * F.l1_loss(self.generators[one](self.images[other]), self.images[other])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        d_losses = []
        for one, network in enumerate(self.discriminators):
            network.requires_grad_(True)
            real, fake = self.images[1 - one], fakes[one].detach()
            d_losses.append(0.5 * (_squared(network(real)[-1], 1.0) + _squared(network(fake)[-1], 0.0)))
        self.d_optimizer.zero_grad()
        sum(d_losses, torch.zeros_like(loss)).backward()
        self.d_optimizer.step()


def _squared(logits: torch.Tensor, target: float) -> torch.Tensor:
    return (logits - target).square().mean()


def bias_field_correction(image: np.ndarray) -> Run:
    """Return N4 on an image (rows, columns), all of whose pixels are looked at: four levels of up to 50 iterations."""
    return functools.partial(correct_bias, image, image > 0.2, shrink=1)


def non_local_means(image: np.ndarray) -> Run:
    """Return non-local means of scikit-image, in its fast mode, on an image (rows, columns).

    Raises:
        InputError: when scikit-image is not installed.
    """
    scikit_image("restoration")  # says so before anything is measured
    return functools.partial(denoise, image[None], sigma=0.05, strength=0.8)
