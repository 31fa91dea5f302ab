# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The commands that an experiment would run, for stand-ins that run none."""

from __future__ import annotations


class RecordedCommands:
    """Commands of MONAI's bundles: ``[python, -m, monai.bundle, run, RUN, --name, value, ...]``."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    @staticmethod
    def value(command: list[str], name: str) -> str:
        return command[command.index(name) + 1]

    def of(self, run_id: str) -> list[list[str]]:
        return [command for command in self.commands if command[4] == run_id]
