# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.losses import DiceCELoss
from monai.networks.nets import DenseNet121, PatchDiscriminator, UNet
from torch import nn
from torch.utils.data import DataLoader

from scripts.data import EpochSampler, UnpairedDataset
from scripts.engines import BilevelTrainer, DownstreamProblem, FrozenTaskNetworks, check_downstream
from scripts.errors import InputError
from scripts.handlers import TrainingCheckpoint
from scripts.losses import DEFAULT_WEIGHTS, EnhancementLoss
from scripts.networks import HQGNet, LayerFeatures

STEPS = 3
RESPONDING = ("finite_difference", "unrolled", "implicit")


def items(noisy: bool, number: int = 4, labelled: bool = True) -> list[dict[str, Any]]:
    """Bright squares at their own places: dark and noisy as LQ, clean as HQ; the label is the square."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(number):
        image, label = torch.full((1, 32, 32), 0.1), torch.zeros(1, 32, 32)
        place = (0, slice(4 + index, 16 + index), slice(8, 20))
        image[place], label[place] = 0.5 if noisy else 0.9, 1.0
        image += 0.1 * torch.rand(1, 32, 32, generator=generator) if noisy else 0.0
        found.append({"image": image, "patient": f"{noisy}{index}", **({"label": label} if labelled else {})})
    return found


def unet(norm: str = "instance", dropout: float = 0.0) -> UNet:
    return UNet(2, 1, 2, (4, 8), (2,), norm=norm, dropout=dropout)


def problem(
    network: nn.Module | None = None,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    inner_steps: int = 1,
    hq_labels: bool = True,
) -> tuple[DownstreamProblem, UnpairedDataset]:
    torch.manual_seed(1)
    network = unet() if network is None else network
    data = UnpairedDataset(
        items(noisy=True), items(noisy=False, labelled=hq_labels), lambda item: item, length=2 * STEPS, progress=False
    )
    halves = data.labelled_halves(2 * STEPS * inner_steps, 2 * STEPS)
    streams = (*halves, data.labelled_part(2 * STEPS))
    lower, upper, warmup = (DataLoader(stream, batch_size=2, sampler=EpochSampler(stream)) for stream in streams)
    optimizer = make_optimizer(network.parameters(), lr=1e-2)
    return DownstreamProblem(network, optimizer, DiceCELoss(to_onehot_y=True, softmax=True), lower, upper, warmup), data


def trainer(downstream: DownstreamProblem | None, data: UnpairedDataset, **arguments: Any) -> BilevelTrainer:
    torch.manual_seed(0)
    network = HQGNet(2, 1, channels=(4, 6, 8), guidance_channels=(4, 6), cue_channels=5)
    discriminator = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
    return BilevelTrainer(
        device="cpu",
        max_epochs=arguments.pop("max_epochs", 2),
        train_data_loader=DataLoader(data, batch_size=2, sampler=EpochSampler(data)),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 2e-3),
        discriminator=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), 2e-3),
        downstream=downstream,
        **{"warmup_epochs": 1, **arguments},
    )


def losses_of(engine: BilevelTrainer) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.output[0]["losses"]))
    engine.run()
    return seen


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten().clone() for value in network.state_dict().values()])


def task_term(engine: BilevelTrainer) -> torch.Tensor:
    """The weighted loss of S on the next batch of B."""
    return engine.task_terms()["task"]


def frozen_task_networks(steps: int = 3, number: int = 2, learning_rate: float = 1e-2) -> FrozenTaskNetworks:
    torch.manual_seed(2)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    return FrozenTaskNetworks(unet(), loss, items(noisy=False), number, steps, learning_rate=learning_rate)


def task_gradient(mode: str) -> torch.Tensor:
    """The gradient of the task term by the enhancer's weights, after S has learnt a little.

    With a smooth activation: a double backward pass does not see the kinks that a finite difference crosses.
    """
    downstream, data = problem(UNet(2, 1, 2, (4, 8), (2,), norm="instance", act="tanh"), torch.optim.SGD)
    engine = trainer(downstream, data, hypergradient=mode, neumann_terms=0, neumann_step_size=1e-2)
    nn.init.normal_(engine.network.enhancer.final.weight, std=0.5)
    downstream.start_epoch(1)
    engine.lower_steps()
    engine._lower = engine.lower_steps()
    task_term(engine).backward()
    return torch.cat([w.grad.flatten() for w in engine.network.enhancer.parameters() if w.grad is not None])


# ------------------------------------------------------------------------------------------------- what it does when


def test_the_downstream_network_joins_after_the_warm_up() -> None:
    downstream, data = problem()
    before = weights(downstream.network)
    engine = trainer(downstream, data, max_epochs=1)
    assert all("task" not in losses and "downstream" not in losses for losses in losses_of(engine))
    assert torch.equal(weights(downstream.network), before)


@pytest.mark.parametrize("mode", ["first_order", *RESPONDING])
def test_every_term_of_both_levels_is_logged(mode: str) -> None:
    losses = losses_of(trainer(*problem(), hypergradient=mode, neumann_step_size=1e-3))[-1]
    assert {"task", "downstream", "wavelet", "discriminator", "total"} <= set(losses)
    assert ("response" in losses) == (mode in RESPONDING)
    terms = set(losses) - {"total", "downstream", "response", "discriminator"}
    assert sum(losses[name] for name in terms) == pytest.approx(losses["total"], rel=1e-5)


def test_without_a_downstream_network_it_trains_enhancement_alone() -> None:
    losses = losses_of(trainer(None, problem()[1]))
    assert len(losses) == 2 * STEPS
    assert "task" not in losses[-1]


def test_the_task_alone_is_an_objective_from_the_first_step_on() -> None:
    nothing = EnhancementLoss(2, dict.fromkeys(DEFAULT_WEIGHTS, 0.0))
    losses = losses_of(trainer(*problem(), loss_function=nothing, warmup_epochs=0, max_epochs=1))[0]
    assert losses["total"] == pytest.approx(losses["task"])
    for settings in ({"warmup_epochs": 1}, {"warmup_epochs": 0, "hypergradient": "none"}):
        with pytest.raises(InputError, match="nothing to minimise"):
            trainer(*problem(), loss_function=nothing, **settings)


def test_separate_training_gives_the_enhancer_that_there_would_be_without_a_task() -> None:
    """What is drawn at random aside: every pass through the network and every loader draws."""

    def without_noise(*arguments: Any) -> torch.Tensor:
        loss = EnhancementLoss(2, {"identity": 0.0})
        engine = trainer(
            *arguments, hypergradient="none", warmup_epochs=0, loss_function=loss, downstream_judges=judges
        )
        engine.network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]
        engine.run()
        return weights(engine.network)

    downstream, data = problem()
    judges = {"downstream": LayerFeatures(downstream.network, ["model.0"])}
    fresh = weights(downstream.network)
    assert torch.equal(without_noise(downstream, data), without_noise(None, data))
    assert not torch.equal(weights(downstream.network), fresh)


def test_the_downstream_network_takes_its_inner_steps() -> None:
    downstream, data = problem(inner_steps=3)
    trainer(downstream, data, inner_steps=3, warmup_epochs=0, max_epochs=1).run()
    assert {int(state["step"]) for state in downstream.optimizer.state.values()} == {3 * STEPS}


def test_labelled_guides_take_part_in_the_lower_problem() -> None:
    with_labels, without = (
        losses_of(trainer(*problem(hq_labels=hq), warmup_epochs=0))[0]["downstream"] for hq in (True, False)
    )
    assert with_labels > 1.3 * without


def test_the_guide_weight_scales_the_share_of_labelled_guides() -> None:
    downstream, _ = problem()
    batch = next(iter(downstream.lower_batches))

    def lower_loss(weight: float) -> float:
        downstream.guide_weight = weight
        return float(downstream.lower_loss(batch["image"], batch))

    assert lower_loss(4.0) - lower_loss(0.0) == pytest.approx(4 * (lower_loss(1.0) - lower_loss(0.0)))
    assert lower_loss(0.0) == pytest.approx(float(downstream.loss(batch["image"], batch["label"])))


def test_a_negative_guide_weight_is_refused() -> None:
    with pytest.raises(InputError, match="guide_weight"):
        DownstreamProblem(unet(), torch.optim.SGD(unet().parameters()), DiceCELoss(), [], [], guide_weight=-1.0)


def test_events_come_as_in_monais_trainers() -> None:
    engine = trainer(*problem(), hypergradient="unrolled", warmup_epochs=0, max_epochs=1)
    seen: list[str] = []
    for event in IterationEvents:
        if event.name != "INNER_ITERATION_STARTED":
            engine.add_event_handler(event, lambda engine, name=event.name: seen.append(name))
    engine.run()
    once = ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]
    assert [name for name in seen if name in once] == once * STEPS


def test_the_downstream_network_learns_to_find_the_squares() -> None:
    downstream, data = problem()
    losses = losses_of(trainer(downstream, data, warmup_epochs=0, max_epochs=12))
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
        downstream, data = problem(make_optimizer=make_optimizer)
        engine = trainer(downstream, data, hypergradient="unrolled", warmup_epochs=0, task_weight=1.0)
        nn.init.normal_(engine.network.enhancer.final.weight, std=0.5)
        engine.network.draw_cue = lambda mean, log_variance: mean  # type: ignore[method-assign]
        engine.enhance = lambda batch: engine.network.enhance_guided(batch["image"], batch["guide"]).pred  # type: ignore[method-assign]
        lower, upper = (
            {key: value.double() for key, value in next(iter(batches)).items()}
            for batches in (downstream.lower_batches, downstream.upper_batches)
        )
        downstream.next_batch = {"lower": lower, "upper": upper}.__getitem__  # type: ignore[method-assign]
        for _ in range(2):  # so that Adam has moments
            engine.lower_steps()
        start = (
            {name: value.clone() for name, value in downstream.network.state_dict().items()},
            torch.utils._pytree.tree_map(
                lambda x: x.clone() if torch.is_tensor(x) else x, downstream.optimizer.state_dict()
            ),
        )

        def restart() -> None:
            downstream.network.load_state_dict(start[0])
            state = torch.utils._pytree.tree_map(lambda x: x.clone() if torch.is_tensor(x) else x, start[1])
            downstream.optimizer.load_state_dict(state)

        weight = engine.network.enhancer.final.weight
        restart()
        engine._lower = engine.lower_steps()
        (gradient,) = torch.autograd.grad(task_term(engine), weight)

        def upper_loss_at(shift: float) -> float:
            restart()
            with torch.no_grad():
                weight[0, 0] += shift
            engine.lower_steps()
            loss = float(downstream.loss(engine.enhance(upper), upper["label"]))
            with torch.no_grad():
                weight[0, 0] -= shift
            return loss

        difference = (upper_loss_at(1e-4) - upper_loss_at(-1e-4)) / 2e-4
        assert float(gradient[0, 0]) == pytest.approx(difference, rel=1e-3)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_task_leaves_the_downstream_network_to_the_lower_problem(norm: str) -> None:
    downstream, data = problem(unet(norm))
    judges = {"downstream": LayerFeatures(downstream.network, ["model.0"])}
    engine = trainer(downstream, data, hypergradient="first_order", warmup_epochs=0, downstream_judges=judges)
    engine.run()
    downstream.start_epoch(1)
    downstream.optimizer.zero_grad(set_to_none=True)
    before = weights(downstream.network)
    batch = next(iter(engine.data_loader))  # type: ignore[call-overload]
    terms = engine.objective(batch, engine.network.enhance_guided(batch["image"], batch["guide"]))
    assert {"task", "multi_encoder"} <= set(terms)
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None for weight in downstream.network.parameters())
    assert torch.equal(weights(downstream.network), before)


def test_running_statistics_are_those_of_enhanced_images() -> None:
    downstream, _ = problem(nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), nn.Conv2d(1, 2, 1)))
    downstream.start_epoch(1)
    batch = downstream.next_batch("lower")
    downstream.step(batch["image"], batch)
    assert float(downstream.network[0].running_mean) == pytest.approx(float(batch["image"].mean()))  # type: ignore[index]
    assert float(batch["guide"].mean()) != pytest.approx(float(batch["image"].mean()), rel=0.01)


def test_kinks_are_warned_of_where_differences_cross_them(caplog: pytest.LogCaptureFixture) -> None:
    for mode in ("unrolled", "finite_difference"):
        assert "kinks" not in caplog.text
        trainer(*problem(), hypergradient=mode)
    assert "the downstream network has PReLU: finite differences cross the kinks" in caplog.text


def test_without_a_task_weight_no_response_is_followed() -> None:
    losses = losses_of(
        trainer(*problem(), hypergradient="unrolled", task_weight=0.0, frozen_task_networks=frozen_task_networks())
    )
    assert "frozen_task" in losses[-1]
    assert not {"task", "response"} & set(losses[-1])


def test_the_downstream_networks_features_judge_once_it_has_joined() -> None:
    downstream, data = problem()
    judges = {"downstream": LayerFeatures(downstream.network, ["model.0"])}
    losses = losses_of(trainer(downstream, data, downstream_judges=judges))
    alone = losses_of(trainer(*problem()))
    assert losses[0]["multi_encoder"] == alone[0]["multi_encoder"]
    assert losses[STEPS]["multi_encoder"] != alone[STEPS]["multi_encoder"]


# ------------------------------------------------------------------------------------ the readers of clean images alone


def test_clean_readers_learn_before_training_and_not_in_it() -> None:
    readers = frozen_task_networks(steps=40)
    before = weights(readers)
    engine = trainer(*problem(), frozen_task_networks=readers, warmup_epochs=0)
    learnt: list[torch.Tensor] = []
    engine.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: learnt.append(weights(readers)))
    engine.run()
    assert not torch.equal(learnt[0], before)
    assert torch.equal(weights(readers), learnt[0])
    images = torch.stack([item["image"] for item in items(noisy=False)])
    labels = torch.stack([item["label"] for item in items(noisy=False)])
    assert float(readers.judge(images, labels)) < 0.5 * float(frozen_task_networks().judge(images, labels))


@pytest.mark.parametrize(("learning_rate", "warnings"), [(1e-2, 0), (1e-8, 2)])
def test_a_clean_reader_that_has_hardly_learnt_is_named(
    learning_rate: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    frozen_task_networks(steps=40, learning_rate=learning_rate).learn()
    assert sum("has hardly learnt" in record.message for record in caplog.records) == warnings


def test_clean_readers_differ_by_place_and_seed() -> None:
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    made = [FrozenTaskNetworks(unet(), loss, items(noisy=False), seed=seed) for seed in (0, 1)]
    drawn = {float(weights(network).sum()) for readers in made for network in readers.networks}
    assert len(drawn) == 4


@pytest.mark.parametrize("mode", ["none", "first_order"])
def test_the_downstream_network_begins_as_one_of_them(mode: str) -> None:
    downstream, data = problem()
    readers = frozen_task_networks()
    trainer(downstream, data, frozen_task_networks=readers, hypergradient=mode, warmup_epochs=1, max_epochs=1).run()
    assert torch.equal(weights(downstream.network), weights(readers.networks[0]))


def test_in_the_warm_up_the_enhancer_learns_from_the_clean_readers_alone() -> None:
    readers = frozen_task_networks(steps=40)
    engine = trainer(*problem(), frozen_task_networks=readers, warmup_epochs=12, max_epochs=13)
    discriminator = weights(engine.discriminator)
    adversary: list[torch.Tensor] = []
    engine.add_event_handler(Events.EPOCH_STARTED(once=13), lambda: adversary.append(weights(engine.discriminator)))
    losses = losses_of(engine)
    warm_up, after = losses[: 12 * STEPS], losses[12 * STEPS :]
    assert all(set(found) == {"frozen_task", "total"} for found in warm_up)
    assert warm_up[-1]["frozen_task"] < 0.95 * warm_up[0]["frozen_task"]
    assert torch.equal(adversary[0], discriminator)
    assert all({"frozen_task", "task", "adversarial", "discriminator", "downstream"} <= set(found) for found in after)
    terms = set(after[-1]) - {"total", "downstream", "discriminator"}
    assert sum(after[-1][name] for name in terms) == pytest.approx(after[-1]["total"], rel=1e-5)


def test_the_warm_up_sees_all_labelled_patients_and_the_upper_problem_half_of_them() -> None:
    downstream, data = problem()
    engine = trainer(downstream, data, frozen_task_networks=frozen_task_networks(), warmup_epochs=2, max_epochs=3)
    seen: dict[int, set[float]] = {1: set(), 2: set()}

    def note() -> None:
        seen[engine.state.epoch] |= {float(item["image"].sum()) for item in engine.state.output}

    engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=lambda engine, _: engine.state.epoch < 3), note)
    engine.run()
    assert len(seen[1] | seen[2]) == 4
    downstream.start_epoch(4)
    assert len({float(image.sum()) for _ in range(STEPS) for image in downstream.next_batch("upper")["image"]}) == 2


@pytest.mark.parametrize(
    "settings", [{"warmup_objective": "enhancement"}, {"frozen_task_weight": 0.0}, {"hypergradient": "none"}]
)
def test_otherwise_the_warm_up_is_enhancement_alone(settings: dict[str, Any]) -> None:
    losses = losses_of(trainer(*problem(), frozen_task_networks=frozen_task_networks(), **settings))
    alone = losses_of(trainer(None, problem()[1]))
    assert losses[:STEPS] == alone[:STEPS]
    assert ("frozen_task" in losses[-1]) == ("warmup_objective" in settings)


def test_what_the_clean_readers_read_reaches_the_enhancer_and_not_their_own_weights() -> None:
    downstream, data = problem()
    readers = frozen_task_networks()
    engine = trainer(
        downstream, data, frozen_task_networks=readers, warmup_epochs=0, task_weight=0.0, frozen_task_weight=3.0
    )
    downstream.start_epoch(1)
    engine.lower_steps()
    terms = engine.task_terms()
    assert set(terms) == {"frozen_task"}
    terms["frozen_task"].backward()
    assert all(weight.grad is None for weight in readers.parameters())
    assert engine.network.enhancer.final.weight.grad.abs().sum() > 0


def test_their_loss_is_the_mean_of_each_ones() -> None:
    readers = frozen_task_networks()
    image, label = torch.rand(2, 1, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    each = [readers.loss_function(network.eval()(image), label) for network in readers.networks]
    assert float(readers.judge(image, label)) == pytest.approx(float(sum(each)) / 2)


def test_training_on_transfer_alone_needs_no_other_term() -> None:
    nothing = EnhancementLoss(2, dict.fromkeys(DEFAULT_WEIGHTS, 0.0))
    settings = {"loss_function": nothing, "task_weight": 0.0, "warmup_epochs": 1}
    losses = losses_of(trainer(*problem(), frozen_task_networks=frozen_task_networks(), **settings))
    assert all(set(found) - {"downstream"} == {"frozen_task", "total"} for found in losses)
    with pytest.raises(InputError, match="nothing to minimise"):
        trainer(*problem(), frozen_task_networks=frozen_task_networks(), warmup_objective="enhancement", **settings)


def test_a_clean_reader_that_diverges_is_told() -> None:
    readers = frozen_task_networks()
    readers.learning_rate = float("inf")
    with pytest.raises(InputError, match="frozen task network 1 of 2 became nan: lower downstream_learning_rate"):
        trainer(*problem(), frozen_task_networks=readers).run()


def test_clean_readers_without_images_are_refused() -> None:
    with pytest.raises(InputError, match="labelled high-quality images"):
        FrozenTaskNetworks(unet(), DiceCELoss(to_onehot_y=True, softmax=True), [])


# ---------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("mode", ["none", "unrolled"])
def test_resumed_training_equals_one_that_never_stopped(mode: str, tmp_path: Path) -> None:
    def run(epochs: int, resume: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        downstream, data = problem()
        readers = frozen_task_networks()
        engine = trainer(downstream, data, hypergradient=mode, max_epochs=epochs, frozen_task_networks=readers)
        objects = {
            "frozen_task_networks": readers,
            "network": engine.network,
            "optimizer": engine.optimizer,
            "discriminator": engine.discriminator,
            "d_optimizer": engine.d_optimizer,
            "downstream_network": downstream.network,
            "downstream_optimizer": downstream.optimizer,
        }
        checkpoint = TrainingCheckpoint(tmp_path / f"{mode}.pt", objects)
        checkpoint.attach(engine)
        if resume:
            checkpoint.resume(engine)
        engine.run()
        return weights(engine.network), weights(downstream.network)

    whole = run(4)
    for epochs, resume in ((1, False), (2, True)):  # within the warm-up, and after it
        run(epochs, resume)
    resumed = run(4, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


# --------------------------------------------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hypergradient": "exact"}, 'Unknown hypergradient "exact": use one of none, first_order'),
        ({"inner_steps": 0}, "must be 1 or more, not 0"),
        ({"task_weight": -1.0}, "task_weight must be 0 or more"),
        ({"frozen_task_weight": -1.0}, "frozen_task_weight must be 0 or more"),
        ({"warmup_epochs": -1}, "warmup_epochs must be 0 or more"),
        ({"warmup_objective": "task"}, 'Unknown warmup_objective "task": use one of frozen_task, enhancement'),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(*problem(), **arguments)


@pytest.mark.parametrize("mode", RESPONDING)
@pytest.mark.parametrize(("network", "mend"), [(unet(norm="batch"), "instance"), (unet(dropout=0.2), "dropout 0")])
def test_layers_that_are_no_function_of_their_weights_are_refused(mode: str, network: UNet, mend: str) -> None:
    with pytest.raises(InputError, match=f'"{mode}".*{mend}'):
        trainer(*problem(network), hypergradient=mode)


@pytest.mark.parametrize("mode", ["none", "first_order"])
def test_batch_normalisation_will_do_where_nothing_is_differentiated_twice(mode: str) -> None:
    assert "downstream" in losses_of(trainer(*problem(unet(norm="batch")), hypergradient=mode))[-1]


def test_an_optimiser_whose_step_has_no_known_derivative_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="RMSprop"):
        trainer(*problem(make_optimizer=torch.optim.RMSprop), hypergradient="unrolled")


def test_a_diverged_downstream_network_is_told() -> None:
    downstream, data = problem()
    downstream.optimizer.param_groups[0]["lr"] = float("inf")
    with pytest.raises(InputError, match="lower downstream_learning_rate"):
        trainer(downstream, data, warmup_epochs=0).run()


def test_a_network_that_fits_the_task_passes() -> None:
    check_downstream(unet(), 1, (32, 32), 2, "segmentation")
    check_downstream(DenseNet121(2, 1, 3), 1, (64, 64), 3, "classification")


@pytest.mark.parametrize(
    ("network", "size", "classes", "task", "message"),
    [
        (unet(), (32, 32), 4, "segmentation", "num_classes 4"),
        (unet(), (32, 32), 2, "classification", "classification with num_classes 2"),
        (UNet(2, 1, 2, (4, 8, 8), (2, 2)), (30, 32), 2, "segmentation", "does not take a patch of"),
        (DenseNet121(2, 1, 3), (64, 64), 2, "classification", "make num_classes and the network's output"),
    ],
)
def test_a_network_that_does_not_fit_the_task_is_refused(
    network: nn.Module, size: tuple[int, ...], classes: int, task: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_downstream(network, 1, size, classes, task)
