# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The task of the downstream network S: its labels, loss, inferer, scores and checks."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from monai.handlers import IgniteMetricHandler
from monai.losses import DiceCELoss
from monai.networks import eval_mode
from monai.transforms import Transform
from torch import nn

from .data import GUIDE, IMAGE, LABEL
from .engines import REFERENCE
from .errors import InputError, first_line
from .handlers.task_metrics import Hausdorff95, SurfaceDice, TaskAccuracy, TaskAUC, TaskDice
from .inferers import ClassificationInferer, EnhancementInferer, SegmentationInferer
from .networks import describe_definition
from .transforms import MASK_VALUE, ClassLabeld, ReadImaged, TwoClassLabeld
from .transforms.loading import values_in_words

__all__ = [
    "TASKS",
    "ClassificationTask",
    "SegmentationTask",
    "Task",
    "is_multi_label",
    "labelled_entries",
    "make_task",
    "without_labels",
]

logger = logging.getLogger(__name__)

Entries = Sequence[Mapping[str, Any]]


class Task(ABC):
    """Task of the downstream network S: its labels, loss, inferer and scores.

    Args:
        num_classes: length of S's output channels K, the background of a segmentation included.
        loss_function: from S's logits and the labels to a scalar.
        multi_label: whether an image may show several classes, or none.

    Raises:
        InputError: for too few classes.
    """

    name: ClassVar[str]
    key_metric: ClassVar[str]
    """The validation metric that chooses the network."""
    rising_metrics: ClassVar[tuple[str, ...]]
    """The validation metrics of which more is better."""
    image_labels: ClassVar[bool]
    """Whether labels are images: read from files, on the image's grid, and cropped and flipped with it."""

    def __init__(self, num_classes: int, loss_function: nn.Module, multi_label: bool = False) -> None:
        if num_classes < (1 if multi_label else 2):
            raise InputError(
                f"There must be 2 classes or more (background included), not {num_classes}: mend the labels, set "
                "--num_classes, or set --task none for enhancement only."
            )
        self.num_classes = num_classes
        self.loss_function = loss_function
        self.multi_label = multi_label

    @classmethod
    @abstractmethod
    def from_labels(
        cls, entries: Entries, num_classes: int | None, multi_label: bool | None, loss_function: nn.Module | None
    ) -> Task:
        """Return the task that labels are for.

        Args:
            entries: with labels; one or more.
            num_classes: number of classes; None: they are counted in the labels.
            multi_label: whether an image may show several classes; None: as the labels are. Segmentation ignores it.
            loss_function: of S; None: the default.

        Raises:
            InputError: for too few classes, or labels in which no classes can be counted.
        """

    @property
    def spatial_keys(self) -> list[str]:
        """Keys of a datalist's entry that are read from image files."""
        labels = [LABEL] if self.image_labels else []
        return [IMAGE, *labels, REFERENCE, GUIDE]

    @property
    def varied_keys(self) -> list[str]:
        """Keys that random transforms change together."""
        return [IMAGE, LABEL] if self.image_labels else [IMAGE]

    @property
    def mask_key(self) -> str | None:
        """Key of the label that must lie on the image's grid."""
        return LABEL if self.image_labels else None

    def label_transforms(self) -> list[Transform]:
        """Return the transforms that turn labels, as they were read, into classes."""
        return []

    @abstractmethod
    def inferer(self, spatial_dims: int, slice_axis: int = 2, divisor: int = 16) -> EnhancementInferer:
        """Return how S is called on whole images.

        Args:
            spatial_dims: of S, 2 or 3.
            slice_axis: spatial axis of a volume along which a 2-D network takes its slices.
            divisor: of the sizes that S takes; classification does not need it.
        """

    @abstractmethod
    def metrics(self) -> dict[str, IgniteMetricHandler]:
        """Return new validation metrics of S on enhanced images, by name."""

    @abstractmethod
    def output_shape(self, spatial_size: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of S's output for one image of that size."""

    def check_network(self, network: nn.Module, channels: int, spatial_size: Sequence[int]) -> None:
        """Refuse a downstream network whose output does not fit the task, before training does.

        Args:
            network: S.
            channels: channels of its input.
            spatial_size: of its input.

        Raises:
            InputError: when S cannot take such an image, or gives an output of another shape.
        """
        device = next(network.parameters()).device
        try:
            with eval_mode(network):
                output = network(torch.zeros(1, channels, *spatial_size, device=device))
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"The downstream network does not take a patch of {list(spatial_size)} with {channels} channel(s): "
                f"{first_line(error)}"
            ) from error
        wanted = self.output_shape(spatial_size)
        found = tuple(output.shape[1:]) if torch.is_tensor(output) else type(output).__name__
        if found != wanted:
            raise InputError(
                f"The downstream network gives {found} per image, but {self.name} with num_classes {self.num_classes} "
                f"on patches of {list(spatial_size)} needs {wanted}: make num_classes and the network's output "
                "channels agree."
            )

    def describe(self, definition: Any) -> dict[str, Any]:
        """Return the entry ``downstream`` of model.json.

        Args:
            definition: of S, see :func:`scripts.networks.describe_definition`.
        """
        return {
            "network": describe_definition(definition),
            "task": self.name,
            "num_classes": self.num_classes,
            "multi_label": self.multi_label,
        }


class SegmentationTask(Task):
    """S gives every pixel one of K classes; labels are images of class numbers, (1, *spatial).

    Args:
        num_classes: K, background included.
        loss_function: of logits (B, K, *spatial) and labels (B, 1, *spatial). Defaults to Dice plus cross-entropy.
        inside: number that may stand for class 1 where there are two classes, see
            :class:`scripts.transforms.TwoClassLabeld`. Defaults to 255.

    Raises:
        InputError: for fewer than two classes.
    """

    name = "segmentation"
    key_metric = "dice"
    rising_metrics = ("dice", "surface_dice")
    image_labels = True

    def __init__(self, num_classes: int, loss_function: nn.Module | None = None, inside: int = MASK_VALUE) -> None:
        super().__init__(num_classes, loss_function or DiceCELoss(to_onehot_y=True, softmax=True))
        self.inside = inside

    @classmethod
    def from_labels(
        cls, entries: Entries, num_classes: int | None, multi_label: bool | None, loss_function: nn.Module | None
    ) -> SegmentationTask:
        """See :class:`Task`; files are read where the classes have to be counted."""
        if num_classes is not None:
            return cls(num_classes, loss_function)
        counted, inside = cls._classes(entries)
        return cls(counted, loss_function, inside)

    def label_transforms(self) -> list[Transform]:
        """See :class:`Task`."""
        return [TwoClassLabeld(LABEL, self.inside, allow_missing_keys=True)] if self.num_classes == 2 else []

    def inferer(self, spatial_dims: int, slice_axis: int = 2, divisor: int = 16) -> EnhancementInferer:
        """See :class:`Task`."""
        return SegmentationInferer(spatial_dims, slice_axis, divisor=divisor)

    def metrics(self) -> dict[str, IgniteMetricHandler]:
        """Return Dice, the Hausdorff distance's 95th percentile in mm, and surface Dice within 2 mm."""
        return {
            "dice": TaskDice(self.num_classes),
            "hausdorff95": Hausdorff95(self.num_classes),
            "surface_dice": SurfaceDice(self.num_classes),
        }

    def output_shape(self, spatial_size: Sequence[int]) -> tuple[int, ...]:
        """See :class:`Task`."""
        return (self.num_classes, *spatial_size)

    @staticmethod
    def _classes(entries: Entries) -> tuple[int, int]:
        """Return one more than the highest class number in the label files, and the number of the inside.

        Files that hold 0 and one other number are masks of two classes, and that number is the inside.

        Raises:
            InputError: when a number below the highest never occurs; it names a file with the highest.
        """
        read = ReadImaged(keys=[LABEL])
        files: dict[float, str] = {}
        for entry in entries:
            for value in read({LABEL: entry[LABEL]})[LABEL].unique().tolist():
                files.setdefault(value, str(entry[LABEL]))
        values = sorted(files)
        if len(values) == 2 and values[0] == 0 and values[1] > 1 and values[1] == int(values[1]):
            return 2, int(values[1])
        missing = [number for number in range(len(values)) if number not in files]
        if missing:
            raise InputError(
                f'The labels hold {values_in_words(values)} (the last in "{files[values[-1]]}") but never '
                f"{missing[0]}: number the classes from 0 without gaps, or set --num_classes if a class is missing "
                "from the training images."
            )
        return len(values), MASK_VALUE


class ClassificationTask(Task):
    """S gives every image one of K classes or, with ``multi_label``, any of them; see :class:`ClassLabeld` for labels.

    Args:
        num_classes: K.
        multi_label: whether an image may show several classes, or none. Defaults to False.
        loss_function: of logits (B, K) and labels. Defaults to cross-entropy, binary with ``multi_label``.

    Raises:
        InputError: for fewer than two classes (one, with ``multi_label``).
    """

    name = "classification"
    key_metric = "auc"
    rising_metrics = ("auc", "accuracy")
    image_labels = False

    def __init__(self, num_classes: int, multi_label: bool = False, loss_function: nn.Module | None = None) -> None:
        default = nn.BCEWithLogitsLoss() if multi_label else nn.CrossEntropyLoss()
        super().__init__(num_classes, loss_function or default, multi_label)

    @classmethod
    def from_labels(
        cls, entries: Entries, num_classes: int | None, multi_label: bool | None, loss_function: nn.Module | None
    ) -> ClassificationTask:
        """See :class:`Task`."""
        return cls(
            cls._count(entries) if num_classes is None else num_classes,
            is_multi_label(entries) if multi_label is None else multi_label,
            loss_function,
        )

    def label_transforms(self) -> list[Transform]:
        """See :class:`Task`."""
        return [ClassLabeld(LABEL, self.num_classes, self.multi_label, allow_missing_keys=True)]

    def inferer(self, spatial_dims: int, slice_axis: int = 2, divisor: int = 16) -> EnhancementInferer:
        """See :class:`Task`."""
        return ClassificationInferer(spatial_dims, slice_axis)

    def metrics(self) -> dict[str, IgniteMetricHandler]:
        """Return the area under the ROC curve and the accuracy."""
        return {
            "auc": TaskAUC(self.num_classes, self.multi_label),
            "accuracy": TaskAccuracy(self.num_classes, self.multi_label),
        }

    def output_shape(self, spatial_size: Sequence[int]) -> tuple[int, ...]:
        """See :class:`Task`."""
        return (self.num_classes,)

    @staticmethod
    def _count(entries: Entries) -> int:
        """Return the length of the longest list of classes or, of plain numbers, one more than the highest."""
        labels = [entry[LABEL] for entry in entries]
        if is_multi_label(entries):
            return max(len(label) for label in labels if isinstance(label, (list, tuple)))
        return max((label for label in labels if isinstance(label, int)), default=0) + 1


TASKS: dict[str, type[SegmentationTask | ClassificationTask]] = {
    kind.name: kind for kind in (SegmentationTask, ClassificationTask)
}


def labelled_entries(entries: Entries) -> list[Mapping[str, Any]]:
    """Return the entries of a datalist that have a label."""
    return [entry for entry in entries if entry.get(LABEL) is not None]


def is_multi_label(entries: Entries) -> bool:
    """Return whether labels are lists of 0 and 1, several of which may be 1."""
    return any(isinstance(entry[LABEL], (list, tuple)) for entry in labelled_entries(entries))


def without_labels(datalists: Mapping[str, Entries]) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of a datalist without the labels of their entries: for training that has no use for them."""
    return {
        name: [{key: value for key, value in entry.items() if key != LABEL} for entry in entries]
        for name, entries in datalists.items()
    }


def make_task(
    name: str,
    entries: Entries,
    num_classes: int | None = None,
    multi_label: bool | None = None,
    loss_function: nn.Module | None = None,
) -> Task | None:
    """Return the task that the labels of the low-quality training entries are for.

    Args:
        name: ``"segmentation"``, ``"classification"`` or ``"none"``.
        entries: of a datalist. Labels of a segmentation are files of class numbers; those of a classification are
            class numbers, or lists with a 0 or 1 for each class.
        num_classes: number of classes. Defaults to None: they are counted in the labels.
        multi_label: of a classification. Defaults to None: True where a label is a list.
        loss_function: see :class:`SegmentationTask` and :class:`ClassificationTask`.

    Returns:
        The task; None with ``"none"``, or when no entry has a label.

    Raises:
        InputError: for an unknown task, too few classes, or labels in which no classes can be counted.
    """
    if name not in (*TASKS, "none"):
        raise InputError(f'Unknown task "{name}": use {" or ".join(TASKS)}, or none for enhancement only.')
    labelled = labelled_entries(entries)
    if name == "none" or not labelled:
        return None
    task = TASKS[name].from_labels(labelled, num_classes, multi_label, loss_function)
    if num_classes is None:
        logger.info("num_classes: %d, counted in %d labels", task.num_classes, len(labelled))
    return task
