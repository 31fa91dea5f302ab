# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

# Before MLflow is imported, here or in a process that a test starts.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
import torch

# Small tensors gain nothing from many threads, which fight for the cores on a busy machine.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later search for garbage, which would go through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def root_level_stays() -> Iterator[None]:
    """A run of the bundle in this process sets the level of the root logger: the next test must not see it."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images, which the project may use but not hold; HQGNET_SHARED_DATA names another one."""
    folder = Path(os.environ.get("HQGNET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; HQGNET_SHARED_DATA names the folder")
    return folder
