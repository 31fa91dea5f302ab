# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Programs of other people that tests start on loopback."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Path of a program, which Debian puts into /usr/bin or /usr/sbin."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"the program {name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def orthanc_settings(folder: Path, port: int, plugins: Sequence[Path] = ()) -> Path:
    """Write the settings of an Orthanc that keeps its images below a folder; return their file."""
    settings = {
        "Name": "Test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": list(map(str, plugins)),
    }
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    return file
