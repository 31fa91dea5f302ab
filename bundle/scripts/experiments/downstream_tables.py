# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the downstream experiment."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..reports.tables import markdown_table
from ..tasks import Task
from .costs import ENHANCEMENT, relative_cost
from .downstream_arms import SEPARATE
from .downstream_scores import score_names

__all__ = ["COOPERATIVE", "PROTOCOLS", "RETRAINED", "TRANSFER", "DownstreamTables", "Row"]

TRANSFER, RETRAINED, COOPERATIVE = PROTOCOLS = ("transfer", "retrained", "cooperative")

Row = dict[str, Any]
Column = tuple[str, str, str | None]
"""Heading, score, and the label budget that counts; None: every."""


class DownstreamTables:
    """Tables of the rows of an experiment, in Markdown.

    Args:
        task: of S.
        costs: of a training step by mode, see :func:`scripts.experiments.costs.load_costs`; None: they are left out.
    """

    def __init__(self, task: Task, costs: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.task = task
        self.costs = costs
        self.summary = "dice_mean" if task.image_labels else "auc"
        self.titles = {name: name.replace("_", " ").replace("dice", "Dice") for name in score_names(task)}
        self.titles |= {"auc": "AUC", "psnr": "PSNR (dB)", "ssim": "SSIM"}

    def tables(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        """Return title and table of every protocol that has rows."""
        titles = {
            TRANSFER: "Transfer: S trained on clean images",
            RETRAINED: f"Retrained: S trained on each arm's images, {self.titles[self.summary]} by number of labels",
            COOPERATIVE: "Cooperative: the S trained along with the enhancement",
        }
        found = {name: [row for row in rows if row["protocol"] == name] for name in titles}
        return [(titles[name], self._table(name, found[name])) for name in titles if found[name]]

    def _table(self, protocol: str, rows: Sequence[Row]) -> str:
        columns = self._columns(protocol, rows)
        heading = ["Arm", *(name for name, _, _ in columns)]
        arms = dict.fromkeys(row["arm"] for row in rows)
        body = [(arm, *(self._cell(rows, arm, column) for column in columns)) for arm in arms]
        if protocol == TRANSFER and self.costs is not None:
            heading += ["Time per step", "Memory"]
            body = [(*row, *self._relative_cost(row[0])) for row in body]
        return "\n".join(markdown_table([heading, *body]))

    def _columns(self, protocol: str, rows: Sequence[Row]) -> list[Column]:
        if protocol == RETRAINED:
            return [(label, self.summary, label) for label in dict.fromkeys(row["labels"] for row in rows)]
        keys = [*score_names(self.task), "psnr", "ssim"]
        return [(self.titles[key], key, None) for key in keys if any(key in row for row in rows)]

    @staticmethod
    def _cell(rows: Sequence[Row], arm: str, column: Column) -> str:
        _, key, label = column
        values = [row[key] for row in rows if row["arm"] == arm and key in row and label in (None, row["labels"])]
        if not values:
            return "–"
        digits = 2 if key == "psnr" else 3
        mean = f"{statistics.fmean(values):.{digits}f}"
        return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"

    def _relative_cost(self, arm: str) -> tuple[str, str]:
        """Return time and memory of an arm's training step, in multiples of one of enhancement alone."""
        assert self.costs is not None
        cost = self.costs.get("none" if arm == SEPARATE else arm)
        return ("–", "–") if cost is None else relative_cost(cost, self.costs[ENHANCEMENT])

    def markdown(self, rows: Sequence[Row], facts: Sequence[str], kind: str) -> str:
        """Return the report.

        Args:
            rows: of the experiment.
            facts: sentences on the data and on S.
            kind: of a labelled thing, ``"slices"`` or ``"volumes"``.
        """
        seeds = sorted({row["seed"] for row in rows})
        named = ", ".join(map(str, seeds))
        spread = f"Mean ± standard deviation over the seeds {named}" if len(seeds) > 1 else f"One seed, {named}"
        lines = ["# Downstream experiment", ""]
        for title, table in self.tables(rows):
            lines += [f"## {title}", "", table, ""]
        lines += [f"- {spread}: each trains the enhancement anew and S anew.", *(f"- {fact}" for fact in facts)]
        if self.costs is not None:
            lines.append(
                "- Time per step (one after the warm-up) and memory of the arm's own training, with the settings that "
                "they were measured with, are multiples of those of enhancement alone "
                f"({self.costs[ENHANCEMENT]['seconds']:.3f} s per step, {self.costs[ENHANCEMENT]['device']})."
            )
        if any(row["protocol"] == RETRAINED and row["labels"] != "all" for row in rows):
            lines.append(
                f"- With few labels ({kind}) only S went short: the enhancement of the bi-level arms had been trained "
                "with all labels. These columns do not show what bi-level learning brings where few labels exist."
            )
        if any(row["protocol"] == COOPERATIVE for row in rows):
            lines.append(
                "- The cooperative S had the number of steps, the batches and, where there are any, the labelled "
                "high-quality images of the arm's own training. With model_metric auto it is an average of weights "
                "that was chosen by its score on the labelled validation images, as all arms' enhancers were; a "
                "retrained S is the last of its training. Compare them in that light."
            )
        return "\n".join(lines) + "\n"
