# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How much enhancement is worth to the next network: the downstream experiment, over trained arms and seeds."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from monai.networks import eval_mode
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import nn

from ..data import IMAGE
from ..errors import InputError
from ..files import atomic_write
from ..handlers.checkpoint import load_model
from ..reports.tables import write_csv
from ..tasks import Task
from .costs import load_costs
from .downstream_arms import ARMS, ArmFolder
from .downstream_data import Case, Data, prepare_cases, within_budget
from .downstream_pictures import Column, draw_arms
from .downstream_scores import measure_quality, measure_task, score_names
from .downstream_tables import COOPERATIVE, PROTOCOLS, RETRAINED, TRANSFER, DownstreamTables, Row
from .readers import Readers

__all__ = ["DownstreamExperiment"]

RAW, CLEAN = "raw", "clean"

logger = logging.getLogger(__name__)


class DownstreamExperiment:
    r"""Measure what enhancement is worth to a downstream network S that reads its results.

    An *arm* is a way in which the enhancement was trained; it has a folder ``{arms_dir}/{arm}/seed{s}`` with
    ``model.pt`` and, where S was trained along with it, ``downstream.pt``. ``raw`` is no enhancement, ``clean`` the
    references. For every seed, each arm's network enhances all images once, under its stored prototype, and three
    questions are asked of the held-out patients:

    - *transfer*: does an S trained on clean labelled images read the arm's results? One S, tested on raw images, on
      every arm's results and on the references, which are the bound.
    - *retrained*: there are labels for poor images; is enhancing them still worth it? For every arm (and raw) and
      every label budget a new S is trained on the arm's results and tested on them.
    - *cooperative*: the S that was trained along with the arm, on its results.

    Within a seed every S has the same architecture, initial weights, number of steps, batch size, cosine schedule of
    Adam's rate, draws and augmentation; only the images differ. A budget's slices are the same for all arms.

    Segmentation is measured by the Dice coefficient of each class but 0, of the whole volume, over those patients who
    have the class, and by the mean over classes; classification by the area under the ROC curve (mean over the classes
    that occur and do not always occur) and the accuracy; of classes that do not exclude each other a case is right when
    all are. PSNR and SSIM are those of :func:`scripts.handlers.image_quality`. Dice, PSNR and SSIM are means over
    patients, the others are over cases.

    ``run`` writes for every seed its figures, ``downstream_seed{s}.json``, and a picture, ``downstream_seed{s}.png``;
    for all its seeds together ``downstream.csv`` (a row per protocol, arm, budget and seed) and ``downstream.md`` (the
    tables), which are renewed after every seed. A seed whose file is there already, of the same settings, data and
    weights, is not done again. So several processes may do a seed each at the same time, and one after them, with all
    seeds, has only the tables left to make.

    Args:
        network: an HQG-Net of the arms' architecture, on ``device``. Its weights are replaced.
        downstream: S, on ``device``; it is copied, and the copies' weights are drawn anew.
        task: of S: its loss, labels and scores.
        inferer: how the HQG-Net is called, slice by slice for instance.
        labelled: prepared low-quality training items with ``image`` and ``label``.
        clean: prepared high-quality training items with the same; without any there is no transfer.
        testing: held-out items with ``image``, ``label`` and perhaps ``reference``, ``patient``.
        arms_dir: where the arms are.
        output_dir: where the files go.
        task_inferer: how S is called. Defaults to :class:`scripts.inferers.SegmentationInferer` or
            :class:`scripts.inferers.ClassificationInferer`.
        arms: the arms. One that was trained for no seed is left out.
        seeds: of the arms, and of everything random here.
        protocols: those to go through. An S of another architecture than the arms' own has no cooperative one.
        label_budgets: numbers of labelled slices (volumes, for a 3-D network) in the retrained protocol; None: all. One
            that is more than there are is left out.
        steps: training steps of every S.
        batch_size: images in a step.
        learning_rate: Adam's, which falls to 0 along a cosine.
        random_transforms: augmentation of a slice with the keys ``image`` and, in segmentation, ``label``.
        spatial_dims: number of spatial dimensions of the networks.
        slice_axis: spatial axis of a volume along which its slices are stacked.
        device: where the networks are.
        panel_cases: patients in a picture.
        costs_dir: folder of what ``configs/costs.yaml`` measured, see :func:`scripts.experiments.costs.load_costs`: the
            tables then say what a training step of each arm takes, relative to one of enhancement alone. Defaults to
            None: they do not.

    Raises:
        InputError: for settings out of range, and for costs that were not measured for every mode.
    """

    def __init__(
        self,
        network: nn.Module,
        downstream: nn.Module,
        task: Task,
        inferer: Inferer,
        labelled: Iterable[Mapping[str, Any]],
        clean: Iterable[Mapping[str, Any]],
        testing: Iterable[Mapping[str, Any]],
        arms_dir: str | Path,
        output_dir: str | Path,
        task_inferer: Inferer | None = None,
        arms: Sequence[str] = tuple(ARMS),
        seeds: Sequence[int] = (0, 1, 2),
        protocols: Sequence[str] = PROTOCOLS,
        label_budgets: Sequence[int | None] = (None, 64, 16),
        steps: int = 400,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        random_transforms: Compose | None = None,
        spatial_dims: int = 2,
        slice_axis: int = 2,
        device: torch.device | str = "cpu",
        panel_cases: int = 4,
        costs_dir: str | Path | None = None,
    ) -> None:
        _check_settings(protocols, seeds, label_budgets, (steps, batch_size))
        self.network, self.downstream, self.task = network, downstream, task
        self.labelled, self.clean, self.testing = labelled, clean, testing
        self.inferer = inferer
        self.arm_folder, self.output_dir = ArmFolder(Path(arms_dir)), Path(output_dir)
        self.arms = tuple(arms)
        self.seeds = tuple(dict.fromkeys(int(seed) for seed in seeds))
        self.protocols = tuple(protocol for protocol in PROTOCOLS if protocol in protocols)
        self.label_budgets = tuple(dict.fromkeys(label_budgets))
        self.device = torch.device(device)
        self.readers = Readers(
            downstream=downstream,
            task=task,
            inferer=task_inferer or task.inferer(spatial_dims, slice_axis),
            spatial_dims=spatial_dims,
            slice_axis=slice_axis,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            random_transforms=random_transforms,
            device=self.device,
        )
        self.slicing = self.readers.slicing
        self.panel_cases = panel_cases
        self.tables = DownstreamTables(task, None if costs_dir is None else load_costs(costs_dir))

    def run(self) -> list[Row]:
        """Do the experiment for every seed, write the files, print the tables; return the rows.

        Raises:
            InputError: when images, labels or trained arms are missing, or every budget exceeds the labelled slices.
        """
        arms = self.arm_folder.trained(self.arms, self.seeds)
        data = Data(*(prepare_cases(items, self.task) for items in (self.labelled, self.clean, self.testing)))
        self._check(data)
        if RETRAINED in self.protocols:
            self._leave_out_large_budgets(sum(len(self.slicing.indices(case)) for case in data.labelled))
        settings = self._settings(arms)
        origin = self._digest(settings, data)
        current = {seed: self.arm_folder.fingerprint(origin, arms, seed) for seed in self.seeds}
        for seed, fingerprint in current.items():
            self._read(seed, fingerprint)  # an unreadable file is to be heard of before the work, not after it
        for seed, fingerprint in current.items():
            # Looked for again: another process may have finished it in the meantime.
            if self._read(seed, fingerprint) is not None:
                logger.info("seed %d: done before, see %s", seed, self._result(seed))
                continue
            rows = self._run_seed(seed, arms, data)
            result = {"fingerprint": fingerprint, "settings": settings, "rows": rows}
            _write_text(self._result(seed), json.dumps(result, indent=2) + "\n")
            self._write(current, data)
        rows = self._write(current, data)
        if not rows:
            raise InputError(
                f"There is nothing to report of {', '.join(self.protocols)}: transfer needs labelled high-quality "
                "images, and cooperative a downstream.pt beside an arm's model.pt."
            )
        print("\n" + "\n\n".join(f"{title}\n\n{table}" for title, table in self.tables.tables(rows)), flush=True)
        print(f"\nReport: {self.output_dir / 'downstream.md'}", flush=True)
        return rows

    def _check(self, data: Data) -> None:
        if not data.labelled:
            raise InputError('There are no labelled low-quality training images: add labels to "training_lq".')
        if not data.testing:
            raise InputError('There are no test images with a label: add entries with a "label" to "testing".')
        if TRANSFER in self.protocols and not data.clean:
            logger.info("no high-quality training image has a label: the transfer protocol is left out")

    def _leave_out_large_budgets(self, available: int) -> None:
        kind = "slices" if self.slicing.spatial_dims == 2 else "volumes"
        too_large = [budget for budget in self.label_budgets if budget is not None and budget > available]
        if too_large:
            logger.warning(
                "left out, since only %d labelled %s show something: the label budgets %s",
                available,
                kind,
                ", ".join(map(str, too_large)),
            )
            self.label_budgets = tuple(budget for budget in self.label_budgets if budget not in too_large)
        if not self.label_budgets:
            raise InputError(
                f"Every label budget is more than the {available} labelled {kind} that show something: lower "
                "label_budgets."
            )

    def _run_seed(self, seed: int, arms: Sequence[str], data: Data) -> list[Row]:
        """Return the rows of a seed, and draw its picture."""
        rows: list[Row] = []
        columns: dict[str, Column] = {}
        transferred = None
        if data.clean and TRANSFER in self.protocols:
            items = self.readers.items([case.image for case in data.clean], data.clean)
            transferred = self.readers.train(items, seed, f"seed {seed}, S on clean images")
        references = [case.reference for case in data.testing if case.reference is not None]
        for arm in (RAW, *arms):
            if arm != RAW:
                load_model(self.network, self.arm_folder.file(arm, seed, "model.pt"))
            tested = self._enhance(arm, data.testing)
            quality = measure_quality(tested, data.testing, self.slicing)
            found, columns[arm] = self._transfer(transferred, tested, data.testing)
            entries = [(TRANSFER, "", found)] if transferred else []
            entries += self._cooperative(arm, seed, tested, data.testing)
            entries += self._retrained(arm, seed, tested, data)
            rows += [
                self._row(protocol, arm, labels, seed, {**scores, **quality}) for protocol, labels, scores in entries
            ]
        if len(references) == len(data.testing):
            found, columns[CLEAN] = self._transfer(transferred, references, data.testing)
            rows += [self._row(TRANSFER, CLEAN, "", seed, found)] if transferred else []
        shown = data.testing[: self.panel_cases]
        title = f"Downstream experiment, seed {seed}"
        draw_arms(columns, shown, self.slicing.axis, title, self.output_dir / f"downstream_seed{seed}.png")
        return rows

    @staticmethod
    def _row(protocol: str, arm: str, labels: str, seed: int, values: Mapping[str, float]) -> Row:
        return {"protocol": protocol, "arm": arm, "labels": labels, "seed": seed, **values}

    def _transfer(
        self, network: nn.Module | None, images: Sequence[torch.Tensor], cases: Sequence[Case]
    ) -> tuple[dict[str, float], Column]:
        """Return the scores of an S that was trained on clean images, and each image with the classes it sees."""
        seen: list[torch.Tensor | None] = [None] * len(images)
        scores: dict[str, float] = {}
        if network is not None:
            logits = self.readers.read(network, images)
            scores = measure_task(logits, cases, self.task)
            if self.task.image_labels:
                seen = [output.argmax(dim=0, keepdim=True) for output in logits]
        return scores, list(zip(images, seen, strict=True))[: self.panel_cases]

    def _cooperative(
        self, arm: str, seed: int, images: Sequence[torch.Tensor], cases: Sequence[Case]
    ) -> list[tuple[str, str, dict[str, float]]]:
        """Return the scores of the S that was trained along with the arm, where there is one."""
        file = self.arm_folder.file(arm, seed, "downstream.pt")
        if arm == RAW or not file.is_file() or COOPERATIVE not in self.protocols:
            return []
        network = copy.deepcopy(self.downstream)
        load_model(network, file)
        return [(COOPERATIVE, "all", measure_task(self.readers.read(network, images), cases, self.task))]

    def _retrained(
        self, arm: str, seed: int, images: Sequence[torch.Tensor], data: Data
    ) -> list[tuple[str, str, dict[str, float]]]:
        """Train an S on the arm's images for every label budget, and return its scores."""
        if RETRAINED not in self.protocols:
            return []
        items = self.readers.items(self._enhance(arm, data.labelled), data.labelled)
        entries = []
        for budget in self.label_budgets:
            name = "all" if budget is None else str(budget)
            title = f"seed {seed}, S on {arm} images, {name} labels"
            network = self.readers.train(within_budget(items, budget, seed), seed, title)
            entries.append((RETRAINED, name, measure_task(self.readers.read(network, images), data.testing, self.task)))
        return entries

    @torch.no_grad()
    def _enhance(self, arm: str, cases: Sequence[Case]) -> list[torch.Tensor]:
        images = [case.image for case in cases]
        if arm == RAW:
            return images
        with eval_mode(self.network):
            return [
                convert_to_tensor(self.inferer(image[None].to(self.device), self.network)[0]).cpu() for image in images
            ]

    def _settings(self, arms: Sequence[str]) -> dict[str, Any]:
        """Return what the figures depend on, save for data and weights."""
        return {
            "task": self.task.name,
            "num_classes": self.task.num_classes,
            "steps": self.readers.steps,
            "batch_size": self.readers.batch_size,
            "learning_rate": self.readers.learning_rate,
            "spatial_dims": self.slicing.spatial_dims,
            "slice_axis": self.slicing.axis,
            "arms": list(arms),
            "protocols": list(self.protocols),
            "label_budgets": list(self.label_budgets),
            "downstream": type(self.downstream).__name__,
            "parameters": sum(parameter.numel() for parameter in self.downstream.parameters()),
        }

    def _digest(self, settings: Mapping[str, Any], data: Data) -> str:
        """Return a digest of settings, networks, images, labels and augmentation."""
        digest = hashlib.sha256(json.dumps(settings).encode())
        # A function's text would hold its address, which is another in every process.
        loss = getattr(self.task.loss_function, "__qualname__", self.task.loss_function)
        digest.update(f"{self.network}{self.downstream}{loss}".encode())
        for cases in data:
            for case in cases:
                for tensor in (case.image, case.label, case.reference):
                    if tensor is not None:
                        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
                        digest.update(tensor.contiguous().numpy().tobytes())
        items = self.readers.items([case.image for case in data.labelled], data.labelled)
        draws = self.readers.draws(items, seed=0)
        for place in range(min(self.readers.batch_size, len(draws))):
            digest.update(draws[place][IMAGE].contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _result(self, seed: int) -> Path:
        return self.output_dir / f"downstream_seed{seed}.json"

    def _read(self, seed: int, fingerprint: str) -> list[Row] | None:
        """Return the rows of a seed, None when it was not finished with this fingerprint."""
        path = self._result(seed)
        if not path.exists():
            return None
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            rows: list[Row] = result["rows"]
            return rows if result["fingerprint"] == fingerprint else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f'"{path}" is no result of this experiment to resume from: remove it.') from error

    def _write(self, current: Mapping[int, str], data: Data) -> list[Row]:
        """Write the tables with the seeds of this run that are finished; return their rows."""
        rows = [row for seed, fingerprint in current.items() for row in self._read(seed, fingerprint) or ()]
        names = ["protocol", "arm", "labels", "seed", *score_names(self.task), "psnr", "ssim"]
        write_csv(self.output_dir / "downstream.csv", rows, names)
        facts = [
            f"{len({case.patient for case in data.testing})} held-out patients, {len(data.labelled)} labelled "
            f"low-quality and {len(data.clean)} labelled high-quality training images.",
            self.readers.describe() + "; the same initial weights, draws and augmentation in every arm.",
        ]
        kind = "slices" if self.slicing.spatial_dims == 2 else "volumes"
        _write_text(self.output_dir / "downstream.md", self.tables.markdown(rows, facts, kind))
        return rows


def _check_settings(
    protocols: Sequence[str], seeds: Sequence[int], label_budgets: Sequence[int | None], counts: Sequence[int]
) -> None:
    unknown = [protocol for protocol in protocols if protocol not in PROTOCOLS]
    if unknown or not protocols:
        raise InputError(f"protocols are some of {', '.join(PROTOCOLS)}, not {', '.join(unknown) or 'none'}.")
    if not seeds or not label_budgets:
        raise InputError("The downstream experiment needs at least one seed and one label budget.")
    if min(*counts, *(1 if budget is None else budget for budget in label_budgets)) < 1:
        raise InputError("steps, batch_size and every label budget but None must be at least 1.")


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")
