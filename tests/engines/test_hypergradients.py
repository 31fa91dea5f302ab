# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from scripts.engines.hypergradients import (
    Hypergradient,
    LowerStep,
    Tensors,
    finite_difference,
    first_order,
    gradient_descent_step,
    implicit,
    step_derivative,
    unrolled,
)
from scripts.errors import InputError

Method = Callable[..., Hypergradient]


def only_upper(upper_loss: Any, lower_loss: Any, upper: Tensors, step: LowerStep) -> Hypergradient:
    """first_order in the signature of the others."""
    return first_order(upper_loss, upper, step.after)


METHODS: dict[str, Method] = {
    "first_order": only_upper,
    "finite_difference": finite_difference,
    "unrolled": unrolled,
    "implicit": implicit,
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
every_response = pytest.mark.parametrize("method", [finite_difference, unrolled, implicit])


def flat(tensors: Tensors) -> torch.Tensor:
    return torch.cat([x.reshape(-1) for x in tensors])


def relative_error(a: Tensors, b: Tensors) -> float:
    return float((flat(a) - flat(b)).norm() / flat(b).norm())


def cosine(a: Tensors, b: Tensors) -> float:
    return float(F.cosine_similarity(flat(a), flat(b), dim=0))


def central_difference(function: Callable[[list[torch.Tensor]], torch.Tensor], at: Tensors) -> list[torch.Tensor]:
    """Gradient of a scalar function, one variable at a time."""
    point, h = [x.detach().clone() for x in at], 1e-5
    result = [torch.zeros_like(x) for x in point]
    for x, slope in zip(point, result, strict=True):
        values, slopes = x.view(-1), slope.view(-1)
        for i, value in enumerate(values.tolist()):
            ends = []
            for sign in (1, -1):
                values[i] = value + sign * h
                ends.append(float(function(point)))
            values[i], slopes[i] = value, (ends[0] - ends[1]) / (2 * h)
    return result


class Quadratic:
    """L = w'Hw/2 + w'Bt and U = |w - a|^2/2 + w'Rt + t'Pt/2 of two upper (t) and two lower (w) tensors."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        normal = partial(torch.randn, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(normal(6, 6)).Q
        self.hessian = basis @ torch.diag(torch.linspace(1, 4, 6, dtype=torch.float64)) @ basis.T
        # Orthogonal, so that the hypergradient converges as steadily as the series.
        self.mixed = torch.linalg.qr(normal(6, 6)).Q
        self.centre, self.coupling, self.ridge = normal(6), normal(6, 6), normal(6, 6)
        self.upper, self.lower = [normal(2, 2), normal(2)], [normal(3), normal(1, 3)]
        self.rate = 0.2

    def lower_loss(self, upper: Tensors, lower: Tensors) -> torch.Tensor:
        w = flat(lower)
        return w @ self.hessian @ w / 2 + w @ self.mixed @ flat(upper)

    def upper_loss(self, upper: Tensors, lower: Tensors) -> torch.Tensor:
        t, w = flat(upper), flat(lower)
        return (w - self.centre).square().sum() / 2 + w @ self.coupling @ t + (self.ridge @ t).square().sum() / 2

    def step(self, rate: float | None = None) -> LowerStep:
        return gradient_descent_step(self.lower_loss, self.upper, self.lower, self.rate if rate is None else rate)

    def upper_gradient(self, after: Tensors) -> torch.Tensor:
        """By the lower parameters."""
        return flat(after) - self.centre + self.coupling @ flat(self.upper)

    def implicit_response(self, after: Tensors, damping: float = 0.0) -> torch.Tensor:
        damped = self.hessian + damping * torch.eye(6, dtype=torch.float64)
        return -self.mixed.T @ torch.linalg.solve(damped, self.upper_gradient(after))


@pytest.fixture
def quadratic() -> Quadratic:
    return Quadratic()


class Regularisation:
    """Logistic regression on noisy labels with one weight decay, exp(t), per coefficient; U is the validation loss."""

    def __init__(self, rate: float = 0.5) -> None:
        generator = torch.Generator().manual_seed(0)
        normal = partial(torch.randn, generator=generator, dtype=torch.float64)
        truth = normal(4)
        self.inputs = [normal(20, 4), normal(20, 4)]
        self.targets = [(x @ truth + normal(20) > 0).double() for x in self.inputs]
        self.upper, self.lower = [normal(4) - 1], [normal(4)]
        self.rate = rate

    def lower_loss(self, upper: Tensors, lower: Tensors) -> torch.Tensor:
        loss = F.binary_cross_entropy_with_logits(self.inputs[0] @ lower[0], self.targets[0])
        return loss + (upper[0].exp() * lower[0].square()).sum() / 2

    def upper_loss(self, upper: Tensors, lower: Tensors) -> torch.Tensor:
        loss = F.binary_cross_entropy_with_logits(self.inputs[1] @ lower[0], self.targets[1])
        return loss + 0.1 * upper[0].square().sum()

    def step(self, lower: Tensors | None = None) -> LowerStep:
        return gradient_descent_step(self.lower_loss, self.upper, self.lower if lower is None else lower, self.rate)

    def after_one_step(self, upper: Tensors) -> torch.Tensor:
        """U(t, w - eta dL(t, w)) as one graph."""
        weight = self.lower[0].clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self.lower_loss(upper, [weight]), [weight], create_graph=True)
        return self.upper_loss(upper, [weight - self.rate * slope])

    def solution(self, upper: Tensors) -> list[torch.Tensor]:
        """By Newton's method."""
        weight = torch.zeros(4, dtype=torch.float64)
        for _ in range(15):
            slope, hessian = (
                f(lambda w: self.lower_loss(upper, [w]), weight)
                for f in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian)
            )
            weight = weight - torch.linalg.solve(hessian, slope)
        return [weight]


@pytest.fixture
def regularisation() -> Regularisation:
    return Regularisation()


class Cooperation:
    """A convolutional enhancer (upper) and segmentation network (lower), labelled images A and B."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)

        def network(last: nn.Module, outputs: int) -> nn.Sequential:
            first = [nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.Softplus()]
            return nn.Sequential(*first, nn.Conv2d(4, outputs, 3, padding=1), last).to(dtype)

        self.enhancer, self.segmenter = network(nn.Sigmoid(), 1), network(nn.Identity(), 2)
        clean = F.interpolate(torch.rand(4, 1, 3, 3, dtype=torch.float64), (10, 10), mode="bilinear").to(dtype)
        self.images = (0.5 * clean + 0.1 * torch.rand(4, 1, 10, 10, dtype=torch.float64).to(dtype)).split(2)
        self.labels = (clean[:, 0] > 0.5).long().split(2)
        self.rate = 0.03
        # Theory compares the methods where the lower problem is nearly solved.
        optimizer = SGD(self.segmenter.parameters(), 0.3)
        for _ in range(100):
            optimizer.zero_grad()
            self.task_loss(self.enhanced()[0].detach(), self.labels[0], self.lower).backward()
            optimizer.step()
        optimizer.zero_grad()

    @property
    def lower(self) -> list[torch.Tensor]:
        return list(self.segmenter.parameters())

    @property
    def upper(self) -> list[torch.Tensor]:
        return list(self.enhancer.parameters())

    def enhanced(self) -> list[torch.Tensor]:
        return [self.enhancer(x) for x in self.images]

    def task_loss(self, image: torch.Tensor, label: torch.Tensor, lower: Tensors) -> torch.Tensor:
        names = [name for name, _ in self.segmenter.named_parameters()]
        return F.cross_entropy(functional_call(self.segmenter, dict(zip(names, lower, strict=True)), (image,)), label)

    def image_losses(self) -> tuple[Any, Any]:
        """Upper and lower loss of the enhanced images."""
        return (
            lambda images, lower: self.task_loss(images[1], self.labels[1], lower),
            lambda images, lower: self.task_loss(images[0], self.labels[0], lower),
        )

    def weight_losses(self) -> tuple[Any, Any]:
        """Upper and lower loss of the enhancer's weights."""
        names = [name for name, _ in self.enhancer.named_parameters()]

        def loss(half: int, upper: Tensors, lower: Tensors) -> torch.Tensor:
            weights = dict(zip(names, upper, strict=True))
            return self.task_loss(functional_call(self.enhancer, weights, self.images[half]), self.labels[half], lower)

        return partial(loss, 1), partial(loss, 0)

    def last_step(self, steps: int) -> LowerStep:
        _, lower_loss = self.image_losses()
        lower: Tensors = self.lower
        for _ in range(steps):
            step = gradient_descent_step(lower_loss, self.enhanced(), lower, self.rate)
            lower = step.after
        return step

    def truth(self, steps: int) -> list[torch.Tensor]:
        """Hypergradient by the enhancer's weights, through all lower steps."""
        upper_loss, lower_loss = self.weight_losses()
        lower = self.lower
        for _ in range(steps):
            slopes = torch.autograd.grad(lower_loss(self.upper, lower), lower, create_graph=True)
            lower = [w - self.rate * g for w, g in zip(lower, slopes, strict=True)]
        return list(torch.autograd.grad(upper_loss(self.upper, lower), self.upper))


@pytest.fixture(scope="module")
def cooperation() -> Cooperation:
    return Cooperation()


# The lower step


def test_gradient_descent_step_is_that_of_the_optimizer(regularisation: Regularisation) -> None:
    weight = regularisation.lower[0].clone().requires_grad_(True)
    regularisation.lower_loss(regularisation.upper, [weight]).backward()
    SGD([weight], regularisation.rate).step()
    step = regularisation.step()
    torch.testing.assert_close(step.after[0], weight.detach())
    torch.testing.assert_close(step.before[0], regularisation.lower[0])
    assert step.derivative == [regularisation.rate]


# One step on a quadratic and on a curved problem


def test_first_order_holds_the_lower_parameters_constant(quadratic: Quadratic) -> None:
    step = quadratic.step()
    variables = [x.clone().requires_grad_(True) for x in quadratic.upper]
    loss = quadratic.upper_loss(variables, step.after)
    found = first_order(quadratic.upper_loss, quadratic.upper, step.after)
    torch.testing.assert_close(found.total, list(torch.autograd.grad(loss, variables)))
    assert float(flat(found.response).abs().sum()) == 0


@every_method
def test_direct_part_and_loss_are_those_of_first_order(method: Method, quadratic: Quadratic) -> None:
    step = quadratic.step()
    expected = first_order(quadratic.upper_loss, quadratic.upper, step.after)
    found = method(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step)
    torch.testing.assert_close(found.direct, expected.direct)
    assert float(found.upper_loss) == float(quadratic.upper_loss(quadratic.upper, step.after))


@pytest.mark.parametrize("method", [unrolled, finite_difference, partial(implicit, neumann_terms=0)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_one_step_response_is_the_closed_form(method: Method, adaptive: bool, quadratic: Quadratic) -> None:
    """implicit too: with constant second derivatives and no terms it is the unrolled one."""
    step = quadratic.step()
    rates = torch.linspace(0.1, 0.3, 6, dtype=torch.float64) if adaptive else torch.full((6,), 0.2).double()
    if adaptive:
        step = step._replace(derivative=[rates[:3], rates[3:].view(1, 3)])
    found = method(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step)
    expected = -quadratic.mixed.T @ (rates * quadratic.upper_gradient(step.after))
    torch.testing.assert_close(flat(found.response), expected)
    assert [x.shape for x in found.total] == [x.shape for x in quadratic.upper]


def test_unrolled_is_the_gradient_through_an_explicit_step(regularisation: Regularisation) -> None:
    variables = [x.clone().requires_grad_(True) for x in regularisation.upper]
    (expected,) = torch.autograd.grad(regularisation.after_one_step(variables), variables)
    step = regularisation.step()
    found = unrolled(regularisation.upper_loss, regularisation.lower_loss, regularisation.upper, step)
    torch.testing.assert_close(found.total[0], expected, rtol=1e-10, atol=1e-12)


def test_unrolled_passes_gradcheck(regularisation: Regularisation) -> None:
    class OneStep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, upper: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(upper)
            with torch.enable_grad():
                return regularisation.after_one_step([upper.detach()]).detach()

        @staticmethod
        def backward(ctx: Any, *outputs: torch.Tensor) -> torch.Tensor:
            problem, upper = regularisation, ctx.saved_tensors
            with torch.enable_grad():
                step = gradient_descent_step(problem.lower_loss, upper, problem.lower, problem.rate)
                found = unrolled(problem.upper_loss, problem.lower_loss, upper, step)
            return outputs[0] * found.total[0]

    variable = regularisation.upper[0].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(OneStep.apply, (variable,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_difference_agrees_with_unrolled(dtype: torch.dtype) -> None:
    problem = Cooperation(dtype)
    losses, step = problem.weight_losses(), problem.last_step(1)
    exact, found = (method(*losses, problem.upper, step).response for method in (unrolled, finite_difference))
    assert cosine(found, exact) > 0.999
    assert relative_error(found, exact) < 0.02
    assert found[0].dtype == dtype


def test_finite_difference_is_of_second_order(cooperation: Cooperation) -> None:
    losses, step = cooperation.weight_losses(), cooperation.last_step(1)
    exact = unrolled(*losses, cooperation.upper, step).response
    coarse, fine = (
        relative_error(finite_difference(*losses, cooperation.upper, step, epsilon=epsilon).response, exact)
        for epsilon in (1e-2, 1e-3)
    )
    assert fine == pytest.approx(coarse / 100, rel=0.1)


# Implicit


def test_implicit_converges_to_the_closed_form(quadratic: Quadratic) -> None:
    step = quadratic.step()
    expected = quadratic.implicit_response(step.after)
    errors = [
        float((flat(found.response) - expected).norm())
        for terms in range(0, 100, 5)
        for found in [implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, neumann_terms=terms)]
    ]
    assert all(later < earlier for earlier, later in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("damping", [0.1, 1.0])
def test_damped_implicit_converges_to_the_damped_closed_form(quadratic: Quadratic, damping: float) -> None:
    step = quadratic.step()
    found = implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, 100, damping=damping)
    torch.testing.assert_close(flat(found.response), quadratic.implicit_response(step.after, damping))


def test_limit_of_implicit_does_not_depend_on_the_step(quadratic: Quadratic) -> None:
    step = quadratic.step()
    rates = torch.linspace(0.1, 0.3, 6, dtype=torch.float64)
    step = step._replace(derivative=[rates[:3], rates[3:].view(1, 3)])
    found = implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, neumann_terms=200)
    torch.testing.assert_close(flat(found.response), quadratic.implicit_response(step.after))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_implicit_terms_are_unrolled_steps_on_a_quadratic(quadratic: Quadratic, steps: int) -> None:
    variables = [x.clone().requires_grad_(True) for x in quadratic.upper]
    lower = [x.clone().requires_grad_(True) for x in quadratic.lower]
    before: list[torch.Tensor] = []
    for _ in range(steps):
        before = [w.detach() for w in lower]
        slopes = torch.autograd.grad(quadratic.lower_loss(variables, lower), lower, create_graph=True)
        lower = [w - quadratic.rate * g for w, g in zip(lower, slopes, strict=True)]
    expected = torch.autograd.grad(quadratic.upper_loss(variables, lower), variables)
    step = LowerStep(before, [w.detach() for w in lower], [quadratic.rate] * 2)
    found = implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, neumann_terms=steps - 1)
    torch.testing.assert_close(found.total, list(expected))


def test_implicit_is_the_derivative_through_the_solved_problem(regularisation: Regularisation) -> None:
    solution = regularisation.solution(regularisation.upper)
    step = regularisation.step(solution)
    found = implicit(regularisation.upper_loss, regularisation.lower_loss, regularisation.upper, step, 1000)
    expected = central_difference(
        lambda upper: regularisation.upper_loss(upper, regularisation.solution(upper)), regularisation.upper
    )
    torch.testing.assert_close(found.total, expected, rtol=1e-6, atol=1e-9)


def test_implicit_takes_second_derivatives_after_the_step(regularisation: Regularisation) -> None:
    step = regularisation.step()
    (after,), (upper,) = step.after, regularisation.upper
    second = torch.autograd.functional.hessian(lambda t, w: regularisation.lower_loss([t], [w]), (upper, after))
    gradient = torch.autograd.functional.jacobian(lambda w: regularisation.upper_loss([upper], [w]), after)
    found = implicit(regularisation.upper_loss, regularisation.lower_loss, [upper], step, neumann_terms=1000)
    torch.testing.assert_close(found.response[0], -second[0][1] @ torch.linalg.solve(second[1][1], gradient))


def test_diverging_series_ends_with_a_warning(quadratic: Quadratic) -> None:
    step = quadratic.step(rate=2.0)
    one = implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, neumann_terms=0)
    with pytest.warns(RuntimeWarning, match="diverges and was ended after 0 terms"):
        found = implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step, neumann_terms=5000)
    torch.testing.assert_close(found.total, one.total)
    assert bool(torch.isfinite(flat(found.total)).all())


def test_converging_series_does_not_warn(quadratic: Quadratic) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, quadratic.step(), neumann_terms=50)


@pytest.mark.parametrize("arguments", [{"neumann_terms": -1}, {"damping": -0.1}])
def test_negative_terms_and_damping_are_refused(quadratic: Quadratic, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be 0 or more"):
        implicit(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, quadratic.step(), **arguments)


# Steps of real optimisers


def groups(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.03}]


Build = Callable[[list[dict[str, Any]]], Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd": partial(SGD, lr=0.1),
    "weight decay": partial(SGD, lr=0.1, weight_decay=0.2),
    "momentum": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.2),
    "nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2),
    "adam": partial(Adam, lr=0.1),
    "adam, beta 0.5": partial(Adam, lr=0.1, betas=(0.5, 0.9), eps=1e-2),
    "adam, weight decay": partial(Adam, lr=0.1, weight_decay=0.2),
    "adam, decoupled": partial(Adam, lr=0.1, weight_decay=0.2, decoupled_weight_decay=True),
    "adamw": partial(AdamW, lr=0.1, weight_decay=0.2),
}
every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def replay(
    build: Build, start: Tensors, history: Sequence[Sequence[torch.Tensor | None]]
) -> tuple[Optimizer, list[torch.Tensor], list[torch.Tensor]]:
    """Return the optimiser after steps with these gradients, and the parameters before and after the last of them."""
    parameters = [nn.Parameter(x.clone()) for x in start]
    optimizer = build(groups(parameters))
    for gradients in history:
        before = [p.detach().clone() for p in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer.step()
    return optimizer, before, [p.detach() for p in parameters]


def random_history(steps: int) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    start, *history = (
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 3), (4,), (1,))]
        for _ in range(steps + 1)
    )
    return start, history


def assert_derivative_is_measured(
    build: Build, start: Tensors, history: list[list[torch.Tensor]], h: float = 1e-6
) -> None:
    optimizer, before, _ = replay(build, start, history)
    found = step_derivative(optimizer, before)
    forward, backward = (replay(build, start, [*history[:-1], [g + d for g in history[-1]]])[2] for d in (h, -h))
    for derivative, plus, minus in zip(found, forward, backward, strict=True):
        measured = -(plus - minus) / (2 * h)
        torch.testing.assert_close(
            torch.as_tensor(derivative).double().expand_as(measured), measured, rtol=1e-6, atol=1e-8
        )


@every_optimizer
@pytest.mark.parametrize("steps", [2, 6])
def test_step_derivative_is_what_a_changed_gradient_changes(build: Build, steps: int) -> None:
    assert_derivative_is_measured(build, *random_history(steps))


@pytest.mark.parametrize("optimizer", [Adam, AdamW])
def test_derivative_of_the_first_adam_step(optimizer: type[Adam]) -> None:
    """With the usual, tiny eps Adam's first step is the gradient's sign, and its derivative is too small to measure."""
    assert_derivative_is_measured(partial(optimizer, lr=0.1, eps=0.1, weight_decay=0.2), *random_history(1))


def test_first_adam_step_hardly_depends_on_its_gradient() -> None:
    optimizer, before, _ = replay(partial(Adam, lr=0.1), *random_history(1))
    assert all(float(d.abs().max()) < 1e-6 for d in step_derivative(optimizer, before))  # type: ignore[union-attr]


def test_adam_derivative_where_every_gradient_was_zero() -> None:
    start, history = random_history(3)
    for gradients in history:
        gradients[0].zero_()
    assert_derivative_is_measured(partial(Adam, lr=0.1, eps=0.1), start, history, h=1e-9)


@every_optimizer
def test_parameter_without_gradient_has_no_derivative(build: Build) -> None:
    """The optimiser leaves it where it is, now and after steps that moved it."""
    start, history = random_history(3)
    optimizer, before, after = replay(build, start, [*history, [history[0][0], None, history[0][2]]])
    torch.testing.assert_close(before[1], after[1])
    found = step_derivative(optimizer, before)
    assert [float(torch.as_tensor(d).abs().max()) > 0 for d in found] == [True, False, True]


@pytest.mark.parametrize(
    "build",
    [
        partial(RMSprop, lr=0.1),
        partial(Adam, lr=0.1, amsgrad=True),
        partial(AdamW, lr=0.1, amsgrad=True),
        partial(Adam, lr=0.1, maximize=True),
        partial(SGD, lr=0.1, maximize=True),
        partial(SGD, lr=0.1, momentum=0.9, dampening=0.1),
    ],
    ids=["rmsprop", "amsgrad", "adamw amsgrad", "adam maximize", "sgd maximize", "dampening"],
)
def test_unknown_steps_are_refused(build: Build) -> None:
    optimizer, before, _ = replay(build, *random_history(2))
    with pytest.raises(InputError, match=f"no derivative of a step of {type(optimizer).__name__}"):
        step_derivative(optimizer, before)


@every_optimizer
def test_unrolled_goes_through_the_step_of_the_optimizer(build: Build) -> None:
    """Against the loss after the step that the optimiser takes when an upper variable moves."""
    generator = torch.Generator().manual_seed(1)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    shift, upper = normal(6), [normal(6, 5), normal(6)]
    start, history = random_history(3)
    start, history = start[:2], [gradients[:2] for gradients in history]

    def outputs(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return torch.tanh(upper[0][:, :2] @ lower[0] @ upper[0][:, 2:].T).sum(1) + upper[1] * lower[1].sin().sum()

    def lower_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return outputs(upper, lower).square().mean()

    def upper_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return (outputs(upper, lower) - shift).square().mean()

    before = replay(build, start, history)[2]

    def last_step(upper: Tensors) -> tuple[Optimizer, list[torch.Tensor], list[torch.Tensor]]:
        weights = [w.clone().requires_grad_(True) for w in before]
        gradients = torch.autograd.grad(lower_loss(upper, weights), weights)
        return replay(build, start, [*history, list(gradients)])

    optimizer, reached, after = last_step(upper)
    step = LowerStep(reached, after, step_derivative(optimizer, reached))
    found = unrolled(upper_loss, lower_loss, upper, step)
    expected = central_difference(lambda moved: upper_loss(moved, last_step(moved)[2]), upper)
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-7)


# Two networks


def test_methods_are_as_close_to_the_truth_as_theory_says(cooperation: Cooperation) -> None:
    """Truth: five lower steps, all of them differentiated."""
    truth, step, losses = cooperation.truth(5), cooperation.last_step(5), cooperation.weight_losses()
    error = {name: relative_error(f(*losses, cooperation.upper, step).total, truth) for name, f in METHODS.items()}
    assert error["implicit"] < 0.5 * error["unrolled"]
    assert error["unrolled"] < 0.95 * error["first_order"]
    assert error["finite_difference"] == pytest.approx(error["unrolled"], rel=1e-2)


def test_more_terms_come_closer_to_the_truth(cooperation: Cooperation) -> None:
    truth, step, losses = cooperation.truth(5), cooperation.last_step(5), cooperation.weight_losses()
    errors = [
        relative_error(implicit(*losses, cooperation.upper, step, neumann_terms=k).total, truth) for k in range(5)
    ]
    assert errors == sorted(errors, reverse=True)


@every_method
def test_hypergradient_at_the_images_carries_into_the_weights(method: Method, cooperation: Cooperation) -> None:
    step, images = cooperation.last_step(2), cooperation.enhanced()
    at_images = method(*cooperation.image_losses(), images, step)
    found = torch.autograd.grad(images, cooperation.upper, at_images.total)
    expected = method(*cooperation.weight_losses(), cooperation.upper, step)
    torch.testing.assert_close(list(found), expected.total)


@every_response
def test_upper_images_get_the_direct_and_lower_images_the_response(method: Method, cooperation: Cooperation) -> None:
    found = method(*cooperation.image_losses(), cooperation.enhanced(), cooperation.last_step(1))
    assert [bool(x.any()) for x in found.direct] == [False, True]
    assert [bool(x.any()) for x in found.response] == [True, False]


@every_method
def test_networks_are_left_as_they_were(method: Method, cooperation: Cooperation) -> None:
    step, images = cooperation.last_step(1), cooperation.enhanced()
    tensors = [*cooperation.upper, *cooperation.lower, *images, *step.before, *step.after]
    copies = [x.detach().clone() for x in tensors]
    found = method(*cooperation.image_losses(), images, step._replace(before=cooperation.lower))
    torch.testing.assert_close([x.detach() for x in tensors], copies, rtol=0, atol=0)
    assert all(x.grad is None for x in tensors if x.is_leaf)
    assert not any(x.requires_grad for x in [found.upper_loss, *found.total, *step.before, *step.after])


# Edges


@every_method
def test_unused_variables_have_zeros(method: Method, quadratic: Quadratic) -> None:
    unused = torch.ones(3, 2, dtype=torch.float64)
    step = quadratic.step()
    expected = method(quadratic.upper_loss, quadratic.lower_loss, quadratic.upper, step)
    found = method(
        lambda upper, lower: quadratic.upper_loss(upper[:2], lower[:2]),
        lambda upper, lower: quadratic.lower_loss(upper[:2], lower[:2]),
        [*quadratic.upper, unused],
        LowerStep([*step.before, unused], [*step.after, unused], [*step.derivative, 0.1]),
    )
    torch.testing.assert_close(found.total, [*expected.total, torch.zeros_like(unused)])


@every_response
def test_lower_loss_without_the_upper_variables_has_no_response(method: Method, quadratic: Quadratic) -> None:
    def lower_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return flat(lower).square().sum() / 2

    found = method(quadratic.upper_loss, lower_loss, quadratic.upper, quadratic.step())
    assert not flat(found.response).any()


@every_response
def test_lower_loss_without_the_lower_parameters_has_no_response(method: Method, quadratic: Quadratic) -> None:
    def lower_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return flat(upper).square().sum() / 2

    found = method(quadratic.upper_loss, lower_loss, quadratic.upper, quadratic.step())
    assert not flat(found.response).any()


@every_response
def test_upper_loss_without_the_lower_parameters_has_no_response(method: Method, quadratic: Quadratic) -> None:
    """A zero upper gradient gives finite differences no direction to step in."""

    def upper_loss(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return flat(upper).square().sum() / 2

    found = method(upper_loss, quadratic.lower_loss, quadratic.upper, quadratic.step())
    torch.testing.assert_close(found.direct, quadratic.upper)
    assert not flat(found.response).any()
