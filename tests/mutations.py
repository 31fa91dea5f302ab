# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Change one line of the package at a time, and see whether a fast test fails: `python tests/mutations.py`.

Each mutation is a fault that somebody could make. The script copies the package and its tests to a temporary folder,
makes the change there, and runs the tests of the module. A mutation that no test notices has survived. The exit status
is 1 where fewer than 85 % are killed, or where the code of a mutation is not found any more.

    python tests/mutations.py                  # all of them; about 10 s each
    python tests/mutations.py consistency      # those whose name contains the word
    python tests/mutations.py --list
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".yaml")
KILLED_AT_LEAST = 0.85


class Mutation(NamedTuple):
    """One fault.

    Attributes:
        name: says what is wrong then.
        file: below ``bundle/scripts``.
        before: text that stands in the file exactly once.
        after: text that takes its place.
        tests: below ``tests``; the files that guard this line.
    """

    name: str
    file: str
    before: str
    after: str
    tests: list[str]


def load() -> list[Mutation]:
    """Read the mutations."""
    return [Mutation(**entry) for entry in yaml.safe_load(LIST.read_text(encoding="utf-8"))]


def place(mutation: Mutation, root: Path) -> str:
    """Make the change below ``root``; return the reason where the code is not found, or nothing."""
    path = root / "bundle" / "scripts" / mutation.file
    if not path.is_file():
        return f"there is no {mutation.file}"
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.before)
    if found != 1:
        return f"its code stands {found} times in {mutation.file}"
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    return ""


def judge(mutation: Mutation) -> str:
    """Return ``"killed"``, ``"survived"`` or the reason why the mutation could not be tried."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        ignored = shutil.ignore_patterns("__pycache__", "*.pt")
        for name in ("bundle", "tests", "docs"):
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        for weights in (ROOT / "bundle" / "models").glob("*.pt"):
            (root / "bundle" / "models" / weights.name).symlink_to(weights)
        shutil.copy(ROOT / "pyproject.toml", root)
        reason = place(mutation, root)
        if reason:
            return reason
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        tests = [str(Path("tests", test)) for test in mutation.tests]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, *tests], cwd=root, env=environment, capture_output=True, text=True)
    # 1: a test failed; 2: a test file could not even be imported. Anything else says nothing about the mutation.
    return {0: "survived", 1: "killed", 2: "killed"}.get(done.returncode, f"pytest ended with {done.returncode}")


def main() -> int:
    """Try the mutations; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="", help="only those whose name contains it")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time, each with one thread")
    parser.add_argument("--list", action="store_true", help="show them, and try none")
    options = parser.parse_args()
    mutations = [mutation for mutation in load() if options.word in mutation.name]
    if options.list:
        print("\n".join(f"{mutation.file}: {mutation.name}" for mutation in mutations))
        return 0
    start = time.monotonic()
    verdicts: list[str] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutation, verdict in zip(mutations, pool.map(judge, mutations), strict=True):
            verdicts.append(verdict)
            left = (time.monotonic() - start) / len(verdicts) * (len(mutations) - len(verdicts))
            print(f"{verdict:9} {mutation.file}: {mutation.name}  (about {left:.0f} s left)", flush=True)
    killed, tried = verdicts.count("killed"), sum(verdict in ("killed", "survived") for verdict in verdicts)
    untried = len(mutations) - tried
    print(f"{killed} of {len(mutations)} killed, {tried - killed} survived, {untried} could not be tried")
    return 0 if mutations and tried == len(mutations) and killed >= KILLED_AT_LEAST * tried else 1


if __name__ == "__main__":
    sys.exit(main())
