# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The downstream network S as the variable of the lower problem."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from monai.utils import CommonKeys as Keys
from torch import nn
from torch.optim import Optimizer

from .. import processes
from ..data import GUIDE, GUIDE_LABEL
from ..errors import InputError
from ..networks import at_least_float32, call_with
from .bilevel_settings import BilevelSettings
from .hypergradients import (
    Hypergradient,
    LowerStep,
    Tensors,
    finite_difference,
    first_order,
    implicit,
    step_derivative,
    unrolled,
)
from .shared_gradients import average_gradients

__all__ = ["Batch", "LowerSolution", "TaskProblem"]

# Piecewise linear: their second derivative is 0 wherever there is one.
_KINKED = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.RReLU, nn.Hardtanh, nn.Threshold)

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]


class LowerSolution(NamedTuple):
    """The result of the lower problem's steps in one iteration.

    Attributes:
        loss: mean of the lower loss over the steps, a detached scalar.
        step: the last step, where the hypergradient goes through it; None otherwise.
        enhanced: the enhanced images of that step, with their graph; None without ``step``.
        batch: its batch of half A; None without ``step``.
    """

    loss: torch.Tensor
    step: LowerStep | None = None
    enhanced: torch.Tensor | None = None
    batch: Batch | None = None


class TaskProblem:
    r"""The losses of S, its optimiser steps, and the hypergradient that goes through them.

    .. math::
        \text{lower: } \min_\omega\; \ell(S_\omega(\hat x_A), t_A) + \lambda_z\,\ell(S_\omega(z), t_z),\qquad
        \text{upper: } \min_\theta\; \ell(S_{\omega^*}(\hat x_B), t_B)

    with enhanced images :math:`\hat x`, and labelled high-quality images z where the batches of A have any. S runs in
    single precision throughout: differences and second derivatives need the digits.

    Several processes (:mod:`scripts.processes`) share the batches of both halves: S takes the same steps in all of
    them, down the mean of their gradients, and batch normalisation sees the images of all. The task loss has to be a
    mean over images then, as those supplied are.

    Args:
        network: S, from images (B, C, *spatial) to logits.
        optimizer: over the parameters of S.
        loss_function: from logits and labels to a scalar.
        settings: see :class:`BilevelSettings`.

    Raises:
        InputError: for a network or an optimiser that the hypergradient cannot take.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, loss_function: nn.Module, settings: BilevelSettings
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.loss_function = loss_function
        self.settings = settings
        if settings.follows_response:
            self._check_response()

    def parameters(self) -> list[torch.Tensor]:
        """Return the weights that the optimiser changes, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def task_loss(self, images: torch.Tensor, labels: torch.Tensor, parameters: Tensors | None = None) -> torch.Tensor:
        """Return the task loss of S on images.

        Args:
            images: (B, C, *spatial).
            labels: what the loss function takes beside the logits.
            parameters: in place of S's own, in the order of :meth:`parameters`. Then S stays as it is, its running
                statistics too: a question about half B must not teach it.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = at_least_float32(images)
            if parameters is None:
                logits = self.network(images)
            else:
                given = {id(own): value for own, value in zip(self.parameters(), parameters, strict=True)}
                logits = call_with(self.network, lambda weight: given.get(id(weight), weight), images)
            loss: torch.Tensor = self.loss_function(logits, labels)
        return loss

    def lower_loss(self, enhanced: torch.Tensor, batch: Batch, parameters: Tensors | None = None) -> torch.Tensor:
        """Return the loss of the lower problem on a batch of half A, whose images have been enhanced."""
        loss = self.task_loss(enhanced, batch[Keys.LABEL], parameters)
        if GUIDE_LABEL in batch and self.settings.guide_weight > 0:
            # With weights given, though they be its own: S is used on enhanced images, and its running statistics
            # must come from them alone.
            given = self.parameters() if parameters is None else parameters
            loss = loss + self.settings.guide_weight * self.task_loss(batch[GUIDE], batch[GUIDE_LABEL], given)
        return loss

    def step(self, enhanced: torch.Tensor, batch: Batch, followed: bool = False) -> LowerSolution:
        """Let S take one optimiser step on a batch of half A.

        Args:
            enhanced: its enhanced images; no gradient flows into them.
            batch: the batch.
            followed: whether the hypergradient will go through this step.
        """
        self.network.train()
        before = [weight.detach().clone() for weight in self.parameters()] if followed else []
        loss = self.lower_loss(enhanced.detach(), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(weight for group in self.optimizer.param_groups for weight in group["params"])
        self.optimizer.step()
        if not followed:
            return LowerSolution(loss.detach())
        after = [weight.detach() for weight in self.parameters()]
        step = LowerStep(before, after, step_derivative(self.optimizer, before))
        return LowerSolution(loss.detach(), step, enhanced, batch)

    def task_term(
        self, enhanced: torch.Tensor, batch: Batch, lower: LowerSolution
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the loss of S on an enhanced batch of half B, and the relative size of the response.

        The gradient of the loss is the hypergradient. It is taken by the enhanced images; from there one backward pass
        carries it into the enhancer's weights, so that the enhancer itself is never differentiated twice.
        """
        images = [enhanced] if lower.enhanced is None else [enhanced, lower.enhanced]
        gradient = self.hypergradient_of(images, batch, lower)
        # Adds nothing to the value, and the hypergradient to the gradient.
        carriers = [((x - x.detach()) * g).sum() for x, g in zip(images, gradient.total, strict=True)]
        term = gradient.upper_loss + torch.stack(carriers).sum()
        if lower.enhanced is None:
            return term, None
        direct, response = _norm_of_all(gradient.direct[0]), _norm_of_all(gradient.response[1])
        return term, response / direct.clamp_min(torch.finfo(direct.dtype).tiny)

    def hypergradient_of(self, images: Tensors, batch: Batch, lower: LowerSolution) -> Hypergradient:
        """Return the hypergradient by enhanced images.

        Args:
            images: those of ``batch`` and, where the response is followed, those of S's last step.
            batch: of half B.
            lower: the solution of the lower problem.
        """
        settings = self.settings

        def upper_loss(upper: Tensors, parameters: Tensors) -> torch.Tensor:
            return self.task_loss(upper[0], batch[Keys.LABEL], parameters)

        if lower.step is None or lower.batch is None:
            return first_order(upper_loss, images, self.parameters())
        step, lower_batch = lower.step, lower.batch

        def lower_loss(upper: Tensors, parameters: Tensors) -> torch.Tensor:
            return self.lower_loss(upper[1], lower_batch, parameters)

        def coupled_loss(upper: Tensors, parameters: Tensors) -> torch.Tensor:
            """Return the share of the lower loss that depends on enhanced images: the mixed derivative sees no more."""
            return self.task_loss(upper[1], lower_batch[Keys.LABEL], parameters)

        if settings.hypergradient == "finite_difference":
            return finite_difference(upper_loss, coupled_loss, images, step, settings.finite_difference_epsilon)
        if settings.hypergradient == "unrolled":
            return unrolled(upper_loss, coupled_loss, images, step)
        return implicit(
            upper_loss, lower_loss, images, step, settings.neumann_terms, settings.damping, settings.neumann_step_size
        )

    def _check_response(self) -> None:
        """Refuse a network or an optimiser that leaves the response undefined; warn of kinks.

        Raises:
            InputError: for batch normalisation, with which one image's loss depends on the others beside it, for
                dropout, which gives another result each time, and for optimisers without a derivative.
        """
        hypergradient = self.settings.hypergradient
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
        step_derivative(self.optimizer, self.parameters())
        kinked = sorted({type(module).__name__ for module in self.network.modules() if isinstance(module, _KINKED)})
        if hypergradient == "finite_difference" and kinked:
            logger.warning(
                "the downstream network has %s: finite differences cross the kinks of such activations and then say "
                "little of the response. Use a smooth one (ELU, GELU), or another hypergradient.",
                ", ".join(kinked),
            )


def _norm_of_all(gradient: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm of the gradients of all processes together, each a share of the whole batch's."""
    if processes.count() == 1:
        return gradient.norm()
    return processes.mean_(gradient.square().sum()).sqrt()
