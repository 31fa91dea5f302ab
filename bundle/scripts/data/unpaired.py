# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Unpaired training data: every low-quality image meets a random high-quality image of another patient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import RandomizableTrait, Transform
from monai.utils import CommonKeys
from torch.utils.data import Dataset, Subset

from ..errors import InputError, input_error_of
from ..planes import PIXEL_SIZE, voxel_size
from ..tensors import without_metadata
from .checked import CheckedDataset
from .variety import WiderVariety, seedable, transforms_in, untracked

__all__ = [
    "CLEAN",
    "DEGRADED",
    "GUIDE",
    "GUIDE_LABEL",
    "IMAGE",
    "LABEL",
    "PATIENT",
    "STYLE",
    "UNLABELLED",
    "UnpairedDataset",
    "of_other_patients",
]

IMAGE = CommonKeys.IMAGE.value
LABEL = CommonKeys.LABEL.value
GUIDE = "guide"
GUIDE_LABEL = "guide_label"
CLEAN = "clean"
DEGRADED = "degraded"
PATIENT = "patient"
STYLE = "style"
UNLABELLED = -1
"""Value of a label map where nobody has said which class there is."""
_VOLUME_DIMS = 4  # with the channel
_GUIDE_NAMES = {IMAGE: GUIDE, LABEL: GUIDE_LABEL}

# Which random numbers a draw is for; none must follow from another.
(
    _GUIDE_DRAW,
    _IMAGE_TRANSFORM,
    _GUIDE_TRANSFORM,
    _ORDER,
    _HALVES,
    _CLEAN_DRAW,
    _CLEAN_TRANSFORM,
    _DEGRADATION,
    _STYLE_TRANSFORM,
) = range(9)

Item = dict[str, Any]
ItemTransform = Callable[[Item], Item]
ArrayTransform = Callable[[torch.Tensor], torch.Tensor]


class UnpairedDataset(Dataset[Item]):
    """An endless stream of (low-quality image, high-quality guide of another patient).

    With a ``degradation`` a sample also holds what guided restoration takes: a clean image of the guide's own study,
    and the same image degraded. The study is the guide's volume, another slice or crop of which is drawn; of
    two-dimensional images it is what the same patient has in the same ``"style"``.

    The index is a place in that stream, not in the list: with N low-quality entries, indices ``cN`` to ``cN + N - 1``
    visit every entry once, in an order of their own for every cycle c. Order, guide and random transforms follow from
    ``(seed, index)`` alone, so that a sample is the same in whichever process, epoch or resumed run it is drawn. Use
    it with :class:`scripts.data.EpochSampler`, which gives every epoch its part of the stream.

    Deterministic transforms run once and their results are cached, as plain tensors: keeping track of metadata would
    cost more than the random transforms. Random transforms must not write into their input, which is the cache
    (MONAI's do not).

    Args:
        data: low-quality entries, ``{"image": ..., "label": ..., "patient": ...}``; the last two are optional, and an
            entry without a patient is a patient of its own.
        guide_data: high-quality entries of the same form.
        transform: deterministic transform of a low-quality item (reading, checking, scaling), keys ``image`` and,
            where the entry has one, ``label``.
        guide_transform: the same for high-quality items, default ``transform``.
        random_transform: transform (a ``Compose`` of MONAI's random ones) that is applied to either item on its own,
            with random numbers of its own, under the keys ``image`` and ``label``.
        degradation: random array transform (a ``Compose``, say) from a clean to a degraded image, (C, *spatial).
            Defaults to None: no restoration.
        style_transform: random dictionary transform of the keys ``guide`` and ``clean`` alike: other styles than those
            of the high-quality set. Defaults to None.
        wider: other transforms from some epoch on, for this stream but not for the labelled ones. Defaults to None.
        label_maps: whether samples of this stream hold label maps as well, where both sets have any: ``"label"`` and
            ``"guide_label"``, (1, *spatial), all :data:`UNLABELLED` for an entry without one. Defaults to False.
        length: samples in an epoch, default the number of low-quality entries.
        seed: seed of everything random.
        cache_rate: fraction of the entries that is kept in memory; the others are read at every draw, and what is
            wrong with them shows no sooner.
        progress: whether a progress bar is shown while the cache is filled, on a terminal.

    Raises:
        InputError: for an empty domain, an entry that cannot be prepared, or one for which there is no high-quality
            image of another patient.

    Attributes:
        images: the prepared low-quality items (a :class:`monai.data.CacheDataset`), with their labels where they have
            one.
        guides: the prepared high-quality items, likewise.

    Returns of ``dataset[index]``: ``{"image", "guide"}`` and, with a degradation, ``{"clean", "degraded"}``: tensors of
    shape (C, *spatial). Labels of S come from the streams of :meth:`labelled_halves`, which have no images to restore.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        guide_data: Sequence[Mapping[str, Any]],
        transform: ItemTransform,
        guide_transform: ItemTransform | None = None,
        random_transform: ItemTransform | None = None,
        degradation: ArrayTransform | None = None,
        style_transform: ItemTransform | None = None,
        wider: WiderVariety | None = None,
        label_maps: bool = False,
        length: int | None = None,
        seed: int = 0,
        cache_rate: float = 1.0,
        progress: bool = True,
    ) -> None:
        if not data:
            raise InputError("there are no low-quality training images: add some to training_lq, or to the folder lq")
        if not guide_data:
            raise InputError("there are no high-quality training images: add some to training_hq, or to the folder hq")
        if length is not None and length < 1:
            raise InputError(f"the length of an epoch is {length}: set it to 1 or more samples")
        self.seed = seed
        self.length = len(data) if length is None else int(length)
        self.random_transform = random_transform
        self.degradation = degradation
        self.wider = wider
        self._transforms = _by_purpose(random_transform, style_transform)
        self._wider_transforms = (
            _by_purpose(wider.random_transform, wider.style_transform) if wider else self._transforms
        )
        self.degrade_each([degradation] * len(guide_data))
        self._generator = np.random.RandomState(seed)
        self._studies: dict[int, np.ndarray] = {}
        self._data, self._guide_data = data, guide_data
        # Of no use where one set has none: only classes that both show are compared.
        keys = (LABEL,) if label_maps and len(_labelled(data)) and len(_labelled(guide_data)) else ()
        self._joins_unlabelled = bool(keys)
        self._use(np.arange(len(data)), np.arange(len(guide_data)), keys=keys, guide_keys=keys)
        prepare, prepare_guide = _Preparation(transform), _Preparation(guide_transform or transform)
        self.images, self.guides = (
            CheckedDataset(entries, preparation, cache_rate=cache_rate, copy_cache=False, progress=progress)
            for entries, preparation in ((data, prepare), (guide_data, prepare_guide))
        )

    @property
    def styles(self) -> list[Any]:
        """The styles of the high-quality entries, None where one names none."""
        return [entry.get(STYLE) for entry in self._guide_data]

    def degrade_each(self, degradations: Sequence[ArrayTransform | None]) -> None:
        """Degrade the clean images of each high-quality entry by a transform of its own, in the entries' order."""
        found = {id(transform): seedable(transform) for transform in degradations}
        self._degradations = [found[id(transform)] for transform in degradations]

    def labelled_halves(self, length: int, second_length: int) -> tuple[UnpairedDataset, UnpairedDataset]:
        """Split the labelled low-quality entries into two streams by patient, for the two levels of bi-level learning.

        Their samples hold ``"label"`` as well, and ``"guide_label"`` where high-quality entries have labels: then only
        those are guides, in the first half without those of the second half's patients. The images are those of this
        dataset, prepared and cached once. Which patient falls into which half follows from the seed.

        Args:
            length: samples in an epoch of the first stream.
            second_length: samples in an epoch of the second stream.

        Returns:
            The streams of the two halves; with an odd number of patients the first has one more.

        Raises:
            InputError: when fewer than two patients have a label.
        """
        labelled = _labelled(self._data)
        patients = sorted({_patient(self._data[entry]) for entry in labelled})
        if len(patients) < 2:
            raise InputError(
                f"bi-level learning needs labelled low-quality images of two patients or more, and {len(patients)} has "
                'any: add labels to training_lq, name the "patient" of each entry, or set --task none'
            )
        shuffled = self._random(_HALVES, 0).permutation(patients)
        first = set(shuffled[: (len(patients) + 1) // 2])
        in_first = np.array([_patient(self._data[entry]) in first for entry in labelled])
        # The first half must not know the patients of the second, not even from their clean images.
        return (
            self._labelled_stream(labelled[in_first], length, 1, guides_of=first),
            self._labelled_stream(labelled[~in_first], second_length, 2, guides_of=set(patients)),
        )

    def labelled_part(self, length: int) -> UnpairedDataset:
        """Return a stream of all labelled low-quality entries, with labels as those of :meth:`labelled_halves`.

        Args:
            length: samples in an epoch.
        """
        labelled = _labelled(self._data)
        return self._labelled_stream(labelled, length, 3, guides_of=set())

    def _labelled_stream(self, entries: np.ndarray, length: int, number: int, guides_of: set[str]) -> UnpairedDataset:
        """Return a stream of labelled entries; of the patients who have any, only these may be guides as well."""
        stream = copy.copy(self)
        stream.length = length
        stream.degradation = stream.wider = None
        stream._joins_unlabelled = False
        stream.seed = int(np.random.SeedSequence((self.seed, _HALVES, number)).generate_state(1)[0])
        stream._generator = np.random.RandomState()
        labelled_guides = _labelled(self._guide_data)
        barred = [self._data[entry] for entry in _labelled(self._data) if _patient(self._data[entry]) not in guides_of]
        allowed = of_other_patients([self._guide_data[guide] for guide in labelled_guides], barred)
        guides = labelled_guides[allowed]
        if guides.size and all(map(len, _guides_of_others(self._data, self._guide_data, entries, guides))):
            stream._use(entries, guides, keys=(LABEL,), guide_keys=(LABEL,))
        else:
            stream._use(entries, np.arange(len(self._guide_data)), keys=(LABEL,), guide_keys=())
        return stream

    @property
    def labelled_guides(self) -> Subset[Item]:
        """The prepared high-quality items that this stream draws its guides from, where it draws their labels too."""
        return Subset(self.guides, self._guides.tolist() if LABEL in self._guide_keys else [])

    def _use(self, entries: np.ndarray, guides: np.ndarray, keys: tuple[str, ...], guide_keys: tuple[str, ...]) -> None:
        """Draw from these entries alone; take these keys beside the images."""
        self._entries, self._guides = entries, guides
        self._keys, self._guide_keys = (IMAGE, *keys), (IMAGE, *guide_keys)
        self._other_guides = _guides_of_others(self._data, self._guide_data, entries, guides)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))
        for entry, others in zip(entries, self._other_guides, strict=True):
            if not len(others):
                patient = _patient(self._data[entry])
                raise InputError(f'all high-quality images are of patient "{patient}" too: add some of another patient')

    def __len__(self) -> int:
        """Samples in an epoch."""
        return self.length

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the first epoch; the stream itself has no end."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Item:
        """Draw the sample at one place of the stream."""
        if index < 0:
            raise IndexError(f"the stream of samples begins at 0, not at {index}")
        place = self._place(index)
        others = self._other_guides[place]
        guide = int(others[self._random(_GUIDE_DRAW, index).randint(len(others))])
        image_item = self._vary(self.images[int(self._entries[place])], self._keys, _IMAGE_TRANSFORM, index)
        guide_item = self._vary(self.guides[guide], self._guide_keys, _GUIDE_TRANSFORM, index)
        sample = {
            **{key: image_item[key] for key in self._keys},
            **{_GUIDE_NAMES[key]: guide_item[key] for key in self._guide_keys},
        }
        return sample if self.degradation is None else self._with_restoration(sample, guide, index)

    def _with_restoration(self, sample: Item, guide: int, index: int) -> Item:
        """Add a clean image of the guide's study, and the same image degraded."""
        study = self._study(guide)
        chosen = int(study[self._random(_CLEAN_DRAW, index).randint(len(study))])
        sample[CLEAN] = self._vary(self.guides[chosen], (IMAGE,), _CLEAN_TRANSFORM, index)[IMAGE]
        sample |= self._apply(_STYLE_TRANSFORM, {key: sample[key] for key in (GUIDE, CLEAN)}, index)
        sample[DEGRADED] = self._draw(self._degradations[chosen], _DEGRADATION, sample[CLEAN], index)
        return sample

    def _study(self, guide: int) -> np.ndarray:
        """Return the high-quality entries of which a clean image may be drawn for this guide."""
        if guide not in self._studies:
            entry = self._guide_data[guide]
            whole = self.guides[guide][IMAGE].ndim == _VOLUME_DIMS
            same = [
                other
                for other, item in enumerate(self._guide_data)
                if (_patient(item), item.get(STYLE)) == (_patient(entry), entry.get(STYLE))
            ]
            self._studies[guide] = np.array([guide] if whole else same)
        return self._studies[guide]

    def _place(self, index: int) -> int:
        cycle, turn = divmod(index, len(self._entries))
        if self._order[0] != cycle:
            self._order = (cycle, self._random(_ORDER, cycle).permutation(len(self._entries)))
        return int(self._order[1][turn])

    def _vary(self, item: Item, keys: tuple[str, ...], purpose: int, index: int) -> Item:
        given = {key: _label_map(item) if key == LABEL and self._joins_unlabelled else item[key] for key in keys}
        varied: Item = self._apply(purpose, given, index)
        return varied

    def _apply(self, purpose: int, data: Any, index: int) -> Any:
        """Apply the transform for this purpose, which depends on the epoch."""
        # Epochs count from 1.
        wide = self.wider is not None and index >= (self.wider.after_epoch + 1) * self.length
        return self._draw((self._wider_transforms if wide else self._transforms)[purpose], purpose, data, index)

    def _draw(self, seeded: tuple[Any, list[Any]], purpose: int, data: Any, index: int) -> Any:
        """Apply a transform with the random numbers for this purpose, at this place of the stream."""
        transform, parts = seeded
        if transform is None:
            return data
        generator = self._random(purpose, index)
        for part in parts:
            part.set_random_state(state=generator)
        with untracked():
            return transform(data)

    def _random(self, purpose: int, index: int) -> np.random.RandomState:
        # Seeding one generator anew is ten times faster than making one for every transform of every draw.
        self._generator.seed(np.random.SeedSequence((self.seed, purpose, index)).generate_state(4))
        return self._generator


def _by_purpose(random: Any, style: Any) -> dict[int, tuple[Any, list[Any]]]:
    varied = seedable(random)
    return {
        _IMAGE_TRANSFORM: varied,
        _GUIDE_TRANSFORM: varied,
        _CLEAN_TRANSFORM: varied,
        _STYLE_TRANSFORM: seedable(style),
    }


class _Preparation(Transform):
    """Apply a deterministic transform to an entry's known keys; plain tensors and plain errors come out."""

    def __init__(self, transform: ItemTransform) -> None:
        random = next((part for part in transforms_in(transform) if isinstance(part, RandomizableTrait)), None)
        if random is not None:
            raise InputError(f"{type(random).__name__} is random and would be cached: move it to the random transform")
        self.transform = transform

    def __call__(self, data: Mapping[str, Any]) -> Item:
        item = {key: data[key] for key in (IMAGE, LABEL) if data.get(key) is not None}
        try:
            prepared = self.transform(item)
            # Without a task no transform reads a label that a program handed over: it is still a path.
            size = voxel_size(prepared[IMAGE])
            tensors = {key: prepared[key] for key in item if torch.is_tensor(prepared[key])}
            plain = {key: without_metadata(tensor).contiguous() for key, tensor in tensors.items()}
            return plain if size is None else {**plain, PIXEL_SIZE: size}
        except Exception as error:
            raise input_error_of(error, f'cannot prepare "{data[IMAGE]}"') from error


def _label_map(item: Item) -> torch.Tensor:
    """Return an item's label map, or one that is all UNLABELLED, of one type: loaders join both kinds in a batch."""
    return item[LABEL].float() if LABEL in item else torch.full_like(item[IMAGE][:1], UNLABELLED)


def _labelled(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Indices of the entries that have a label."""
    return np.array([index for index, entry in enumerate(entries) if entry.get(LABEL) is not None], dtype=np.int64)


def _guides_of_others(
    data: Sequence[Mapping[str, Any]],
    guide_data: Sequence[Mapping[str, Any]],
    entries: np.ndarray,
    guides: np.ndarray,
) -> list[np.ndarray]:
    """For each of the low-quality entries, those of the high-quality ones that are of other patients."""
    guide_patients = np.array([_patient(guide_data[guide]) for guide in guides])
    own = set(guide_patients)
    of_patient: dict[str, np.ndarray] = {}
    result = []
    for entry in entries:
        patient = _patient(data[entry])
        if patient not in of_patient:
            of_patient[patient] = guides[guide_patients != patient] if patient in own else guides
        result.append(of_patient[patient])
    return result


def of_other_patients(entries: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the indices of those entries of a datalist whose patient none of the others is of."""
    patients = {_patient(entry) for entry in others}
    return [index for index, entry in enumerate(entries) if _patient(entry) not in patients]


def _patient(entry: Mapping[str, Any]) -> str:
    patient = entry.get(PATIENT)
    return str(entry[IMAGE] if patient is None else patient)
