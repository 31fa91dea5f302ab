# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.handlers import run_record
from scripts.handlers.run_record import data_digest, dataset_inputs, run_tags
from scripts.version import __version__

Entries = list[dict[str, Any]]


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    """An image with a label image, and a series with the class 1."""
    folder = tmp_path / "data"
    (folder / "series").mkdir(parents=True)
    for name in ("a.png", "label.png", "series/1.dcm", "series/2.dcm"):
        (folder / name).write_bytes(name.encode())
    return [
        {"image": str(folder / "a.png"), "label": str(folder / "label.png"), "patient": "a"},
        {"image": str(folder / "series"), "label": 1, "patient": "b"},
    ]


def moved(entries: Entries, tmp_path: Path) -> Entries:
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    text = json.dumps(entries).replace(str(tmp_path / "data"), str(tmp_path / "elsewhere"))
    copied: Entries = json.loads(text)
    return copied


def test_digest_of_the_content_does_not_depend_on_the_place(entries: Entries, tmp_path: Path) -> None:
    assert data_digest(entries) == data_digest(moved(entries, tmp_path))
    assert data_digest(entries)[1] == "content"


@pytest.mark.parametrize("changed", ["a.png", "label.png", "series/2.dcm"])
def test_digest_changes_with_the_content_of_any_file(entries: Entries, tmp_path: Path, changed: str) -> None:
    before = data_digest(entries)
    (tmp_path / "data" / changed).write_bytes(b"z" * len(changed))
    assert data_digest(entries) != before


def test_digest_changes_with_the_class_of_an_image(entries: Entries) -> None:
    assert data_digest(entries) != data_digest([entries[0], {**entries[1], "label": 2}])


def test_large_data_are_told_by_names_sizes_and_times(entries: Entries, tmp_path: Path) -> None:
    before = data_digest(entries, content_limit=3)
    assert before[1] == "names, sizes and times"
    os.utime(tmp_path / "data" / "a.png", (1, 1))
    assert data_digest(entries, content_limit=3)[0] != before[0]


def test_lists_become_inputs_with_their_contexts(entries: Entries) -> None:
    lists: dict[str, Any] = {"training_lq": entries, "training_hq": entries[:1], "validation": []}
    first, second = dataset_inputs(lists)
    assert [tag.value for given in (first, second) for tag in given.tags] == ["training_lq", "training_hq"]
    assert first.dataset.name == "data"
    assert json.loads(first.dataset.profile) == {"images": 2, "patients": 2, "labelled": 2, "digest_of": "content"}
    assert first.dataset.digest == data_digest(entries)[0] != second.dataset.digest


def test_tags_tell_versions_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "train", "--uri", "http://me:pw@host/store", "two words"])
    tags = run_tags()
    assert tags["command"] == "python train --uri http://***@host/store 'two words'"
    assert (tags["version.bundle"], tags["version.torch"]) == (__version__, torch.__version__)
    assert {"version.monai", "version.python", "version.mlflow"} <= set(tags)


def test_commit_is_that_of_the_package_and_of_no_repository_around_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "other").write_text("")
    monkeypatch.setattr(run_record, "_PACKAGE", package)
    git("init")
    git("add", "other")
    git("commit", "-m", "other")
    assert "mlflow.source.git.commit" not in run_tags()
    git("add", "package")
    git("commit", "-m", "package")
    assert run_tags()["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert run_tags()["git.modified"] == "False"
    (package / "__init__.py").write_text("changed")
    assert run_tags()["git.modified"] == "True"
