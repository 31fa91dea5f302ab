# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reports of what a trained network is worth."""

from __future__ import annotations

from scripts.reports.batch import BatchReport, CasePictures, CaseRecord, report_pictures, report_plane
from scripts.reports.downstream import DownstreamReport
from scripts.reports.evaluation import EvaluationReport, summary_table, write_report
from scripts.reports.guidance import GuidanceReport
from scripts.reports.safety import (
    MEASURES,
    Limit,
    SafetyMeasures,
    SafetyThresholds,
    Verdict,
    judge_safety,
    measure_safety,
)
from scripts.reports.task import TaskScores

__all__ = [
    "MEASURES",
    "BatchReport",
    "CasePictures",
    "CaseRecord",
    "DownstreamReport",
    "EvaluationReport",
    "GuidanceReport",
    "Limit",
    "SafetyMeasures",
    "SafetyThresholds",
    "TaskScores",
    "Verdict",
    "judge_safety",
    "measure_safety",
    "report_pictures",
    "report_plane",
    "summary_table",
    "write_report",
]
