# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What inference needs of the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.model_spec import ModelSpec
from scripts.networks import HQGNet

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"

# Prints the peak memory of the command in MB; a process of its own, so that no other child of the tests counts.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def peak_memory(source: Path, output: Path, *arguments: str) -> int:
    """Peak memory, in MB, of the command, which has to end well."""
    command = [sys.executable, "-m", "monai.bundle", "run", "enhancing", "--config_file", "configs/inference.yaml"]
    command += ["--device", "cpu", "--input_dir", str(source), "--output_dir", str(output), *arguments]
    measured = [sys.executable, "-c", MEASURED, *command]
    printed = subprocess.run(measured, cwd=BUNDLE, capture_output=True, text=True, check=True)
    status, peak = printed.stdout.split()
    assert status == "0", printed.stderr
    return int(peak)


@pytest.mark.slow
def test_a_colour_image_of_4096_pixels_squared_needs_less_than_6_gb(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = {"spatial_dims": 2, "in_channels": 3, "channels": (16, 32, 64, 128), "guidance_channels": (16, 32, 64)}
    (tmp_path / "models").mkdir()
    torch.save(HQGNet(**settings).state_dict(), tmp_path / "models" / "model.pt")  # type: ignore[arg-type]
    ModelSpec(settings, (0, 100), window=(0, 255)).save(tmp_path / "models" / "model.pt")
    pixels = np.random.RandomState(0).randint(0, 255, (128, 128, 3), np.uint8)
    Image.fromarray(pixels).resize((4096, 4096), Image.Resampling.BILINEAR).save(tmp_path / "large.png")
    peak = peak_memory(tmp_path / "large.png", tmp_path / "out", "--model_dir", str(tmp_path / "models"))
    assert Image.open(tmp_path / "out" / "large.png").size == (4096, 4096)
    assert peak < 6000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 200):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            pixels = np.random.RandomState(number).randint(0, 255, (64, 60), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        peaks.append(peak_memory(folder, tmp_path / f"out{count}"))
    assert peaks[1] < peaks[0] + 60
