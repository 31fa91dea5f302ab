# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from tests.several_processes import in_processes
from torch.utils.data import DataLoader

from scripts import processes
from scripts.data import shared_sampler
from scripts.handlers.metrics import image_quality
from scripts.reports.evaluation import EvaluationReport, summarize, summary_table, write_report
from scripts.tasks import ClassificationTask, SegmentationTask

COLUMNS = ("patient", "input_psnr", "enhanced_psnr", "input_ssim", "enhanced_ssim", "input_ms_ssim", "enhanced_ms_ssim")
ROWS: list[dict[str, Any]] = [
    dict(zip(COLUMNS, ("p1", 16.0, 22.0, 0.2, 0.7, 0.5, 0.9), strict=True)),
    dict(zip(COLUMNS, ("p2", 18.0, 26.0, 0.4, 0.7, 0.7, 0.9), strict=True)),
]
UNMEASURED = {"patient": "p3"}


def case(name: str | None = None, with_reference: bool = True, seed: int = 0, **entries: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    reference, noise = torch.rand(1, 12, 12, generator=generator), torch.rand(1, 12, 12, generator=generator)
    image = MetaTensor(0.5 * reference + 0.5 * noise, meta={} if name is None else {"filename_or_obj": name})
    pred = 0.9 * reference + 0.1 * noise
    return {"image": image, "pred": pred, **({"reference": reference} if with_reference else {}), **entries}


def evaluate(report: EvaluationReport, *cases: dict[str, Any]) -> EvaluationReport:
    engine = Engine(lambda engine, batch: batch)
    report.attach(engine)
    engine.run([[entry] for entry in cases])
    return report


def test_summary_has_mean_spread_and_gain() -> None:
    psnr = summarize(ROWS)["metrics"]["psnr"]
    assert psnr["input"] == pytest.approx({"mean": 17.0, "std": 2**0.5})
    assert psnr["enhanced"] == pytest.approx({"mean": 24.0, "std": 8**0.5})
    assert psnr["gain"] == pytest.approx({"mean": 7.0, "std": 2**0.5})


def test_closed_share_of_the_ssim_distance_is_that_of_the_means() -> None:
    assert summarize(ROWS)["ssim_distance_closed"] == pytest.approx((0.7 - 0.3) / (1 - 0.3))


def test_perfect_input_has_no_distance_to_close() -> None:
    perfect = {**ROWS[0], "input_ssim": 1.0, "enhanced_ssim": 1.0}
    assert summarize([perfect])["ssim_distance_closed"] is None
    assert "closed" not in summary_table([perfect])


def test_patient_without_reference_does_not_count_but_is_counted() -> None:
    summary = summarize([*ROWS, UNMEASURED])
    assert summary["metrics"] == summarize(ROWS)["metrics"]
    assert (summary["patients"], summary["patients_with_reference"]) == (3, 2)
    assert "1 patient without a reference image left out." in summary_table([*ROWS, UNMEASURED])


def test_table_reads_metric_input_enhanced_gain() -> None:
    assert summary_table(ROWS).splitlines() == [
        "Metric     LQ input       Enhanced       Gain",
        "-----------------------------------------------",
        "PSNR (dB)  17.00 ± 1.41   24.00 ± 2.83   +7.00",
        "SSIM       0.300 ± 0.141  0.700 ± 0.000  +0.400",
        "MS-SSIM    0.600 ± 0.141  0.900 ± 0.000  +0.300",
        "Mean ± standard deviation over 2 patients.",
        "Share of the SSIM distance to 1 that is closed: 57 %.",
    ]


@pytest.mark.parametrize("rows", [[], [UNMEASURED]])
def test_table_without_any_reference_says_so(rows: list[dict[str, Any]]) -> None:
    assert "None has a reference image" in summary_table(rows)


def test_csv_has_a_row_per_patient_and_blanks_without_reference(tmp_path: Path) -> None:
    with write_report([*ROWS, UNMEASURED], tmp_path / "report")["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ["p1", "p2", "p3"]
    assert float(rows[1]["enhanced_psnr"]) == 26.0
    assert set(rows[2].values()) == {"p3", ""}


def test_json_is_the_summary(tmp_path: Path) -> None:
    paths = write_report(ROWS, tmp_path)
    assert json.loads(paths["json"].read_text()) == summarize(ROWS)


def test_markdown_has_the_table_and_the_notes(tmp_path: Path) -> None:
    text = write_report(ROWS, tmp_path, notes=["Pictures: panels"])["md"].read_text()
    assert "| PSNR (dB) | 17.00 ± 1.41  | 24.00 ± 2.83  | +7.00  |" in text
    assert "- Pictures: panels" in text


def test_evaluation_compares_input_and_enhanced_image_with_the_reference(tmp_path: Path) -> None:
    entry = case("p1.nii.gz")
    (row,) = evaluate(EvaluationReport(tmp_path), entry).rows
    before, after = (image_quality(entry[key], entry["reference"]) for key in ("image", "pred"))
    expected = {f"input_{metric}": value for metric, value in before.items()}
    expected |= {f"enhanced_{metric}": value for metric, value in after.items()}
    assert row.pop("patient") == "p1"
    assert row == pytest.approx(expected)


def test_images_of_one_patient_are_one_row_with_their_mean(tmp_path: Path) -> None:
    both = [case(patient="p1", seed=seed) for seed in (0, 1)]
    (row,) = evaluate(EvaluationReport(tmp_path), *both).rows
    alone = [evaluate(EvaluationReport(tmp_path), entry).rows[0]["enhanced_psnr"] for entry in both]
    assert row["enhanced_psnr"] == pytest.approx(sum(alone) / 2)


def test_files_of_one_name_in_two_folders_are_two_patients(tmp_path: Path) -> None:
    report = evaluate(EvaluationReport(tmp_path), case("a/scan.nii"), case("b/scan.nii"), case("c/other.nii"))
    assert [row["patient"] for row in report.rows] == ["a/scan.nii", "b/scan.nii", "other"]


def test_second_evaluation_starts_anew(tmp_path: Path) -> None:
    report = EvaluationReport(tmp_path)
    engine = Engine(lambda engine, batch: batch)
    report.attach(engine)
    engine.run([[case()]])
    engine.run([[case()]])
    assert len(report.rows) == 1


def test_end_of_the_evaluation_prints_the_table_and_the_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = EvaluationReport(tmp_path, panels_dir="panels", tracking_uri="sqlite:///mlflow.db")
    evaluate(report, case())
    printed = capsys.readouterr().out
    assert summary_table(report.rows) in printed
    assert f"Report: {tmp_path}\n" in printed
    assert "Pictures: panels\n" in printed
    assert "MLflow store: sqlite:///mlflow.db (mlflow ui --backend-store-uri sqlite:///mlflow.db)\n" in printed


def test_evaluation_without_any_reference_reports_the_number_of_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(EvaluationReport(tmp_path), case(with_reference=False), case(with_reference=False))
    assert "2 patients enhanced. None has a reference image" in capsys.readouterr().out
    assert json.loads((tmp_path / "evaluation.json").read_text()) == {"patients": 2, "patients_with_reference": 0}


def labelled(patient: str, with_reference: bool = True, **logits: list[float]) -> dict[str, Any]:
    return {**case(patient=patient, with_reference=with_reference), "label": 1, **logits_of(**logits)}


def logits_of(**logits: list[float]) -> dict[str, torch.Tensor]:
    return {f"task_{key}": torch.tensor(values) for key, values in logits.items()}


def test_downstream_network_has_a_table_columns_and_a_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = EvaluationReport(tmp_path, task=ClassificationTask(2))
    evaluate(
        report,
        labelled("p1", image=[1.0, 0.0], pred=[0.0, 1.0], reference=[0.0, 1.0]),
        labelled("p1", image=[0.0, 1.0], pred=[0.0, 1.0], reference=[0.0, 1.0]),
    )
    printed = capsys.readouterr().out
    assert "Downstream network (classification)\n\nMetric    LQ input  Enhanced  Reference\n" in printed
    assert "\nAccuracy  0.500     1.000     1.000\n" in printed
    assert "SSIM" in printed
    text = (tmp_path / "evaluation.md").read_text()
    assert "## Downstream network (classification)\n\n| Metric   | LQ input | Enhanced | Reference |" in text
    assert "| Accuracy | 0.500    | 1.000    | 1.000     |" in text
    with (tmp_path / "evaluation.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert [row[f"{state}_accuracy"] for state in ("input", "enhanced", "reference")] == ["0.5", "1.0", "1.0"]
    section = json.loads((tmp_path / "evaluation.json").read_text())["task"]
    assert section["metrics"]["accuracy"] == {"input": 0.5, "enhanced": 1.0, "reference": 1.0}


def test_downstream_network_is_judged_without_any_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = EvaluationReport(tmp_path, task=ClassificationTask(2))
    evaluate(report, labelled("p1", with_reference=False, image=[1.0, 0.0], pred=[0.0, 1.0]))
    printed = capsys.readouterr().out
    assert "None has a reference image" in printed
    assert "\nAccuracy  0.000     1.000\n" in printed
    assert "| Accuracy | 0.000    | 1.000    |" in (tmp_path / "evaluation.md").read_text()


def test_second_evaluation_of_the_downstream_network_starts_anew(tmp_path: Path) -> None:
    report = EvaluationReport(tmp_path, task=ClassificationTask(2))
    engine = Engine(lambda engine, batch: batch)
    report.attach(engine)
    for _ in range(2):
        engine.run([[labelled("p1", image=[1.0, 0.0], pred=[0.0, 1.0])]])
    assert json.loads((tmp_path / "evaluation.json").read_text())["task"]["images"] == {"input": 1, "enhanced": 1}


def test_task_without_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(EvaluationReport(tmp_path, task=SegmentationTask(2)), case())
    assert "No patient has a label" in capsys.readouterr().out
    assert "No patient has a label" in (tmp_path / "evaluation.md").read_text()


def test_processes_that_share_the_cases_write_the_report_of_one(tmp_path: Path) -> None:
    segmentation = {
        "label": torch.tensor([[[1, 1, 0, 0]]]),
        "task_pred": torch.eye(2)[torch.tensor([[1, 0, 0, 0]])].movedim(-1, 0),
    }
    classification = {"label": 1, "task_pred": torch.tensor([0.0, 1.0])}
    kinds = [(SegmentationTask(2), segmentation), (ClassificationTask(2), classification)]

    def written(folder: Path) -> dict[str, str]:
        for number, (task, entries) in enumerate(kinds):
            # One without a name, one without a label, and two of one patient.
            cases = [case(f"p{place % 4}.png" if place else None, seed=place, **entries) for place in range(5)]
            cases[3]["label"] = None
            cases[4]["patient"] = cases[1]["patient"] = "one"
            loader = DataLoader(cases, batch_size=None, sampler=shared_sampler(cases))
            report = EvaluationReport(folder / str(number), task=task)
            engine = Engine(lambda engine, entry: [entry])
            report.attach(engine)
            engine.run(loader)
        return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("evaluation.*"))}

    alone = written(tmp_path / "alone")
    assert len(alone) == 6
    assert "case 1" in alone["0/evaluation.csv"]
    assert in_processes(lambda: written(tmp_path / "shared" / str(processes.rank()))) == [alone, {}]
