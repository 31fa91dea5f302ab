# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The runs of inference.yaml: the checks of their settings, and what they enhance."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from .. import processes
from ..command_line import check_flags, refuse_unknown_settings
from ..errors import require, show_input_errors_plainly
from ..io import Case, Problem, find_cases
from .case_enhancer import CaseEnhancer
from .results import ResultFolder

logger = logging.getLogger(__name__)

Settings = Mapping[str, Any]


def find_inputs(
    input_dir: str, datalist: str | None = None, output_dir: str | None = None, follow_links: bool = False
) -> tuple[list[Case], list[Problem]]:
    """Return what there is to enhance, see :func:`scripts.io.find_cases`; nothing where nothing was asked for yet.

    Of several processes the first looks for all: what it writes meanwhile, or somebody brings, must not shift the work.
    """
    if not input_dir and not datalist:
        return [], []
    return processes.from_first(lambda: find_cases(input_dir, datalist, output_dir or None, follow_links))


def dataset_entries(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Return the entries of a dataset of cases: ``"image"``, a file or those of a series, and ``"name"``."""
    return [
        {"image": str(case.files[0]) if len(case.files) == 1 else list(map(str, case.files)), "name": case.name}
        for case in cases
    ]


def begin_evaluator(output_dir: str, flags: Settings, of_enhancing: Settings) -> None:
    """Begin the run ``run`` of inference.yaml, MONAI's inference workflow; arguments as of :func:`begin_inference`.

    Args:
        output_dir: the setting.
        flags: settings that are True or False.
        of_enhancing: settings that this run has no use for, false where they are left at their default.

    Raises:
        InputError: when it is not said where results go, for a word where True or False is due, and for a setting of
            ``of_enhancing``.
    """
    show_input_errors_plainly(status=2)
    refuse_unknown_settings(types=True)
    require(bool(output_dir), "Say where results go: --output_dir FOLDER.")
    check_flags(flags)
    asked = [name for name, value in of_enhancing.items() if value]
    require(not asked, f"--{', --'.join(asked)}: the run enhancing does that. This one writes enhanced images alone.")
    processes.refuse_several("MONAI's inference workflow", "run enhancing shares the images among processes")


def check_dataset(dataset: Sized, problems: Iterable[Problem]) -> None:
    """Refuse a dataset without images, and name what was found beside the images and cannot be enhanced.

    Args:
        dataset: of the inference workflow.
        problems: what is no image.

    Raises:
        InputError: when the dataset is empty.
    """
    for problem in problems:
        logger.warning("%s", problem.message if problem.passed_over else f"left out: {problem.message}")
    require(len(dataset) > 0, "Say what to enhance: --dataset_dir FILE_OR_FOLDER, or --datalist FILE.")


def check_output(output_dir: str) -> None:
    """Refuse, before the network has run, a folder that results cannot be written to; it is made.

    Raises:
        InputError: naming it and the reason.
    """
    ResultFolder(output_dir).check_writable()


def follow_guide(enhancer: CaseEnhancer, guide: str | None, styles: Settings | None) -> None:
    """Let the inferer of an enhancer follow a guide of the user's choice, whoever calls it.

    Args:
        enhancer: with the trained network.
        guide: see :meth:`scripts.inference.CaseEnhancer.follow_named`; None: the stored prototype.
        styles: of the model.

    Raises:
        InputError: when there is no such guide.
    """
    if guide:
        enhancer.follow_named(guide, styles)
        enhancer.inferer.cue = enhancer.cue.mean


def begin_inference(input_dir: str, datalist: str | None, output_dir: str, flags: Settings) -> None:
    """Begin the run ``enhancing`` of inference.yaml, the batch program: tell errors plainly, and refuse wrong settings.

    Where a launcher started several processes, they join.

    Args:
        input_dir: the setting.
        datalist: the setting.
        output_dir: the setting.
        flags: settings that are True or False.

    Raises:
        InputError: when it is not said what to enhance or where to, or for a word where True or False is due.
    """
    show_input_errors_plainly(status=2)
    refuse_unknown_settings(types=True)
    require(
        bool(input_dir) or bool(datalist),
        "Say what to enhance: --input_dir FILE_OR_FOLDER, or --datalist FILE.",
    )
    require(bool(output_dir), "Say where results go: --output_dir FOLDER.")
    check_flags(flags)
    processes.join()


def say_network(model_file: str, root: str) -> None:
    """Log which network is used: somebody who has just trained one may think that it is theirs.

    Args:
        model_file: of the network.
        root: folder of the bundle.
    """
    if not processes.is_first():
        return
    is_supplied = Path(model_file).resolve().parent == Path(root, "models").resolve()
    told = " It came with the bundle; --model_dir takes one of your own training." if is_supplied else ""
    logger.info('The network is "%s".%s', model_file, told)


def begin_calibration(input_dir: str | Iterable[str], datalist: str | None) -> None:
    """Begin the run ``calibrating`` of inference.yaml, see :func:`begin_inference`.

    Raises:
        InputError: when it is not said what to calibrate on.
    """
    show_input_errors_plainly(status=2)
    refuse_unknown_settings(types=True)
    processes.refuse_several("Calibration", "start it without torchrun")
    require(
        bool(input_dir) or bool(datalist),
        "Say what to calibrate on: --input_dir FILE_OR_FOLDER, or --datalist FILE, whose validation images are taken.",
    )
