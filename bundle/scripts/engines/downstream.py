# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The downstream network as the lower problem of bi-level learning, and those that have learnt before."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.networks import eval_mode
from monai.transforms import Compose
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Subset

from ..data import GUIDE, GUIDE_LABEL, SeededSamples
from ..errors import InputError
from ..networks import call_with, reinitialized
from ..rng_state import preserve_rng_state
from .hypergradients import Tensors

__all__ = ["FrozenTaskNetworks", "DownstreamProblem", "check_downstream", "train_downstream"]

# Piecewise linear: their second derivative is 0 wherever there is one.
_KINKED = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.RReLU, nn.Hardtanh, nn.Threshold)
# A reader whose loss stays above this share of that of its first steps knows next to nothing.
_LEARNT = 0.8
_BEGINNING = 10

logger = logging.getLogger(__name__)


class DownstreamProblem:
    r"""A downstream network S and its two halves of the labelled data.

    .. math::
        \text{lower: } \min_\omega\; \ell(S_\omega(\hat x_A), t_A) + \lambda_z\,\ell(S_\omega(z), t_z),\qquad
        \text{upper: } \min_\theta\; \ell(S_{\omega^*}(\hat x_B), t_B)

    with enhanced images :math:`\hat x` of the halves A and B, and labelled high-quality images z where the batches of A
    have any. Everything here runs in single precision: differences and second derivatives need the digits.

    Args:
        network: S, from images (B, C, *spatial) to logits.
        optimizer: over the parameters of S.
        loss_function: from logits and labels to a scalar.
        lower_batches: batches of half A: ``image``, ``label``, ``guide``, and ``guide_label`` where guides have labels.
        upper_batches: batches of half B: ``image``, ``label``, ``guide``.
        warmup_batches: the same of all labelled images, for a warm-up that S has no part in. Defaults to none.
        guide_weight: :math:`\lambda_z`. The more the high-quality images count, the less S learns to put up with what
            is not like them, and the more the enhancer has to come up to them. Defaults to 1.

    Raises:
        InputError: when ``guide_weight`` is negative.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: nn.Module,
        lower_batches: Iterable[Any],
        upper_batches: Iterable[Any],
        warmup_batches: Iterable[Any] = (),
        guide_weight: float = 1.0,
    ) -> None:
        if not guide_weight >= 0:
            raise InputError(f"guide_weight weighs the labelled high-quality images: 0 or more, not {guide_weight}.")
        self.network = network
        self.optimizer = optimizer
        self.loss_function = loss_function
        self.lower_batches = lower_batches
        self.upper_batches = upper_batches
        self.warmup_batches = warmup_batches
        self.guide_weight = guide_weight
        self._streams: dict[str, Iterator[Any]] = {}

    def parameters(self) -> list[torch.Tensor]:
        """Return the weights that the optimiser changes, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def loss(self, images: torch.Tensor, labels: torch.Tensor, parameters: Tensors | None = None) -> torch.Tensor:
        """Return the task loss of S on images.

        Args:
            images: (B, C, *spatial).
            labels: what the loss function takes beside the logits.
            parameters: see :meth:`predict`.
        """
        logits = self.predict(images, parameters)
        with torch.autocast(logits.device.type, enabled=False):
            loss: torch.Tensor = self.loss_function(logits, labels)
        return loss

    def predict(self, images: torch.Tensor, parameters: Tensors | None = None) -> torch.Tensor:
        """Return the logits of S.

        Args:
            images: (B, C, *spatial).
            parameters: in place of S's own, in the order of :meth:`parameters`. Then S stays as it is, its running
                statistics too: what is asked of half B must not teach it.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = images.to(torch.promote_types(images.dtype, torch.float32))
            if parameters is None:
                logits: torch.Tensor = self.network(images)
                return logits
            given = {id(own): value for own, value in zip(self.parameters(), parameters, strict=True)}
            logits = call_with(self.network, lambda weight: given.get(id(weight), weight), images)
        return logits

    def optimizer_step(self, loss: torch.Tensor) -> float:
        """Let S take one optimiser step down a loss; return its value.

        Raises:
            InputError: when the loss is not finite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"The downstream network's loss became {value}: lower downstream_learning_rate.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return value

    def start_epoch(self, epoch: int) -> None:
        """Begin the batches of an epoch."""
        loaders = {"lower": self.lower_batches, "upper": self.upper_batches, "warmup": self.warmup_batches}
        for batches in loaders.values():
            set_epoch = getattr(getattr(batches, "sampler", None), "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        self._streams = {name: _when_asked(batches) for name, batches in loaders.items()}

    def next_batch(self, part: str) -> dict[str, torch.Tensor]:
        """Return the next batch of this epoch.

        Args:
            part: of the data: ``"lower"`` (half A), ``"upper"`` (half B) or ``"warmup"`` (all).
        """
        batch: dict[str, torch.Tensor] = next(self._streams[part])
        return batch

    def lower_loss(
        self, enhanced: torch.Tensor, batch: dict[str, torch.Tensor], parameters: Tensors | None = None
    ) -> torch.Tensor:
        """Return the loss of the lower problem on one batch of A, whose images have been enhanced."""
        loss = self.loss(enhanced, batch[Keys.LABEL], parameters)
        if GUIDE_LABEL in batch and self.guide_weight > 0:
            # With weights given, though they be its own: running statistics are to be those of enhanced images alone,
            # which S is used on.
            given = self.parameters() if parameters is None else parameters
            loss = loss + self.guide_weight * self.loss(batch[GUIDE], batch[GUIDE_LABEL], given)
        return loss

    def step(self, enhanced: torch.Tensor, batch: dict[str, torch.Tensor]) -> float:
        """Let S take one optimiser step down the lower problem's loss; return that loss."""
        self.network.train()
        return self.optimizer_step(self.lower_loss(enhanced.detach(), batch))

    def check_response(self, hypergradient: str) -> None:
        """Refuse layers that leave the response undefined, and warn where differences cross kinks.

        Args:
            hypergradient: the mode that asks, for the message.

        Raises:
            InputError: for batch normalisation, with which one image's loss depends on the others beside it, and for
                dropout, which gives another result each time.
        """
        for name, module in self.network.named_modules():
            kind = type(module).__name__
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                why, mend = "makes one image's loss depend on the others beside it", 'norm="instance"'
            elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                why, mend = "gives another result each time", "dropout 0"
            else:
                continue
            raise InputError(
                f'The hypergradient "{hypergradient}" evaluates the downstream network at other weights, and {kind} '
                f'("{name}") {why}: build the network with {mend}, or use "first_order".'
            )
        kinked = sorted({type(module).__name__ for module in self.network.modules() if isinstance(module, _KINKED)})
        if hypergradient == "finite_difference" and kinked:
            logger.warning(
                "the downstream network has %s: finite differences cross the kinks of such activations and then say "
                "little of the response. Use a smooth one (ELU, GELU), or another hypergradient.",
                ", ".join(kinked),
            )


class FrozenTaskNetworks(nn.Module):
    r"""Networks of S's architecture that have learnt from labelled high-quality images alone, as other people's have.

    .. math:: \psi_k^* = \arg\min_\psi\; \ell(S_\psi(z), t_z),\qquad
        \ell_{tr}(\hat x, t) = \frac1K \sum_k \ell(S_{\psi_k^*}(\hat x), t)

    S of :class:`DownstreamProblem` learns on enhanced images too, and so comes to read what only this enhancer draws.
    The loss of these says what the images are worth to a network that has never seen one of them. No
    :math:`\psi_k^*` depends on the enhancer: they learn once, before it does, and the gradient with constant weights is
    exact. Of two an enhancer finds it harder to please the weaknesses than of one.

    Args:
        network: S. It is copied, and the copies' weights are drawn anew.
        loss_function: from logits and labels to a scalar.
        items: prepared high-quality items with ``image`` and ``label``.
        number: K. Defaults to 2.
        steps: optimiser steps of each. Defaults to 800.
        batch_size: images in a step. Defaults to 2.
        learning_rate: of Adam, which falls to 0 along a cosine. Defaults to 2e-3.
        random_transforms: augmentation, see :class:`scripts.data.SeededSamples`.
        vary_label: likewise.
        seed: of weights and draws.

    Raises:
        InputError: when there is no item, a number is out of range or, while they learn, the loss is not finite.
    """

    # Far from the seeds of networks that other people, and the downstream experiment, draw.
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
                "Frozen task networks learn from labelled high-quality images, and there are none: "
                "set frozen_task_networks 0."
            )
        for name, value in (
            ("frozen_task_networks", number),
            ("frozen_task_steps", steps),
            ("frozen_task_batch_size", batch_size),
        ):
            if value < 1:
                raise InputError(f"{name} must be 1 or more, not {value}.")
        self.seeds = [self._FIRST_SEED * (1 + place) + seed for place in range(number)]
        self.networks = nn.ModuleList(reinitialized(network, own_seed) for own_seed in self.seeds)
        self._hold_constant()
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
        """Let each learn."""
        self.networks.requires_grad_(True)
        for place, (network, seed) in enumerate(zip(self.networks, self.seeds, strict=True), start=1):
            draws = SeededSamples(
                self.items, self.steps * self.batch_size, seed, self.random_transforms, self.vary_label
            )
            name = f"frozen task network {place} of {len(self.networks)}"
            losses = train_downstream(
                network, draws, self.loss_function, self.batch_size, self.learning_rate, seed, name
            )
            if not math.isfinite(losses[-1]):
                raise InputError(f"The loss of {name} became {losses[-1]}: lower downstream_learning_rate.")
            before, after = fmean(losses[:_BEGINNING]), fmean(losses[-math.ceil(len(losses) / 10) :])
            logger.info("%s has learnt from %d high-quality images, loss %.3f", name, len(self.items), after)
            if len(losses) > _BEGINNING and after > _LEARNT * before:
                logger.warning(
                    "%s has hardly learnt: its loss was %.3f in its first %d steps. It is not worth following; raise "
                    "frozen_task_steps or frozen_task_batch_size, or set frozen_task_networks 0.",
                    name,
                    before,
                    _BEGINNING,
                )
        self._hold_constant()
        self.have_learnt.fill_(True)

    def judge(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss on enhanced images, read as in use: weights and statistics are constant."""
        with torch.autocast(images.device.type, enabled=False):
            losses = [self.loss_function(network(images.float()), labels) for network in self.networks]
        return torch.stack(losses).mean()

    def _hold_constant(self) -> None:
        """Let them be read as in use, and spare the gradients by their weights."""
        self.networks.eval().requires_grad_(False)


def train_downstream(
    network: nn.Module,
    draws: Dataset[Any],
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batch_size: int,
    learning_rate: float,
    seed: int,
    name: str,
) -> list[float]:
    """Train a downstream network by itself, with Adam and a rate that falls to 0 along a cosine.

    Args:
        network: S, which learns where it is.
        draws: training items in their order, ``{"image", "label"}``; each is seen once.
        loss_function: from logits and labels to a scalar.
        batch_size: images in a step.
        learning_rate: at the beginning.
        seed: of dropout. The global random state stays as it was.
        name: what the progress bar says.

    Returns:
        The loss of every step.
    """
    device = next(network.parameters()).device
    loader = DataLoader(draws, batch_size=batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(loader))
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss_function,
        train_handlers=[
            LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
            ProgressBar(desc=name, persist=False),
        ],
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


def _when_asked(batches: Iterable[Any]) -> Iterator[Any]:
    """Start on the batches with the first one: separate training never reads half B, which would be loaded in vain."""
    yield from batches


def check_downstream(
    network: nn.Module, channels: int, spatial_size: Sequence[int], num_classes: int, task: str
) -> None:
    """Refuse a downstream network whose output does not fit the task, before training does.

    Args:
        network: S.
        channels: channels of its input.
        spatial_size: of its input.
        num_classes: length of its output's channels.
        task: ``"segmentation"`` or ``"classification"``.

    Raises:
        InputError: when S cannot take such an image, or gives an output of another shape.
    """
    device = next(network.parameters()).device
    try:
        with eval_mode(network):
            output = network(torch.zeros(1, channels, *spatial_size, device=device))
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The downstream network does not take a patch of {list(spatial_size)} with {channels} channel(s): {reason}"
        ) from error
    wanted = (num_classes, *spatial_size) if task == "segmentation" else (num_classes,)
    found = tuple(output.shape[1:]) if torch.is_tensor(output) else type(output).__name__
    if found != wanted:
        raise InputError(
            f"The downstream network gives {found} per image, but {task} with num_classes {num_classes} on patches of "
            f"{list(spatial_size)} needs {wanted}: make num_classes and the network's output channels agree."
        )
