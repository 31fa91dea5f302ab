# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reports of what a trained network is worth."""

from __future__ import annotations

from .batch_report import BatchReport
from .case_pictures import CasePictures, report_pictures, report_plane
from .case_record import CaseRecord
from .evaluation import EvaluationReport, summary_table, write_report
from .measures import MEASURES
from .safety import SafetyMeasures, measure_safety
from .safety_limits import Limit, SafetyThresholds, Verdict, judge_cut, judge_safety
from .task import TaskScores

__all__ = [
    "MEASURES",
    "BatchReport",
    "CasePictures",
    "CaseRecord",
    "EvaluationReport",
    "Limit",
    "SafetyMeasures",
    "SafetyThresholds",
    "TaskScores",
    "Verdict",
    "judge_cut",
    "judge_safety",
    "measure_safety",
    "report_pictures",
    "report_plane",
    "summary_table",
    "write_report",
]
