# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from lib.bundle import BundleError
from lib.parameters import choose_guide, device_of, flag, network_settings, read_metrics, training_settings


def path_of(image: str) -> str:
    return f"/studies/{image}.nii.gz"


@pytest.mark.parametrize("guide", [None, "", "prototype", [], ["prototype", "a"]])
def test_without_a_guide_the_prototype_is_followed(guide: Any) -> None:
    assert choose_guide(guide, {"a": {}}, ["P1"], path_of) is None


@pytest.mark.parametrize(("guide", "expected"), [("a", "a"), (["a", "prototype"], "a"), ("P1", "/studies/P1.nii.gz")])
def test_a_guide_is_a_style_or_the_file_of_an_image(guide: Any, expected: str) -> None:
    assert choose_guide(guide, {"a": {}}, ["P1"], path_of) == expected


def test_a_style_goes_before_an_image_of_its_name() -> None:
    assert choose_guide("a", {"a": {}}, ["a"], path_of) == "a"


@pytest.mark.parametrize("guide", ["nobody", "/etc/hostname", "../P1"])
def test_any_other_guide_is_refused(guide: str) -> None:
    with pytest.raises(BundleError, match="There is no guide .*: give prototype, a, or the identifier of an image"):
        choose_guide(guide, {"a": {}}, ["P1"], path_of)


@pytest.mark.parametrize(
    ("device", "expected"),
    [(None, None), ("cuda", None), (["cuda", "cpu"], None), ("cpu", "cpu"), ("cuda:1", "cuda:1")],
)
def test_cuda_stands_for_whatever_the_machine_has(device: Any, expected: str | None) -> None:
    assert device_of({"device": device}) == expected


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("true", True), ("False", False)])
def test_switches_come_as_words_too(value: Any, expected: bool) -> None:
    assert flag(value, "enhance") is expected


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(BundleError, match='"enhance" is true or false, not "perhaps"'):
        flag("perhaps", "enhance")


def test_a_training_makes_a_network_like_the_one_in_use() -> None:
    network = {"spatial_dims": 2, "in_channels": 3, "channels": [4, 8], "head": "plain"}
    description = {"network": network, "slice_axis": 2, "percentiles": [0.5, 99.5], "window": [0.0, 255.0]}
    settings = network_settings(description)
    given = dict(zip(settings[::2], settings[1::2], strict=True))
    assert given == {
        "--spatial_dims": "2",
        "--channels": "3",
        "--slice_axis": "2",
        "--percentiles": "[0.5, 99.5]",
        "--network_channels": "[4, 8]",
        "--network_def#head": "plain",
        "--window": "[0.0, 255.0]",
    }


def test_settings_of_a_request_go_before_defaults_and_others_are_not_the_training_s() -> None:
    known = {"epochs": 12, "amp": False, "patch_size": None}
    settings = training_settings({"epochs": 2, "model": "enhance", "gpus": "all"}, known)
    assert settings == ["--epochs", "2", "--amp", "False"]


def test_a_word_in_place_of_a_number_is_refused() -> None:
    with pytest.raises(BundleError, match='"epochs" is a number, not "many"'):
        training_settings({"epochs": "many"}, {"epochs": 12})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hypergradient", "$__import__('os').getcwd()"),
        ("hypergradient", "@optimizer"),
        ("hypergradient", 3),
        ("patch_size", "$print()"),
        ("patch_size", ["$print()", 96]),
        ("patch_size", []),
        ("amp", "$print()"),
        ("epochs", "$print()"),
    ],
)
def test_no_text_of_a_request_reaches_the_configuration_as_an_expression(name: str, value: Any) -> None:
    known = {"epochs": 12, "amp": False, "patch_size": None, "hypergradient": "first_order"}
    with pytest.raises(BundleError, match=f'"{name}" is '):
        training_settings({name: value}, known)


def test_values_of_the_kind_of_their_default_are_taken() -> None:
    known = {"amp": False, "patch_size": None, "hypergradient": "first_order"}
    settings = training_settings({"amp": "true", "patch_size": [96, 96], "hypergradient": "unrolled"}, known)
    assert settings == ["--amp", "True", "--patch_size", "[96, 96]", "--hypergradient", "unrolled"]


@pytest.mark.parametrize("device", ["cpu') if print() else torch.device('cpu", "$cpu", "cuda:x", "../x"])
def test_a_device_is_a_name(device: str) -> None:
    with pytest.raises(BundleError, match='"device" is a name like'):
        device_of({"device": device})


def test_progress_and_metrics_are_read_from_the_lines_of_a_training() -> None:
    stats: dict[str, Any] = {}
    assert read_metrics("2026-01-01 - INFO - Epoch[2] Metrics -- dice: 0.4566 psnr: nan ", stats)
    assert read_metrics("training [2/12]: [3/180]   2%|", stats)
    assert not read_metrics("training [2/12]: [4/180]   2%|", stats)
    assert not read_metrics("reading", stats)
    assert stats == {"metrics": {"dice": 0.4566}, "best_metric": 0.4566, "epoch": 2, "total_epochs": 12}
    json.dumps(stats, allow_nan=False)
