# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The parts of :mod:`scripts.experiments.speed` that measure a step of training: time, memory, bi-level learning."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from .costs import relative_cost
from .jobs import bundle_command, output_of
from .speed_bench import Bench, Table, in_own_process
from .speed_clock import median, median_ratio
from .speed_subjects import DEMO, PAPER, CycleGANStep, EnhancementStep, ResNetGenerator, hqgnet, phantom
from .step_cost import peak_memory

__all__ = ["bilevel", "memory", "training"]

CYCLEGAN = "CycleGAN, 9-block ResNets"
OURS = {"demo network": DEMO, "paper's size": PAPER}

Rows = list[tuple[str, ...]]
Step = Callable[[int, int, torch.device], Callable[[], Any]]
STEPS: dict[str, Step] = {
    CYCLEGAN: lambda size, batch, device: CycleGANStep(ResNetGenerator, size, batch, device),
    "ours, demo network": lambda size, batch, device: EnhancementStep(DEMO, size, batch, device),
    "ours, demo network, restoration alone": lambda size, batch, device: EnhancementStep(
        DEMO, size, batch, device, restores=True
    ),
    "ours, paper's size": lambda size, batch, device: EnhancementStep(PAPER, size, batch, device),
    "CycleGAN with our demo network": lambda size, batch, device: CycleGANStep(
        lambda: hqgnet(DEMO), size, batch, device
    ),
    "CycleGAN with our network of paper's size": lambda size, batch, device: CycleGANStep(
        lambda: hqgnet(PAPER), size, batch, device
    ),
}

IN_MEMORY = (CYCLEGAN, "CycleGAN with our demo network", "ours, demo network", "ours, paper's size")
"""Steps whose memory is measured; each needs a process of its own, and time."""


def _batches(bench: Bench) -> list[tuple[int, int, float]]:
    """Return side, batch and share of the work of each setting."""
    pairs = list(itertools.product(*(((64,), (1, 2)) if bench.quick else ((128, 256), (1, 4)))))
    total = sum(size**2 * batch for size, batch in pairs)
    return [(size, batch, size**2 * batch / total) for size, batch in pairs]


def training(bench: Bench) -> list[Table]:
    """Return the time of a step of training, ours beside CycleGAN's."""
    rows: Rows = [("images", "batch", "step", "s", "s of processor", "relative to CycleGAN", "of processor time")]
    for size, batch, share in _batches(bench):
        with bench.job(f"training steps, {batch} of {size}×{size}", share):
            steps = {name: make(size, batch, bench.device) for name, make in STEPS.items()}
            times = bench.measure(steps, 0.9 * share * bench.minutes)
        for name, measured in times.items():
            typical, ratio = median(measured), median_ratio(measured, times[CYCLEGAN])
            figures = (*typical, *ratio)
            rows.append((f"{size}×{size}", str(batch), name, *(f"{figure:.3f}" for figure in figures)))
            for ours in OURS:
                if name == f"ours, {ours}":
                    bench.find(f"training step, {ours}, relative to CycleGAN", bench.seconds(ratio))
    notes = [
        "CycleGAN's step: both generators with cycle and identity terms, both discriminators. No row loads data.",
        "A batch of N: ours restores N images and takes one low-quality image (train#trainer#unpaired_images).",
        "`restoration alone` is the step of the first third of training.",
    ]
    return [Table("A step of training", rows, notes)]


def memory(bench: Bench) -> list[Table]:
    """Return the memory that a step of training takes, ours beside CycleGAN's."""
    batches = _batches(bench)
    heading = [f"{batch} of {size}×{size}" for size, batch, _ in batches]
    columns: list[dict[str, int | None]] = []
    for (size, batch, share), title in zip(batches, heading, strict=True):
        with bench.job(f"memory of training steps, {title}", share):
            columns.append(
                {
                    name: in_own_process(_memory_of, name, size, batch, str(bench.device), bench.threads)
                    for name in IN_MEMORY
                }
            )
    rows: Rows = [("GiB (relative to CycleGAN)", *heading)]
    for name in IN_MEMORY:
        cells = []
        for column in columns:
            own, other = column[name], column[CYCLEGAN]
            cells.append("–" if not own else f"{own / 2**30:.2f}" + (f" ({own / other:.2f})" if other else ""))
            for ours in OURS:
                if name == f"ours, {ours}" and own and other:
                    bench.find(f"memory of a step, {ours}, relative to CycleGAN", own / other)
        rows.append((name, *cells))
    whose = (
        "of tensors on the GPU"
        if bench.device.type == "cuda"
        else "of a process of its own, without what it has before"
    )
    notes = [f"Peak {whose}; two steps."]
    if any(taken is None for column in columns for taken in column.values()):
        notes.append("–: the process died, or the system does not tell.")
    return [Table("Memory of a step of training", rows, notes)]


def _memory_of(name: str, size: int, batch: int, device: str, threads: int) -> int | None:
    """Return the peak memory of two steps, in bytes, beyond what this process has before."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    before = peak_memory(place)
    step = STEPS[name](size, batch, place)
    for _ in range(2):  # the second has the state of the optimisers too
        step()
    after = peak_memory(place)
    return None if before is None or after is None else after - before


def bilevel(bench: Bench) -> list[Table]:
    """Return time and memory of a bi-level step relative to one of enhancement alone, from configs/costs.yaml."""
    size, rounds = (64, 1) if bench.quick else (128, 3)
    modes = {"enhancement": "--task none", "first_order": "--hypergradient first_order"}
    _write_labelled_set(bench.folder / "labelled", 2 * size)
    costs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
    for _ in range(rounds):
        for mode, setting in modes.items():
            with bench.job(f"steps of training, {mode}", 1 / (rounds * len(modes))):
                costs[mode].append(_measured(bench, size, mode, setting.split()))
    typical = {
        mode: {key: statistics.median(cost[key] for cost in found) for key in ("seconds", "processor_seconds")}
        | {"peak_bytes": found[0]["peak_bytes"]}
        for mode, found in costs.items()
    }
    rows = [
        (
            "step",
            "s",
            "s of processor",
            "relative to enhancement",
            "of processor time",
            "memory of the process, relative",
        )
    ]
    for mode, cost in typical.items():
        alone = typical["enhancement"]
        ratio = cost["processor_seconds"] / alone["processor_seconds"]
        wall, peak = relative_cost(cost, alone)
        rows.append((mode, f"{cost['seconds']:.3f}", f"{cost['processor_seconds']:.3f}", wall, f"{ratio:.2f}", peak))
        if mode != "enhancement":
            bench.find("bi-level step, relative to enhancement alone", ratio if bench.on_processor else float(wall))
    notes = [
        f"Images of {size}×{size}, batch 4, demo network: `configs/costs.yaml`, median of {rounds} runs each, in turn. "
        "`make costs` measures every hypergradient on the demo's data."
    ]
    return [Table("Bi-level learning", rows, notes)]


def _measured(bench: Bench, size: int, mode: str, setting: Sequence[str]) -> dict[str, Any]:
    output = bench.folder / "costs"
    arguments = ["--dataset_dir", str(bench.folder / "labelled"), "--output_dir", str(output)]
    arguments += ["--patch_size", f"[{size},{size}]", "--device", str(bench.device), *setting]
    command = bundle_command("measuring", ("configs/train.yaml", "configs/costs.yaml"), *arguments)
    output_of(command, bench.threads, f"The measurement of {mode}")
    cost: dict[str, Any] = json.loads((output / f"{mode}.json").read_text(encoding="utf-8"))
    return cost


def _write_labelled_set(folder: Path, size: int, count: int = 8) -> None:
    for name, gain in (("lq", 0.6), ("hq", 1.0)):
        for number in range(count):
            image = phantom(size, 1, seed=number).numpy()[0, 0, :, :, None]
            case = f"{name}{number}.nii.gz"
            for place, values in ((name, 1000 * gain * image), (f"labels/{name}", (image > 0.4).astype(np.uint8))):
                (folder / place).mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(np.asarray(values, values.dtype), np.eye(4)), folder / place / case)
