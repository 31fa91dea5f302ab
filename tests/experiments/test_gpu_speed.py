# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts.experiments import gpu_speed
from scripts.experiments.gpu_speed import INFERENCE, TRAINING, Figures, Mode, Size, limit, main, measure, table

TINY = Size((4, 6), (4, 6), patch=(32, 32), batch=2, volume=(16, 16, 3), slices=2)
FIGURES = Figures(TRAINING, "fp32", 0.5, 2**30, 10.0, 0.7, 0.9, 95, {"aten::convolution": 0.6})


@pytest.mark.parametrize("work", [pytest.param(TRAINING, marks=pytest.mark.slow), INFERENCE])
@pytest.mark.parametrize(
    "mode",
    [
        Mode("fp32"),
        pytest.param(Mode("bf16, compiled", tensor_float=True, amp=True, backend="eager"), marks=pytest.mark.slow),
    ],
)
def test_every_work_is_measured_in_every_mode(work: str, mode: Mode) -> None:
    former = torch.get_float32_matmul_precision()
    figures = measure(work, TINY, mode, torch.device("cpu"), 1)
    assert figures.seconds > 0
    assert figures.tera_flops > 0
    assert 0 < figures.share < 1
    assert figures.longest
    assert sum(figures.longest.values()) <= 1
    assert (figures.busy, figures.utilization, limit(figures)) == (None, None, "unknown")
    assert torch.get_float32_matmul_precision() == former


def test_operations_are_those_of_the_convolutions() -> None:
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    image = torch.rand(1, 3, 8, 8)

    def convolve() -> None:
        convolution(image)

    assert gpu_speed._operations(convolve) == 2 * 3 * 5 * 9 * 64


def test_operations_are_counted_once_for_all_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    monkeypatch.setattr(gpu_speed, "_made", lambda *arguments: counted.append(arguments) or (lambda: None))
    size = replace(TINY, batch=7)  # of this test alone
    assert [gpu_speed._operations_of(INFERENCE, size, torch.device("cpu")) for _ in range(2)] == [0, 0]
    assert len(counted) == 1


def test_what_limits_the_work_is_named() -> None:
    assert limit(FIGURES) == "arithmetic"
    assert limit(replace(FIGURES, share=0.2)) == "memory bandwidth"
    assert limit(replace(FIGURES, share=0.2, busy=0.5)).startswith("the host")


def test_table_has_a_row_per_work_and_mode() -> None:
    row = table([FIGURES])[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("training step", "fp32", "0.5", "1.00", "10", "70%", "90%", "95 %", "arithmetic")
    ]


def test_what_fails_is_told_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(work: str, size: Size, mode: Mode, device: torch.device, repeats: int) -> Figures:
        if mode.backend:
            raise RuntimeError("no compiler\nlong trace")
        return replace(FIGURES, work=work, mode=mode.name)

    monkeypatch.setattr(gpu_speed, "measure", measured)
    found, failed = gpu_speed.measure_all(TINY, torch.device("cpu"), 1)
    assert [(figures.work, figures.mode) for figures in found] == [
        (work, mode) for work in (TRAINING, INFERENCE) for mode in ("fp32", "tf32", "bf16")
    ]
    assert failed == [f"{work}, bf16, compiled: no compiler" for work in (TRAINING, INFERENCE)]


def test_without_a_gpu_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="error: There is no GPU"):
        main(["--output_dir", str(tmp_path / "figures")])
    assert not (tmp_path / "figures").exists()
