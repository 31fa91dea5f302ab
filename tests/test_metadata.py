# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from monai.bundle import ConfigParser, verify_metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
METADATA = ROOT / "bundle" / "configs" / "metadata.json"
SCHEMA = ROOT / "tests" / "schema" / "meta_schema_20240725.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# MONAI's schema gives these three a field of their own.
FIELDS = {"monai": "monai_version", "numpy": "numpy_version", "torch": "pytorch_version"}


@pytest.fixture
def metadata() -> dict[str, Any]:
    return json.loads(METADATA.read_text(encoding="utf-8"))


def pinned_versions() -> dict[str, str]:
    """Pins of constraints.txt for the newest Python that the project supports."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": "3.12"}):
                pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    return pins


def test_top_level_metadata_is_a_relative_link_to_the_bundle() -> None:
    link = ROOT / "metadata.json"
    assert link.is_symlink()
    assert os.readlink(link) == "bundle/configs/metadata.json"
    assert link.read_bytes() == METADATA.read_bytes()


def test_metadata_satisfies_the_schema_that_it_names(metadata: dict[str, Any]) -> None:
    assert metadata["schema"].endswith(f"/{SCHEMA.name}")
    jsonschema.validate(metadata, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_verify_metadata_passes_without_a_network(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(logging.getLogger("monai.bundle.scripts"), "propagate", True)
    with caplog.at_level(logging.INFO):
        verify_metadata(meta_file=str(METADATA), filepath=str(SCHEMA))
    assert "metadata is verified with no error" in caplog.text


def test_version_is_the_projects_and_stands_in_the_changelog(metadata: dict[str, Any]) -> None:
    assert metadata["version"] == PROJECT["version"]
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize("package", sorted(FIELDS))
def test_version_field_is_the_tested_version(metadata: dict[str, Any], package: str) -> None:
    assert metadata[FIELDS[package]] == pinned_versions()[package]


def test_required_packages_are_the_dependencies_in_their_tested_versions(metadata: dict[str, Any]) -> None:
    stated = {canonicalize_name(name): version for name, version in metadata["required_packages_version"].items()}
    pinned = pinned_versions()
    # The bundle trains as well.
    needed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["train"]
    dependencies = {canonicalize_name(Requirement(line).name) for line in needed}
    assert stated == {name: pinned[name] for name in dependencies - set(FIELDS)}


def test_monai_reads_the_metadata_as_it_stands(metadata: dict[str, Any]) -> None:
    # MONAI renames deprecated fields, and with them overwrites those of the new name.
    parser = ConfigParser()
    parser.read_meta(METADATA)
    assert parser.get("_meta_") == metadata


def test_network_takes_image_and_gives_pred_without_named_channels(metadata: dict[str, Any]) -> None:
    network = metadata["network_data_format"]
    assert set(network["inputs"]) == {"image"}
    assert set(network["outputs"]) == {"pred"}
    assert network["outputs"]["pred"]["channel_def"] == {}
