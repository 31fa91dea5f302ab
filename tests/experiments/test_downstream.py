# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DynUNet, UNet
from monai.transforms import Compose, RandFlipd, RandSpatialCropd, SpatialPadd
from torch import nn

from scripts.engines import HYPERGRADIENTS, frozen_task_networks
from scripts.errors import InputError
from scripts.experiments.downstream import DownstreamExperiment, _write_text
from scripts.experiments.downstream_data import prepare_cases
from scripts.experiments.downstream_scores import measure_task
from scripts.experiments.readers import Readers
from scripts.handlers.metrics import image_quality
from scripts.inferers import EnhancementInferer
from scripts.networks import HQGNet, reinitialized
from scripts.tasks import ClassificationTask, SegmentationTask
from scripts.transforms import RandSliced

Item = dict[str, Any]


def tiny_unet(spatial_dims: int = 2) -> nn.Module:
    # With dropout, so that there is something random in training itself.
    return UNet(spatial_dims, 1, 3, channels=(4, 6), strides=(2,), norm="instance", dropout=0.1)


def tiny_enhancer(spatial_dims: int = 2) -> HQGNet:
    return HQGNet(spatial_dims, channels=(4, 6), guidance_channels=(4,), cue_channels=4, code_channels=2)


def item(seed: int, patient: str | None = None, size: Sequence[int] = (16, 16, 4), clean: bool = False) -> Item:
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(1, *size, dtype=torch.uint8)
    label[:, 4:8, 4:12], label[:, 8:12, 4:12] = 1, 2
    reference = 0.1 + 0.3 * label
    noisy = (reference + 0.2 * torch.rand(1, *size, generator=generator)).clamp(0, 1)
    return {
        "image": MetaTensor(reference.clone() if clean else noisy),
        "label": MetaTensor(label),
        "reference": MetaTensor(reference.clone()),
        "patient": patient or f"p{seed}",
    }


def save_arm(arms_dir: Path, arm: str, seed: int, network: nn.Module, downstream: nn.Module | None = None) -> None:
    folder = arms_dir / arm / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    if downstream is not None:
        torch.save(downstream.state_dict(), folder / "downstream.pt")


def save_arms(arms_dir: Path, seeds: Sequence[int] = (0, 1)) -> None:
    for seed in seeds:
        save_arm(arms_dir, "separate", seed, reinitialized(tiny_enhancer(), seed))
        save_arm(arms_dir, "first_order", seed, reinitialized(tiny_enhancer(), 10 + seed), tiny_unet())


def transforms(spatial_dims: int = 2, size: int = 16) -> Compose:
    keys = ["image", "label"]
    return Compose(
        [
            RandSliced(keys, spatial_dims, allow_missing_keys=True),
            SpatialPadd(keys, [size] * spatial_dims, mode="edge", allow_missing_keys=True),
            RandSpatialCropd(keys, [size] * spatial_dims, random_size=False, allow_missing_keys=True),
            RandFlipd(keys, prob=0.5, spatial_axis=0, allow_missing_keys=True),
        ]
    )


def report(tmp_path: Path, **arguments: Any) -> DownstreamExperiment:
    if not (tmp_path / "arms").exists():
        save_arms(tmp_path / "arms")
    defaults: dict[str, Any] = {
        "network": tiny_enhancer(),
        "downstream": tiny_unet(),
        "task": SegmentationTask(3),
        "inferer": EnhancementInferer(spatial_dims=2),
        "labelled": [item(1), item(2)],
        "clean": [item(3, clean=True)],
        "testing": [item(4), item(5)],
        "arms_dir": tmp_path / "arms",
        "output_dir": tmp_path / "report",
        "seeds": (0,),
        "label_budgets": (None, 3),
        "steps": 2,
        "batch_size": 2,
        "random_transforms": transforms(),
    }
    return DownstreamExperiment(**{**defaults, **arguments})


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[Item]]]:
    """Keep seed and items of every training of S."""
    trained: list[tuple[int, list[Item]]] = []
    train = Readers.train

    def counted(self: Readers, items: Sequence[Item], seed: int, name: str) -> nn.Module:
        trained.append((seed, list(items)))
        return train(self, items, seed, name)

    monkeypatch.setattr(Readers, "train", counted)
    return trained


def finished(tmp_path: Path, seed: int) -> list[Item]:
    result = json.loads((tmp_path / "report" / f"downstream_seed{seed}.json").read_text())
    return list(result["rows"])


def test_every_protocol_has_its_rows(tmp_path: Path) -> None:
    rows = report(tmp_path, seeds=(0, 1)).run()
    found = {(row["protocol"], row["arm"], row["labels"], row["seed"]) for row in rows}
    arms = ("raw", "separate", "first_order")
    assert found == {
        (protocol, arm, labels, seed)
        for seed in (0, 1)
        for protocol, arm, labels in [
            *(("transfer", arm, "") for arm in (*arms, "clean")),
            *(("retrained", arm, labels) for arm in arms for labels in ("all", "3")),
            ("cooperative", "first_order", "all"),
        ]
    }
    assert len(rows) == len(found)


def test_files_hold_the_rows_and_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = report(tmp_path, seeds=(0, 1)).run()
    folder = tmp_path / "report"
    with (folder / "downstream.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["dice_mean"]) for row in written] == [row["dice_mean"] for row in rows]
    assert finished(tmp_path, 0) + finished(tmp_path, 1) == rows
    text, printed = (folder / "downstream.md").read_text(), capsys.readouterr().out
    for line in (
        "| Arm         | Dice 1",
        "| raw ",
        "| clean ",
        "## Cooperative",
        "with all labels",
        "an average of weights",
    ):
        assert line in text
    assert " ± " in text
    assert "Retrained: S trained on each arm's images" in printed
    assert (folder / "downstream_seed0.png").is_file()
    assert (folder / "downstream_seed1.png").is_file()


def test_table_has_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    rows = [
        {"protocol": "retrained", "arm": "raw", "labels": labels, "seed": seed, "dice_mean": value}
        for labels, seed, value in (("all", 0, 0.7), ("all", 1, 0.9), ("3", 0, 0.5), ("3", 1, 0.5))
    ]
    ((_, table),) = report(tmp_path).tables.tables(rows)
    assert table.splitlines() == [
        "| Arm | all           | 3             |",
        "| --- | ------------- | ------------- |",
        "| raw | 0.800 ± 0.141 | 0.500 ± 0.000 |",
    ]


def test_transfer_table_says_what_a_step_of_each_arm_takes(tmp_path: Path) -> None:
    for mode, seconds in (("enhancement", 0.2), *((mode, 0.5) for mode in HYPERGRADIENTS)):
        cost = {"seconds": seconds, "steps": 10, "peak_bytes": 2**30, "device": "cpu"}
        (tmp_path / f"{mode}.json").write_text(json.dumps(cost))
    rows = [{"protocol": "transfer", "arm": arm, "labels": "", "seed": 0, "psnr": 1.0} for arm in ("raw", "separate")]
    ((_, table),) = report(tmp_path, costs_dir=tmp_path).tables.tables(rows)
    heading, _, raw, separate = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    assert heading[-2:] == ["Time per step", "Memory"]
    assert raw[-2:] == ["–", "–"]
    assert separate[-2:] == ["2.50", "1.00"]


def test_costs_that_were_not_measured_are_missed_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks enhancement.json"):
        report(tmp_path, costs_dir=tmp_path / "costs")


def test_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    first = report(tmp_path, output_dir=tmp_path / "a").run()
    torch.rand(3)  # another global random state
    assert report(tmp_path, output_dir=tmp_path / "b").run() == first


def test_global_random_state_stays(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    subject = report(tmp_path)
    torch.set_rng_state(state)
    subject.run()
    assert torch.equal(torch.get_rng_state(), state)


def test_identity_network_equals_raw_in_every_protocol(tmp_path: Path) -> None:
    class Identity(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image

    save_arm(tmp_path / "arms", "unrolled", 0, Identity())
    rows = report(tmp_path, network=Identity()).run()
    by_arm: dict[str, list[Any]] = {"raw": [], "unrolled": []}
    for row in rows:
        if row["arm"] in by_arm:
            by_arm[row["arm"]].append({key: value for key, value in row.items() if key != "arm"})
    assert by_arm["raw"] == by_arm["unrolled"]


def test_quality_is_that_of_the_enhanced_images(tmp_path: Path) -> None:
    rows = report(tmp_path).run()
    network = tiny_enhancer().eval()
    network.load_state_dict(torch.load(tmp_path / "arms" / "separate" / "seed0" / "model.pt"))
    values = []
    for entry in (item(4), item(5)):
        with torch.no_grad():
            enhanced = EnhancementInferer(2)(entry["image"].as_tensor()[None], network)[0]
        values.append(image_quality(enhanced, entry["reference"])["psnr"])
    (row,) = [row for row in rows if row["arm"] == "separate" and row["protocol"] == "transfer"]
    assert row["psnr"] == pytest.approx(sum(values) / 2)


def logits_of(classes: torch.Tensor) -> torch.Tensor:
    return torch.stack([(classes[0] == number).float() for number in range(3)])


def test_dice_is_over_whole_volumes_and_then_patients() -> None:
    task = SegmentationTask(3)
    cases = prepare_cases([item(4, "a"), item(5, "a"), item(6, "b")], task)
    right, wrong = logits_of(cases[0].label), logits_of(torch.zeros_like(cases[0].label))
    measures = measure_task([right, wrong, right], cases, task)
    assert measures == pytest.approx({"dice_1": 0.75, "dice_2": 0.75, "dice_mean": 0.75})


def test_class_that_a_patient_lacks_does_not_count() -> None:
    entry = item(4)
    entry["label"][entry["label"] == 2] = 0
    task = SegmentationTask(3)
    cases = prepare_cases([entry], task)
    assert measure_task([logits_of(cases[0].label)], cases, task) == {"dice_1": 1.0, "dice_mean": 1.0}


def test_budget_is_a_number_of_slices_that_show_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = count_trainings(monkeypatch)
    dark = item(2)
    dark["image"][..., 0] = 0
    report(tmp_path, labelled=[item(1), dark], clean=[], label_budgets=(None, 3)).run()
    assert [len(items) for _, items in trained] == [7, 3] * 3
    assert all(entry["image"].shape == entry["label"].shape == (1, 16, 16) for _, items in trained for entry in items)


def test_protocols_that_nothing_can_be_said_of_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to report of transfer"):
        report(tmp_path, clean=[], protocols=("transfer",), label_budgets=(9,)).run()


@pytest.mark.parametrize("protocol", ["transfer", "retrained", "cooperative"])
def test_one_protocol_alone(tmp_path: Path, protocol: str) -> None:
    every = report(tmp_path).run()
    one = report(tmp_path, protocols=(protocol,), output_dir=tmp_path / "one").run()
    assert one == [row for row in every if row["protocol"] == protocol]
    assert one


def test_a_budget_of_more_than_there_is_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = report(tmp_path, arms=("separate",), clean=[], label_budgets=(None, 9, 3)).run()
    assert {row["labels"] for row in rows if row["protocol"] == "retrained"} == {"all", "3"}
    assert "only 8 labelled slices show something: the label budgets 9" in caplog.text


def test_budgets_slices_are_the_same_for_all_arms_and_differ_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = [item(1), item(2)]
    for number, entry in enumerate(volumes):  # labels that tell the slices apart
        entry["label"][0, 0, 0] = torch.tensor([0, 1, 2, 1])
        entry["label"][0, 0, 1] = number
        entry["label"][0, 0, 2] = torch.tensor([0, 0, 0, 1])
    trained = count_trainings(monkeypatch)
    report(tmp_path, labelled=volumes, clean=[], label_budgets=(3,), seeds=(0, 1)).run()
    labels = [(seed, torch.stack([entry["label"] for entry in items])) for seed, items in trained]
    for seed in (0, 1):
        first, *others = [stack for trained_seed, stack in labels if trained_seed == seed]
        assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(labels[0][1], labels[-1][1])


def test_three_dimensional_budget_counts_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = count_trainings(monkeypatch)
    sizes = (16, 16, 16)
    save_arm(tmp_path / "arms", "separate", 0, tiny_enhancer(3))
    report(
        tmp_path,
        network=tiny_enhancer(3),
        downstream=tiny_unet(3),
        inferer=EnhancementInferer(spatial_dims=3),
        labelled=[item(1, size=sizes), item(2, size=sizes)],
        clean=[],
        testing=[item(3, size=sizes)],
        label_budgets=(None, 1),
        spatial_dims=3,
        random_transforms=transforms(3),
    ).run()
    assert [len(items) for _, items in trained] == [2, 1, 2, 1]
    assert trained[0][1][0]["image"].shape == (1, *sizes)


def test_finished_seeds_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = report(tmp_path, seeds=(0,)).run()
    trained = count_trainings(monkeypatch)
    rows = report(tmp_path, seeds=(0, 1)).run()
    assert {seed for seed, _ in trained} == {1}
    assert [row for row in rows if row["seed"] == 0] == first


def test_interrupted_run_keeps_the_seeds_it_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_seed = DownstreamExperiment._run_seed

    def interrupted(self: DownstreamExperiment, seed: int, *arguments: Any) -> Any:
        if seed == 1:
            raise KeyboardInterrupt
        return run_seed(self, seed, *arguments)

    monkeypatch.setattr(DownstreamExperiment, "_run_seed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report(tmp_path, seeds=(0, 1)).run()
    assert finished(tmp_path, 0)
    assert not (tmp_path / "report" / "downstream_seed1.json").exists()
    assert "One seed, 0" in (tmp_path / "report" / "downstream.md").read_text()


def test_seeds_that_processes_of_their_own_did_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = [row for seed in (1, 0) for row in report(tmp_path, seeds=(seed,)).run()]
    trained = count_trainings(monkeypatch)
    rows = report(tmp_path, seeds=(0, 1)).run()
    assert not trained
    assert sorted(rows, key=str) == sorted(apart, key=str)
    assert "over the seeds 0, 1" in (tmp_path / "report" / "downstream.md").read_text()


def test_seed_that_another_process_finishes_meanwhile_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_seed = DownstreamExperiment._run_seed
    done: list[int] = []

    def accompanied(self: DownstreamExperiment, seed: int, *arguments: Any) -> Any:
        done.append(seed)
        if seed == 0:
            report(tmp_path, seeds=(1,)).run()
        return run_seed(self, seed, *arguments)

    monkeypatch.setattr(DownstreamExperiment, "_run_seed", accompanied)
    rows = report(tmp_path, seeds=(0, 1)).run()
    assert done == [0, 1]  # seed 1 by the other one
    assert {row["seed"] for row in rows} == {0, 1}


def test_results_of_other_seeds_stay(tmp_path: Path) -> None:
    first = report(tmp_path, seeds=(0,)).run()
    assert {row["seed"] for row in report(tmp_path, seeds=(1,)).run()} == {1}
    assert finished(tmp_path, 0) == first


def test_two_processes_may_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, ids = Path.replace, iter((1, 2))

    def written_meanwhile(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        _write_text(tmp_path / "table.md", "theirs")
        return replace(self, target)

    monkeypatch.setattr("os.getpid", lambda: next(ids))
    monkeypatch.setattr(Path, "replace", written_meanwhile)
    _write_text(tmp_path / "table.md", "ours")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("table.md", "ours")]


def test_progress_bar_names_arm_and_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # there is none in a log file
    report(tmp_path, arms=("separate",)).run()
    shown = capsys.readouterr().err
    for name in ("S on clean images", "S on raw images, all labels", "S on separate images, 3 labels"):
        assert f"seed 0, {name}" in shown


@pytest.mark.parametrize(
    "arguments", [{"steps": 1}, {"labelled": [item(1), item(8)]}, {"random_transforms": transforms(size=8)}]
)
def test_other_settings_data_or_augmentation_are_done_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    report(tmp_path).run()
    trained = count_trainings(monkeypatch)
    report(tmp_path, **arguments).run()
    assert trained


def test_arm_trained_anew_is_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(tmp_path).run()
    trained = count_trainings(monkeypatch)
    save_arm(tmp_path / "arms", "separate", 0, reinitialized(tiny_enhancer(), 99))
    report(tmp_path).run()
    assert trained


def test_without_labelled_clean_images_there_is_no_transfer(tmp_path: Path) -> None:
    rows = report(tmp_path, clean=[{"image": torch.rand(1, 16, 16, 4)}]).run()
    assert {row["protocol"] for row in rows} == {"retrained", "cooperative"}


def test_without_references_there_is_neither_bound_nor_quality(tmp_path: Path) -> None:
    testing = [{key: value for key, value in item(4).items() if key != "reference"}]
    rows = report(tmp_path, testing=testing).run()
    assert "clean" not in {row["arm"] for row in rows}
    assert not any("psnr" in row for row in rows)
    assert "PSNR" not in (tmp_path / "report" / "downstream.md").read_text()


def test_images_of_any_size_pass_through_the_downstream_network(tmp_path: Path) -> None:
    rows = report(tmp_path, testing=[item(4, size=(15, 17, 3))]).run()
    assert all("dice_mean" in row for row in rows)


def labelled_by_level(seed: int, label: Any) -> Item:
    entry = item(seed)
    level = 0.9 if torch.as_tensor(label).flatten()[0] else 0.1
    return {**entry, "image": entry["image"] * level, "label": label}


def classifier(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


def test_classification_has_area_and_accuracy(tmp_path: Path) -> None:
    labels = [torch.tensor(number % 2) for number in range(4)]
    cases = [labelled_by_level(seed, label) for seed, label in enumerate(labels)]
    rows = report(
        tmp_path,
        task=ClassificationTask(2),
        downstream=classifier(2),
        labelled=cases,
        clean=cases,
        testing=cases,
        arms=("separate",),
        steps=40,
        learning_rate=0.1,
    ).run()
    (raw,) = [row for row in rows if row["arm"] == "raw" and row["protocol"] == "transfer"]
    assert (raw["auc"], raw["accuracy"]) == (1.0, 1.0)
    assert "AUC by number of labels" in (tmp_path / "report" / "downstream.md").read_text()


def test_classes_that_do_not_exclude_each_other_are_classified() -> None:
    labels = [torch.tensor([float(n % 2), float(n > 1), 0.0]) for n in range(4)]
    cases = [labelled_by_level(seed, label) for seed, label in enumerate(labels)]
    task = ClassificationTask(3, multi_label=True)
    logits = [torch.tensor([2 * n - 1, -1, -1]) for n, _, _ in labels]
    measures = measure_task(logits, prepare_cases(cases, task), task)
    # The areas: perfect, by chance, and of a class that never occurs, none. The second class is missed in two cases.
    assert measures == pytest.approx({"auc": 0.75, "accuracy": 0.5})


def test_confident_answers_are_still_ranked() -> None:
    cases = [{**item(number), "label": torch.tensor(number)} for number in (0, 1)]
    task = ClassificationTask(2)
    # Their probabilities are both 1 in single precision.
    logits = [torch.tensor([0.0, level]) for level in (20.0, 22.0)]
    assert measure_task(logits, prepare_cases(cases, task), task) == {"auc": 1.0, "accuracy": 0.5}


def test_missing_arm_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        rows = report(tmp_path, arms=("separate", "implicit")).run()
    assert "implicit is left out" in caplog.text
    assert {row["arm"] for row in rows} == {"raw", "separate", "clean"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"seeds": (0, 5)}, "separate was not trained for seed 5"),
        ({"arms": ("implicit",)}, "no trained arm"),
        ({"labelled": [{"image": torch.rand(1, 16, 16, 4)}]}, "training_lq"),
        ({"testing": []}, "testing"),
        ({"label_budgets": (9, 10)}, "Every label budget is more than the 8 labelled slices"),
        ({"task": SegmentationTask(2)}, "class 2"),
        ({"seeds": ()}, "one seed"),
        ({"label_budgets": (0,)}, "at least 1"),
        ({"protocols": ("transfer", "guessed")}, "protocols are some of transfer, retrained, cooperative, not guessed"),
        ({"protocols": ()}, "not none"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        report(tmp_path, **arguments).run()


def test_downstream_network_of_some_seeds_only_is_refused(tmp_path: Path) -> None:
    save_arms(tmp_path / "arms")
    (tmp_path / "arms" / "first_order" / "seed1" / "downstream.pt").unlink()
    with pytest.raises(InputError, match=r"first_order has a downstream\.pt for some seeds"):
        report(tmp_path, seeds=(0, 1)).run()


def test_unreadable_results_are_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "downstream_seed1.json").write_text("{")
    trained = count_trainings(monkeypatch)
    with pytest.raises(InputError, match="remove it"):
        report(tmp_path, seeds=(0, 1)).run()
    assert not trained


def dyn_unet() -> nn.Module:
    return DynUNet(2, 1, 3, kernel_size=[3] * 3, strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[4, 6, 8])


def test_learning_rate_falls_along_a_cosine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    class Recorder(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(frozen_task_networks, "Adam", Recorder)
    report(tmp_path, arms=("separate",), clean=[], label_budgets=(None,), steps=4, learning_rate=0.1).run()
    assert rates[:4] == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])
    assert rates[4:] == rates[:4]
