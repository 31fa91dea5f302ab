# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scripts.errors import InputError
from scripts.experiments import speed_bench, speed_clock
from scripts.experiments.speed import PARTS, speed
from scripts.experiments.speed_bench import Bench, Table, in_own_process
from scripts.experiments.speed_clock import Elapsed, Progress, interleave, median, median_ratio
from scripts.experiments.speed_subjects import (
    CycleGANStep,
    EnhancementStep,
    ResNetGenerator,
    bias_field_correction,
    hqgnet,
    phantom,
)

CPU = torch.device("cpu")
TINY = {
    "network_channels": [4, 6, 8],
    "guidance_channels": [4, 6],
    "discriminator_def#channels": 4,
    "discriminator_def#num_layers_d": 1,
}


def bench(tmp_path: Path, device: torch.device = CPU) -> Bench:
    return Bench(device, 1, True, Progress(1.0), tmp_path)


def test_what_is_compared_runs_in_turn_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    times = interleave({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3, budget=60)
    assert order == list("abababab")
    assert {name: len(measured) for name, measured in times.items()} == {"a": 3, "b": 3}


def test_two_rounds_are_measured_whatever_the_budget() -> None:
    assert len(interleave({"a": lambda: None}, rounds=9, budget=0)["a"]) == 2


def test_ratio_is_the_median_of_ratios_within_a_round() -> None:
    # A disturbance slows down both sides of the second round.
    one, other = ([Elapsed(time, time) for time in times] for times in ((1, 10, 1), (2, 20, 4)))
    assert median(one) == (1, 1)
    assert median_ratio(one, other) == (0.5, 0.5)


def test_progress_tells_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 30.0])
    monkeypatch.setattr(speed_clock.time, "perf_counter", lambda: next(now))
    progress = Progress(total=4.0)
    progress.begin("first")
    progress.end(1.0)
    progress.begin("second")
    assert capsys.readouterr().err.splitlines() == ["[0:00 gone] first", "[0:30 gone, about 1:30 left] second"]


def test_resnet_is_the_generator_of_the_paper() -> None:
    generator = ResNetGenerator(channels=3)
    assert sum(weight.numel() for weight in generator.parameters()) == pytest.approx(11.378e6, rel=1e-3)
    image = phantom(32, batch=2)
    assert ResNetGenerator(filters=4, blocks=1)(image).shape == image.shape


def test_a_step_of_cyclegan_trains_all_four_networks() -> None:
    step = CycleGANStep(lambda: ResNetGenerator(filters=4, blocks=1), 32, 1, CPU)
    networks = [*step.generators, *step.discriminators]
    before = [nn.utils.parameters_to_vector(network.parameters()).detach().clone() for network in networks]
    step()
    for network, weights in zip(networks, before, strict=True):
        assert not torch.equal(nn.utils.parameters_to_vector(network.parameters()), weights)


def test_our_network_can_take_the_generators_place() -> None:
    step = CycleGANStep(lambda: hqgnet(TINY), 32, 1, CPU)
    before = step.generators[0](step.images[0]).detach()
    step()
    assert not torch.equal(step.generators[0](step.images[0]), before)


@pytest.mark.parametrize("restores", [False, True])
def test_our_step_is_that_of_the_configuration(restores: bool) -> None:
    step = EnhancementStep(TINY, 32, 2, CPU, restores=restores)
    step()
    assert step.trainer.max_grad_norm == 1.0
    losses = set(step.trainer.state.output["losses"])
    assert {"restoration", "style", "kl"} <= losses
    assert ("adversarial" in losses) is not restores


@pytest.mark.slow
def test_n4_flattens_a_bias_field() -> None:
    field = np.linspace(0.5, 1.0, 48)[:, None] * np.ones(48)
    corrected = bias_field_correction(field)()
    assert corrected.std() / corrected.mean() < 0.5 * field.std() / field.mean()


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    assert in_own_process(os.getpid) not in (None, os.getpid())
    assert in_own_process(os._exit, 3) is None


def test_aims_say_what_was_reached(tmp_path: Path) -> None:
    measured = bench(tmp_path)
    assert measured.aims() is None
    for value in (0.2, 0.3, 0.24):
        measured.find("training step, paper's size, relative to CycleGAN", value)
    measured.find("inference, paper's size, relative to the 9-block ResNet", 2.5)
    table = measured.aims()
    assert table is not None
    assert [row[1:] for row in table.rows[1:]] == [("≤ 0.25", "0.2 to 0.3", "in part"), ("≥ 2", "2.5", "yes")]


def test_ratios_are_of_processor_time_where_the_processor_works(tmp_path: Path) -> None:
    assert bench(tmp_path).seconds(Elapsed(1.0, 2.0)) == 2.0
    assert bench(tmp_path, torch.device("cuda")).seconds(Elapsed(1.0, 2.0)) == 1.0


def test_report_keeps_the_parts_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(bench: Bench) -> list[Table]:
        raise KeyboardInterrupt

    def finishes(bench: Bench) -> list[Table]:
        bench.find("bi-level step, relative to enhancement alone", 2.0)
        return [Table("First", [("what", "s"), ("a step", "1")], ["A note."])]

    monkeypatch.setitem(PARTS, "training", (finishes, 1.0))
    monkeypatch.setitem(PARTS, "memory", (stops, 1.0))
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        speed(str(tmp_path), threads=threads, parts="training,memory", device="cpu")
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "## First" in text
    assert "- A note." in text
    assert "| 2        | yes" in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parts": "training,speed"}, "no part speed"),
        ({"parts": ""}, "name some parts of training"),
        ({"threads": 0}, "threads"),
        ({"device": "cuda:77"}, "cuda:77"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        speed(str(tmp_path), **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_part_measures(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    speed(str(tmp_path), quick=True, threads=threads, device="cpu")
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    for aim in speed_bench.AIMS:
        assert f"| {aim} " in text or ("memory" in aim and sys.platform == "win32")
