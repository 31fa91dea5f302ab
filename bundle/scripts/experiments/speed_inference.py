# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The parts of :mod:`scripts.experiments.speed` that enhance, and those that say how time grows."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ..errors import InputError
from .jobs import bundle_command, output_of
from .speed_bench import Bench, Table
from .speed_clock import Elapsed, median, median_ratio
from .speed_subjects import (
    DEMO,
    PAPER,
    EnhancementStep,
    ResNetGenerator,
    bias_field_correction,
    hqgnet,
    non_local_means,
    phantom,
)

__all__ = ["cases", "growth", "inference", "rates"]

RESNET = "9-block ResNet"
Run = Callable[[], Any]
Rows = list[tuple[str, ...]]


@torch.inference_mode()
def _enhance(network: nn.Module, images: torch.Tensor) -> None:
    network(images)


def _enhancing(network: nn.Module, images: torch.Tensor, device: torch.device) -> Run:
    return functools.partial(_enhance, network.to(device).eval(), images.to(device))


def inference(bench: Bench) -> list[Table]:
    """Return megapixels per second of our networks, of a 9-block ResNet, N4 and non-local means."""
    sizes = (64,) if bench.quick else (128, 512)
    rows: Rows = [
        ("images", "what", "megapixels per s", "per s of processor", "relative to the ResNet", "of processor time")
    ]
    notes = ["One image at a time. N4 of ITK: four levels of up to 50 iterations. Non-local means of scikit-image."]
    for size in sizes:
        image = phantom(size)
        runs = {
            RESNET: _enhancing(ResNetGenerator(), image, bench.device),
            "ours, demo network": _enhancing(hqgnet(DEMO), image, bench.device),
            "ours, paper's size": _enhancing(hqgnet(PAPER), image, bench.device),
            "N4": bias_field_correction(image[0, 0].numpy()),
        }
        try:
            runs["non-local means"] = non_local_means(image[0, 0].numpy())
        except InputError as error:
            notes = [notes[0], f"Left out: {error}"]
        with bench.job(f"inference, {size}×{size}", size**2 / sum(side**2 for side in sizes)):
            times = bench.measure(runs, 0.9 * bench.minutes / len(sizes))
        for name, measured in times.items():
            rates = (size**2 / 1e6 / seconds for seconds in median(measured))
            faster = median_ratio(times[RESNET], measured)
            rows.append((f"{size}×{size}", name, *(f"{rate:.3g}" for rate in (*rates, *faster))))
            if name.startswith("ours, "):
                bench.find(f"inference, {name[6:]}, relative to the 9-block ResNet", bench.seconds(faster))
    return [Table("Inference", rows, notes)]


def rates(bench: Bench) -> list[Table]:
    """Return how much of the machine's rates of convolutions and matrix products our networks reach."""
    size, sides = (64, 512) if bench.quick else (256, 1024)
    device = bench.device
    features = torch.rand(1, 64, size, size, device=device)
    kernel, matrix = torch.rand(64, 64, 3, 3, device=device), torch.rand(sides, sides, device=device)
    convolution, product = "3×3 convolution, 64 channels", "matrix product"
    runs: dict[str, Run] = {
        convolution: lambda: F.conv2d(features, kernel, padding=1),
        product: lambda: matrix @ matrix,
        "inference, demo network": _enhancing(hqgnet(DEMO), phantom(size), device),
        "inference, paper's size": _enhancing(hqgnet(PAPER), phantom(size), device),
        f"inference, {RESNET}": _enhancing(ResNetGenerator(), phantom(size), device),
        "training step, demo network": EnhancementStep(DEMO, size, 4, device),
        "training step, paper's size": EnhancementStep(PAPER, size, 4, device),
    }
    with bench.job("rates", 1.0):
        work = {name: _operations(run) for name, run in runs.items()}
        times = bench.measure(runs, 0.8 * bench.minutes)
    rows: Rows = [("what", "GFLOP", "GFLOP/s", "per s of processor", "share of the convolution's", "of the product's")]
    speeds = {name: [work[name] / 1e9 / seconds for seconds in median(measured)] for name, measured in times.items()}
    for name, (wall, processor) in speeds.items():
        shares = [
            speeds[name][bench.on_processor] / speeds[rate][bench.on_processor] for rate in (convolution, product)
        ]
        figures = (work[name] / 1e9, wall, processor)
        rows.append((name, *(f"{figure:.3g}" for figure in figures), *(f"{share:.2f}" for share in shares)))
        if name.endswith("demo network"):
            bench.find(f"share of the convolution rate, {name}", shares[0])
    notes = [
        f"Images of {size}×{size}, matrices of {sides}×{sides}, steps of 4 images.",
        "Of our work only products and convolutions count.",
    ]
    return [Table("Share of the machine's rates", rows, notes)]


def _operations(run: Run) -> float:
    """Return the operations of matrix products and convolutions: a multiplication with an addition is two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def growth(bench: Bench) -> list[Table]:
    """Return how time grows with the size of an image, with the batch and with a third dimension."""
    sizes = (64, 128) if bench.quick else (64, 128, 256, 512, 1024)
    batches = (1, 2) if bench.quick else (1, 2, 4, 8)
    side, voxels = (32, 180) if bench.quick else (64, 512)  # a volume, and a plane of about as many voxels
    network, device = hqgnet(DEMO).to(bench.device), bench.device
    volumes = hqgnet(DEMO, spatial_dims=3)
    groups: list[tuple[str, float, dict[str, tuple[int, Run]]]] = [
        (
            "inference, size",
            0.25,
            {f"{size}×{size}": (size**2, _enhancing(network, phantom(size), device)) for size in sizes},
        ),
        (
            "inference, batch of 128×128",
            0.1,
            {str(count): (count * 128**2, _enhancing(network, phantom(128, count), device)) for count in batches},
        ),
        (
            "training step, size, one image",
            0.25,
            {f"{size}×{size}": (size**2, EnhancementStep(DEMO, size, 1, device)) for size in sizes[:4]},
        ),
        (
            "training step, batch of 128×128",
            0.15,
            {str(count): (count * 128**2, EnhancementStep(DEMO, 128, count, device)) for count in batches},
        ),
        (
            "2-D and 3-D",
            0.25,
            {
                f"inference, {voxels}×{voxels}": (voxels**2, _enhancing(network, phantom(voxels), device)),
                f"inference, {side}×{side}×{side}": (
                    side**3,
                    _enhancing(volumes, phantom(side, spatial_dims=3), device),
                ),
                f"training step, {voxels}×{voxels}": (voxels**2, EnhancementStep(DEMO, voxels, 1, device)),
                f"training step, {side}×{side}×{side}": (
                    side**3,
                    EnhancementStep(DEMO, side, 1, device, spatial_dims=3),
                ),
            },
        ),
    ]
    rows: Rows = [("what grows", "", "s", "s of processor", "megavoxels per s", "per s of processor")]
    for title, share, members in groups:
        with bench.job(f"growth: {title}", share):
            times = bench.measure({name: run for name, (_, run) in members.items()}, 0.9 * share * bench.minutes)
        for name, measured in times.items():
            typical = median(measured)
            speeds = (members[name][0] / 1e6 / seconds for seconds in typical)
            rows.append((title, name, *(f"{figure:.3g}" for figure in (*typical, *speeds))))
    return [Table("How time grows", rows, ["Demo network; in 3-D the same channels."])]


def cases(bench: Bench) -> list[Table]:
    """Return how the time of the batch program grows with the number of cases, and what a second process gains."""
    few, many, side = (2, 6, 64) if bench.quick else (2, 200, 128)
    for count in (few, many):
        folder = bench.folder / f"cases{count}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = np.rint(1000 * phantom(side, seed=number).numpy()[0, 0, :, :, None]).astype(np.int16)
            nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"{number}.nii.gz")
    rounds = 1 if bench.quick else 2
    found: dict[tuple[int, int], list[Elapsed]] = {}
    for _ in range(rounds):
        for count, processes in ((few, 1), (many, 1), (few, 2), (many, 2)):
            with bench.job(f"{count} cases, processes: {processes}", 0.25 / rounds):
                found.setdefault((count, processes), []).append(_elapsed_of_program(bench, count, processes))
    typical = {key: median(times) for key, times in found.items()}
    rows: Rows = [("cases", "processes", "s", "s of processor")]
    rows += [(str(count), str(number), *(f"{x:.1f}" for x in typical[count, number])) for count, number in typical]
    work = [typical[many, number].wall - typical[few, number].wall for number in (1, 2)]
    per_case = (typical[many, 1].processor - typical[few, 1].processor) / (many - few)
    notes = [
        f"`monai.bundle run enhancing` on slices of {side}×{side}, supplied network, one thread each; with the start.",
        f"A further case takes {per_case:.3f} s of processor.",
        f"Beyond the start, two processes reach {work[0] / work[1] / 2:.2f} of twice the speed of one.",
    ]
    return [Table("Number of cases and of processes", rows, notes)]


def _elapsed_of_program(bench: Bench, count: int, processes: int) -> Elapsed:
    output = bench.folder / "enhanced"
    shutil.rmtree(output, ignore_errors=True)
    arguments = ["--input_dir", str(bench.folder / f"cases{count}"), "--output_dir", str(output)]
    arguments += ["--device", bench.device.type]
    started = processes if processes > 1 else None
    command = bundle_command("enhancing", ("configs/inference.yaml",), *arguments, processes=started)
    begin, wall = os.times(), time.perf_counter()
    output_of(command, 1, f"Inference of {count} cases")
    end = os.times()
    processor = end.children_user - begin.children_user + end.children_system - begin.children_system
    return Elapsed(time.perf_counter() - wall, processor)
