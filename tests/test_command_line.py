# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import json
import pydoc
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from scripts.command_line import FORMER_SETTINGS, refuse_unknown, refuse_unknown_settings, running_parser
from scripts.errors import InputError
from scripts.networks import HQGNet

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
TRAIN = ["run", "training", "--config_file", str(CONFIGS / "train.yaml")]
BOTH = ["run", "--config_file", f"['{CONFIGS / 'train.yaml'}','{CONFIGS / 'classification.yaml'}']"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*TRAIN, "--epochs", "5", "--loss_weights#wavelet", "2", "--seed=1"],
        [*TRAIN, "--downstream_def#dropout", "0.2"],
        [*TRAIN, "--logging_file", "False", "--bundle_root", "."],
        [*BOTH, "--downstream_def#norm", "instance"],
        [*TRAIN, "--learning_rate", "-1"],
        ["verify_metadata", "--meta_file", "x"],
        [],
    ],
)
def test_known_settings_pass(arguments: list[str]) -> None:
    refuse_unknown_settings(arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_dir", "scan #1", "--input_dir .scan #1. holds a #"),
        ("output_dir", "/data/a#b", "holds a #"),
        ("datalist", "#1.json", "holds a #"),
        ("output_dir", "$results", "would be evaluated, since it begins with a .: write ../.results"),
        ("input_dir", "$study 1/series", "would be evaluated"),
    ],
)
def test_places_that_the_command_line_would_rewrite_are_refused(name: str, value: str, message: str) -> None:
    command = ["run", "--config_file", str(CONFIGS / "inference.yaml")]
    for arguments in ([f"--{name}", value], [f"--{name}={value}"]):
        with pytest.raises(InputError, match=message):
            refuse_unknown_settings([*command, *arguments])


@pytest.mark.parametrize(
    "value", ["$@bundle_root + '/models'", "@output_dir", "$str('a')", "plain/folder", "./$results"]
)
def test_expressions_and_other_places_pass(value: str) -> None:
    refuse_unknown_settings(["run", "--config_file", str(CONFIGS / "inference.yaml"), "--model_dir", value])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TRAIN, "--epoch", "5"], "no setting --epoch: did you mean --epochs"),
        ([*TRAIN, "--loss_weight#wavelet", "5"], "--loss_weight#wavelet: did you mean --loss_weights"),
        ([*TRAIN, "--sede=1"], "did you mean --seed"),
        ([*TRAIN, "--clean_readers", "2"], "--clean_readers is now --bilevel#settings#frozen_task_networks"),
        ([*TRAIN, "--loss_weights#wavelet", "2", "--guided", "False"], "--guided is now --network_def#guided"),
        ([*TRAIN, "--network_settings#head", "plain"], "is now --network_def#head"),
        ([*TRAIN, "--warmup_objective", "transfer"], "is now --bilevel#settings#warmup_objective frozen_task"),
        ([*TRAIN, "--bilevel#settings#warmup_objective", "transfer"], "#warmup_objective frozen_task"),
        ([*TRAIN, "--zzzzqqqq", "1"], "name all that there are"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_unknown_settings(arguments)


OF_INFERENCE = {"inference.yaml", "tensorrt.yaml"}


@pytest.mark.parametrize("name", sorted({path.name for path in CONFIGS.glob("*.yaml")} - OF_INFERENCE))
def test_the_overlays_of_the_bundle_pass(name: str) -> None:
    refuse_unknown([str(CONFIGS / "train.yaml"), str(CONFIGS / name)], {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 5}, "no setting --epoch in .*mine.json.: did you mean --epochs"),
        ({"train#datset#cache_rate": 0.5}, "--train#datset#cache_rate in .*mine.json.: did you mean --train#dataset"),
        ({"guided": False}, "--guided in .*mine.json. is now --network_def#guided"),
        ({"my_rate": 1e-4}, "no setting --my_rate"),
    ],
)
@pytest.mark.parametrize("option", ["--config_file", "--args_file"])
def test_what_nothing_reads_is_refused_in_files_too(
    content: dict[str, Any], message: str, option: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content))
    arguments = ["run", "training", "--config_file", f"['{CONFIGS / 'train.yaml'}','{file}']"]
    if option == "--args_file":
        arguments = [*TRAIN, "--args_file", str(file)]
        message = message.replace(" in .*mine.json.", "")
    with pytest.raises(InputError, match=message):
        refuse_unknown_settings(arguments)


def test_a_file_may_name_what_it_refers_to_and_runs_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    content = {"my_rate": 1e-4, "learning_rate": "@my_rate", "my_run": ["$print(@epochs)"], "d_optimizer#eps": 1e-7}
    file.write_text(json.dumps({**content, "+imports": ["$import sys"], "train#updates#mine": {"_target_": "x"}}))
    refuse_unknown([str(CONFIGS / "train.yaml"), str(file)], {"my_rate": 1e-3})


def test_every_file_is_read_once_and_lies_on_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [{"part": {"size": 1}, "steps": [1]}, {"part#size": 2, "+steps": [2]}, {"part": {"size": 3}}]
    files = [str(tmp_path / f"{number}.json") for number in range(3)]
    for file, content in zip(files, contents, strict=True):
        Path(file).write_text(json.dumps(content))
    read: list[str] = []
    load = ConfigParser.load_config_file
    monkeypatch.setattr(ConfigParser, "load_config_file", lambda file: read.append(file) or load(file))
    assert refuse_unknown(files, {}).get() == {"part": {"size": 3}, "steps": [1, 2]}
    assert read == files


def test_a_file_of_arguments_may_name_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps({"run_id": "training", "config_file": str(CONFIGS / "train.yaml"), "epoch": 5}))
    with pytest.raises(InputError, match="did you mean --epochs"):
        refuse_unknown_settings(["run", "--args_file", str(file)])
    with pytest.raises(InputError, match="no file .*nowhere.json. of arguments"):
        refuse_unknown_settings(["run", "--args_file", "nowhere.json"])


# The named settings of version 0.3, of train.yaml and classification.yaml.
FORMER = """
    bundle_root dataset_dir datalist output_dir model_dir device seed spatial_dims channels slice_axis
    percentiles window patch_size validation_fraction test_fraction network_channels guidance_channels
    cue_channels code_channels guided head discriminator_channels discriminator_layers
    discriminator_detail_levels discriminator_detail_gain task num_classes hypergradient task_weight
    transfer_weight clean_readers clean_reader_steps clean_reader_batch_size warmup_epochs warmup_objective
    inner_steps finite_difference_epsilon neumann_terms damping neumann_step_size downstream_channels
    downstream_learning_rate downstream_batch_size upper_batch_size guide_weight downstream_judge_layers epochs
    steps_per_epoch batch_size learning_rate guidance_learning_rate d_learning_rate betas loss_weights wavelet
    wavelet_level_weights wavelet_stationary wavelet_relative kl_free_nats
    r1_weight max_grad_norm ema_momentum amp num_workers cache_rate val_interval model_metric
    early_stop_patience pause_after resume panel_cases mlflow tracking_uri experiment_name run_name calibrates
    multi_label downstream_loss downstream_norm downstream_blocks downstream_init_features
    downstream_growth_rate
"""


@pytest.mark.parametrize("name", FORMER.split())
def test_a_former_setting_is_known_or_refused_with_a_path_that_exists(name: str) -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / "classification.yaml")])
    if name in parser:
        refuse_unknown_settings([*BOTH, f"--{name}", "1"])
        return
    path = FORMER_SETTINGS[name]
    with pytest.raises(InputError, match=f"--{name} is now --{path}"):
        refuse_unknown_settings([*BOTH, f"--{name}", "1"])
    component, _, argument = path.rpartition("#")
    if path not in parser and path != "downstream_def#channels":  # of the network in train.yaml alone
        target = pydoc.locate(parser[component]["_target_"])
        assert callable(target)
        assert argument in inspect.signature(target).parameters


def test_the_parser_of_a_running_expression_is_found() -> None:
    parser = ConfigParser({"imports": ["$import scripts.command_line as it"], "found": "$it.running_parser()"})
    assert parser.get_parsed_content("found") is parser
    with pytest.raises(RuntimeError, match="No configuration"):
        running_parser()


def test_only_the_command_of_monai_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/pytest", *TRAIN, "--epoch", "5"])
    refuse_unknown_settings()
    monkeypatch.setattr("sys.argv", ["/site-packages/monai/bundle/__main__.py", *TRAIN, "--epoch", "5"])
    with pytest.raises(InputError):
        refuse_unknown_settings()


# ------------------------------------------------------------------------------ the executed configuration


def evaluated(expression: str, **content: Any) -> Any:
    parser = ConfigParser(
        {"imports": ["$import scripts.command_line as command_line"], **content, "result": f"${expression}"}
    )
    return parser.get_parsed_content("result")


@pytest.mark.parametrize(("value", "expected"), [("$[1]", None), ([{"image": "a"}], [{"image": "a"}]), ([], [])])
def test_a_list_in_the_place_of_an_expression_was_handed_over(value: Any, expected: Any) -> None:
    assert evaluated("command_line.handed_over('part#data')", part={"data": value}) == expected


def test_settings_are_the_plain_values_by_path() -> None:
    content = {
        "epochs": 3,
        "patch_size": [96, 112],
        "twice": "$2 * @epochs",
        "part": {"_target_": "builtins.dict", "of": {"size": None, "same": "@epochs"}},
        "steps": [{"_target_": "builtins.dict"}],
        "device": "$'c' + 'pu'",
    }
    settings = evaluated("command_line.executed_settings()", **content)
    assert settings == {"epochs": 3, "patch_size": [96, 112], "part#of#size": None, "device": "cpu"}


def test_the_executed_configuration_can_be_written_down() -> None:
    configuration = evaluated("command_line.executed_configuration()", epochs=3, part={"set": {1}})
    assert configuration["epochs"] == 3
    assert configuration["part"] == {"set": "{1}"}


def test_arguments_of_a_component_hold_its_defaults() -> None:
    network = {"_target_": "scripts.networks.HQGNet", "channels": [4, 6], "spatial_dims": "@dims"}
    arguments = evaluated("command_line.arguments_of('network_def')", network_def=network, dims=3)
    assert arguments["channels"] == [4, 6]
    assert arguments["spatial_dims"] == 3
    assert arguments["cue_channels"] == 16
    assert HQGNet(**arguments).guided
