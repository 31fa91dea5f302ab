# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Reports of what a trained network is worth."""

from __future__ import annotations

from scripts.reports.downstream import DownstreamReport
from scripts.reports.evaluation import EvaluationReport, summary_table, write_report
from scripts.reports.guidance import GuidanceReport
from scripts.reports.task import TaskScores

__all__ = ["DownstreamReport", "EvaluationReport", "GuidanceReport", "TaskScores", "summary_table", "write_report"]
