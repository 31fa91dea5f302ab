# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Bi-level training: the enhancer and a downstream network train each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.utils import CommonKeys as Keys
from torch import nn

from ..data import GUIDE
from ..errors import InputError
from ..networks import GuidedEnhancement
from .downstream import DownstreamProblem, FrozenTaskNetworks
from .enhancement_trainer import EnhancementTrainer
from .hypergradients import (
    HYPERGRADIENTS,
    Hypergradient,
    LowerStep,
    Tensors,
    finite_difference,
    first_order,
    implicit,
    step_derivative,
    unrolled,
)

__all__ = ["WARMUP_OBJECTIVES", "BilevelTrainer"]

WARMUP_OBJECTIVES = ("frozen_task", "enhancement")


class BilevelTrainer(EnhancementTrainer):
    r"""Train enhancement and a downstream network S together, on disjoint halves A and B of the labelled images.

    .. math::
        \text{upper: } &\min_{\theta}\; L_{enh}(\theta)
            + \lambda_{task}\,\ell\bigl(S_{\omega^*}(E_\theta(y_B)), t_B\bigr)
            + \lambda_{tr}\,\ell_{tr}\bigl(E_\theta(y_B), t_B\bigr) \\
        \text{lower: } &\omega^* = \arg\min_\omega\; \ell\bigl(S_\omega(E_\theta(y_A)), t_A\bigr)
            + \lambda_z\,\ell\bigl(S_\omega(z), t_z\bigr)

    with :math:`\ell_{tr}` of :class:`FrozenTaskNetworks`. These learn before the first iteration, and S begins with the
    weights of one of them. For ``warmup_epochs`` the enhancer then learns ``frozen_task`` alone, from both halves: it
    starts at the identity, and learns what is to be read before an adversary has a say in how it is to look. Without
    frozen task networks to ask, or with ``warmup_objective`` ``"enhancement"``, the warm-up is that of
    :class:`EnhancementTrainer`. After it, one iteration

    1. lets S take ``inner_steps`` optimiser steps on enhanced batches of A and, where these have labels, their guides;
    2. takes the step of :class:`EnhancementTrainer`, whose objective now holds two terms more, both of an enhanced
       batch of B: ``frozen_task``, the loss of the frozen task networks, and ``task``, that of S. The gradient of the latter
       is the hypergradient: with S held constant (``"first_order"``), or with what S's last step makes of the change
       (:mod:`scripts.engines.hypergradients`). It is taken by the enhanced images; from there one backward pass
       carries it into the weights, so that the enhancer itself, and the normalisation in it, are never differentiated
       twice.

    ``state.output["losses"]`` has, beside those of :class:`EnhancementTrainer`, ``task`` (weighted), ``downstream``
    (the lower loss, mean over the inner steps); where there are frozen task networks, ``frozen_task`` (weighted); and
    where there is a response, ``response``: the norm of its gradient by the images relative to that of the direct one.

    Args:
        downstream: S and its data; None trains enhancement alone throughout.
        hypergradient: ``"none"`` (the enhancer never sees the task: separate training), ``"first_order"``,
            ``"finite_difference"``, ``"unrolled"`` or ``"implicit"``. Defaults to ``"first_order"``.
        task_weight: :math:`\lambda_{task}`. Defaults to 10.
        frozen_task_networks: networks that learn from labelled high-quality images alone; None leaves ``frozen_task``
            out, and so do ``frozen_task_weight`` 0 and ``hypergradient`` ``"none"``: then S begins with one of them.
        frozen_task_weight: :math:`\lambda_{tr}`. Defaults to 10.
        warmup_epochs: epochs before S joins in. Defaults to 1.
        warmup_objective: what the enhancer learns in them, ``"frozen_task"`` or ``"enhancement"``. Defaults to
            ``"frozen_task"``.
        inner_steps: steps of S in each iteration. Defaults to 1.
        finite_difference_epsilon: see :func:`scripts.engines.hypergradients.finite_difference`. Defaults to 0.01.
        neumann_terms: see :func:`scripts.engines.hypergradients.implicit`. Defaults to 5.
        damping: see :func:`scripts.engines.hypergradients.implicit`. Defaults to 0.
        neumann_step_size: its ``step_size``, whatever the optimiser. Defaults to 0.1.
        downstream_judges: modules that return features of S, further judges of the multi-encoder loss, by name.
        args: arguments of :class:`EnhancementTrainer`.
        kwargs: likewise.

    Raises:
        InputError: for an unknown mode or warm-up, ``inner_steps`` below 1, a negative weight, weights that leave
            nothing to minimise, or a downstream network or optimiser that the mode cannot take.
    """

    def __init__(
        self,
        *args: Any,
        downstream: DownstreamProblem | None = None,
        hypergradient: str = "first_order",
        task_weight: float = 10.0,
        frozen_task_networks: FrozenTaskNetworks | None = None,
        frozen_task_weight: float = 10.0,
        warmup_epochs: int = 1,
        warmup_objective: str = "frozen_task",
        inner_steps: int = 1,
        finite_difference_epsilon: float = 1e-2,
        neumann_terms: int = 5,
        damping: float = 0.0,
        neumann_step_size: float = 0.1,
        downstream_judges: Mapping[str, nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if hypergradient not in HYPERGRADIENTS:
            raise InputError(f'Unknown hypergradient "{hypergradient}": use one of {", ".join(HYPERGRADIENTS)}.')
        if warmup_objective not in WARMUP_OBJECTIVES:
            raise InputError(
                f'Unknown warmup_objective "{warmup_objective}": use one of {", ".join(WARMUP_OBJECTIVES)}.'
            )
        if inner_steps < 1:
            raise InputError(
                f"inner_steps counts the downstream network's steps and must be 1 or more, not {inner_steps}."
            )
        for name, value in (
            ("task_weight", task_weight),
            ("frozen_task_weight", frozen_task_weight),
            ("warmup_epochs", warmup_epochs),
            ("neumann_terms", neumann_terms),
            ("damping", damping),
        ):
            if not value >= 0:
                raise InputError(f"{name} must be 0 or more, not {value}.")
        for name, value in (
            ("finite_difference_epsilon", finite_difference_epsilon),
            ("neumann_step_size", neumann_step_size),
        ):
            if not value > 0:
                raise InputError(f"{name} must be more than 0, not {value}.")
        self.downstream = downstream
        self.hypergradient = hypergradient
        self.task_weight = task_weight
        self.frozen_task_networks = frozen_task_networks
        self.frozen_task_weight = frozen_task_weight
        self.warmup_epochs = warmup_epochs
        self.asks_frozen_networks = (
            downstream is not None
            and frozen_task_networks is not None
            and hypergradient != "none"
            and frozen_task_weight > 0
        )
        self.warms_up_by_frozen_task = self.asks_frozen_networks and warmup_objective == "frozen_task"
        self.inner_steps = inner_steps
        self.finite_difference_epsilon = finite_difference_epsilon
        self.neumann_terms = neumann_terms
        self.damping = damping
        self.neumann_step_size = neumann_step_size
        self.downstream_judges = dict(downstream_judges or {})
        self.follows_response = task_weight > 0 and hypergradient in ("finite_difference", "unrolled", "implicit")
        task_counts = (
            downstream is not None and hypergradient != "none" and (task_weight > 0 or self.asks_frozen_networks)
        )
        task_begins = self.warms_up_by_frozen_task or warmup_epochs == 0
        if not self.loss_function.has_terms and not (task_counts and task_begins):
            raise InputError(
                "There is nothing to minimise: give one of loss_weights a value above 0 (identity alone counts every "
                "identity_interval steps), or train on the task alone from the first step, with frozen task networks or "
                "with warmup_epochs 0."
            )
        self._lower: _TracedStep | None = None
        self._task_losses: dict[str, float] = {}
        if downstream is not None:
            if self.follows_response:
                downstream.check_response(hypergradient)
                step_derivative(downstream.optimizer, downstream.parameters())  # refuses optimisers without one

            @self.on(Events.STARTED)
            def learn_to_read() -> None:
                if frozen_task_networks is not None and not frozen_task_networks.have_learnt:
                    frozen_task_networks.learn()
                    downstream.network.load_state_dict(frozen_task_networks.networks[0].state_dict())

            @self.on(Events.EPOCH_STARTED)
            def start_epoch() -> None:
                if self.cooperates or self.learns_frozen_task_alone:
                    downstream.start_epoch(self.state.epoch)

    @property
    def cooperates(self) -> bool:
        """Whether the downstream network has joined in."""
        return self.downstream is not None and self.state.epoch > self.warmup_epochs

    @property
    def learns_frozen_task_alone(self) -> bool:
        """Whether this is a warm-up in which the enhancer learns from the frozen task networks alone."""
        return self.warms_up_by_frozen_task and self.state.epoch <= self.warmup_epochs

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Run one iteration as the class describes; ``engine`` is the trainer itself."""
        self._task_losses = {}
        if self.cooperates:
            self._lower = self.lower_steps()
        elif self.learns_frozen_task_alone:
            assert self.downstream is not None
            batchdata = self.downstream.next_batch("warmup")
        output = super()._iteration(engine, batchdata)
        self._lower = None  # its graph
        return output

    def lower_steps(self) -> _TracedStep | None:
        """Let S take its steps; return the last of them where the hypergradient follows it."""
        assert self.downstream is not None
        self.network.train()
        losses = []
        traced = None
        for steps_left in reversed(range(self.inner_steps)):
            follow = self.follows_response and steps_left == 0
            batch = self.to_device(self.downstream.next_batch("lower"))
            with torch.set_grad_enabled(follow):
                enhanced = self.enhance(batch)
            before = [weight.detach().clone() for weight in self.downstream.parameters()] if follow else []
            losses.append(self.downstream.step(enhanced, batch))
            if follow:
                after = [weight.detach() for weight in self.downstream.parameters()]
                step = LowerStep(before, after, step_derivative(self.downstream.optimizer, before))
                traced = _TracedStep(step, enhanced, batch)
        self._task_losses["downstream"] = sum(losses) / len(losses)
        return traced

    def enhance(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the batch's images, each enhanced under its guide, in single precision."""
        with self.autocast():
            enhanced: GuidedEnhancement = self.inferer(batch[Keys.IMAGE], self.network.enhance_guided, batch[GUIDE])
        return enhanced.pred.float()

    def discriminator_step(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, float]:
        """Take the step of :class:`EnhancementTrainer`, where the adversary has a say already."""
        return {} if self.learns_frozen_task_alone else super().discriminator_step(batch, enhanced)

    def enhancement_step(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, float]:
        """Take the step of :class:`EnhancementTrainer`; the losses of both levels come back."""
        losses = super().enhancement_step(batch, enhanced)
        return losses | self._task_losses

    def objective(self, batch: dict[str, torch.Tensor], enhanced: GuidedEnhancement) -> dict[str, torch.Tensor]:
        """Return the terms of :class:`EnhancementTrainer`, ``task`` and ``frozen_task``; or the last alone."""
        if self.learns_frozen_task_alone:
            return {"frozen_task": self.frozen_task_term(enhanced.pred, batch)}
        terms = super().objective(batch, enhanced)
        if self.cooperates and self.hypergradient != "none":
            terms |= self.task_terms()
        return terms

    def judges(self) -> dict[str, nn.Module]:
        """Return S's features, once S has joined in; in separate training the enhancer sees nothing of S."""
        return self.downstream_judges if self.cooperates and self.hypergradient != "none" else {}

    def task_terms(self) -> dict[str, torch.Tensor]:
        """Return the weighted losses of S and of the frozen task networks on the next batch of B, if wanted."""
        if self.task_weight == 0 and not self.asks_frozen_networks:
            return {}
        assert self.downstream is not None
        batch = self.to_device(self.downstream.next_batch("upper"))
        enhanced = self.enhance(batch)
        terms = {}
        if self.task_weight > 0:
            terms["task"] = self.task_weight * self.task_term(enhanced, batch)
        if self.asks_frozen_networks:
            terms["frozen_task"] = self.frozen_task_term(enhanced, batch)
        return terms

    def frozen_task_term(self, enhanced: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the weighted loss of the frozen task networks on an enhanced batch, in the warm-up of both halves."""
        assert self.frozen_task_networks is not None
        return self.frozen_task_weight * self.frozen_task_networks.judge(enhanced, batch[Keys.LABEL])

    def task_term(self, enhanced: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of S on an enhanced batch of B, a scalar whose gradient is the hypergradient."""
        images = [enhanced] if self._lower is None else [enhanced, self._lower.enhanced]
        gradient = self.hypergradient_of(images, batch)
        if not torch.isfinite(gradient.upper_loss):
            raise InputError(
                f"The downstream network's loss on enhanced images became {float(gradient.upper_loss)} in iteration "
                f"{self.state.iteration}: lower downstream_learning_rate."
            )
        if self._lower is not None:
            direct, response = gradient.direct[0].norm(), gradient.response[1].norm()
            self._task_losses["response"] = float(response / direct.clamp_min(torch.finfo(direct.dtype).tiny))
        # Adds nothing to the value, and the hypergradient to the gradient.
        carriers = [((x - x.detach()) * g).sum() for x, g in zip(images, gradient.total, strict=True)]
        return gradient.upper_loss + torch.stack(carriers).sum()

    def hypergradient_of(self, images: Tensors, batch: dict[str, torch.Tensor]) -> Hypergradient:
        """Return the hypergradient by enhanced images.

        Args:
            images: those of ``batch`` and, where the response is followed, those of S's last step.
            batch: of half B.
        """
        problem = self.downstream
        assert problem is not None

        def upper_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
            return problem.loss(upper[0], batch[Keys.LABEL], lower)

        if self._lower is None:
            return first_order(upper_loss, images, problem.parameters())
        step, lower_batch = self._lower.step, self._lower.batch

        def lower_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
            return problem.lower_loss(upper[1], lower_batch, lower)

        def coupled_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
            """The share of the lower loss that the enhanced images have in it: the mixed derivative sees no other."""
            return problem.loss(upper[1], lower_batch[Keys.LABEL], lower)

        if self.hypergradient == "finite_difference":
            return finite_difference(upper_loss, coupled_loss, images, step, self.finite_difference_epsilon)
        if self.hypergradient == "unrolled":
            return unrolled(upper_loss, coupled_loss, images, step)
        return implicit(upper_loss, lower_loss, images, step, self.neumann_terms, self.damping, self.neumann_step_size)


class _TracedStep(NamedTuple):
    """S's last step, and the batch of A that it was taken on, whose enhanced images keep their graph."""

    step: LowerStep
    enhanced: torch.Tensor
    batch: dict[str, torch.Tensor]
