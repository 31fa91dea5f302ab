# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""One patient of the demo's data: simulated, scanned and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..io import write_dicom_series, write_nifti
from ..transforms.degradation import RandScannerDegradation
from .simulated_patients import (
    SPATIAL_SIZE,
    Template,
    draw_lesions,
    draw_position,
    simulate_anatomy,
    simulate_patient,
)
from .simulated_scanners import POOR_SCANNER, SCANNERS, draw_head, scan

__all__ = ["CONTRAST_STYLES", "FOLDERS", "HQ_STYLES", "VERSION", "DataSet", "Entry", "make_patient", "paths_of"]

VERSION = 2
"""Raised when the same seed gives other data than before, so that old data sets are made anew."""

CONTRAST_STYLES = {"standard": 1.0, "flat": 0.75, "steep": 1.35}
"""Exponent that each contrast style applies to intensities in [0, 1], where there is one scanner."""

HQ_STYLES = ("flat", "steep")
DICOM_EVERY = 4
FOLDERS = {"training_lq": "train", "training_hq": "train", "validation": "validation", "testing": "test"}
"""Folder of each list."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """What a data set is made from.

    Attributes:
        seed: of all randomness.
        task: ``"segmentation"`` or ``"classification"``.
        scanners: ``"several"`` target scanners that differ in tissue contrast, heads with scalp and lesions; or
            ``"one"``, bare brains whose high-quality images differ by a tone curve alone.
    """

    seed: int
    task: str = "segmentation"
    scanners: str = "several"


@dataclass(frozen=True)
class Scans:
    """The images of one patient.

    Attributes:
        images: ``"hq"``, or ``"lq"`` and perhaps ``"reference"``, in [0, 1].
        label: tissue classes.
        affine: voxel to RAS+ millimetres.
        style: of the high-quality image, or of the reference; None where there is neither.
        references: clean images by style, of a patient held out.
        has_lesions: whether each slice shows lesions that are to be found.
    """

    images: Mapping[str, np.ndarray]
    label: np.ndarray
    affine: np.ndarray
    style: str | None
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    has_lesions: np.ndarray = field(default_factory=lambda: np.zeros(SPATIAL_SIZE[2], dtype=bool))


def _random_state(*seeds: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds)))


def make_patient(root: Path, template: Template, data_set: DataSet, group: str, index: int, rank: int) -> list[Entry]:
    """Simulate and write one patient.

    Args:
        root: folder of the data set.
        template: the anatomy to start from.
        data_set: what is made.
        group: the patient's list.
        index: the patient's number in the data set.
        rank: the patient's number in the list.

    Returns:
        The entries of the datalist: one of the volume, or one of every slice.
    """
    random_state = _random_state(data_set.seed, index)
    patient = f"P{index + 1:03d}"
    folder = root / FOLDERS[group]
    if data_set.scanners == "several":
        scans = _by_several_scanners(template, random_state, group, rank)
        unit = random_state.uniform(800, 1300)
    else:
        # Random numbers of their own: patients and degradations are the same in both tasks.
        lesions = _random_state(data_set.seed, index, 1) if data_set.task == "classification" else None
        scans, unit = _by_one_scanner(template, random_state, group, rank, lesions)
    if data_set.task == "classification":
        entries = _write_slices(folder, _in_units(scans.images, unit), scans.has_lesions, scans.affine, patient)
    else:
        # The second of every four, so that the smallest data set has a series in every group but validation.
        entropy = f"hqgnet-demo-{VERSION}-{data_set.seed}-{patient}" if rank % DICOM_EVERY == 1 else None
        entries = [_write_volumes(folder, scans, patient, unit, entropy)]
    for entry in entries:
        entry.update({key: _relative(entry[key], root) for key in paths_of(entry)})
        if scans.style is not None:
            entry["style"] = scans.style
    return entries


def _by_several_scanners(template: Template, random_state: np.random.RandomState, group: str, rank: int) -> Scans:
    """Draw a head; scan it with its target scanner, the poor one, or the poor one and all of the others."""
    head = draw_head(simulate_anatomy(template, random_state), random_state)
    affine = draw_position(random_state)
    style = list(SCANNERS)[rank % len(SCANNERS)]
    if group == "training_hq":
        return Scans({"hq": scan(head, SCANNERS[style], random_state)}, head.label, affine, style)
    poor = {"lq": _degraded(scan(head, POOR_SCANNER, random_state), random_state)}
    if group == "training_lq":
        return Scans(poor, head.label, affine, None)
    references = {name: scan(head, scanner, random_state) for name, scanner in SCANNERS.items()}
    return Scans({**poor, "reference": references[style]}, head.label, affine, style, references)


def _by_one_scanner(
    template: Template,
    random_state: np.random.RandomState,
    group: str,
    rank: int,
    lesions: np.random.RandomState | None,
) -> tuple[Scans, float]:
    """Simulate a bare brain in one tissue contrast; the scans, and the scanner's unit."""
    style = HQ_STYLES[rank % len(HQ_STYLES)] if group == "training_hq" else None
    # The contrast scarcely varies within a style; the scanner's unit varies freely.
    gamma = CONTRAST_STYLES[style or "standard"] * random_state.uniform(0.96, 1.04)
    unit = random_state.uniform(800, 1300)
    head = simulate_patient(template, random_state, gamma)
    clean = head.image
    has_lesions = np.zeros(SPATIAL_SIZE[2], dtype=bool)
    if lesions is not None:
        clean, has_lesions = draw_lesions(head, lesions, gamma)
    images = {"hq": clean}
    if group != "training_hq":
        images = {"lq": _degraded(clean, random_state)}
        if group != "training_lq":
            images["reference"] = clean
    return Scans(images, head.label, head.affine, style, has_lesions=has_lesions), unit


def _degraded(clean: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    degrade = RandScannerDegradation(blur_dims=(0, 1))
    degrade.set_random_state(state=random_state)
    return np.asarray(degrade(clean[None]))[0]


def _in_units(images: Mapping[str, np.ndarray], unit: float) -> dict[str, np.ndarray]:
    return {kind: np.rint(image * unit).astype(np.int16) for kind, image in images.items()}


def _write_volumes(folder: Path, scans: Scans, patient: str, unit: float, entropy: str | None) -> Entry:
    """Write a patient's volumes, as a DICOM series where there is something to derive identifiers from."""
    raw = _in_units(scans.images, unit)
    kind = "hq" if "hq" in raw else "lq"
    entry: Entry = {"patient": patient}
    if entropy is not None:
        entry["image"] = folder / kind / patient
        write_dicom_series(entry["image"], raw[kind], scans.affine, patient, entropy)
    else:
        entry["image"] = folder / kind / f"{patient}.nii.gz"
        write_nifti(raw[kind][None], scans.affine, folder / kind / patient)
    entry["label"] = folder / "labels" / f"{patient}.nii.gz"
    write_nifti(scans.label[None], scans.affine, folder / "labels" / patient)
    if "reference" in raw and not scans.references:
        entry["reference"] = folder / "reference" / f"{patient}.nii.gz"
        write_nifti(raw["reference"][None], scans.affine, folder / "reference" / patient)
    references = _in_units(scans.references, unit)
    if references:
        entry["references"] = {
            style: write_nifti(volume[None], scans.affine, folder / "references" / style / patient)
            for style, volume in references.items()
        }
        entry["reference"] = entry["references"][scans.style]
    return entry


def _write_slices(
    folder: Path, raw: dict[str, np.ndarray], has_lesions: np.ndarray, affine: np.ndarray, patient: str
) -> list[Entry]:
    """Write every slice of a patient as an image of its own."""
    for kind in raw:
        (folder / kind / patient).mkdir(parents=True)
    entries = []
    for index, label in enumerate(has_lesions.tolist()):
        entry: Entry = {"patient": patient}
        position = affine.copy()
        position[:3, 3] += index * affine[:3, 2]
        for kind, volume in raw.items():
            target = folder / kind / patient / f"slice_{index + 1:02d}"
            key = "reference" if kind == "reference" else "image"
            entry[key] = write_nifti(volume[None, ..., index], position, target)
        entry["label"] = int(label)
        entries.append(entry)
    return entries


def paths_of(entry: Entry) -> list[str]:
    """Keys of an entry's files; the label of a classification is none."""
    keys = ("image", "label", "reference", "references")
    return [key for key in keys if key in entry and not isinstance(entry[key], int)]


def _relative(paths: Any, root: Path) -> Any:
    if isinstance(paths, Mapping):
        return {style: _relative(path, root) for style, path in paths.items()}
    return Path(paths).relative_to(root).as_posix()
