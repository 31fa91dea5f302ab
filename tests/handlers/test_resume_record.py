# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.handlers import ResumeRecord

SETTINGS: dict[str, Any] = {"seed": 0, "loss_weights#wavelet": 0.1, "patch_size": (96, 112), "output_dir": "a"}


def record(folder: Path, settings: dict[str, Any], image: str = "image") -> ResumeRecord:
    file = folder / "a.png"
    file.write_text(image)
    lists = {name: [{"image": str(file)}] for name in ("training_lq", "training_hq", "validation", "testing")}
    return ResumeRecord(settings, lists)


def told(tmp_path: Path, caplog: pytest.LogCaptureFixture, image: str = "image", **changed: Any) -> list[str]:
    state = record(tmp_path, SETTINGS).state_dict()
    renamed = {name.replace("__", "#"): value for name, value in changed.items()}
    record(tmp_path, {**SETTINGS, **renamed}, image).load_state_dict(state)
    return [entry.getMessage() for entry in caplog.records]


def test_the_same_training_has_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert told(tmp_path, caplog, patch_size=[96, 112], output_dir="b", learning_rate=1.0) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 3}, "resume: seed is 3 from now on, and was 0 before: images are drawn by the new one"),
        ({"loss_weights__wavelet": 5}, "resume: loss_weights#wavelet is 5 from now on, and was 0.1 before: the terms"),
        ({"patch_size": [64, 64]}, "resume: patch_size is [64, 64] from now on, and was [96, 112] before"),
    ],
)
def test_another_setting_is_told_with_what_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], message: str
) -> None:
    (line,) = told(tmp_path, caplog, **changed)
    assert line.startswith(message)


def test_other_images_are_told_by_their_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = told(tmp_path, caplog, image="other")
    assert [line.split(":")[1] for line in lines] == [
        f" the images of {name} are others now (1, and were 1 before)"
        for name in ("training_lq", "training_hq", "validation")
    ]
