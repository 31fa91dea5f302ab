# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Which part of an endless stream of samples each epoch takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch.distributed
from monai.data import DistributedSampler as UnevenSampler
from torch.utils.data import Dataset, DistributedSampler

from .. import processes
from .unpaired import Item, UnpairedDataset

__all__ = ["EpochSampler", "shared_sampler"]


class EpochSampler(DistributedSampler[Item]):
    """Give every epoch its own part of an :class:`UnpairedDataset`'s stream.

    Epoch e takes the indices ``e·n`` to ``e·n + n - 1``, where n is the length of the dataset, made up to a multiple of
    the number of processes; process r of R takes every R-th of them, from r on. It is a
    :class:`torch.utils.data.DistributedSampler` because MONAI's engines call ``set_epoch`` on those, at the start of
    every epoch, and works without ``torch.distributed`` as well.

    Args:
        dataset: the dataset.
        num_replicas: number of processes, default that of ``torch.distributed``, or 1.
        rank: number of this process, likewise, or 0.
    """

    def __init__(self, dataset: UnpairedDataset, num_replicas: int | None = None, rank: int | None = None) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if num_replicas is None:
            num_replicas = torch.distributed.get_world_size() if distributed else 1
        if rank is None:
            rank = torch.distributed.get_rank() if distributed else 0
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.num_samples = math.ceil(len(dataset) / self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[Any]:
        """Iterate over this process's indices in the current epoch."""
        first = self.epoch * self.total_size + self.rank
        return iter(range(first, first + self.total_size, self.num_replicas))


def shared_sampler(dataset: Dataset[Any]) -> UnevenSampler | None:
    """Return a sampler of this process's share of a dataset, every item in one process; None where each takes all.

    That is so in a single process, and where there are fewer items than processes: MONAI's metrics wait for every
    process to have some. Their means are the same when all processes have all items.

    Args:
        dataset: has a length.
    """
    items: Any = dataset
    if processes.count() == 1 or len(items) < processes.count():
        return None
    return UnevenSampler(dataset, even_divisible=False, shuffle=False)
