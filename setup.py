# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: the wheel holds the whole bundle, under the name ``hqgnet``."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLE = Path(__file__).resolve().parent / "bundle"
SCRIPTS = BUNDLE / "scripts"
FOLDERS = ("configs", "models", "docs")
TEXTS = (".yaml", ".json", ".md", ".txt")


def bundle_files() -> list[Path]:
    """Files of the bundle that are no modules, relative to it."""
    places = [path for folder in FOLDERS for path in (BUNDLE / folder).rglob("*")] + [BUNDLE / "LICENSE"]
    return sorted(path.relative_to(BUNDLE) for path in places if path.is_file() and not path.name.startswith("."))


def renamed(text: str) -> str:
    """Give the package the name that it is installed under: ``scripts.networks`` becomes ``hqgnet.networks``."""
    return re.sub(r"(?<![\w/])scripts(?=\.[a-z_])|(?<=\$import )scripts\b", "hqgnet", text)


class BuildBundle(build_py):
    """Add configurations, weights and documents, in which the package has the name that it is installed under."""

    def run(self) -> None:
        """Build the package, then add the rest of the bundle."""
        super().run()
        if self.editable_mode:  # the repository is used as it stands
            return
        for file in bundle_files():
            target = Path(self.build_lib, "hqgnet", file)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = (BUNDLE / file).read_bytes()
            target.write_bytes(renamed(content.decode()).encode() if file.suffix in TEXTS else content)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return every file that :meth:`run` makes."""
        added = [] if self.editable_mode else [str(Path(self.build_lib, "hqgnet", file)) for file in bundle_files()]
        return [*super().get_outputs(include_bytecode), *added]


setup(
    cmdclass={"build_py": BuildBundle},
    packages=sorted(
        ".".join(("hqgnet", *module.parent.relative_to(SCRIPTS).parts)) for module in SCRIPTS.rglob("__init__.py")
    ),
    package_data={"hqgnet.reports": ["*.html"]},
)
