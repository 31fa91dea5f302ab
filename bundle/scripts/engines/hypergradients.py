# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
r"""Hypergradients: how an upper loss changes when the lower problem answers.

.. math::
    \min_\theta\; U(\theta, \omega^*(\theta)),\qquad \omega^*(\theta) = \arg\min_\omega L(\theta, \omega)

The lower problem takes some optimiser steps, and the gradient of U by the upper variables is

.. math::
    \underbrace{\partial_\theta U(\theta,\omega')}_{\text{direct}}
    \;\underbrace{-\;\partial_\theta\bigl[\partial_\omega L(\theta,\omega)\cdot q\bigr]}_{\text{response}}

where the functions here differ in q and in how the mixed second derivative is computed:

- :func:`first_order`: no response;
- :func:`unrolled`: :math:`q = D\,\partial_\omega U(\theta,\omega')` through the last lower step, with D the derivative
  of that step by its gradient (the learning rate, for plain gradient descent): exact, by a double backward pass;
- :func:`finite_difference`: the same response from two first-order passes at :math:`\omega\pm\epsilon q`;
- :func:`implicit`: :math:`q \approx (\partial^2_\omega L + \delta I)^{-1}\partial_\omega U` by a Neumann series.

Losses are functions ``loss(upper, lower)`` of two sequences of tensors that return a scalar tensor; nothing here knows
of networks or engines. A network becomes such a function by :func:`torch.func.functional_call`. The upper variables
need not be weights: with the images that the upper networks put out as ``upper``, one backward pass from there carries
the hypergradient into the weights.

Where several processes (:mod:`scripts.processes`) share a batch, U and L are the means of the losses that they hand
over. The lower step is then the same in all, and :math:`\partial_\omega U` and :math:`\partial^2_\omega L\,p` are
exchanged as means. Each process gets the hypergradient of its own losses under that common q: its mean over the
processes is the hypergradient of the whole.

Sources: unrolling Franceschi et al. 2018 (arXiv 1806.04910), finite differences Liu et al. 2019 (DARTS, arXiv
1806.09055), Neumann series Lorraine et al. 2020 (arXiv 1911.02590).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from .. import processes
from ..errors import InputError

__all__ = [
    "HYPERGRADIENTS",
    "Hypergradient",
    "LowerStep",
    "finite_difference",
    "first_order",
    "gradient_descent_step",
    "implicit",
    "step_derivative",
    "unrolled",
]

HYPERGRADIENTS = ("none", "first_order", "finite_difference", "unrolled", "implicit")
"""Ways to compute the upper gradient; ``"none"``: the upper problem never sees the lower one."""

Tensors = Sequence[torch.Tensor]
Loss = Callable[[Tensors, Tensors], torch.Tensor]


class LowerStep(NamedTuple):
    """The last step of the lower problem.

    Attributes:
        before: the lower parameters that the step started from.
        after: those that it led to.
        derivative: elementwise derivative of ``before - after`` by the gradient of the lower loss, a tensor or a number
            for each parameter.
    """

    before: Tensors
    after: Tensors
    derivative: Sequence[torch.Tensor | float]


class Hypergradient(NamedTuple):
    """The gradient by the upper variables, in its two parts.

    Attributes:
        upper_loss: value of the upper loss after the lower step, detached.
        direct: with the lower parameters held constant; one tensor for each upper variable.
        response: by way of the lower parameters; the same shapes.
    """

    upper_loss: torch.Tensor
    direct: list[torch.Tensor]
    response: list[torch.Tensor]

    @property
    def total(self) -> list[torch.Tensor]:
        """Sum of both parts."""
        return [a + b for a, b in zip(self.direct, self.response, strict=True)]


@torch.enable_grad()
def gradient_descent_step(lower_loss: Loss, upper: Tensors, lower: Tensors, learning_rate: float) -> LowerStep:
    r"""Take one step of plain gradient descent, :math:`\omega' = \omega - \eta\,\partial_\omega L(\theta,\omega)`.

    Args:
        lower_loss: L.
        upper: the upper variables :math:`\theta`.
        lower: the lower parameters :math:`\omega`.
        learning_rate: :math:`\eta`.

    Returns:
        The step, detached from any graph.
    """
    before = _leaves(lower)
    gradients = _gradients(lower_loss(_constants(upper), before), before)
    after = [(w - learning_rate * g).detach() for w, g in zip(before, gradients, strict=True)]
    return LowerStep([w.detach() for w in before], after, [learning_rate] * len(after))


def step_derivative(optimizer: Optimizer, before: Tensors) -> list[torch.Tensor | float]:
    r"""Return how much the optimiser's last step would have changed with its gradient, elementwise.

    For gradient descent with momentum that is the learning rate :math:`\eta` (:math:`\eta(1+\mu)` with Nesterov's). For
    Adam, :math:`\eta\,\hat m/(\sqrt{\hat v}+\epsilon)` with the moments' own dependence on the newest gradient g:

    .. math::
        D = \frac{\eta}{\sqrt{\hat v}+\epsilon}\Bigl(\frac{1-\beta_1}{1-\beta_1^t}
            - \frac{\hat m}{\sqrt{\hat v}+\epsilon}\,\frac{1-\beta_2}{1-\beta_2^t}\,\frac{g}{\sqrt{\hat v}}\Bigr)

    Args:
        optimizer: SGD without dampening, Adam or AdamW, just after ``step()``, with the gradients still in place.
        before: the parameters before that step, in the optimiser's order.

    Returns:
        A number or a tensor for each parameter; 0 where the optimiser had no gradient and left the parameter alone.

    Raises:
        InputError: for any other optimiser.
    """
    derivatives: list[torch.Tensor | float] = []
    remaining = iter(before)
    for group in optimizer.param_groups:
        for parameter, start in zip(group["params"], remaining, strict=False):
            if isinstance(optimizer, SGD) and not group["dampening"] and not group["maximize"]:
                rate = 0.0 if parameter.grad is None else float(group["lr"])
                derivatives.append(rate * (1 + group["momentum"]) if group["nesterov"] else rate)
            elif isinstance(optimizer, (Adam, AdamW)) and not group["amsgrad"] and not group["maximize"]:
                derivatives.append(_adam_derivative(optimizer, group, parameter, start))
            else:
                raise InputError(
                    f"There is no derivative of a step of {type(optimizer).__name__} with these options: use SGD "
                    'without dampening, Adam or AdamW, or the hypergradient "first_order".'
                )
    return derivatives


@torch.enable_grad()
def first_order(upper_loss: Loss, upper: Tensors, lower: Tensors) -> Hypergradient:
    """Return the hypergradient with the lower parameters held constant: its response is zero.

    Args:
        upper_loss: U.
        upper: the upper variables.
        lower: the lower parameters after the lower problem's steps.
    """
    variables = _leaves(upper)
    loss = upper_loss(variables, _constants(lower))
    return Hypergradient(loss.detach(), _gradients(loss, variables), [torch.zeros_like(u) for u in variables])


@torch.enable_grad()
def unrolled(upper_loss: Loss, lower_loss: Loss, upper: Tensors, step: LowerStep) -> Hypergradient:
    """Return the hypergradient through the last lower step, exact, by a double backward pass.

    Args:
        upper_loss: U.
        lower_loss: L, twice differentiable.
        upper: the upper variables.
        step: the last lower step.
    """
    loss, direct, gradient = _upper_gradients(upper_loss, upper, step.after)
    vector = [d * g for d, g in zip(step.derivative, gradient, strict=True)]
    return Hypergradient(loss, direct, _response(lower_loss, upper, step.before, vector))


@torch.enable_grad()
def finite_difference(
    upper_loss: Loss, lower_loss: Loss, upper: Tensors, step: LowerStep, epsilon: float = 1e-2
) -> Hypergradient:
    r"""Return the hypergradient of :func:`unrolled` from two first-order passes.

    .. math::
        \partial_\theta[\partial_\omega L\cdot q]\approx
        \frac{\partial_\theta L(\theta,\omega+hq)-\partial_\theta L(\theta,\omega-hq)}{2h},
        \qquad h=\epsilon/\lVert q\rVert

    Args:
        upper_loss: U.
        lower_loss: L, once differentiable.
        upper: the upper variables.
        step: the last lower step.
        epsilon: length of the displacement, in the units of the parameters. Defaults to DARTS' 0.01. Where the lower
            loss has kinks (ReLU), the difference crosses some, which a double backward pass does not see: the two
            agree for smooth activations only.

    Raises:
        InputError: when ``epsilon`` is not positive.
    """
    if not epsilon > 0:
        raise InputError(f"The displacement of the finite difference must be positive, not {epsilon:g}.")
    loss, direct, gradient = _upper_gradients(upper_loss, upper, step.after)
    vector = [d * g for d, g in zip(step.derivative, gradient, strict=True)]
    length = float(torch.stack([q.double().square().sum() for q in vector]).sum().sqrt())
    if length == 0:
        return Hypergradient(loss, direct, [torch.zeros_like(u) for u in upper])
    h = epsilon / length
    variables = _leaves(upper)
    forward, backward = (
        _gradients(
            lower_loss(variables, [w.detach() + sign * h * q for w, q in zip(step.before, vector, strict=True)]),
            variables,
        )
        for sign in (1.0, -1.0)
    )
    response = [(b - a) / (2 * h) for a, b in zip(forward, backward, strict=True)]
    return Hypergradient(loss, direct, response)


@torch.enable_grad()
def implicit(
    upper_loss: Loss,
    lower_loss: Loss,
    upper: Tensors,
    step: LowerStep,
    neumann_terms: int = 5,
    damping: float = 0.0,
    step_size: float | None = None,
) -> Hypergradient:
    r"""Return the hypergradient of the implicit function theorem, as if the lower problem had been solved.

    .. math::
        q = \sum_{k=0}^{K}\bigl(I - D(\partial^2_\omega L + \delta I)\bigr)^k D\,\partial_\omega U
        \;\longrightarrow\; (\partial^2_\omega L + \delta I)^{-1}\,\partial_\omega U

    all at the parameters after the step. With K = 0 it sees one step as :func:`unrolled` does, with K terms as many
    steps more. The series converges where the eigenvalues of :math:`D(\partial^2_\omega L+\delta I)` lie between 0 and
    2; as soon as a term is longer than the one before it, the series ends there, with a warning. The derivative of a
    step of Adam need be neither positive nor small: with Adam give a ``step_size``.

    Args:
        upper_loss: U.
        lower_loss: L, twice differentiable.
        upper: the upper variables.
        step: the last lower step, whose derivative D scales the series.
        neumann_terms: K. Defaults to 5.
        damping: :math:`\delta`, 0 or more. Defaults to 0.
        step_size: a number for D. Defaults to the step's own derivative.

    Raises:
        InputError: when ``neumann_terms`` or ``damping`` is negative, or ``step_size`` is not positive.
    """
    if neumann_terms < 0 or damping < 0:
        raise InputError(f"neumann_terms ({neumann_terms}) and damping ({damping:g}) must be 0 or more.")
    if step_size is not None and not step_size > 0:
        raise InputError(f"The step size of the Neumann series must be positive, not {step_size:g}.")
    scale = step.derivative if step_size is None else [step_size] * len(step.after)
    loss, direct, gradient = _upper_gradients(upper_loss, upper, step.after)
    lower = _leaves(step.after)
    slope = _gradients(lower_loss(_constants(upper), lower), lower, create_graph=True)
    term = [d * g for d, g in zip(scale, gradient, strict=True)]
    total = term
    for number in range(neumann_terms):
        curved = processes.means_of(_gradients(_dot(slope, term), lower, retain_graph=True))
        following = [p - d * (c + damping * p) for p, d, c in zip(term, scale, curved, strict=True)]
        # Exchanged, or rounding could let one process end the series while the others wait for it.
        before, now = processes.mean_(torch.stack([_dot(term, term), _dot(following, following)])).tolist()
        if not now <= before:
            warnings.warn(
                f"The Neumann series of the implicit hypergradient diverges and was ended after {number} terms: lower "
                "its step size.",
                RuntimeWarning,
                stacklevel=2,
            )
            break
        term = following
        total = [t + p for t, p in zip(total, term, strict=True)]
    return Hypergradient(loss, direct, _response(lower_loss, upper, step.after, total))


def _upper_gradients(
    upper_loss: Loss, upper: Tensors, lower: Tensors
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Return the upper loss, and its gradients by the upper variables and by the lower parameters.

    The latter are means over the processes.
    """
    variables, parameters = _leaves(upper), _leaves(lower)
    loss = upper_loss(variables, parameters)
    gradients = _gradients(loss, [*variables, *parameters])
    return loss.detach(), gradients[: len(variables)], processes.means_of(gradients[len(variables) :])


def _response(lower_loss: Loss, upper: Tensors, lower: Tensors, vector: Tensors) -> list[torch.Tensor]:
    """Return minus the gradient, by the upper variables, of the lower loss's slope along ``vector``."""
    variables, parameters = _leaves(upper), _leaves(lower)
    slope = _gradients(lower_loss(variables, parameters), parameters, create_graph=True)
    return [-g for g in _gradients(_dot(slope, vector), variables)]


def _gradients(
    loss: torch.Tensor, inputs: Tensors, create_graph: bool = False, retain_graph: bool | None = None
) -> list[torch.Tensor]:
    """Return the gradients of a scalar; zeros for inputs that it does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    gradients = torch.autograd.grad(
        loss, list(inputs), create_graph=create_graph, retain_graph=retain_graph, allow_unused=True
    )
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]


def _dot(a: Tensors, b: Tensors) -> torch.Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def _leaves(tensors: Tensors) -> list[torch.Tensor]:
    return [x.detach().requires_grad_(True) for x in tensors]


def _constants(tensors: Tensors) -> list[torch.Tensor]:
    return [x.detach() for x in tensors]


def _adam_derivative(
    optimizer: Optimizer, group: dict[str, Any], parameter: torch.Tensor, start: torch.Tensor
) -> torch.Tensor | float:
    state = optimizer.state.get(parameter)
    if parameter.grad is None or not state:
        return 0.0
    gradient = parameter.grad
    decay = float(group["weight_decay"])
    if decay and not group["decoupled_weight_decay"]:
        gradient = gradient + decay * start.detach()
    beta1, beta2 = group["betas"]
    steps = float(state["step"])
    mean_share, square_share = (1 - beta1) / (1 - beta1**steps), (1 - beta2) / (1 - beta2**steps)
    mean = state["exp_avg"] / (1 - beta1**steps)
    root = (state["exp_avg_sq"] / (1 - beta2**steps)).sqrt()
    scale = root + group["eps"]
    # Where every gradient so far was 0 the quotient is 0 / 0; the limit is 0.
    change = torch.where(root > 0, gradient / root, torch.zeros_like(root))
    derivative: torch.Tensor = group["lr"] / scale * (mean_share - mean / scale * square_share * change)
    return derivative
