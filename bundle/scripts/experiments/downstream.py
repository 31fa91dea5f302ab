# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""What is enhancement worth to the next network?  The downstream experiment, over trained arms and seeds."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import logging
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import Inferer
from monai.networks import eval_mode
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from PIL import Image
from torch import nn

from ..data import IMAGE, LABEL, SeededSamples
from ..engines import REFERENCE, train_downstream
from ..errors import InputError
from ..files import atomic_write
from ..handlers.checkpoint import load_model
from ..handlers.metrics import image_quality
from ..handlers.panels import case_name
from ..handlers.task_scores import accuracy, auc_by_class, class_pair, dice_by_class, one_hot_pair
from ..inferers import ClassificationInferer, SegmentationInferer
from ..networks import reinitialized
from ..reports.tables import markdown_table
from ..tasks import TASKS
from ..transforms.slices import slices_with_content, through_plane_axis
from ..visualize import compose_grid, display_plane, enlarged, grey_or_colour
from .costs import ENHANCEMENT, load_costs, relative_cost

__all__ = ["DownstreamReport"]

SEPARATE, SEPARATE_MODE = "separate", "none"
ARMS = (SEPARATE, "first_order", "finite_difference", "unrolled", "implicit")
RAW, CLEAN = "raw", "clean"
TRANSFER, RETRAINED, COOPERATIVE = PROTOCOLS = ("transfer", "retrained", "cooperative")

# Of the label classes from 1 on: Okabe and Ito's colours, which colour-blind eyes tell apart.
_COLOURS = np.array([[86, 180, 233], [230, 159, 0], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]])
_PICTURE_SIZE = 200

# Not what the draws of a stream are seeded with.
_BUDGET = 2

logger = logging.getLogger(__name__)

Item = dict[str, Any]
Row = dict[str, Any]


class _Case(NamedTuple):
    """A prepared item: plain tensors to compute with, and the image with its geometry to be shown."""

    image: torch.Tensor
    label: torch.Tensor
    reference: torch.Tensor | None
    patient: str
    shown: torch.Tensor


class _Data(NamedTuple):
    """The prepared items of a run."""

    labelled: list[_Case]
    clean: list[_Case]
    testing: list[_Case]


class DownstreamReport:
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
        loss_function: from S's output, (B, K, *spatial) or (B, K), and the labels to the loss.
        inferer: how the HQG-Net is called, slice by slice for instance.
        labelled: prepared low-quality training items with ``image`` and ``label``.
        clean: prepared high-quality training items with the same; without any there is no transfer.
        testing: held-out items with ``image``, ``label`` and perhaps ``reference``, ``patient``.
        arms_dir: where the arms are.
        output_dir: where the files go.
        num_classes: number of output channels of S.
        task: ``"segmentation"``: labels are class numbers, (1, *spatial); or ``"classification"``: a class number each,
            or (K,) floating-point numbers 0 and 1 for classes that do not exclude each other.
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
        loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        inferer: Inferer,
        labelled: Iterable[Mapping[str, Any]],
        clean: Iterable[Mapping[str, Any]],
        testing: Iterable[Mapping[str, Any]],
        arms_dir: str | Path,
        output_dir: str | Path,
        num_classes: int,
        task: str = "segmentation",
        task_inferer: Inferer | None = None,
        arms: Sequence[str] = ARMS,
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
        if task not in TASKS:
            raise InputError(f"Unknown task {task!r}: choose one of {', '.join(TASKS)}.")
        if task == "segmentation" and num_classes < 2:
            raise InputError(
                f"Segmentation needs num_classes of at least 2, the background included, not {num_classes}."
            )
        unknown = [protocol for protocol in protocols if protocol not in PROTOCOLS]
        if unknown or not protocols:
            raise InputError(f"protocols are some of {', '.join(PROTOCOLS)}, not {', '.join(unknown) or 'none'}.")
        if not seeds or not label_budgets:
            raise InputError("The downstream experiment needs at least one seed and one label budget.")
        if min(steps, batch_size, *(1 if budget is None else budget for budget in label_budgets)) < 1:
            raise InputError("steps, batch_size and every label budget but None must be at least 1.")
        self.network = network
        self.downstream = downstream
        self.loss_function = loss_function
        self.inferer = inferer
        self.labelled = labelled
        self.clean = clean
        self.testing = testing
        self.arms_dir = Path(arms_dir)
        self.output_dir = Path(output_dir)
        self.num_classes = num_classes
        self.task = task
        inferer_of_task = SegmentationInferer if task == "segmentation" else ClassificationInferer
        self.task_inferer = inferer_of_task(spatial_dims, slice_axis) if task_inferer is None else task_inferer
        self.arms = tuple(arms)
        self.seeds = tuple(dict.fromkeys(int(seed) for seed in seeds))
        self.protocols = tuple(protocol for protocol in PROTOCOLS if protocol in protocols)
        self.label_budgets = tuple(dict.fromkeys(label_budgets))
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_transforms = random_transforms
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis
        self.device = torch.device(device)
        self.panel_cases = panel_cases
        self.costs = None if costs_dir is None else load_costs(costs_dir)

    def run(self) -> list[Row]:
        """Do the experiment for every seed, write the files, print the tables; return the rows.

        Raises:
            InputError: when images, labels or trained arms are missing, or every budget exceeds the labelled slices.
        """
        arms = self._trained_arms()
        data = _Data(self._prepare(self.labelled), self._prepare(self.clean), self._prepare(self.testing))
        self._check(data)
        slices = [self._slices(case) for case in data.labelled]
        if RETRAINED in self.protocols:
            self._leave_out_large_budgets(sum(map(len, slices)))
        settings = self._settings(arms)
        origin = self._digest(settings, data)
        current = {seed: self._fingerprint(origin, arms, seed) for seed in self.seeds}
        for seed, fingerprint in current.items():
            self._read(seed, fingerprint)  # an unreadable file is to be heard of before the work, not after it
        for seed, fingerprint in current.items():
            # Looked for again: another process may have finished it in the meantime.
            if self._read(seed, fingerprint) is not None:
                logger.info("seed %d: done before, see %s", seed, self._result(seed))
                continue
            rows = self._run_seed(seed, arms, data, slices)
            result = {"fingerprint": fingerprint, "settings": settings, "rows": rows}
            _write_text(self._result(seed), json.dumps(result, indent=2) + "\n")
            self._write(current, data)
        rows = self._write(current, data)
        if not rows:
            raise InputError(
                f"There is nothing to report of {', '.join(self.protocols)}: transfer needs labelled high-quality "
                "images, and cooperative a downstream.pt beside an arm's model.pt."
            )
        print("\n" + "\n\n".join(f"{title}\n\n{table}" for title, table in self._tables(rows)), flush=True)
        print(f"\nReport: {self.output_dir / 'downstream.md'}", flush=True)
        return rows

    def _trained_arms(self) -> list[str]:
        """Return the arms that were trained for every seed."""
        found = []
        for arm in self.arms:
            missing = [seed for seed in self.seeds if not self._file(arm, seed, "model.pt").is_file()]
            if len(missing) == len(self.seeds):
                logger.info("arm %s is left out: %s has no model.pt of it", arm, self.arms_dir)
                continue
            if missing:
                raise InputError(
                    f'The arm {arm} was not trained for seed {missing[0]}: there is no "'
                    f'{self._file(arm, missing[0], "model.pt")}"; train it, or leave the seed or the arm out.'
                )
            cooperative = [seed for seed in self.seeds if self._file(arm, seed, "downstream.pt").is_file()]
            if 0 < len(cooperative) < len(self.seeds):
                seed = next(seed for seed in self.seeds if seed not in cooperative)
                raise InputError(
                    f"The arm {arm} has a downstream.pt for some seeds, but there is no "
                    f'"{self._file(arm, seed, "downstream.pt")}": train that seed anew, or leave it out.'
                )
            found.append(arm)
        if not found:
            raise InputError(
                f'There is no trained arm in "{self.arms_dir}": train into {{arm}}/seed{{number}} in it, or set '
                "arms_dir."
            )
        return found

    def _file(self, arm: str, seed: int, name: str) -> Path:
        return self.arms_dir / arm / f"seed{seed}" / name

    def _prepare(self, items: Iterable[Mapping[str, Any]]) -> list[_Case]:
        """Return the items that have a label."""
        cases = []
        for number, item in enumerate(items):
            if item.get(LABEL) is None:
                continue
            patient = case_name(item, default=f"case {number + 1}")
            label = convert_to_tensor(torch.as_tensor(item[LABEL]))
            if self.task == "segmentation":
                highest = int(label.max())
                if highest >= self.num_classes:
                    raise InputError(
                        f'The label of "{patient}" holds class {highest}, but num_classes is {self.num_classes}: '
                        "mend the label, or set num_classes."
                    )
            elif label.is_floating_point() or label.numel() > 1:
                label = label.float().flatten()
            else:
                label = label.long().reshape(())
            reference = item.get(REFERENCE)
            cases.append(
                _Case(
                    convert_to_tensor(item[IMAGE]).float(),
                    label,
                    None if reference is None else convert_to_tensor(reference).float(),
                    patient,
                    item[IMAGE],
                )
            )
        return cases

    def _check(self, data: _Data) -> None:
        if not data.labelled:
            raise InputError('There are no labelled low-quality training images: add labels to "training_lq".')
        if not data.testing:
            raise InputError('There are no test images with a label: add entries with a "label" to "testing".')
        if TRANSFER in self.protocols and not data.clean:
            logger.info("no high-quality training image has a label: the transfer protocol is left out")

    def _leave_out_large_budgets(self, available: int) -> None:
        kind = "slices" if self.spatial_dims == 2 else "volumes"
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

    def _slices(self, case: _Case) -> list[int | None]:
        """Return the slices of a case that show something; ``[None]`` for an image of the network's own dimensions.

        They are those of the image as it came, never of an enhanced one, so that every arm has the same.
        """
        if case.image.ndim - 1 == self.spatial_dims:
            return [None]
        axis = through_plane_axis(case.image.shape[1:], self.slice_axis)
        return [int(index) for index in slices_with_content(case.image, axis, min_foreground=0.05)]

    def _run_seed(
        self, seed: int, arms: Sequence[str], data: _Data, slices: Sequence[Sequence[int | None]]
    ) -> list[Row]:
        rows: list[Row] = []
        picture: dict[str, list[tuple[torch.Tensor, torch.Tensor | None]]] = {}

        def measured(protocol: str, arm: str, labels: str, values: Mapping[str, float]) -> None:
            rows.append({"protocol": protocol, "arm": arm, "labels": labels, "seed": seed, **values})

        transferred = None
        if data.clean and TRANSFER in self.protocols:
            clean_slices = [self._slices(case) for case in data.clean]
            draws = self._training_items([case.image for case in data.clean], data.clean, clean_slices)
            transferred = self._train(draws, seed, f"seed {seed}, S on clean images")
        references = [case.reference for case in data.testing]
        with_reference = [reference for reference in references if reference is not None]
        inputs = [RAW, *arms, *([CLEAN] if len(with_reference) == len(references) else [])]
        for arm in inputs:
            if arm == CLEAN:
                tested = with_reference
            else:
                if arm != RAW:
                    load_model(self.network, self._file(arm, seed, "model.pt"))
                tested = self._enhance(arm, [case.image for case in data.testing])
            quality = {} if arm == CLEAN else self._quality(tested, data.testing)
            seen: list[torch.Tensor | None] = [None] * len(tested)
            if transferred is not None:
                logits = self._predict(transferred, tested)
                measured(TRANSFER, arm, "", {**self._measure(logits, data.testing), **quality})
                if self.task == "segmentation":
                    seen = [output.argmax(dim=0, keepdim=True) for output in logits]
            picture[arm] = list(zip(tested, seen, strict=True))[: self.panel_cases]
            if arm == CLEAN:
                continue
            together = self._file(arm, seed, "downstream.pt")
            if arm != RAW and together.is_file() and COOPERATIVE in self.protocols:
                cooperative = copy.deepcopy(self.downstream)
                load_model(cooperative, together)
                logits = self._predict(cooperative, tested)
                measured(COOPERATIVE, arm, "all", {**self._measure(logits, data.testing), **quality})
            if RETRAINED not in self.protocols:
                continue
            training = self._enhance(arm, [case.image for case in data.labelled])
            items = self._training_items(training, data.labelled, slices)
            for budget in self.label_budgets:
                name = "all" if budget is None else str(budget)
                retrained = self._train(
                    self._within_budget(items, budget, seed), seed, f"seed {seed}, S on {arm} images, {name} labels"
                )
                logits = self._predict(retrained, tested)
                measured(RETRAINED, arm, name, {**self._measure(logits, data.testing), **quality})
        self._draw(picture, data.testing, seed)
        return rows

    @torch.no_grad()
    def _enhance(self, arm: str, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if arm == RAW:
            return list(images)
        with eval_mode(self.network):
            return [
                convert_to_tensor(self.inferer(image[None].to(self.device), self.network)[0]).cpu() for image in images
            ]

    def _training_items(
        self, images: Sequence[torch.Tensor], cases: Sequence[_Case], slices: Sequence[Sequence[int | None]]
    ) -> list[Item]:
        """Return the slices (or whole images) that S is trained on, with their labels."""
        items = []
        for image, case, indices in zip(images, cases, slices, strict=True):
            axis = through_plane_axis(image.shape[1:], self.slice_axis) + 1
            for index in indices:
                if index is None:
                    items.append({IMAGE: image, LABEL: case.label})
                else:
                    label = case.label.select(axis, index) if self.task == "segmentation" else case.label
                    items.append({IMAGE: image.select(axis, index), LABEL: label})
        return items

    def _within_budget(self, items: Sequence[Item], budget: int | None, seed: int) -> list[Item]:
        """Return ``budget`` of the items, drawn by the seed; a small budget is part of a larger one."""
        if budget is None:
            return list(items)
        order = np.random.default_rng([seed, _BUDGET]).permutation(len(items))
        return [items[index] for index in sorted(order[:budget])]

    def _train(self, items: Sequence[Item], seed: int, name: str) -> nn.Module:
        """Train a new S on the items."""
        network = reinitialized(self.downstream, seed)
        draws = self._draws(items, seed)
        train_downstream(network, draws, self.loss_function, self.batch_size, self.learning_rate, seed, name)
        return network

    def _draws(self, items: Sequence[Item], seed: int) -> SeededSamples:
        length = self.steps * self.batch_size
        return SeededSamples(items, length, seed, self.random_transforms, vary_label=self.task == "segmentation")

    def _predict(self, network: nn.Module, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return S's logits for every image, (K, *spatial) or (K,)."""
        with eval_mode(network):
            return [
                convert_to_tensor(self.task_inferer(image[None].to(self.device), network)[0]).cpu() for image in images
            ]

    def _measure(self, logits: Sequence[torch.Tensor], cases: Sequence[_Case]) -> dict[str, float]:
        pairs = zip(logits, (case.label for case in cases), strict=True)
        if self.task == "segmentation":
            dice = [dice_by_class(*one_hot_pair(output, label, self.num_classes)) for output, label in pairs]
            means = _over_patients(torch.stack(dice), cases)
            found = {f"dice_{number}": value for number, value in enumerate(means.tolist(), start=1)}
            found["dice_mean"] = float(means.nanmean())
        else:
            multi_label = cases[0].label.is_floating_point()
            vectors = [class_pair(output, label, self.num_classes, multi_label) for output, label in pairs]
            outputs, targets = (torch.stack(column) for column in zip(*vectors, strict=True))
            found = {
                "auc": float(auc_by_class(outputs, targets, multi_label).nanmean()),
                "accuracy": accuracy(outputs, targets, multi_label),
            }
        return _known(found)

    def _quality(self, images: Sequence[torch.Tensor], cases: Sequence[_Case]) -> dict[str, float]:
        """Return PSNR and SSIM over the patients with a reference; nothing where there is none."""
        compared = [(image, case) for image, case in zip(images, cases, strict=True) if case.reference is not None]
        if not compared:
            return {}
        values = []
        for image, case in compared:
            assert case.reference is not None
            quality = image_quality(image, case.reference, self.spatial_dims, self.slice_axis)
            values.append([quality["psnr"], quality["ssim"]])
        means = _over_patients(torch.tensor(values), [case for _, case in compared]).tolist()
        return _known(dict(zip(("psnr", "ssim"), means, strict=True)))

    def _settings(self, arms: Sequence[str]) -> dict[str, Any]:
        """Return what the figures depend on, save for data and weights."""
        return {
            "task": self.task,
            "num_classes": self.num_classes,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "spatial_dims": self.spatial_dims,
            "slice_axis": self.slice_axis,
            "arms": list(arms),
            "protocols": list(self.protocols),
            "label_budgets": list(self.label_budgets),
            "downstream": type(self.downstream).__name__,
            "parameters": sum(parameter.numel() for parameter in self.downstream.parameters()),
        }

    def _digest(self, settings: Mapping[str, Any], data: _Data) -> str:
        """Return a digest of settings, networks, images, labels and augmentation."""
        digest = hashlib.sha256(json.dumps(settings).encode())
        # A function's text would hold its address, which is another in every process.
        loss = getattr(self.loss_function, "__qualname__", self.loss_function)
        digest.update(f"{self.network}{self.downstream}{loss}".encode())
        for cases in data:
            for case in cases:
                for tensor in (case.image, case.label, case.reference):
                    if tensor is not None:
                        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
                        digest.update(tensor.contiguous().numpy().tobytes())
        items = self._training_items(
            [case.image for case in data.labelled], data.labelled, [self._slices(case) for case in data.labelled]
        )
        draws = self._draws(items, seed=0)
        for place in range(min(self.batch_size, len(draws))):
            digest.update(draws[place][IMAGE].contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _fingerprint(self, origin: str, arms: Sequence[str], seed: int) -> str:
        """Return a digest of everything that the figures of a seed depend on."""
        digest = hashlib.sha256(origin.encode())
        for arm in arms:
            for name in ("model.pt", "downstream.pt"):
                file = self._file(arm, seed, name)
                digest.update(file.read_bytes() if file.is_file() else b"none")
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
            raise InputError(
                f'"{path}" is no result of this experiment that could be gone on from: remove it.'
            ) from error

    def _write(self, current: Mapping[int, str], data: _Data) -> list[Row]:
        """Write the tables with the seeds of this run that are finished; return their rows."""
        rows = [row for seed, fingerprint in current.items() for row in self._read(seed, fingerprint) or ()]
        names = ["protocol", "arm", "labels", "seed", *self._metrics, "psnr", "ssim"]
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, fieldnames=names)
        writer.writeheader()
        writer.writerows(rows)
        _write_text(self.output_dir / "downstream.csv", lines.getvalue())
        _write_text(self.output_dir / "downstream.md", self._markdown(rows, data))
        return rows

    @property
    def _metrics(self) -> list[str]:
        """Names of the measures of S; the last one of segmentation and the first of classification sum it up."""
        if self.task == "classification":
            return ["auc", "accuracy"]
        return [*(f"dice_{number}" for number in range(1, self.num_classes)), "dice_mean"]

    def _tables(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        """Return title and table of every protocol that has rows."""
        titles = {name: name.replace("_", " ").replace("dice", "Dice") for name in self._metrics}
        titles |= {"auc": "AUC", "psnr": "PSNR (dB)", "ssim": "SSIM"}
        summary = "auc" if self.task == "classification" else "dice_mean"
        tables = []
        for protocol, title in (
            (TRANSFER, "Transfer: S trained on clean images"),
            (RETRAINED, f"Retrained: S trained on each arm's images, {titles[summary]} by number of labels"),
            (COOPERATIVE, "Cooperative: the S trained along with the enhancement"),
        ):
            found = [row for row in rows if row["protocol"] == protocol]
            if not found:
                continue
            if protocol == RETRAINED:
                columns = [(label, summary, label) for label in dict.fromkeys(row["labels"] for row in found)]
            else:
                keys = [*self._metrics, "psnr", "ssim"]
                columns = [(titles[key], key, None) for key in keys if any(key in row for row in found)]
            body = [
                (
                    arm,
                    *(
                        _mean_and_spread(
                            [
                                row[key]
                                for row in found
                                if row["arm"] == arm and key in row and label in (None, row["labels"])
                            ],
                            digits=2 if key == "psnr" else 3,
                        )
                        for _, key, label in columns
                    ),
                )
                for arm in dict.fromkeys(row["arm"] for row in found)
            ]
            heading = ["Arm", *(name for name, _, _ in columns)]
            if protocol == TRANSFER and self.costs is not None:
                heading += ["Time per step", "Memory"]
                body = [(*row, *self._relative_cost(row[0])) for row in body]
            tables.append((title, "\n".join(markdown_table([heading, *body]))))
        return tables

    def _relative_cost(self, arm: str) -> tuple[str, str]:
        """Return what a training step of an arm takes, in multiples of one of enhancement alone."""
        assert self.costs is not None
        cost = self.costs.get(SEPARATE_MODE if arm == SEPARATE else arm)
        return ("–", "–") if cost is None else relative_cost(cost, self.costs[ENHANCEMENT])

    def _markdown(self, rows: Sequence[Row], data: _Data) -> str:
        seeds = sorted({row["seed"] for row in rows})
        named = ", ".join(map(str, seeds))
        spread = f"Mean ± standard deviation over the seeds {named}" if len(seeds) > 1 else f"One seed, {named}"
        lines = ["# Downstream experiment", ""]
        for title, table in self._tables(rows):
            lines += [f"## {title}", "", table, ""]
        kind = "slices" if self.spatial_dims == 2 else "volumes"
        lines += [
            f"- {spread}: each trains the enhancement anew and S anew.",
            f"- {len({case.patient for case in data.testing})} held-out patients, {len(data.labelled)} labelled "
            f"low-quality and {len(data.clean)} labelled high-quality training images.",
            f"- S ({type(self.downstream).__name__}): {self.steps} steps of {self.batch_size} images, Adam at "
            f"{self.learning_rate:g} along a cosine; the same initial weights, draws and augmentation in every arm.",
        ]
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

    def _draw(
        self,
        picture: Mapping[str, Sequence[tuple[torch.Tensor, torch.Tensor | None]]],
        cases: Sequence[_Case],
        seed: int,
    ) -> None:
        """Write ``downstream_seed{seed}.png``: each patient's images, and below what the transferred S sees in them."""
        headings = list(picture)
        segmented = any(prediction is not None for column in picture.values() for _, prediction in column)
        grid: list[tuple[str, list[Image.Image | None]]] = []
        for number, case in enumerate(cases[: self.panel_cases]):
            shown = [
                (self._plane(case, image), prediction)
                for image, prediction in (picture[arm][number] for arm in picture)
            ]
            _, spacing = display_plane(case.shown, self.slice_axis)
            columns = [enlarged(grey_or_colour(plane), spacing, _PICTURE_SIZE) for plane, _ in shown]
            grid.append((case.patient, [*columns, *([None] if segmented else [])]))
            if segmented:
                seen = [
                    None
                    if prediction is None
                    else enlarged(_overlaid(plane, self._plane(case, prediction)), spacing, _PICTURE_SIZE)
                    for plane, prediction in shown
                ]
                truth = _overlaid(shown[-1][0], self._plane(case, case.label))
                grid.append(("", [*seen, enlarged(truth, spacing, _PICTURE_SIZE)]))
        if segmented:
            headings.append("label")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        title = f"Downstream experiment, seed {seed}" + (": below, S trained on clean images" if segmented else "")
        compose_grid(headings, grid, title).save(self.output_dir / f"downstream_seed{seed}.png")

    def _plane(self, case: _Case, image: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return the plane that is shown, turned as the case's geometry says."""
        turned = case.shown[: image.shape[0]].clone().float()
        turned[...] = image
        return display_plane(turned, self.slice_axis)[0]


def _over_patients(values: torch.Tensor, cases: Sequence[_Case]) -> torch.Tensor:
    """Return the mean, (M,), over patients of the mean over each one's cases, (N, M), leaving NaN out."""
    groups: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(case.patient, []).append(index)
    return torch.stack([values[indices].nanmean(dim=0) for indices in groups.values()]).nanmean(dim=0)


def _known(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out what could not be measured: a class that no patient has, say."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _mean_and_spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def _overlaid(plane: npt.NDArray[np.float64], classes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return the colours of a plane, with those of the classes from 1 on over them."""
    pixels = grey_or_colour(plane)
    numbers = classes.round().astype(np.int64)
    colours = _COLOURS[(numbers - 1) % len(_COLOURS)]
    blended: npt.NDArray[np.uint8] = (0.5 * pixels + 0.5 * colours).round().astype(np.uint8)
    return np.where(numbers[..., None] > 0, blended, pixels)
