# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Labels that become classes: those of whole images, and masks of two values."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import CommonKeys

from ..errors import InputError
from .loading import image_name

__all__ = ["MASK_VALUE", "ClassLabeld", "TwoClassLabeld"]

MASK_VALUE = 255
"""What most programs write for the inside when they save a mask as a picture."""

logger = logging.getLogger(__name__)


class ClassLabeld(MapTransform):
    """Turn the class labels of a datalist into tensors.

    - One class of several (``multi_label=False``): the number ``k`` becomes an int64 tensor of shape (), which
      :class:`torch.nn.CrossEntropyLoss` takes.
    - Any of several (``multi_label=True``): the list of a 0 or 1 for each class becomes a float32 tensor of shape
      (num_classes,), which :class:`torch.nn.BCEWithLogitsLoss` takes.

    The transform works before or after the one that reads the images.

    Args:
        keys: keys of the labels.
        num_classes: number of classes, 2 or more (1 or more with ``multi_label``).
        multi_label: whether an image may show several classes, or none. Defaults to False.
        allow_missing_keys: whether to skip keys that an item lacks. Defaults to False.

    Raises:
        InputError: for too few classes, and for a label that is no class: a number outside 0 to ``num_classes - 1``, a
            list of another length or with other values than 0 and 1, a number in place of a list or a list in place
            of a number, or the path of a label image. The sentence names the file under the key ``image``.

    Example:
        >>> ClassLabeld("label", num_classes=3)({"image": "a.png", "label": 2})["label"]
        tensor(2)
    """

    def __init__(
        self, keys: KeysCollection, num_classes: int, multi_label: bool = False, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        least = 1 if multi_label else 2
        if num_classes < least:
            raise InputError(f"--num_classes is {num_classes} but this classification needs at least {least}")
        self.num_classes = num_classes
        self.multi_label = multi_label

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert the labels of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            name = f"the {key} of {image_name(item.get(CommonKeys.IMAGE.value))}"
            item[key] = self._classes(item[key], name) if self.multi_label else self._class(item[key], name)
        return item

    def _class(self, label: Any, name: str) -> torch.Tensor:
        if isinstance(label, (list, tuple)):
            raise InputError(
                f"{name} is the list {list(label)}: set --task_def#multi_label True, or give the number of its class"
            )
        if not _is_whole_number(label):
            raise InputError(_no_class(label, name, "the number of its class"))
        if not 0 <= label < self.num_classes:
            raise InputError(
                f"{name} is {label} but classes go from 0 to {self.num_classes - 1}: mend it, or set --num_classes"
            )
        return torch.tensor(int(label))

    def _classes(self, label: Any, name: str) -> torch.Tensor:
        due = f"a list of {self.num_classes} numbers, a 0 or 1 for each class"
        if _is_whole_number(label):
            raise InputError(f"{name} is the number {label}: set --task_def#multi_label False, or give {due}")
        if not isinstance(label, (list, tuple)):
            raise InputError(_no_class(label, name, due))
        if len(label) != self.num_classes:
            raise InputError(
                f"{name} lists {len(label)} classes but there are {self.num_classes}: mend it, or set --num_classes"
            )
        if not all(_is_whole_number(value) and value in (0, 1) for value in label):
            raise InputError(f"{name} is {list(label)}: give {due}")
        return torch.tensor(label, dtype=torch.float32)


class TwoClassLabeld(MapTransform):
    """Let the label images of two classes be 0 and 1 where a file has another number for the inside.

    Public data sets draw their masks in 0 and 255. A label that holds nothing but 0 and that number becomes 0 and 1,
    which is told once. Every other label stays as it is, for :class:`scripts.transforms.CheckImaged` to judge.

    Args:
        keys: keys of the labels, read from files.
        inside: the number of the inside. Defaults to 255.
        allow_missing_keys: whether to skip keys that an item lacks. Defaults to False.
    """

    def __init__(self, keys: KeysCollection, inside: int = MASK_VALUE, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.inside = inside
        self._is_told = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Convert the labels of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            label = item[key]
            is_inside = label == self.inside
            if self.inside == 1 or not bool(is_inside.any()) or not bool((is_inside | (label == 0)).all()):
                continue
            # Of one type with the label maps that stay as they are: a batch may hold both.
            item[key] = is_inside.to(label.dtype)
            if not self._is_told:
                self._is_told = True
                logger.warning(
                    "%s holds 0 and %d: here and in labels like it, %d is class 1",
                    *(image_name(label), self.inside, self.inside),
                )
        return item


def _is_whole_number(value: Any) -> bool:
    # True and False are whole numbers to Python.
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _no_class(label: Any, name: str, due: str) -> str:
    if isinstance(label, (str, os.PathLike)):
        return f'{name} is the file "{label}": leave configs/classification.yaml out, or give {due}'
    return f"{name} is {label}: give {due}"
