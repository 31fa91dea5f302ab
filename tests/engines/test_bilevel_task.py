# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.networks.nets import UNet
from tests.engines.bilevel_cases import STEPS, dice, items, losses_of, task, trainer, unet, weights
from torch import nn

from scripts.engines import BilevelSettings, BilevelTask, EnhancementTrainer, FrozenTaskNetworks, LowerSolution
from scripts.errors import InputError
from scripts.handlers import TrainingCheckpoint
from scripts.losses import DEFAULT_WEIGHTS, EnhancementLoss

RESPONDING = ("finite_difference", "unrolled", "implicit")
NOTHING = EnhancementLoss(2, dict.fromkeys(DEFAULT_WEIGHTS, 0.0))


def frozen_networks(steps: int = 3, learning_rate: float = 1e-2) -> FrozenTaskNetworks:
    torch.manual_seed(2)
    return FrozenTaskNetworks(unet(), dice(), items(noisy=False), 2, steps, learning_rate=learning_rate)


def upper_term(engine: EnhancementTrainer) -> torch.Tensor:
    """S's step, and its weighted loss on the next batch of B."""
    bilevel = engine.bilevel
    assert bilevel is not None
    return bilevel.upper_terms(engine.enhance, bilevel.lower_steps(engine.enhance)).terms["task"]


def task_gradient(mode: str) -> torch.Tensor:
    """The gradient of the task term by the enhancer's weights, after S has learnt a little.

    With a smooth activation: a double backward pass does not see the kinks that a finite difference crosses.
    """
    bilevel = task(
        unet(act="tanh"), torch.optim.SGD, hypergradient=mode, neumann_terms=0, neumann_step_size=1e-2, inner_steps=2
    )
    engine = trainer(bilevel)
    nn.init.normal_(engine.network.enhancer.final.weight, std=0.5)
    bilevel.start_epoch(1)
    upper_term(engine).backward()
    return torch.cat([w.grad.flatten() for w in engine.network.enhancer.parameters() if w.grad is not None])


# ------------------------------------------------------------------------------------------------- what it does when


def test_the_downstream_network_joins_after_the_warm_up() -> None:
    bilevel = task()
    before = weights(bilevel.network)
    engine = trainer(bilevel, max_epochs=1)
    assert all("task" not in losses and "downstream" not in losses for losses in losses_of(engine))
    assert torch.equal(weights(bilevel.network), before)


@pytest.mark.parametrize("mode", ["first_order", *RESPONDING])
def test_every_term_of_both_levels_is_logged(mode: str) -> None:
    losses = losses_of(trainer(task(hypergradient=mode, neumann_step_size=1e-3)))[-1]
    assert {"task", "downstream", "wavelet", "discriminator", "total"} <= set(losses)
    assert ("response" in losses) == (mode in RESPONDING)
    terms = set(losses) - {"total", "downstream", "response", "discriminator"}
    assert sum(losses[name] for name in terms) == pytest.approx(losses["total"], rel=1e-5)


def test_without_a_downstream_network_it_trains_enhancement_alone() -> None:
    losses = losses_of(trainer(None))
    assert len(losses) == 2 * STEPS
    assert "task" not in losses[-1]


def test_the_task_alone_is_an_objective_from_the_first_step_on() -> None:
    losses = losses_of(trainer(task(warmup_epochs=0), loss_function=NOTHING, max_epochs=1))[0]
    assert losses["total"] == pytest.approx(losses["task"])
    for settings in ({"warmup_epochs": 1}, {"warmup_epochs": 0, "hypergradient": "none"}):
        with pytest.raises(InputError, match="nothing to minimise"):
            trainer(task(**settings), loss_function=NOTHING)


def test_separate_training_gives_the_enhancer_that_there_would_be_without_a_task() -> None:
    """What is drawn at random aside: every pass through the network and every loader draws."""

    def without_noise(bilevel: BilevelTask | None) -> torch.Tensor:
        engine = trainer(bilevel, loss_function=EnhancementLoss(2))
        engine.network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]
        engine.run()
        return weights(engine.network)

    bilevel = task(hypergradient="none", warmup_epochs=0, feature_layers=["model.0"])
    fresh = weights(bilevel.network)
    assert torch.equal(without_noise(bilevel), without_noise(None))
    assert not torch.equal(weights(bilevel.network), fresh)


def test_the_downstream_network_takes_its_inner_steps() -> None:
    bilevel = task(inner_steps=3, warmup_epochs=0)
    trainer(bilevel, max_epochs=1).run()
    assert {int(state["step"]) for state in bilevel.optimizer.state.values()} == {3 * STEPS}


def test_labelled_guides_take_part_in_the_lower_problem() -> None:
    with_labels, without = (
        losses_of(trainer(task(hq_labels=hq, warmup_epochs=0, guide_weight=1.0)))[0]["downstream"]
        for hq in (True, False)
    )
    assert with_labels > 1.3 * without


def test_the_guide_weight_scales_the_share_of_labelled_guides() -> None:
    bilevel = task()
    bilevel.start_epoch(1)
    batch = bilevel.next_batch("lower")

    def lower_loss(weight: float) -> float:
        bilevel.settings.guide_weight = weight
        return float(bilevel.problem.lower_loss(batch["image"], batch))

    assert lower_loss(4.0) - lower_loss(0.0) == pytest.approx(4 * (lower_loss(1.0) - lower_loss(0.0)))
    assert lower_loss(0.0) == pytest.approx(float(bilevel.problem.task_loss(batch["image"], batch["label"])))


def test_events_come_as_in_monais_trainers() -> None:
    engine = trainer(task(hypergradient="unrolled", warmup_epochs=0), max_epochs=1)
    seen: list[str] = []
    for event in IterationEvents:
        if event.name != "INNER_ITERATION_STARTED":
            engine.add_event_handler(event, lambda engine, name=event.name: seen.append(name))
    engine.run()
    once = ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]
    assert [name for name in seen if name in once] == once * STEPS


def test_the_downstream_network_learns_to_find_the_squares() -> None:
    losses = losses_of(trainer(task(warmup_epochs=0), max_epochs=12))
    assert losses[-1]["downstream"] < 0.5 * losses[0]["downstream"]


# ----------------------------------------------------------------------------------------------------- the gradient


@pytest.mark.parametrize("mode", ["finite_difference", "implicit"])
def test_the_other_responses_agree_with_the_unrolled_one(mode: str) -> None:
    """With no further terms implicit sees one step too, at the weights after it."""
    first, unrolled, other = (task_gradient(name) for name in ("first_order", "unrolled", mode))
    assert torch.nn.functional.cosine_similarity(unrolled - first, other - first, dim=0) > 0.98
    assert (unrolled - first).norm() > 1e-3 * first.norm()


@pytest.mark.parametrize("make_optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_unrolled_is_the_derivative_through_the_real_step(make_optimizer: Any) -> None:
    """Against central differences: move one weight of the enhancer, redo S's step, look at the loss on B."""
    torch.set_default_dtype(torch.float64)
    try:
        bilevel = task(make_optimizer=make_optimizer, hypergradient="unrolled", task_weight=1.0)
        engine = trainer(bilevel)
        nn.init.normal_(engine.network.enhancer.final.weight, std=0.5)
        engine.network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]

        def enhance(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return engine.network.enhance_guided(batch["image"], batch["guide"]).pred

        bilevel.start_epoch(1)
        batches = {
            part: {key: value.double() for key, value in bilevel.next_batch(part).items()}
            for part in ("lower", "upper")
        }
        bilevel.next_batch = batches.__getitem__  # type: ignore[method-assign, assignment]
        for _ in range(2):  # so that Adam has moments
            bilevel.lower_steps(enhance)

        def copied(state: Any) -> Any:
            return torch.utils._pytree.tree_map(lambda x: x.clone() if torch.is_tensor(x) else x, state)

        start = copied(bilevel.network.state_dict()), copied(bilevel.optimizer.state_dict())

        def restart() -> None:
            bilevel.network.load_state_dict(start[0])
            bilevel.optimizer.load_state_dict(copied(start[1]))

        weight = engine.network.enhancer.final.weight
        restart()
        term = bilevel.upper_terms(enhance, bilevel.lower_steps(enhance)).terms["task"]
        (gradient,) = torch.autograd.grad(term, weight)

        def upper_loss_at(shift: float) -> float:
            restart()
            with torch.no_grad():
                weight[0, 0] += shift
            bilevel.lower_steps(enhance)
            loss = float(bilevel.problem.task_loss(enhance(batches["upper"]), batches["upper"]["label"]))
            with torch.no_grad():
                weight[0, 0] -= shift
            return loss

        difference = (upper_loss_at(1e-4) - upper_loss_at(-1e-4)) / 2e-4
        assert float(gradient[0, 0]) == pytest.approx(difference, rel=1e-3)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_task_leaves_the_downstream_network_to_the_lower_problem(norm: str) -> None:
    bilevel = task(unet(norm), hypergradient="first_order", warmup_epochs=0, feature_layers=["model.0"])
    engine = trainer(bilevel)
    engine.run()
    bilevel.start_epoch(1)
    bilevel.optimizer.zero_grad(set_to_none=True)
    before = weights(bilevel.network)
    batch = next(iter(engine.data_loader))  # type: ignore[call-overload]
    enhanced = engine.network.enhance_guided(batch["image"], batch["guide"])
    terms = engine.unpaired_terms(batch, enhanced, bilevel.encoders)
    terms |= bilevel.upper_terms(engine.enhance, LowerSolution(torch.zeros(()))).terms
    assert {"task", "multi_encoder"} <= set(terms)
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None for weight in bilevel.network.parameters())
    assert torch.equal(weights(bilevel.network), before)


def test_running_statistics_are_those_of_enhanced_images() -> None:
    bilevel = task(nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), nn.Conv2d(1, 2, 1)))
    bilevel.start_epoch(1)
    batch = bilevel.next_batch("lower")
    bilevel.problem.step(batch["image"], batch)
    assert float(bilevel.network[0].running_mean) == pytest.approx(float(batch["image"].mean()))  # type: ignore[index]
    assert float(batch["guide"].mean()) != pytest.approx(float(batch["image"].mean()), rel=0.01)


def test_kinks_are_warned_of_where_differences_cross_them(caplog: pytest.LogCaptureFixture) -> None:
    for mode in ("unrolled", "finite_difference"):
        assert "kinks" not in caplog.text
        task(hypergradient=mode)
    assert "the downstream network has PReLU: finite differences cross the kinks" in caplog.text


def test_without_a_task_weight_no_response_is_followed() -> None:
    losses = losses_of(trainer(task(hypergradient="unrolled", task_weight=0.0, frozen_task_networks=2)))
    assert "frozen_task" in losses[-1]
    assert not {"task", "response"} & set(losses[-1])


def test_the_downstream_networks_features_judge_once_it_has_joined() -> None:
    losses = losses_of(trainer(task(feature_layers=["model.0"])))
    alone = losses_of(trainer(task()))
    assert losses[0]["multi_encoder"] == alone[0]["multi_encoder"]
    assert losses[STEPS]["multi_encoder"] != alone[STEPS]["multi_encoder"]


# ------------------------------------------------------------------------------------------------- the frozen networks


def test_frozen_networks_learn_before_training_and_not_in_it() -> None:
    bilevel = task(frozen_task_networks=2, frozen_task_steps=40, warmup_epochs=0)
    readers = bilevel.frozen_networks
    assert readers is not None
    before = weights(readers)
    engine = trainer(bilevel)
    learnt: list[torch.Tensor] = []
    engine.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: learnt.append(weights(readers)))
    engine.run()
    assert not torch.equal(learnt[0], before)
    assert torch.equal(weights(readers), learnt[0])
    images = torch.stack([item["image"] for item in items(noisy=False)])
    labels = torch.stack([item["label"] for item in items(noisy=False)])
    assert float(readers(images, labels)) < 0.5 * float(frozen_networks()(images, labels))


@pytest.mark.parametrize(("learning_rate", "warnings"), [(1e-2, 0), (1e-8, 2)])
def test_a_frozen_network_that_has_hardly_learnt_is_named(
    learning_rate: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    frozen_networks(steps=40, learning_rate=learning_rate).learn()
    assert sum("has hardly learnt" in record.message for record in caplog.records) == warnings


def test_frozen_networks_differ_by_place_and_seed() -> None:
    made = [FrozenTaskNetworks(unet(), dice(), items(noisy=False), seed=seed) for seed in (0, 1)]
    drawn = {float(weights(network).sum()) for readers in made for network in readers.networks}
    assert len(drawn) == 4


@pytest.mark.parametrize("mode", ["none", "first_order"])
def test_the_downstream_network_begins_as_one_of_them(mode: str) -> None:
    bilevel = task(frozen_task_networks=2, hypergradient=mode)
    trainer(bilevel, max_epochs=1).run()
    assert bilevel.frozen_networks is not None
    assert torch.equal(weights(bilevel.network), weights(bilevel.frozen_networks.networks[0]))


def test_in_the_warm_up_the_enhancer_learns_from_the_frozen_networks_and_keeps_its_guide() -> None:
    engine = trainer(
        task(frozen_task_networks=2, frozen_task_steps=40, warmup_epochs=12, warmup_objective="frozen_task"),
        max_epochs=13,
    )
    discriminator = weights(engine.discriminator)
    adversary: list[torch.Tensor] = []
    engine.add_event_handler(Events.EPOCH_STARTED(once=13), lambda: adversary.append(weights(engine.discriminator)))
    losses = losses_of(engine)
    warm_up, after = losses[: 12 * STEPS], losses[12 * STEPS :]
    assert all(set(found) == {"frozen_task", "restoration", "style", "kl", "total"} for found in warm_up)
    assert warm_up[-1]["frozen_task"] < 0.95 * warm_up[0]["frozen_task"]
    assert torch.equal(adversary[0], discriminator)
    assert all({"frozen_task", "task", "adversarial", "discriminator", "downstream"} <= set(found) for found in after)
    terms = set(after[-1]) - {"total", "downstream", "discriminator"}
    assert sum(after[-1][name] for name in terms) == pytest.approx(after[-1]["total"], rel=1e-5)


def test_the_warm_up_sees_all_labelled_patients_and_the_upper_problem_half_of_them() -> None:
    bilevel = task(frozen_task_networks=2, warmup_epochs=2)
    engine = trainer(bilevel, max_epochs=3)
    seen: dict[int, set[float]] = {1: set(), 2: set()}

    def note() -> None:
        seen[engine.state.epoch] |= {float(item["image"].sum()) for item in engine.state.output}

    engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=lambda engine, _: engine.state.epoch < 3), note)
    engine.run()
    assert len(seen[1] | seen[2]) == 4
    bilevel.start_epoch(4)
    assert len({float(image.sum()) for _ in range(STEPS) for image in bilevel.next_batch("upper")["image"]}) == 2


def drawn(bilevel: BilevelTask, part: str, epoch: int) -> list[tuple[float, float]]:
    """Image and guide, each by its sum, in the order in which an epoch reads a part of the labelled data."""
    bilevel.start_epoch(epoch)
    batches = [bilevel.next_batch(part) for _ in range(STEPS)]
    return [
        (float(image.sum()), float(guide.sum()))
        for batch in batches
        for image, guide in zip(batch["image"], batch["guide"], strict=True)
    ]


def test_the_two_levels_read_patients_of_their_own() -> None:
    bilevel = task()
    lower, upper = ({image for image, _ in drawn(bilevel, part, 1)} for part in ("lower", "upper"))
    assert len(lower) == len(upper) == 2
    assert not lower & upper


@pytest.mark.parametrize("part", ["lower", "upper", "warmup"])
def test_every_epoch_reads_the_labelled_images_anew(part: str) -> None:
    bilevel = task()
    epochs = [drawn(bilevel, part, epoch) for epoch in (1, 2, 3)]
    assert len({tuple(images) for images in epochs}) > 1  # of four images two epochs may be the same by chance
    assert drawn(bilevel, part, 1) == epochs[0]


def test_labelled_images_are_enhanced_under_their_guides(monkeypatch: pytest.MonkeyPatch) -> None:
    bilevel = task()
    engine = trainer(bilevel)
    bilevel.start_epoch(1)
    batch = bilevel.next_batch("lower")
    given: list[torch.Tensor] = []
    enhance_guided = engine.network.enhance_guided

    def recorded(image: torch.Tensor, guide: torch.Tensor) -> Any:
        given.extend((image, guide))
        return enhance_guided(image, guide)

    monkeypatch.setattr(engine.network, "enhance_guided", recorded)
    engine.enhance(batch)
    assert not torch.equal(batch["image"], batch["guide"])
    assert torch.equal(given[0], batch["image"])
    assert torch.equal(given[1], batch["guide"])


@pytest.mark.parametrize("name", ["task", "frozen_task"])
def test_the_weight_of_a_task_term_scales_it(name: str) -> None:
    terms = []
    for weight in (1.0, 3.0):
        bilevel = task(frozen_task_networks=1, warmup_epochs=0, **{f"{name}_weight": weight})
        engine = trainer(bilevel)
        bilevel.start_epoch(1)
        terms.append(bilevel.upper_terms(engine.enhance, bilevel.lower_steps(engine.enhance)).terms[name].detach())
    torch.testing.assert_close(terms[1], 3.0 * terms[0])


@pytest.mark.parametrize(
    "settings", [{"warmup_objective": "enhancement"}, {"frozen_task_weight": 0.0}, {"hypergradient": "none"}]
)
def test_otherwise_the_warm_up_is_enhancement_alone(settings: dict[str, Any]) -> None:
    losses = losses_of(trainer(task(frozen_task_networks=2, **settings)))
    alone = losses_of(trainer(None))
    assert losses[:STEPS] == alone[:STEPS]
    assert ("frozen_task" in losses[-1]) == ("warmup_objective" in settings)


def test_the_frozen_networks_loss_reaches_the_enhancer_and_not_their_own_weights() -> None:
    bilevel = task(frozen_task_networks=2, warmup_epochs=0, task_weight=0.0, frozen_task_weight=3.0)
    engine = trainer(bilevel)
    bilevel.start_epoch(1)
    terms = bilevel.upper_terms(engine.enhance, bilevel.lower_steps(engine.enhance)).terms
    assert set(terms) == {"frozen_task"}
    terms["frozen_task"].backward()
    assert bilevel.frozen_networks is not None
    assert all(weight.grad is None for weight in bilevel.frozen_networks.parameters())
    assert engine.network.enhancer.final.weight.grad.abs().sum() > 0


def test_their_loss_is_the_mean_of_each_ones() -> None:
    readers = frozen_networks()
    image, label = torch.rand(2, 1, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    each = [readers.loss_function(network.eval()(image), label) for network in readers.networks]
    assert float(readers(image, label)) == pytest.approx(float(sum(each)) / 2)


def test_training_on_the_frozen_networks_alone_needs_no_other_term() -> None:
    settings = {"task_weight": 0.0, "frozen_task_networks": 2}
    losses = losses_of(trainer(task(warmup_objective="frozen_task", **settings), loss_function=NOTHING))
    assert all(set(found) - {"downstream"} == {"frozen_task", "total"} for found in losses)
    with pytest.raises(InputError, match="nothing to minimise"):
        trainer(task(warmup_objective="enhancement", **settings), loss_function=NOTHING)


def test_a_frozen_network_that_diverges_is_told() -> None:
    bilevel = task(frozen_task_networks=2)
    assert bilevel.frozen_networks is not None
    bilevel.frozen_networks.learning_rate = float("inf")
    with pytest.raises(InputError, match="frozen task network 1 of 2 became nan: lower the learning rate of S"):
        trainer(bilevel).run()


def test_frozen_networks_without_images_are_refused() -> None:
    with pytest.raises(InputError, match="labelled high-quality images"):
        FrozenTaskNetworks(unet(), dice(), [])


# ---------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("mode", ["none", "unrolled"])
def test_resumed_training_equals_one_that_never_stopped(mode: str, tmp_path: Path) -> None:
    def run(epochs: int, resume: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        bilevel = task(hypergradient=mode, frozen_task_networks=2)
        engine = trainer(bilevel, max_epochs=epochs)
        objects = {
            "network": engine.network,
            "optimizer": engine.optimizer,
            "discriminator": engine.discriminator,
            "d_optimizer": engine.d_optimizer,
            **bilevel.checkpoint_objects(),
        }
        checkpoint = TrainingCheckpoint(tmp_path / f"{mode}.pt", objects)
        checkpoint.attach(engine)
        if resume:
            checkpoint.resume(engine)
        engine.run()
        return weights(engine.network), weights(bilevel.network)

    whole = run(4)
    for epochs, resume in ((1, False), (2, True)):  # within the warm-up, and after it
        run(epochs, resume)
    resumed = run(4, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


# --------------------------------------------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hypergradient": "exact"}, 'Unknown hypergradient "exact": use one of none, first_order'),
        ({"warmup_objective": "task"}, 'Unknown warmup_objective "task": use one of frozen_task, enhancement'),
        ({"inner_steps": 0}, "inner_steps must be a whole number of 1 or more, not 0"),
        ({"inner_steps": 1.5}, "inner_steps must be a whole number"),
        ({"upper_batch_size": True}, "upper_batch_size must be a whole number"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number of 0 or more"),
        ({"frozen_task_networks": -1}, "frozen_task_networks must be a whole number of 0 or more"),
        *(({name: -1.0}, f"{name} must be 0 or more") for name in ("task_weight", "guide_weight", "damping")),
        ({"frozen_task_weight": float("nan")}, "frozen_task_weight must be 0 or more"),
        ({"finite_difference_epsilon": 0.0}, "finite_difference_epsilon must be more than 0"),
        ({"neumann_step_size": -1.0}, "neumann_step_size must be more than 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BilevelSettings(**settings)


@pytest.mark.parametrize("mode", RESPONDING)
@pytest.mark.parametrize(("network", "mend"), [(unet(norm="batch"), "instance"), (unet(dropout=0.2), "dropout 0")])
def test_layers_that_are_no_function_of_their_weights_are_refused(mode: str, network: UNet, mend: str) -> None:
    with pytest.raises(InputError, match=f'"{mode}".*{mend}'):
        task(network, hypergradient=mode)


@pytest.mark.parametrize("mode", ["none", "first_order"])
def test_batch_normalisation_will_do_where_nothing_is_differentiated_twice(mode: str) -> None:
    assert "downstream" in losses_of(trainer(task(unet(norm="batch"), hypergradient=mode)))[-1]


def test_an_optimiser_whose_step_has_no_known_derivative_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="RMSprop"):
        task(make_optimizer=torch.optim.RMSprop, hypergradient="unrolled")


def test_a_diverged_downstream_network_is_told() -> None:
    bilevel = task(warmup_epochs=0)
    bilevel.optimizer.param_groups[0]["lr"] = bilevel.lr_scheduler.base_lrs[0] = float("inf")
    with pytest.raises(InputError, match="lower the learning rate of S"):
        trainer(bilevel).run()


def test_losses_leave_the_device_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    transfers = 0

    def counted(tensor: torch.Tensor) -> Any:
        nonlocal transfers
        transfers += len(tensor) > 5  # optimisers read numbers of their own, one at a time
        return tolist(tensor)

    def refused(tensor: torch.Tensor) -> float:
        raise AssertionError("a loss left the device by itself")

    tolist = torch.Tensor.tolist
    engine = trainer(task(hypergradient="first_order", warmup_epochs=0), max_epochs=1, decollate=False)
    iteration = engine._iteration

    def watched(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "tolist", counted)
            patch.setattr(torch.Tensor, "__float__", refused)
            patch.setattr(torch.Tensor, "__bool__", refused)
            return iteration(*arguments)

    monkeypatch.setattr(engine, "_process_function", watched)
    engine.run()
    assert transfers == STEPS


def test_the_enhancer_takes_no_step_down_a_loss_that_is_not_finite() -> None:
    bilevel = task(warmup_epochs=0)
    engine = trainer(bilevel)
    before = weights(engine.network)
    engine.loss_function.weights["wavelet"] = float("inf")
    with pytest.raises(InputError, match='The loss term "wavelet" became inf in iteration 1'):
        engine.run()
    assert torch.equal(weights(engine.network), before)
