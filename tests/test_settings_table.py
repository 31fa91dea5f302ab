# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigParser

from scripts.errors import InputError
from scripts.settings_table import SETTINGS, check_settings

TRAIN = Path(__file__).resolve().parents[1] / "bundle" / "configs" / "train.yaml"


def upper_part() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(TRAIN.read_text().split("# ================", 1)[0])
    return parsed


def test_every_named_setting_is_in_the_table() -> None:
    elsewhere = {"imports", "bundle_root", "device", "hq_data"}  # code; a device; a path or a list, checked when read
    assert set(upper_part()) - elsewhere <= set(SETTINGS)


def test_the_defaults_pass() -> None:
    check_settings({name: value for name, value in upper_part().items() if not str(value).startswith("$")})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 2.5),
        ("epochs", 0),
        ("epochs", "ten"),
        ("epochs", True),
        ("epochs", None),
        ("train#dataset#cache_rate", 50),
        ("train#dataset#cache_rate", -0.1),
        ("batch_size", [4]),
        ("learning_rate", "1e-3"),
        ("learning_rate", -1),
        ("learning_rate", float("nan")),
        ("percentiles", [99.5, 0.5]),
        ("percentiles", [0, 101]),
        ("percentiles", 5),
        ("window", [0]),
        ("window", "[0,255]"),
        ("patch_size", 96),
        ("patch_size", [96, 112.5]),
        ("network_channels", []),
        ("spatial_dims", 4),
        ("spatial_dims", 2.0),
        ("slice_axis", 3),
        ("channels", 0),
        ("seed", -1),
        ("hypergradient", "second_order"),
        ("loss_weights", {"wavelet": -1}),
        ("loss_weights", 3),
        ("loss_weights#wavelet", "much"),
        ("amp", "false"),
        ("resume", 1),
        ("pause_after", 0),
        ("model_metric", 3),
        ("output_dir", 7),
        ("early_stop#patience", 0),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        check_settings({name: value})
    told = str(caught.value)
    assert told.startswith(f"--{name} takes ")
    assert told.endswith(f", not {value!r}.")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("name", "value"), [("window", None), ("window", [-160, 240]), ("learning_rate", 0), ("num_classes", None)]
)
def test_a_right_value_passes(name: str, value: Any) -> None:
    check_settings({name: value})


@pytest.mark.parametrize("overlays", [("multi_gpu_train",), ("evaluate", "multi_gpu_evaluate")])
def test_no_setting_asks_which_process_is_the_first_before_they_have_joined(overlays: tuple[str, ...]) -> None:
    files = [str(TRAIN.with_name(f"{name}.yaml")) for name in ("train", *overlays)]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    for name in SETTINGS:
        if name in parser and isinstance(parser[name], str):
            parser.get_parsed_content(name)
    assert "first" in parser
    assert "first" not in parser.ref_resolver.resolved_content
