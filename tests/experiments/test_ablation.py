# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What the ablation trains and when again, with a stand-in for the commands; and a tiny one from end to end."""

from __future__ import annotations

import csv
import inspect
import json
import sys
import traceback
import zlib
from pathlib import Path
from pydoc import locate
from typing import Any

import monai.bundle
import numpy as np
import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from PIL import Image
from tests.bundle.conftest import TINY_NETWORKS
from tests.experiments.recorded_commands import RecordedCommands

from scripts.api import Enhancer
from scripts.errors import InputError, find_input_error
from scripts.experiments import ablation
from scripts.experiments.ablation import AblationRun
from scripts.experiments.ablation_variants import DEFAULT_VARIANTS, VARIANTS, Variant
from scripts.experiments.jobs import BUNDLE

TINY = {
    "epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 2,
    "restoration_epochs": 0,
    "warmup_epochs": 0,
    "device": "cpu",
    **TINY_NETWORKS,
}


class StandIn(RecordedCommands):
    """Leaves the files that the commands would leave, and keeps the commands."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.refuses = refuses

    def __call__(self, command: list[str], log: Path) -> int:
        self.commands.append(command)
        run_id = command[4]
        log.write_text("no styles" if self.refuses else "done")
        if run_id == "checking":
            return int(self.refuses)
        folder = Path(self.value(command, "--output_dir"))
        if run_id == "training":
            (folder / "checkpoint.pt").touch()
            (folder / "model.pt").touch()
        else:
            (folder / "guidance" / "guidance.csv").write_text("patient,style,ssim\np1,a,0.5\n")
        return 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "datalist.json").write_text("{}")
    return folder


def run(data: Path, stand_in: StandIn | None = None, **arguments: Any) -> StandIn:
    stand_in = stand_in or StandIn()
    settings = {"seeds": [0, 1], "variants": ["without-style"], "jobs": 1, **arguments}
    AblationRun(data, data.parent / "out", execute=stand_in, **settings).run()
    return stand_in


def test_every_variant_is_trained_without_labels_and_measured_for_every_seed(data: Path) -> None:
    done = run(data)
    assert [(command[4], Path(StandIn.value(command, "--output_dir")).parts[-2:]) for command in done.commands[1:]] == [
        (run_id, (variant, seed))
        for seed in ("seed0", "seed1")
        for variant in ("full", "without-style")
        for run_id in ("training", "guidance")
    ]
    assert all(StandIn.value(command, "--task") == "none" for command in done.of("training"))
    assert [StandIn.value(command, "--seed") for command in done.of("training")] == ["0", "0", "1", "1"]
    assert ["--loss_weights#style" in command for command in done.of("guidance")] == [False, True, False, True]
    assert (data.parent / "out" / "ablation.md").is_file()
    with (data.parent / "out" / "ablation.csv").open() as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["full", "without-style"]
    assert run(data).commands == []


def test_a_further_seed_or_variant_costs_its_own_trainings_alone(data: Path) -> None:
    run(data, seeds=[0])
    assert len(run(data).of("training")) == 2
    assert len(run(data, variants=["without-style", "without-wavelet"]).of("training")) == 2


def test_a_variant_whose_settings_have_changed_is_trained_anew(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data)
    changed = Variant("without-style", "Less of it.", ("--loss_weights#style", "0.1"))
    monkeypatch.setattr(ablation, "find_variants", lambda names: [VARIANTS[0], changed])
    done = run(data)
    assert len(done.of("training")) == len(done.of("guidance")) == 2
    assert all("--overwrite" in command for command in done.of("training"))


def test_an_interrupted_training_goes_on_and_is_measured_anew(data: Path) -> None:
    run(data)
    folder = data.parent / "out" / "variants" / "full" / "seed1"
    (folder / ".trained").unlink()
    done = run(data)
    assert [command[4] for command in done.commands] == ["training", "guidance"]
    assert "--resume" in done.of("training")[0]


def test_other_settings_are_checked_before_earlier_results_are_given_up(data: Path) -> None:
    run(data)
    with pytest.raises(InputError, match="no styles"):
        run(data, StandIn(refuses=True), settings=["--epochs", "3"])
    assert run(data).commands == []
    done = run(data, settings=["--epochs", "3"])
    assert len(done.of("training")) == 4
    assert all(StandIn.value(command, "--epochs") == "3" for command in done.commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variants": ["without-stile"]}, "The variants are full, .* not without-stile"),
        ({"variants": ["full"]}, "none beside"),
        ({"variants": []}, "none beside"),
        ({"seeds": []}, "one seed"),
        ({"jobs": 0}, "--jobs"),
        ({"settings": ["--seed", "3"]}, "--seed: the ablation sets this itself"),
    ],
)
def test_wrong_arguments_are_refused(data: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(data, **arguments)


def test_measurements_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "guidance.csv").write_text("patient,style,ssim\np1,a,good\n")
    for name in ("guidance.csv", "missing.csv"):
        with pytest.raises(InputError, match=rf"{name}.*cannot be read"):
            ablation.read_measures(tmp_path / name)


def test_further_options_are_settings_of_the_training(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[AblationRun] = []
    monkeypatch.setattr(AblationRun, "run", lambda self: found.append(self))
    options = ["--seeds", "0,2", "--epochs", "3", "--train#zoom", "$None", "--patch_size", "[32, 32]", "--window=None"]
    ablation.main([f"--data={data}", f"--output={data}", *options])
    assert found[0].seeds == (0, 2)
    assert found[0].variants == list(DEFAULT_VARIANTS)
    assert found[0].settings == [
        *("--epochs", "3", "--train#zoom", "$None", "--patch_size", "[32, 32]", "--window", "$None")
    ]


@pytest.fixture(scope="module")
def configuration() -> ConfigParser:
    return ConfigParser(ConfigParser.load_config_file(str(BUNDLE / "configs" / "train.yaml")))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_settings_of_every_variant_are_there_to_be_set(variant: Variant, configuration: ConfigParser) -> None:
    """A setting that nothing reads would make the variant the complete method under another name."""
    for name in (text.removeprefix("--") for text in variant.settings[::2]):
        above, _, last = name.rpartition("#")
        whole = configuration[above]
        known = inspect.signature(locate(whole["_target_"])).parameters if "_target_" in whole else whole  # type: ignore[arg-type]
        assert last in known, name


def test_the_default_takes_less_than_four_hours_of_two_cores() -> None:
    """A training takes 13 minutes with one thread."""
    assert len(DEFAULT_VARIANTS) * 3 * 13 / 2 <= 4 * 60


def write_patient(folder: Path, name: str, contrast: float) -> dict[str, str]:
    """A picture with two tissues and its label, as an entry of a datalist."""
    label = np.zeros((40, 40), np.uint8)
    label[4:20, 4:36], label[20:36, 4:36] = 1, 2
    noise = np.random.RandomState(zlib.crc32(name.encode())).normal(0, 5, label.shape)
    pixels = np.where(label == 1, 150 - contrast, np.where(label == 2, 150 + contrast, 10)) + noise
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(label).save(folder / f"{name}_label.png")
    return {"image": f"{name}.png", "label": f"{name}_label.png"}


def write_data(folder: Path) -> None:
    styles = {"steep": 60.0, "falling": -60.0}
    lists = {
        "training_lq": [write_patient(folder, f"lq{number}", 10) for number in range(2)],
        "training_hq": [
            {**write_patient(folder, f"{style}{number}", contrast), "style": style}
            for style, contrast in styles.items()
            for number in range(2)
        ],
        "testing": [
            {
                **write_patient(folder, f"test{number}", 10),
                "references": {
                    style: write_patient(folder, f"test{number}_{style}", contrast)["image"]
                    for style, contrast in styles.items()
                },
            }
            for number in range(2)
        ],
    }
    (folder / "datalist.json").write_text(json.dumps(lists))


def in_this_process(command: list[str], log: Path) -> int:
    """Run a command of MONAI's here: a process of its own takes longer to start than to train."""
    names, values = command[5::2], command[6::2]
    settings = {name.removeprefix("--"): DefaultParseValue(text) for name, text in zip(names, values, strict=True)}
    try:
        monai.bundle.run(command[4], logging_file=False, **settings)
    except Exception as error:
        log.write_text(str(find_input_error(error) or traceback.format_exc()))
        return 1
    return 0


@pytest.fixture
def tiny(data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a run on eight small pictures, one step long."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the runs install their own
    monkeypatch.chdir(BUNDLE)
    write_data(data)
    settings = [text for name, value in TINY.items() for text in (f"--{name}", str(value))]
    return {"data": data, "output": data.parent / "out", "settings": settings, "jobs": 1, "execute": in_this_process}


@pytest.mark.slow
def test_a_tiny_ablation_ends_with_tables(tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    names = ["with-instance-norm", "without-variational"]
    AblationRun(**tiny, seeds=[0], variants=names).run()
    assert "## What each part brings" in capsys.readouterr().out
    with (tiny["output"] / "ablation.csv").open() as file:
        rows = {(row["variant"], row["measure"]): row for row in csv.DictReader(file)}
    assert {variant for variant, _ in rows} == {"full", *names}
    assert float(rows["with-instance-norm", "follow"]["mean"]) == pytest.approx(0.0, abs=1e-6)
    assert rows["with-instance-norm", "own"]["verdict"] == "one seed says nothing"
    assert 0.0 <= float(rows["full", "style_share"]["mean"]) <= 1.0
    for variant, setting, value in (("with-instance-norm", "modulation", "instance"), (names[1], "variational", False)):
        folder = tiny["output"] / "variants" / variant / "seed0"
        assert json.loads((folder / "model.json").read_text())["network"][setting] == value
        assert Enhancer.from_bundle(folder)(np.random.RandomState(0).rand(1, 40, 40)).image.shape[-2:] == (40, 40)


@pytest.mark.slow
def test_data_that_cannot_be_measured_are_refused_before_any_training(tiny: dict[str, Any]) -> None:
    file = tiny["data"] / "datalist.json"
    lists = json.loads(file.read_text())
    for entry in lists["training_hq"]:
        del entry["style"]
    file.write_text(json.dumps(lists))
    with pytest.raises(InputError, match="two styles"):
        AblationRun(**tiny, variants=["without-style"]).run()
    assert not (tiny["output"] / "variants").exists()
