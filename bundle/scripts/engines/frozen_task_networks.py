# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Task networks that learn from labelled high-quality images alone, and then judge with constant weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.transforms import Compose
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from .. import processes
from ..data import SeededSamples
from ..errors import InputError
from ..networks import at_least_float32, reinitialized
from ..rng_state import preserve_rng_state
from .optimizer import Adam

__all__ = ["FrozenTaskNetworks", "train_downstream"]

# A network has hardly learnt where its loss stays above this share of the loss of its first steps.
_LEARNT = 0.8
_FIRST_STEPS = 10

logger = logging.getLogger(__name__)


class FrozenTaskNetworks(nn.Module):
    r"""Networks of S's architecture that have learnt from labelled high-quality images alone.

    .. math:: \psi_k^* = \arg\min_\psi\; \ell(S_\psi(z), t_z),\qquad
        \ell_{frozen}(\hat x, t) = \frac1K \sum_k \ell(S_{\psi_k^*}(\hat x), t)

    S of :class:`BilevelTask` also learns on enhanced images, and comes to read details that only this enhancer draws.
    The loss of the frozen networks tells how well an image suits a network that has never seen an enhanced one. No
    :math:`\psi_k^*` depends on the enhancer: the networks learn once, before it does, and the gradient with constant
    weights is exact. An enhancer finds it harder to please the weaknesses of two networks than of one.

    Args:
        network: S. It is copied, and the copies draw new weights.
        loss_function: from logits and labels to a scalar.
        items: prepared high-quality items with ``image`` and ``label``.
        number: K. Defaults to 2.
        steps: optimiser steps of each network. Defaults to 800.
        batch_size: images in a step. Defaults to 2.
        learning_rate: initial rate of Adam; it falls to 0 along a cosine. Defaults to 2e-3.
        random_transforms: augmentation, see :class:`scripts.data.SeededSamples`.
        vary_label: whether labels are images, which the augmentation changes too.
        seed: of weights and draws.

    Raises:
        InputError: when there is no item, a number is out of range or, in training, the loss is not finite.
    """

    # Far from the seeds that users, and the downstream experiment, choose for their own networks.
    _FIRST_SEED = 1_000_003

    def __init__(
        self,
        network: nn.Module,
        loss_function: nn.Module,
        items: Sequence[Mapping[str, Any]] | Subset[dict[str, Any]],
        number: int = 2,
        steps: int = 800,
        batch_size: int = 2,
        learning_rate: float = 2e-3,
        random_transforms: Compose | None = None,
        vary_label: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not len(items):
            raise InputError(
                "Frozen task networks learn from labelled high-quality images, and there are none: set "
                "frozen_task_networks 0."
            )
        numbers = {"frozen_task_networks": number, "frozen_task_steps": steps, "frozen_task_batch_size": batch_size}
        for name, value in numbers.items():
            if value < 1:
                raise InputError(f"{name} must be 1 or more, not {value}.")
        self.seeds = [self._FIRST_SEED * (1 + place) + seed for place in range(number)]
        self.networks = nn.ModuleList(reinitialized(network, own_seed) for own_seed in self.seeds)
        self._freeze()
        self.loss_function = loss_function
        self.items = items
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_transforms = random_transforms
        self.vary_label = vary_label
        self.have_learnt: torch.Tensor
        self.register_buffer("have_learnt", torch.tensor(False))

    def learn(self) -> None:
        """Train each network, then freeze it. Of N processes, each trains every N-th network for all."""
        self.networks.requires_grad_(True)
        places = range(processes.rank(), len(self.networks), processes.count())
        losses = {place: self._teach(place) for place in places}
        learnt = {place: _on_processor(self.networks[place].state_dict()) for place in places}
        found: dict[int, list[float]] = {}
        for share, states in processes.gathered((losses, learnt)):
            found |= share
            for place, state in states.items():
                self.networks[place].load_state_dict(state)
        for place in range(len(self.networks)):
            self._report(self._name(place), found[place])
        self._freeze()
        self.have_learnt.fill_(True)

    def _teach(self, place: int) -> list[float]:
        """Train one network; return the loss of every step."""
        seed = self.seeds[place]
        samples = SeededSamples(self.items, self.steps * self.batch_size, seed, self.random_transforms, self.vary_label)
        return train_downstream(
            self.networks[place],
            samples,
            self.loss_function,
            self.batch_size,
            self.learning_rate,
            seed,
            self._name(place),
        )

    def _name(self, place: int) -> str:
        return f"frozen task network {place + 1} of {len(self.networks)}"

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of the networks on enhanced images, in single precision.

        Args:
            images: (B, C, *spatial) in [0, 1].
            labels: what the loss function takes beside the logits.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = at_least_float32(images)
            losses = [self.loss_function(network(images), labels) for network in self.networks]
        return torch.stack(losses).mean()

    def _freeze(self) -> None:
        """Hold weights and running statistics constant, and spare their gradients."""
        self.networks.eval().requires_grad_(False)

    def _report(self, name: str, losses: list[float]) -> None:
        """Log how far a network has learnt; warn where it hardly has."""
        if not math.isfinite(losses[-1]):
            raise InputError(f"The loss of {name} became {losses[-1]}: lower the learning rate of S.")
        if not processes.is_first():
            return
        before, after = fmean(losses[:_FIRST_STEPS]), fmean(losses[-math.ceil(len(losses) / 10) :])
        logger.info("%s has learnt from %d high-quality images, loss %.3f", name, len(self.items), after)
        if len(losses) > _FIRST_STEPS and after > _LEARNT * before:
            logger.warning(
                "%s has hardly learnt: its loss was %.3f in its first %d steps. Do not follow it: raise "
                "frozen_task_steps or frozen_task_batch_size, or set frozen_task_networks 0.",
                name,
                before,
                _FIRST_STEPS,
            )


def _on_processor(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in state.items()}


def train_downstream(
    network: nn.Module,
    samples: Dataset[Any],
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batch_size: int,
    learning_rate: float,
    seed: int,
    name: str,
) -> list[float]:
    """Train a downstream network by itself, with Adam and a rate that falls to 0 along a cosine.

    Args:
        network: S, which learns where it is.
        samples: training items in their order, ``{"image", "label"}``; each is seen once.
        loss_function: from logits and labels to a scalar.
        batch_size: images in a step.
        learning_rate: at the beginning.
        seed: of dropout. The global random state stays as it was.
        name: what the progress bar says.

    Returns:
        The loss of every step.
    """
    device = next(network.parameters()).device
    loader = DataLoader(samples, batch_size=batch_size)
    optimizer = Adam(network.parameters(), lr=learning_rate)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(loader))
    # None in a log file, nor one for each process.
    progress = [ProgressBar(desc=name, persist=False, disable=None)] if processes.is_first() else []
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss_function,
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False), *progress],
        decollate=False,
    )
    losses: list[torch.Tensor] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[Keys.LOSS].detach())
    )
    with preserve_rng_state(device):
        torch.manual_seed(seed)
        trainer.run()
    return [float(loss) for loss in losses]
