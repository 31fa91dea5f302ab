# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile's own lines, carried out without a container builder.

Its steps run in a copy of this machine's file system (an overlay, in namespaces of their own, without a network), and
its command with the root read-only, as the user that it names. What differs from a build: the base image is this
machine, and what the wheel requires is linked from this environment and not downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from tests.bundle.test_inference import AFFINE, phantom
from tests.integration.installation import ROOT, attempt

pytestmark = pytest.mark.integration

DOCKERFILE = ROOT / "Dockerfile"
LINK = "from tests.integration.installation import link_requirements; link_requirements('/opt/hqgnet')"

ISOLATE = """
set -e
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work" "$W/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$W/upper,workdir=$W/work" "$W/root"
mount --rbind /dev "$W/root/dev"
mount -t proc proc "$W/root/proc"
"""


class Stage(NamedTuple):
    """A stage of a Dockerfile: its instructions and their arguments."""

    steps: list[tuple[str, str]]

    def of(self, instruction: str) -> list[str]:
        return [argument for name, argument in self.steps if name == instruction]

    def environment(self) -> dict[str, str]:
        pairs = (word.partition("=")[::2] for argument in self.of("ENV") for word in shlex.split(argument))
        return dict(pairs)


def stages() -> list[Stage]:
    """The stages of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, argument = line.split(maxsplit=1)
        if instruction == "FROM":
            found.append(Stage([]))
        elif found:
            found[-1].steps.append((instruction, argument.strip()))
    return found


BUILD, FINAL = stages()


def test_the_image_is_not_root_and_enhances_by_default() -> None:
    assert FINAL.of("USER") == ["10001:10001"]
    assert json.loads(FINAL.of("ENTRYPOINT")[0]) == ["hqgnet"]
    assert json.loads(FINAL.of("CMD")[0]) == ["enhance", "/input", "/output"]
    written = [FINAL.environment()[name] for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")]
    assert all(place.split("/")[1] == "tmp" for place in written)


def test_the_context_holds_what_is_copied() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = [argument.split() for stage in (BUILD, FINAL) for argument in stage.of("COPY")]
    needed = {name for words in copied if not words[0].startswith("--from") for name in words[:-1]}
    assert needed == kept
    assert all((ROOT / name).exists() for name in needed)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the container's world: the context, input and output; skips where there are no namespaces."""
    folder = tmp_path_factory.mktemp("container")
    isolated = attempt(["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", ISOLATE], folder, W=str(folder))
    if os.geteuid() != 0 or shutil.which("setpriv") is None or isolated.returncode:
        pytest.skip(f"no namespaces with an overlay here: {isolated.stderr.strip()}")
    (folder / "context").mkdir()
    for name in {name for argument in BUILD.of("COPY") + FINAL.of("COPY") for name in argument.split()[:-1]}:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "output", "eval")
            shutil.copytree(ROOT / name, folder / "context" / name, ignore=ignore)
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / "context")
    (folder / "input").mkdir()
    nib.save(nib.Nifti1Image(phantom(40, 48, 3).astype(np.int16), AFFINE), folder / "input" / "scan.nii.gz")
    (folder / "output").mkdir()
    os.chown(folder / "output", 10001, 10001)
    return folder


def script(container: Path, command: str) -> str:
    """Carry out the steps of both stages in the overlay, then the command in it, read-only and as the image's user."""
    of_build = f"cd {container}/context\n" + "\n".join(BUILD.of("RUN"))
    arguments = "\n".join(argument if "=" in argument else f"{argument}=" for argument in FINAL.of("ARG"))
    offline = "export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_NO_DEPS=1 PIP_CONFIG_FILE=/dev/null"
    path = f"export PATH={Path(sys.executable).parent}:/usr/bin:/bin PYTHONPATH="
    copy = f"cp {container}/context/constraints.txt /wheels/"
    first, *others = FINAL.of("RUN")
    link = f"cd {ROOT} && {sys.executable} -c {shlex.quote(LINK)}"
    inside = f"cd {FINAL.of('WORKDIR')[0]} && {command}"
    steps = "\n".join(["set -e", offline, path, of_build, arguments, copy, first, link, *others])
    # The interpreter may lie in a home that is closed to others; in the image it does not.
    ways = {parent for prefix in (sys.prefix, sys.base_prefix) for parent in Path(prefix).resolve().parents}
    opened = shlex.join(["chmod", "o+x", *(str(way) for way in sorted(ways) if way != Path("/"))])
    environment = " ".join(shlex.quote(f"{name}={value}") for name, value in FINAL.environment().items())
    user, group = FINAL.of("USER")[0].split(":")
    return f"""{ISOLATE}
R="$W/root"
chroot "$R" sh -c {shlex.quote(steps)} >&2
chroot "$R" {opened}
mount --bind {container}/output "$R/output"
mount --bind {container}/input "$R/input"
mount -o remount,bind,ro "$R/input"
mount -o remount,ro "$R"
mount -t tmpfs tmpfs "$R/tmp"
exec chroot --userspec={user}:{group} --groups= "$R" env -i {environment} \
    sh -c {shlex.quote(inside)}
"""


def contain(container: Path, command: str) -> subprocess.CompletedProcess[str]:
    world = container / "world"
    world.mkdir(exist_ok=True)
    isolate = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", script(container, command)]
    return attempt(isolate, container, W=str(world))


def test_the_steps_make_an_image_whose_command_enhances_offline(container: Path) -> None:
    command = shlex.join(json.loads(FINAL.of("ENTRYPOINT")[0]) + json.loads(FINAL.of("CMD")[0]))
    probes = "id -u; touch /opt/hqgnet/probe 2>&1 | tail -1; hqgnet --version; hqgnet info | head -2"
    done = contain(container, f"{command}; echo status $?; {probes}")
    assert "status 0" in done.stdout, done.stdout + done.stderr
    assert "\n10001\n" in done.stdout
    assert "Read-only file system" in done.stdout
    assert "hqgnet 0." in done.stdout
    assert "/opt/hqgnet/lib" in done.stdout
    made = {path.name for path in (container / "output").iterdir()}
    assert made >= {"scan.nii.gz", "report.html", "report.csv"}
    assert {path.stat().st_uid for path in (container / "output").iterdir()} == {10001}
    assert not Path("/opt/hqgnet").exists()
