# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The downstream network S and all that belongs to it: the task side of bi-level learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.handlers import LrScheduleHandler
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Subset

from .. import processes
from ..data import EpochSampler, UnpairedDataset
from ..networks import LayerFeatures
from .averaging import NamedEMAHandler
from .bilevel_settings import BilevelSettings
from .frozen_task_networks import FrozenTaskNetworks
from .schedules import cosine_decay
from .shared_batch_norm import share_batch_statistics
from .shared_gradients import share_weights
from .task_problem import Batch, LowerSolution, TaskProblem

__all__ = ["BilevelTask", "UpperTerms"]

_BATCH_NORM_BATCHES = 64

Enhance = Callable[[Batch], torch.Tensor]
"""Moves a batch to the device in place, and returns its enhanced images, (B, C, *spatial), in single precision."""


class UpperTerms(NamedTuple):
    """The task's share of the upper objective.

    Attributes:
        terms: weighted scalars by name: ``task`` and ``frozen_task``, where they count.
        response: norm of the response's gradient by the images relative to that of the direct one; None where the
            hypergradient has no response.
    """

    terms: dict[str, torch.Tensor]
    response: torch.Tensor | None = None


class BilevelTask:
    r"""The downstream network S, with its optimiser, schedule, average, data and frozen task networks.

    .. math::
        \text{lower: } &\omega^* = \arg\min_\omega\; \ell\bigl(S_\omega(E_\theta(y_A)), t_A\bigr)
            + \lambda_z\,\ell\bigl(S_\omega(z), t_z\bigr) \\
        \text{upper: } &\min_\theta\; L_{enh}(\theta)
            + \lambda_{task}\,\ell\bigl(S_{\omega^*}(E_\theta(y_B)), t_B\bigr)
            + \lambda_{frozen}\,\ell_{frozen}\bigl(E_\theta(y_B), t_B\bigr)

    A and B are disjoint halves of the labelled patients, :math:`\ell_{frozen}` is that of :class:`FrozenTaskNetworks`.
    The frozen networks learn before the first iteration, and S begins with the weights of the first of them. In the
    warm-up the trainer does what it does without a task; with ``warmup_objective`` ``"frozen_task"`` the enhancer also
    learns :math:`\ell_{frozen}`, from both halves, while the terms of low-quality images and the adversary wait.

    S runs in single precision throughout: differences and second derivatives need the digits.

    In several processes (:mod:`scripts.processes`) the numbers of images are those of each process. All keep the same
    S; each teaches its share of the frozen networks and hands them to the others.

    Args:
        network: S, from images (B, C, *spatial) to logits, on its device.
        optimizer: over the parameters of S.
        loss_function: from logits and labels to a scalar.
        dataset: the training data, of which the labelled entries are taken.
        steps_per_epoch: iterations of the trainer in an epoch.
        epochs: of the training; the rate of S falls along a cosine after the warm-up.
        settings: how the two levels are solved. Defaults to ``BilevelSettings()``.
        feature_layers: layers of S that judge in the multi-encoder loss, see :class:`scripts.networks.LayerFeatures`.
            Defaults to none.
        vary_label: whether labels are images. Defaults to True.
        ema_momentum: share of the newest weights in the averaged ones. Defaults to 0.01.
        num_workers: of each data loader. Defaults to 0.
        seed: of the frozen networks. Defaults to 0.

    Raises:
        InputError: for fewer than two labelled patients, or a network or an optimiser that the hypergradient cannot
            take.

    Attributes:
        ema: handler of the averaged weights.
        frozen_networks: None where there are none, or no labelled high-quality image to learn from.
        encoders: S's features by name, further judges of the multi-encoder loss; empty in separate training.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: nn.Module,
        dataset: UnpairedDataset,
        steps_per_epoch: int,
        epochs: int,
        settings: BilevelSettings | None = None,
        feature_layers: Sequence[str] = (),
        vary_label: bool = True,
        ema_momentum: float = 0.01,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        self.settings = settings = BilevelSettings() if settings is None else settings
        self.network = network
        self.optimizer = optimizer
        self.problem = TaskProblem(network, optimizer, loss_function, settings)
        self._num_workers = num_workers
        steps_of_all = steps_per_epoch * processes.count()
        lower_length = steps_of_all * settings.inner_steps * settings.lower_batch_size
        upper_length = steps_of_all * settings.upper_batch_size
        half_a, half_b = dataset.labelled_halves(lower_length, upper_length)
        everyone = dataset.labelled_part(upper_length)
        self._loaders = {
            "lower": self._loader(half_a, settings.lower_batch_size),
            "upper": self._loader(half_b, settings.upper_batch_size),
            "warmup": self._loader(everyone, settings.upper_batch_size),
        }
        self._streams: dict[str, Iterator[Any]] = {}
        self._half_a = half_a
        self.frozen_networks: FrozenTaskNetworks | None = None
        if settings.frozen_task_networks > 0 and len(everyone.labelled_guides) > 0:
            self.frozen_networks = FrozenTaskNetworks(
                network,
                loss_function,
                everyone.labelled_guides,
                settings.frozen_task_networks,
                settings.frozen_task_steps,
                settings.frozen_task_batch_size or settings.lower_batch_size,
                optimizer.param_groups[0]["lr"],
                dataset.random_transform,  # type: ignore[arg-type]
                vary_label,
                seed,
            )
        # Only now: the frozen networks, copies of S, learn each in a process of its own.
        share_batch_statistics(network)
        self.lr_scheduler: Any = cosine_decay(optimizer, epochs, settings.warmup_epochs)
        self.ema = NamedEMAHandler(
            network, momentum=ema_momentum, handle_buffers="copy", name="downstream_ema_momentum"
        )
        features = LayerFeatures(network, feature_layers) if feature_layers else None
        self.encoders = {"downstream": features} if features and settings.cooperates else {}

    @property
    def asks_frozen_networks(self) -> bool:
        """Whether the frozen networks have a term in the objective."""
        return self.frozen_networks is not None and self.settings.cooperates and self.settings.frozen_task_weight > 0

    def has_joined(self, epoch: int) -> bool:
        """Whether S takes part in an epoch, counted from 1: after the warm-up."""
        return epoch > self.settings.warmup_epochs

    def warms_up_by_frozen_networks(self, epoch: int) -> bool:
        """Whether an epoch, counted from 1, warms up by the frozen networks, without terms of low-quality images."""
        by_frozen_networks = self.asks_frozen_networks and self.settings.warmup_objective == "frozen_task"
        return by_frozen_networks and not self.has_joined(epoch)

    @property
    def has_terms(self) -> bool:
        """Whether the task alone gives the enhancer something to minimise in every step."""
        counts = self.settings.cooperates and (self.settings.task_weight > 0 or self.asks_frozen_networks)
        return counts and (self.has_joined(1) or self.warms_up_by_frozen_networks(1))

    @property
    def ema_network(self) -> nn.Module:
        """S with averaged weights: the network to validate and to save."""
        return self.ema.ema_model

    @property
    def handlers(self) -> list[Any]:
        """Handlers for the trainer: the schedule and the average of S."""
        return [LrScheduleHandler(self.lr_scheduler, print_lr=False), self.ema]

    def attach(self, engine: Engine) -> None:
        """Register with the trainer: frozen networks learn when it starts, streams begin with each epoch."""
        engine.add_event_handler(Events.STARTED, self.prepare)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda trainer: self.start_epoch(trainer.state.epoch))

    def checkpoint_objects(self) -> dict[str, Any]:
        """Return, by name, the parts that a training needs to go on."""
        return {
            "downstream_network": self.network,
            "downstream_ema_network": self.ema_network,
            "downstream_optimizer": self.optimizer,
            "downstream_lr_scheduler": self.lr_scheduler,
            "frozen_task_networks": self.frozen_networks,
        }

    @property
    def batch_norm_batches(self) -> DataLoader:
        """Batches of half A, all of them full, on which the averaged network's batch statistics are estimated.

        Of several processes each has its share of every batch.
        """
        size = self.settings.upper_batch_size
        places = range(processes.rank(), _BATCH_NORM_BATCHES * size * processes.count(), processes.count())
        images = Subset(self._half_a, places)
        return DataLoader(images, batch_size=size, num_workers=self._num_workers)

    def _loader(self, stream: UnpairedDataset, batch_size: int) -> DataLoader:
        return DataLoader(stream, batch_size=batch_size, sampler=EpochSampler(stream), num_workers=self._num_workers)

    def prepare(self) -> None:
        """Let the frozen networks learn, unless they have; S then begins as a copy of the first, in every process."""
        frozen = self.frozen_networks
        if frozen is not None and not frozen.have_learnt:
            frozen.learn()
            self.network.load_state_dict(frozen.networks[0].state_dict())
        share_weights(self.network)

    def start_epoch(self, epoch: int) -> None:
        """Begin the batches of an epoch, with the S of the first process."""
        share_weights(self.network)
        for loader in self._loaders.values():
            assert isinstance(loader.sampler, EpochSampler)
            loader.sampler.set_epoch(epoch)
        self._streams = {name: _when_asked(loader) for name, loader in self._loaders.items()}

    def next_batch(self, part: str) -> Batch:
        """Return the next batch of this epoch.

        Args:
            part: ``"lower"`` (half A), ``"upper"`` (half B) or ``"warmup"`` (all labelled images).
        """
        batch: Batch = next(self._streams[part])
        return batch

    def lower_steps(self, enhance: Enhance) -> LowerSolution:
        """Let S take ``inner_steps`` optimiser steps on enhanced batches of half A.

        Args:
            enhance: how the images of a batch are enhanced.
        """
        losses = []
        for steps_left in reversed(range(self.settings.inner_steps)):
            followed = self.settings.follows_response and steps_left == 0
            batch = self.next_batch("lower")
            with torch.set_grad_enabled(followed):
                enhanced = enhance(batch)
            solution = self.problem.step(enhanced, batch, followed)
            losses.append(solution.loss)
        return solution._replace(loss=torch.stack(losses).mean())

    def upper_terms(self, enhance: Enhance, lower: LowerSolution) -> UpperTerms:
        """Return the task's weighted terms on the next batch of half B.

        Args:
            enhance: how the images of a batch are enhanced.
            lower: the solution of the lower problem in this iteration.
        """
        counts = self.settings.task_weight > 0 or self.asks_frozen_networks
        if not (self.settings.cooperates and counts):
            return UpperTerms({})
        batch = self.next_batch("upper")
        enhanced = enhance(batch)
        terms: dict[str, torch.Tensor] = {}
        response = None
        if self.settings.task_weight > 0:
            term, response = self.problem.task_term(enhanced, batch, lower)
            terms["task"] = self.settings.task_weight * term
        if self.asks_frozen_networks:
            terms["frozen_task"] = self.frozen_task_term(enhanced, batch)
        return UpperTerms(terms, response)

    def frozen_task_term(self, enhanced: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted loss of the frozen networks on an enhanced batch."""
        if self.frozen_networks is None:
            raise ValueError("there are no frozen task networks to ask")
        loss: torch.Tensor = self.frozen_networks(enhanced, batch[Keys.LABEL])
        return self.settings.frozen_task_weight * loss


def _when_asked(batches: Iterable[Any]) -> Iterator[Any]:
    """Start on the batches with the first one: separate training never reads half B, which would be loaded in vain."""
    yield from batches
