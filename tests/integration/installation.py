# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Virtual environments that hold the wheel and what it asks for, and nothing else; made without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("bundle", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the repository, with the tools of this environment."""
    source = folder / "source"
    source.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "output", "eval")
    for name in SOURCES:
        place = ROOT / name
        shutil.copytree(place, source / name, ignore=ignore) if place.is_dir() else shutil.copy(place, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*command, "--wheel-dir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def requirements(distribution: str, extra: str = "") -> set[str]:
    """Names of a distribution of this environment and of all that it needs here."""
    found: set[str] = set()
    pending = [(distribution, {extra} | {""})]
    while pending:
        name, extras = pending.pop()
        if canonicalize_name(name) in found:
            continue
        found.add(canonicalize_name(name))
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": chosen}) for chosen in extras):
                pending.append((requirement.name, requirement.extras | {""}))
    return found


def make_environment(folder: Path, wheel: Path, extra: str = "") -> Path:
    """Make a virtual environment with the wheel, and links to this environment's copies of what it requires.

    Returns:
        The folder of its programs.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    install = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    run([*install, "--no-deps", "--no-index", str(wheel)], folder)
    link_requirements(folder, extra)
    return programs


def link_requirements(folder: str | Path, extra: str = "") -> None:
    """Link this environment's copies of what the wheel in a virtual environment requires into that environment."""
    (packages,) = Path(folder).glob("lib/python*/site-packages")
    with_wheel = {path.name for path in packages.iterdir()}
    sys.path.insert(0, str(packages))
    try:
        needed = requirements("hqg-net", extra) - {"hqg-net"}
    finally:
        sys.path.remove(str(packages))
    for name in sorted(needed):
        _link(metadata.distribution(name), packages, with_wheel)


def _link(distribution: metadata.Distribution, packages: Path, taken: Iterable[str]) -> None:
    """Link what a distribution has put into site-packages."""
    for file in distribution.files or []:
        first = file.parts[0]
        if first not in ("..", "__pycache__") and first not in taken and not os.path.lexists(packages / first):
            (packages / first).symlink_to(Path(str(distribution.locate_file(first))).resolve())


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, and fail with what it printed."""
    done = attempt(command, folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def attempt(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
