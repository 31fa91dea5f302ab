# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the demo's data: simulated MR patients from the MNI152 template.

Run it inside the bundle's folder: `python -m scripts.experiments.demo --output_dir DIR`. The labels are tissues, or
with `--task classification` whether a slice shows lesions.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError, require, run_command
from ..io import write_dicom_series, write_nifti
from ..transforms.degradation import RandScannerDegradation
from .simulated_patients import SPACING, SPATIAL_SIZE, Patient, Template, draw_lesions, load_template, simulate_patient

__all__ = ["CONTRAST_STYLES", "LABELS", "LESION_LABELS", "TASKS", "make_demo_data"]

VERSION = 1
"""Raised when the same seed gives other data than before, so that old data sets are made anew."""

MIN_PATIENTS = 9
LABELS = {0: "background", 1: "cerebrospinal fluid and other brain", 2: "grey matter", 3: "white matter"}
LESION_LABELS = {0: "no lesion", 1: "lesions in the white matter"}
TASKS = {"segmentation": LABELS, "classification": LESION_LABELS}
"""Classes that a downstream network tells apart, by task."""

CONTRAST_STYLES = {"standard": 1.0, "flat": 0.75, "steep": 1.35}
"""Exponent that each contrast style applies to intensities in [0, 1]."""

HQ_STYLES = ("flat", "steep")
DICOM_EVERY = 4

_README_TITLE = "HQG-Net demo data: simulated MR patients"
_MNI_NOTICE = """\
The images are derived from the ICBM 152 2009a nonlinear symmetric template (MNI152), as shipped with nilearn.

Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and
without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for any purpose. It is provided "as is"
without express or implied warranty. The authors are not responsible for any data loss, equipment damage, property
loss, or injury to subjects or patients resulting from the use or misuse of this software package.

References: V.S. Fonov et al., NeuroImage 47 (Suppl. 1), S102, 2009; V.S. Fonov et al., NeuroImage 54(1), 313-327, 2011.
"""


def _split(patients: int) -> dict[str, range]:
    """Patients of each list: a third, a third, then one and two thirds of the rest."""
    third = patients // 3
    validation = (patients - 2 * third) // 3
    ends = np.cumsum([0, third, third, validation, patients - 2 * third - validation])
    names = ("training_lq", "training_hq", "validation", "testing")
    return {name: range(int(start), int(end)) for name, start, end in zip(names, ends[:-1], ends[1:], strict=True)}


_FOLDERS = {"training_lq": "train", "training_hq": "train", "validation": "validation", "testing": "test"}
_KINDS = {"train": ("lq", "hq"), "validation": ("lq", "reference"), "test": ("lq", "reference")}

Entry = dict[str, Any]


def _make_patient(
    root: Path, template: Template, seed: int, index: int, group: str, rank: int, task: str
) -> list[Entry]:
    """Simulate and write one patient; the datalist entries: one of the volume, or one of every slice."""
    generator = np.random.MT19937(np.random.SeedSequence([seed, index]))
    random_state = np.random.RandomState(generator)
    patient = f"P{index + 1:03d}"
    style = HQ_STYLES[rank % len(HQ_STYLES)] if group == "training_hq" else "standard"
    # The contrast scarcely varies within a style; the scanner's unit varies freely.
    gamma = CONTRAST_STYLES[style] * random_state.uniform(0.96, 1.04)
    unit = random_state.uniform(800, 1300)
    head = simulate_patient(template, random_state, gamma)

    clean = head.image
    has_lesions = np.zeros(SPATIAL_SIZE[2], dtype=bool)
    if task == "classification":
        # Random numbers of their own: patients and degradations are the same in both tasks.
        lesion_generator = np.random.MT19937(np.random.SeedSequence([seed, index, 1]))
        clean, has_lesions = draw_lesions(head, np.random.RandomState(lesion_generator), gamma)
    images = {"hq": clean}
    if group != "training_hq":
        degrade = RandScannerDegradation(blur_dims=(0, 1))
        degrade.set_random_state(state=random_state)
        images = {"lq": np.asarray(degrade(clean[None]))[0]}
        if group != "training_lq":
            images["reference"] = clean
    raw = {kind: np.rint(image * unit).astype(np.int16) for kind, image in images.items()}

    if task == "classification":
        entries = _write_slices(root / _FOLDERS[group], raw, has_lesions, head.affine, patient)
    else:
        # The second of every four, so that the smallest data set has a series in every group but validation.
        entropy = f"hqgnet-demo-{VERSION}-{seed}-{patient}" if rank % DICOM_EVERY == 1 else None
        entries = [_write_volumes(root / _FOLDERS[group], raw, head, patient, entropy)]
    for entry in entries:
        entry.update({key: entry[key].relative_to(root).as_posix() for key in _paths(entry)})
        if group == "training_hq":
            entry["style"] = style
    return entries


def _write_volumes(folder: Path, raw: dict[str, np.ndarray], head: Patient, patient: str, entropy: str | None) -> Entry:
    """Write a patient's volumes, as a DICOM series where there is something to derive identifiers from."""
    kind = "hq" if "hq" in raw else "lq"
    entry: Entry = {"patient": patient}
    if entropy is not None:
        entry["image"] = folder / kind / patient
        write_dicom_series(entry["image"], raw[kind], head.affine, patient, entropy)
    else:
        entry["image"] = folder / kind / f"{patient}.nii.gz"
        write_nifti(raw[kind][None], head.affine, folder / kind / patient)
    entry["label"] = folder / "labels" / f"{patient}.nii.gz"
    write_nifti(head.label[None], head.affine, folder / "labels" / patient)
    if "reference" in raw:
        entry["reference"] = folder / "reference" / f"{patient}.nii.gz"
        write_nifti(raw["reference"][None], head.affine, folder / "reference" / patient)
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


def _paths(entry: Entry) -> list[str]:
    """Keys of an entry's files; the label of a classification is none."""
    return [key for key in ("image", "label", "reference") if key in entry and not isinstance(entry[key], int)]


def _readme(patients: int, seed: int, task: str) -> str:
    classes = "; ".join(f"{value} {name}" for value, name in TASKS[task].items())
    size, spacing = ("x".join(f"{n:g}" for n in values) for values in (SPATIAL_SIZE, SPACING))
    if task == "classification":
        labels = f"label             {classes}; a number in the datalist"
        formats = f"Every slice is a NIfTI file, {SPATIAL_SIZE[2]} in each patient's folder; half of them show lesions."
    else:
        labels = f"labels            {classes}"
        formats = "Images are NIfTI files or, for every fourth patient, folders with a DICOM series."
    return f"""\
{_README_TITLE}

{patients} patients, seed {seed}, version {VERSION}: {size} voxels of {spacing} mm. Nobody was scanned: every head is a
random deformation of the MNI152 template. Not for diagnosis.

train/lq          low-quality training images, as of a low-field scanner: bias field, low contrast, blur, Rician noise
train/hq          high-quality training images of other patients, in the contrast styles {" and ".join(HQ_STYLES)}
validation, test  further patients: low quality (lq) and the same image before degradation (reference)
{labels}
datalist.json     all of it as a MONAI datalist

{formats}
LICENSE-MNI152.txt must stay with all copies.
"""


def _check(output_dir: Path, patients: int, seed: int, force: bool, task: str) -> bool:
    """Whether `output_dir` holds the wanted data set already; an error where it holds anything that is not ours."""
    if not output_dir.exists():
        return False
    if not output_dir.is_dir():
        raise InputError(f'"{output_dir}" is a file but the demo data need a folder: name another --output_dir')
    if not any(output_dir.iterdir()):
        return False
    readme = output_dir / "README.txt"
    if not readme.is_file() or not readme.read_text(encoding="utf-8", errors="replace").startswith(_README_TITLE):
        raise InputError(
            f'"{output_dir}" holds files that are not demo data: name a new or empty folder as --output_dir'
        )
    if force:
        return False
    try:
        datalist = json.loads((output_dir / "datalist.json").read_text(encoding="utf-8"))
        made = datalist["generator"]
        entries = [entry for group in _FOLDERS for entry in datalist[group]]
        paths = [output_dir / entry[key] for entry in entries for key in _paths(entry)]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if made.get("version") != VERSION:
        return False
    there = (made.get("patients"), made.get("seed"), made.get("task", "segmentation"))
    if there != (patients, seed, task):
        raise InputError(
            f'"{output_dir}" holds demo data of {there[0]} patients and seed {there[1]} for {there[2]}: '
            "name another --output_dir, or add --force to replace them"
        )
    return all(
        len(list(path.glob("*.dcm"))) == SPATIAL_SIZE[2] if path.suffix != ".gz" else path.is_file() for path in paths
    )


def make_demo_data(
    output_dir: str | Path, patients: int = 45, seed: int = 0, force: bool = False, task: str = "segmentation"
) -> bool:
    """Make the demo's data set: simulated MR patients, low and high quality, with labels and a datalist.

    A third of the patients is low quality for training, a third high quality for training (other patients), the rest
    is for validation and test, with the clean image as reference. Nothing is downloaded, and the same seed gives the
    same bytes. A folder that holds the same data set already is left as it is.

    For segmentation, an image is a volume and its label an image of tissues, see `LABELS`. For classification, every
    slice of the same patients is an image, with lesions in half of them (:func:`draw_lesions`), and its label is the
    number 0 or 1, see `LESION_LABELS`. Lesions come before degradation: an image and its reference have the same ones.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness, 0 or more.
        force: make the data anew even if they are there, replacing demo data of another seed, size or task.
        task: `"segmentation"` or `"classification"`.

    Returns:
        Whether the data were made: False where they were there already. The datalist is `output_dir/datalist.json`.

    Raises:
        InputError: for too few patients, an unknown task, a folder that holds something else, or where nilearn is
            missing.
    """
    _check_arguments(patients, seed, task)
    output_dir = Path(str(output_dir)).expanduser().resolve()
    if _check(output_dir, patients, seed, force, task):
        return False
    template = load_template()
    partial = output_dir.with_name(f".{output_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    threads = torch.get_num_threads()
    # The order of a sum of floats depends on the number of threads, and the bytes must not.
    torch.set_num_threads(1)
    try:
        _write_data_set(partial, template, patients, seed, task)
        if output_dir.exists():
            shutil.rmtree(output_dir)
        partial.rename(output_dir)
    except OSError as error:
        raise InputError(
            f'the demo data cannot be written to "{output_dir}" ({error}): name another --output_dir'
        ) from error
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _check_arguments(patients: int, seed: int, task: str) -> None:
    # True is a whole number to Python.
    require(
        type(patients) is int and patients >= MIN_PATIENTS,
        f"--patients is {patients} but must be a whole number of at least {MIN_PATIENTS}",
    )
    require(type(seed) is int and seed >= 0, f"--seed is {seed} but must be a whole number of at least 0")
    require(task in TASKS, f'--task is "{task}" but must be {" or ".join(TASKS)}')


def _write_data_set(root: Path, template: Template, patients: int, seed: int, task: str) -> None:
    """Simulate and write all patients, the datalist and the notices."""
    for folder, kinds in _KINDS.items():
        for kind in (*kinds, "labels") if task == "segmentation" else kinds:
            (root / folder / kind).mkdir(parents=True)
    (root / "README.txt").write_text(_readme(patients, seed, task), encoding="utf-8")
    (root / "LICENSE-MNI152.txt").write_text(_MNI_NOTICE, encoding="utf-8")
    datalist: dict[str, Any] = {
        "description": "HQG-Net demo: T1-like MR of simulated patients, deformed from the MNI152 template",
        "license": "see LICENSE-MNI152.txt",
        "generator": {"name": "scripts.experiments.demo", "version": VERSION, "patients": patients, "seed": seed},
        "labels": {str(value): name for value, name in TASKS[task].items()},
    }
    # Data for segmentation name no task, like those made when there was no other.
    if task != "segmentation":
        datalist["generator"]["task"] = task
    with tqdm(total=patients, desc="Simulating patients", unit="patient") as progress:
        for group, indices in _split(patients).items():
            datalist[group] = []
            for rank, index in enumerate(indices):
                datalist[group] += _make_patient(root, template, seed, index, group, rank, task)
                progress.update()
    (root / "datalist.json").write_text(json.dumps(datalist, indent=2) + "\n", encoding="utf-8")


def demo(output_dir: str, patients: int = 45, seed: int = 0, force: bool = False, task: str = "segmentation") -> None:
    """Make the demo's data set: simulated MR patients, low and high quality, with labels and a datalist.

    Nothing is downloaded. A folder that holds the same data set already is left as it is.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness; the same seed gives the same bytes.
        force: make the data anew even if they are there.
        task: segmentation (volumes with tissue labels) or classification (slices: has it lesions?).
    """
    made = make_demo_data(output_dir, patients, seed, force, task)
    folder = Path(str(output_dir)).expanduser().resolve()
    split = ", ".join(f"{len(indices)} {name}" for name, indices in _split(patients).items())
    state = "Made" if made else "Already there, left as they are"
    print(f"{state}: {patients} simulated patients ({split}), seed {seed}, for {task}.")
    print(f"Folder:   {folder}\nDatalist: {folder / 'datalist.json'}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(demo, "demo.py", arguments)


if __name__ == "__main__":
    main()
