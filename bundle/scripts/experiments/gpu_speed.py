# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What a GPU makes of the network of the paper's size: training, inference, memory, and what limits them.

``python -m scripts.experiments.gpu_speed --output_dir /path/to/figures``

takes less than five minutes. Nothing else should run on the GPU meanwhile.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ..engines import EnhancementTrainer
from ..errors import first_line, require, run_command
from ..inferers import EnhancementInferer
from ..networks import DetailDiscriminator, HQGNet, compiled
from ..reports.tables import markdown_table
from . import speed_subjects
from .speed_clock import elapsed, wait_for
from .step_cost import peak_memory

__all__ = ["MODES", "PAPER", "Figures", "Mode", "Size", "limit", "measure"]

TRAINING, INFERENCE = "training step", "inference"
_BUSY, _ARITHMETIC = 0.75, 0.5
_LONGEST = 5


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        channels: of the enhancer.
        guidance_channels: of the guidance encoder.
        patch: spatial size of training images.
        batch: images in a training step, of which one takes part in the terms of low-quality images, as by default.
        volume: spatial size of the volume to enhance slice by slice along its last axis.
        slices: of it that go through the network together.
    """

    channels: tuple[int, ...] = tuple(speed_subjects.PAPER["network_channels"])
    guidance_channels: tuple[int, ...] = tuple(speed_subjects.PAPER["guidance_channels"])
    patch: tuple[int, int] = (256, 256)
    batch: int = 4
    volume: tuple[int, int, int] = (512, 512, 200)
    slices: int = 8


PAPER = Size()


@dataclass(frozen=True)
class Mode:
    """How the GPU computes.

    Attributes:
        name: of the mode.
        tensor_float: whether float32 may be rounded to TensorFloat-32, which is PyTorch's choice for convolutions.
        amp: whether bfloat16 takes part.
        backend: of ``torch.compile``; None for none.
    """

    name: str
    tensor_float: bool = False
    amp: bool = False
    backend: str | None = None

    @property
    def compiling(self) -> dict[str, str] | None:
        """What :func:`scripts.networks.compiled` takes."""
        return None if self.backend is None else {"backend": self.backend}


MODES = (
    Mode("fp32"),
    Mode("tf32", tensor_float=True),
    Mode("bf16", tensor_float=True, amp=True),
    Mode("bf16, compiled", tensor_float=True, amp=True, backend="inductor"),
)


@dataclass(frozen=True)
class Figures:
    """What was measured of one work in one mode.

    Attributes:
        work: ``"training step"`` or ``"inference"``.
        mode: its name.
        seconds: median of a step, or of the whole volume, from the host's memory and back.
        peak_bytes: greatest memory that tensors took.
        tera_flops: arithmetic of multiplications and additions, in 1e12 operations per second.
        share: of the rate that a large matrix product reaches in this mode.
        busy: share of the time in which the GPU computed; None where it cannot be told.
        utilization: what ``nvidia-smi`` says meanwhile, in percent; None where it does not.
        longest: the operations that took longest, with their share of all; backward passes are operations too.
    """

    work: str
    mode: str
    seconds: float
    peak_bytes: int | None
    tera_flops: float
    share: float
    busy: float | None
    utilization: int | None
    longest: dict[str, float]


def measure(work: str, size: Size, mode: Mode, device: torch.device, repeats: int) -> Figures:
    """Measure a training step on images that are on the device, or the enhancement of a volume from the host's memory.

    Args:
        work: ``"training step"`` or ``"inference"``.
        size: see :class:`Size`.
        mode: see :class:`Mode`.
        device: where to compute.
        repeats: how often, after three times that are not measured.
    """
    with _rounding(mode.tensor_float):
        operations = _operations_of(work, size, device)
        do = _made(work, size, mode, device)
        for _ in range(3):
            do()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = statistics.median(elapsed(do, device).wall for _ in range(repeats))
        peak = peak_memory(device)
        on_device, longest = _profile(do, device)
        rate = operations / seconds
        return Figures(
            work,
            mode.name,
            seconds,
            peak,
            rate / 1e12,
            rate / _product_rate(mode, device),
            None if on_device is None else min(1.0, on_device / seconds),
            _utilization(do, device),
            longest,
        )


def _made(work: str, size: Size, mode: Mode, device: torch.device) -> Callable[[], None]:
    """Return a function that does the work once."""
    make = {TRAINING: _training_step, INFERENCE: _enhancement}[work]
    return make(size, mode, device)


def _network(size: Size) -> HQGNet:
    """Return the network of this size as configs/train.yaml builds it, of random weights."""
    torch.manual_seed(0)
    return speed_subjects.hqgnet(
        {"network_channels": list(size.channels), "guidance_channels": list(size.guidance_channels)}
    )


def _training_step(size: Size, mode: Mode, device: torch.device) -> Callable[[], None]:
    """Return a function that takes one step of training."""
    network = compiled(_network(size).to(device), mode.compiling)
    discriminator = compiled(DetailDiscriminator(2, 1).to(device), mode.compiling)
    batch = {
        key: torch.rand(size.batch, 1, *size.patch, device=device) for key in ("image", "guide", "clean", "degraded")
    }
    trainer = EnhancementTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), 1e-4, betas=(0.5, 0.999)),
        discriminator=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), 1e-4, betas=(0.5, 0.999)),
        unpaired_images=1,
        max_grad_norm=1.0,
        amp=mode.amp,
        amp_kwargs={"dtype": torch.bfloat16} if mode.amp else {},
        decollate=False,
    )
    trainer.state.epoch = 1

    def step() -> None:
        trainer._iteration(trainer, batch)

    return step


def _enhancement(size: Size, mode: Mode, device: torch.device) -> Callable[[], None]:
    """Return a function that enhances one volume, slice by slice, under the prototype."""
    network = compiled(_network(size).to(device).eval(), mode.compiling)
    volume = torch.rand(1, 1, *size.volume)
    inferer = EnhancementInferer(2, slice_axis=2, batch_size=size.slices)

    @torch.no_grad()
    def enhance() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mode.amp):
            inferer(volume.to(device), network).float().cpu()

    return enhance


@contextmanager
def _rounding(tensor_float: bool) -> Iterator[None]:
    """Let float32 be rounded to TensorFloat-32, or not; else compute as training does, which can be repeated."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tensor_float else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tensor_float):
            yield
    finally:
        torch.set_float32_matmul_precision(former)


def _forget(device: torch.device) -> None:
    """Free the GPU's memory of networks that are no longer used, cycles of references included."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


@cache
def _operations_of(work: str, size: Size, device: torch.device) -> int:
    """Return the operations of a work: once, since they are the same in every mode."""
    # Without compiling, which hides operations from the counter.
    operations = _operations(_made(work, size, Mode("counted"), device))
    _forget(device)
    return operations


def _operations(do: Callable[[], None]) -> int:
    """Return the number of multiplications and additions in matrix products and convolutions, backward ones too."""
    with FlopCounterMode(display=False) as counter:
        do()
    return int(counter.get_total_flops())


def _product_rate(mode: Mode, device: torch.device) -> float:
    """Return the multiplications and additions per second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if mode.amp else torch.float32
    left, right = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    elapsed(lambda: left @ right, device)
    return 2 * side**3 / statistics.median(elapsed(lambda: left @ right, device).wall for _ in range(5))


def _profile(do: Callable[[], None], device: torch.device) -> tuple[float | None, dict[str, float]]:
    """Return the seconds that the GPU computes, None without one, and what takes longest with its share of all."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as record:
        do()
        wait_for(device)
    # Each kernel is there once for the GPU, and once for the operation that launched it. Spans enclose others.
    events = [event for event in record.key_averages() if not getattr(event, "is_user_annotation", False)]
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event.key: float(getattr(event, own)) for event in events if event.device_type.name == "CPU"}
    whole = sum(times.values())
    longest = sorted(times, key=times.__getitem__, reverse=True)[:_LONGEST]
    shares = {name: times[name] / whole for name in longest if times[name] > 0}
    kernels = sum(float(event.self_device_time_total) for event in events if event.device_type.name != "CPU")
    return (kernels / 1e6 if on_gpu else None), shares


def _utilization(do: Callable[[], None], device: torch.device) -> int | None:
    """Return what ``nvidia-smi`` says of the GPU while it works, in percent."""
    program = shutil.which("nvidia-smi")
    if device.type != "cuda" or program is None:
        return None
    # Not by its number, which CUDA_VISIBLE_DEVICES may have changed.
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    for _ in range(3):
        do()
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", gpu]
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as asked:
        while asked.poll() is None:
            do()
            wait_for(device)
        answer = asked.stdout.read().strip() if asked.stdout else ""
    return int(answer) if answer.isdecimal() else None


def limit(figures: Figures) -> str:
    """Return in words what the work is near the limit of.

    Where the GPU computes for less than three quarters of the time, it waits for the host. Otherwise it is arithmetic
    from half of the matrix product's rate on, which convolutions of few channels hardly exceed; memory below that.
    """
    if figures.busy is None:
        return "unknown"
    if figures.busy < _BUSY:
        return "the host, which launches the work"
    return "arithmetic" if figures.share >= _ARITHMETIC else "memory bandwidth"


def table(found: list[Figures]) -> list[str]:
    """Return the lines of a Markdown table."""
    heading = (
        "work",
        "mode",
        "s",
        "peak memory (GiB)",
        "TFLOP/s",
        "of a matrix product",
        "GPU busy",
        "nvidia-smi",
        "near",
    )
    rows: list[tuple[str, ...]] = [heading]
    for figures in found:
        rows.append(
            (
                figures.work,
                figures.mode,
                f"{figures.seconds:.4g}",
                "–" if figures.peak_bytes is None else f"{figures.peak_bytes / 2**30:.2f}",
                f"{figures.tera_flops:.3g}",
                f"{figures.share:.0%}",
                "–" if figures.busy is None else f"{figures.busy:.0%}",
                "–" if figures.utilization is None else f"{figures.utilization} %",
                limit(figures),
            )
        )
    return markdown_table(rows)


def measure_all(size: Size, device: torch.device, repeats: int) -> tuple[list[Figures], list[str]]:
    """Return the figures of every work in every mode, and sentences on what failed: memory, or a compiler, may lack."""
    found: list[Figures] = []
    failed: list[str] = []
    for work, times in ((TRAINING, repeats), (INFERENCE, max(1, repeats // 10))):
        for mode in MODES:
            try:
                found.append(measure(work, size, mode, device, times))
            except RuntimeError as error:
                failed.append(f"{work}, {mode.name}: {first_line(error)}")
            _forget(device)
    return found, failed


def gpu_speed(output_dir: str, batch_size: int = PAPER.batch, repeats: int = 20) -> None:
    """Print what a GPU makes of the network of the paper's size, and write it to gpu.md and gpu.json.

    Args:
        output_dir: folder for the figures.
        batch_size: images of 256 x 256 in a training step, of which one takes part in the terms of low-quality images.
        repeats: steps that are measured in each mode.
    """
    require(
        torch.cuda.is_available(),
        "There is no GPU that this PyTorch can use: start the command on a machine with one.",
    )
    require(batch_size > 0 and repeats > 0, "batch_size and repeats must be 1 or more.")
    device = torch.device("cuda", torch.cuda.current_device())
    size = Size(batch=batch_size)
    found, failed = measure_all(size, device, repeats)
    patch, volume = ("x".join(map(str, sizes)) for sizes in (size.patch, size.volume))
    notes = [
        f"- {torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}.",
        f"- Training step: {batch_size} images of {patch}. Inference: one volume of {volume}, copies included.",
        *(f"- {figures.work}, {figures.mode}: {_told(figures.longest)}." for figures in found),
        *(f"- Failed: {sentence}" for sentence in failed),
    ]
    folder = Path(str(output_dir)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*table(found), "", *notes]
    (folder / "gpu.md").write_text("\n".join(["# Speed on a GPU", "", *lines, ""]), encoding="utf-8")
    (folder / "gpu.json").write_text(
        json.dumps([asdict(figures) for figures in found], indent=2) + "\n", encoding="utf-8"
    )
    print("\n".join(lines))


def _told(longest: dict[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('aten::')} {share:.0%}" for name, share in longest.items())


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(gpu_speed, "gpu_speed.py", arguments)


if __name__ == "__main__":
    main()
