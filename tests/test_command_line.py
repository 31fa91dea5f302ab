# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from scripts.command_line import refuse_unknown_settings
from scripts.errors import InputError

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
TRAIN = ["run", "training", "--config_file", str(CONFIGS / "train.yaml")]
BOTH = ["run", "--config_file", f"['{CONFIGS / 'train.yaml'}','{CONFIGS / 'classification.yaml'}']"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*TRAIN, "--epochs", "5", "--loss_weights#wavelet", "2", "--seed=1"],
        [*TRAIN, "--downstream_def#dropout", "0.2"],
        [*TRAIN, "--logging_file", "False", "--bundle_root", "."],
        [*BOTH, "--downstream_norm", "instance"],
        [*TRAIN, "--learning_rate", "-1"],
        ["verify_metadata", "--meta_file", "x"],
        [],
    ],
)
def test_known_settings_pass(arguments: list[str]) -> None:
    refuse_unknown_settings(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TRAIN, "--epoch", "5"], "no setting --epoch: did you mean --epochs"),
        ([*TRAIN, "--loss_weight#wavelet", "5"], "--loss_weight#wavelet: did you mean --loss_weights"),
        ([*TRAIN, "--sede=1"], "did you mean --seed"),
        ([*TRAIN, "--downstream_norm", "batch"], "no setting --downstream_norm"),
        ([*TRAIN, "--zzzzqqqq", "1"], "name all that there are"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_unknown_settings(arguments)


def test_only_the_command_of_monai_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/pytest", *TRAIN, "--epoch", "5"])
    refuse_unknown_settings()
    monkeypatch.setattr("sys.argv", ["/site-packages/monai/bundle/__main__.py", *TRAIN, "--epoch", "5"])
    with pytest.raises(InputError):
        refuse_unknown_settings()
