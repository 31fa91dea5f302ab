# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
# An extra that contains another one names this project itself.
DIRECT = [r for r in RUNTIME + sum(EXTRAS.values(), []) if r.name != PROJECT["name"]]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
SOURCES = sorted(path for folder in ("bundle", "tests") for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted((ROOT / "bundle" / "scripts").rglob("*.py"))
MODULES_OF = {
    "jinja2": "jinja2",
    "pillow": "PIL",
    "python-gdcm": "gdcm",
    "pytorch-ignite": "ignite",
    "pywavelets": "pywt",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}
LICENCE = "# Copyright (c) 2026 The HQG-Net MONAI bundle contributors\n# SPDX-License-Identifier: Apache-2.0\n"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def third_party_imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"scripts"}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_file_begins_with_the_licence(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith(LICENCE)


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_imported_packages_are_dependencies(path: Path) -> None:
    # Training, the demo's images and the comparison of speeds need packages that nobody who enhances images needs.
    of_one_file = {"simulated_patients.py": "demo", "speed_subjects.py": "speed"}
    allowed = RUNTIME + EXTRAS["train"] + EXTRAS.get(of_one_file.get(path.name, ""), [])
    declared = {MODULES_OF.get(canonicalize_name(r.name), r.name) for r in allowed}
    assert third_party_imports(path) <= declared


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_dependency_has_its_reason_in_contributing(requirement: Requirement) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{re.escape(requirement.name)}` \| \S.*\S \|$", text, re.MULTILINE)


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_dependency_is_pinned_once_and_within_its_range(requirement: Requirement, python: str) -> None:
    environment = {"python_version": python}
    if requirement.marker is not None and not requirement.marker.evaluate(environment):
        pytest.skip(f"not needed on Python {python}")
    pins = [
        pin
        for pin in PINS
        if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]
    assert len(pins) == 1
    version = re.fullmatch(r"==([^,*]+)", str(pins[0].specifier))
    assert version is not None
    assert requirement.specifier.contains(version[1])


def test_bundle_carries_the_licence_of_the_project() -> None:
    assert (ROOT / "bundle" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
