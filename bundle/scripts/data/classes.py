# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What the labels of a data set are labels of."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..transforms import ReadImaged
from .unpaired import LABEL, of_other_patients

__all__ = ["TASKS", "count_classes", "describe_training", "is_multi_label", "labelled_entries", "without_labels"]

TASKS = ("segmentation", "classification")

logger = logging.getLogger(__name__)

Entries = Sequence[Mapping[str, Any]]


def labelled_entries(entries: Entries) -> list[Mapping[str, Any]]:
    """Return the entries of a datalist that have a label."""
    return [entry for entry in entries if entry.get(LABEL) is not None]


def is_multi_label(entries: Entries) -> bool:
    """Return whether labels are lists of 0 and 1, several of which may be 1."""
    return any(isinstance(entry[LABEL], (list, tuple)) for entry in labelled_entries(entries))


def count_classes(entries: Entries, task: str, num_classes: int | None = None) -> int:
    """Return the number of classes: as given, or else one more than the highest label that occurs.

    Args:
        entries: of a datalist.
        task: ``"segmentation"``: labels are files of class numbers, which are read for this; ``"classification"``:
            labels are class numbers, or lists with a 0 or 1 for each class.
        num_classes: as given by the user; it is not counted then.

    Raises:
        InputError: for an unknown task, a number below 2, or labels from which nothing can be counted.
    """
    if task not in TASKS:
        raise InputError(f'Unknown task "{task}": use {" or ".join(TASKS)}, or none for enhancement only.')
    if num_classes is None:
        labels = [entry[LABEL] for entry in labelled_entries(entries)]
        if task == "segmentation":
            read = ReadImaged(keys=[LABEL])
            values = sorted({int(value) for label in labels for value in read({LABEL: label})[LABEL].unique()})
            num_classes = max(values, default=0) + 1
            missing = sorted(set(range(num_classes)) - set(values))
            if missing:
                raise InputError(
                    f"The labels hold the values {', '.join(map(str, values[:8]))} but never {missing[0]}: number the "
                    "classes from 0 without gaps, or set --num_classes if a class is missing from the training images."
                )
        elif is_multi_label(entries):
            num_classes = max(len(label) for label in labels if isinstance(label, (list, tuple)))
        else:
            num_classes = max((label for label in labels if isinstance(label, int)), default=0) + 1
        logger.info("num_classes: %d, counted from %d labels", num_classes, len(labels))
    if num_classes < 2 and not (task == "classification" and is_multi_label(entries)):
        raise InputError(
            f"There must be 2 classes or more (background included), not {num_classes}: mend the labels, set "
            "--num_classes, or set --task none for enhancement only."
        )
    return num_classes


def without_labels(datalists: Mapping[str, Entries]) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of a datalist without the labels of their entries: for training that has no use for them."""
    return {
        name: [{key: value for key, value in entry.items() if key != LABEL} for entry in entries]
        for name, entries in datalists.items()
    }


def describe_training(
    entries: Entries, guides: Entries, task: str, hypergradient: str, frozen_task_networks: int
) -> str:
    """Return one or two lines that say how training will go, and why.

    Args:
        entries: the low-quality training entries.
        guides: the high-quality training entries.
        task: of the downstream network, or ``"none"``.
        hypergradient: mode of bi-level training.
        frozen_task_networks: their number, where there is something that they can learn from.
    """
    labelled = labelled_entries(entries)
    if task == "none":
        return "Training enhancement only: task is none."
    if not labelled:
        return "Training enhancement only: no low-quality training image has a label."
    kind = "Separate" if hypergradient == "none" else "Bi-level"
    labelled_guides = labelled_entries(guides)
    others = of_other_patients(labelled_guides, labelled)
    lines = [
        f"{kind} training (hypergradient {hypergradient}): enhancement and a {task} network, with the labels of "
        f"{len(labelled)} of {len(entries)} low-quality and {len(labelled_guides)} of {len(guides)} high-quality "
        "training images."
    ]
    if frozen_task_networks > 0 and others:
        lines.append(
            f"First, {frozen_task_networks} frozen task network{'s' * (frozen_task_networks > 1)} will learn from "
            f"{len(others)} labelled "
            f"high-quality images of other patients; the {task} network begins as the first of them."
        )
    elif frozen_task_networks > 0:
        why = (
            "the labelled high-quality images are all of patients with labelled low-quality images"
            if labelled_guides
            else "no high-quality training image has a label"
        )
        lines.append(
            f"There are no frozen task networks, since {why}: the warm-up is enhancement without the task, and the "
            f"{task} "
            "network begins from nothing. A short warm-up and several inner steps suit that better, such as "
            "--warmup_epochs 1 --inner_steps 3."
        )
    return "\n".join(lines)
