# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the demo's data: simulated MR patients from the MNI152 template.

Run it inside the bundle's folder: `python -m scripts.experiments.demo --output_dir DIR`. The labels are tissues, or
with `--task classification` whether a slice shows lesions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError, require, run_command
from .demo_patients import FOLDERS, HQ_STYLES, VERSION, DataSet, make_patient, paths_of
from .simulated_patients import SPACING, SPATIAL_SIZE, Template, load_template
from .simulated_scanners import SCANNERS

__all__ = ["LABELS", "LESION_LABELS", "TASKS", "make_demo_data"]

MIN_PATIENTS = 9
LABELS = {0: "background", 1: "cerebrospinal fluid and other brain", 2: "grey matter", 3: "white matter"}
LESION_LABELS = {0: "no lesion", 1: "lesions in the white matter"}
TASKS = {"segmentation": LABELS, "classification": LESION_LABELS}
"""Classes that a downstream network tells apart, by task."""

VARIANTS = ("several", "one")
"""Numbers of target scanners, see :class:`DataSet`."""

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


_KINDS = {"train": ("lq", "hq"), "validation": ("lq", "reference"), "test": ("lq", "reference")}


def _readme(patients: int, data_set: DataSet) -> str:
    classes = "; ".join(f"{value} {name}" for value, name in TASKS[data_set.task].items())
    size, spacing = ("x".join(f"{n:g}" for n in values) for values in (SPATIAL_SIZE, SPACING))
    if data_set.task == "classification":
        labels = f"label             {classes}; a number in the datalist"
        formats = f"Every slice is a NIfTI file, {SPATIAL_SIZE[2]} in each patient's folder; half of them show lesions."
    else:
        labels = f"labels            {classes}"
        formats = "Images are NIfTI files or, for every fourth patient, folders with a DICOM series."
    heads = "random deformation of the MNI152 template"
    styles = f"in the contrast styles {' and '.join(HQ_STYLES)}"
    held_out = "low quality (lq) and the same image before degradation (reference)"
    if data_set.scanners == "several":
        heads += ", with simulated scalp, skull and lesions"
        styles = f"by one of the scanners {', '.join(SCANNERS)}"
        held_out = "low quality (lq) and a clean image by every scanner (references)"
    return f"""\
{_README_TITLE}

{patients} patients, seed {data_set.seed}, version {VERSION}: {size} voxels of {spacing} mm. Nobody was scanned:
every head is a {heads}. Not for diagnosis.

train/lq          low-quality training images, as of a low-field scanner: bias field, low contrast, blur, Rician noise
train/hq          high-quality training images of other patients, {styles}
validation, test  further patients: {held_out}
{labels}
datalist.json     all of it as a MONAI datalist

{formats}
LICENSE-MNI152.txt must stay with all copies.
"""


def _check(output_dir: Path, patients: int, data_set: DataSet, force: bool) -> bool:
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
        entries = [entry for group in FOLDERS for entry in datalist[group]]
        named = [entry[key] for entry in entries for key in paths_of(entry)]
        paths = [output_dir / path for name in named for path in (name.values() if isinstance(name, dict) else [name])]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if made.get("version") != VERSION:
        return False
    there = DataSet(made.get("seed"), made.get("task", "segmentation"), made.get("scanners", "one"))
    if (made.get("patients"), there) != (patients, data_set):
        raise InputError(
            f'"{output_dir}" holds demo data of {made.get("patients")} patients and seed {there.seed} for '
            f"{there.task}, scanners {there.scanners}: name another --output_dir, or add --force to replace them"
        )
    return all(
        len(list(path.glob("*.dcm"))) == SPATIAL_SIZE[2] if path.suffix != ".gz" else path.is_file() for path in paths
    )


def make_demo_data(
    output_dir: str | Path,
    patients: int = 45,
    seed: int = 0,
    force: bool = False,
    task: str = "segmentation",
    scanners: str | None = None,
) -> bool:
    """Make the demo's data set: simulated MR patients, low and high quality, with labels and a datalist.

    A third of the patients is low quality for training, a third high quality for training (other patients), the rest
    is for validation and test, with the clean image as reference. Nothing is downloaded, and the same seed gives the
    same bytes. A folder that holds the same data set already is left as it is.

    For segmentation, an image is a volume and its label an image of tissues, see `LABELS`. With several scanners, every
    high-quality image comes from one of the target scanners (`SCANNERS`), which the datalist calls its ``"style"``; a
    patient held out has a reference by each of them, and the guide of his target scanner. With one scanner, brains
    are bare and high-quality images differ by a tone curve alone.

    For classification, every slice of the same patients is an image, with lesions in half of them
    (:func:`draw_lesions`), and its label is the number 0 or 1, see `LESION_LABELS`. Lesions come before degradation: an
    image and its reference have the same ones. There is one scanner.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness, 0 or more.
        force: make the data anew even if they are there, replacing demo data of another seed, size or task.
        task: `"segmentation"` or `"classification"`.
        scanners: `"several"` target scanners or `"one"`. Defaults to several for segmentation.

    Returns:
        Whether the data were made: False where they were there already. The datalist is `output_dir/datalist.json`.

    Raises:
        InputError: for too few patients, an unknown task, a folder that holds something else, or where nilearn is
            missing.
    """
    data_set = _checked(patients, seed, task, scanners)
    output_dir = Path(str(output_dir)).expanduser().resolve()
    if _check(output_dir, patients, data_set, force):
        return False
    template = load_template()
    partial = output_dir.with_name(f".{output_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    threads = torch.get_num_threads()
    # The order of a sum of floats depends on the number of threads, and the bytes must not.
    torch.set_num_threads(1)
    try:
        _write_data_set(partial, template, patients, data_set)
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


def _checked(patients: int, seed: int, task: str, scanners: str | None) -> DataSet:
    # True is a whole number to Python.
    require(
        type(patients) is int and patients >= MIN_PATIENTS,
        f"--patients is {patients} but must be a whole number of at least {MIN_PATIENTS}",
    )
    require(type(seed) is int and seed >= 0, f"--seed is {seed} but must be a whole number of at least 0")
    require(task in TASKS, f'--task is "{task}" but must be {" or ".join(TASKS)}')
    scanners = scanners or ("several" if task == "segmentation" else "one")
    require(scanners in VARIANTS, f'--scanners is "{scanners}" but must be {" or ".join(VARIANTS)}')
    require(
        task == "segmentation" or scanners == "one",
        "--task classification has --scanners one only: lesions of every kind would hide those that are its task",
    )
    return DataSet(seed, task, scanners)


def _write_data_set(root: Path, template: Template, patients: int, data_set: DataSet) -> None:
    """Simulate and write all patients, the datalist and the notices."""
    for folder, kinds in _KINDS.items():
        for kind in (*kinds, "labels") if data_set.task == "segmentation" else kinds:
            (root / folder / kind).mkdir(parents=True)
    if data_set.scanners == "several":
        for folder in ("validation", "test"):
            (root / folder / "reference").rename(root / folder / "references")
            for style in SCANNERS:
                (root / folder / "references" / style).mkdir()
    (root / "README.txt").write_text(_readme(patients, data_set), encoding="utf-8")
    (root / "LICENSE-MNI152.txt").write_text(_MNI_NOTICE, encoding="utf-8")
    datalist: dict[str, Any] = {
        "description": "HQG-Net demo: MR of simulated patients, deformed from the MNI152 template",
        "license": "see LICENSE-MNI152.txt",
        "generator": {"name": "scripts.experiments.demo", "version": VERSION, "patients": patients, **asdict(data_set)},
        "labels": {str(value): name for value, name in TASKS[data_set.task].items()},
    }
    with tqdm(total=patients, desc="Simulating patients", unit="patient") as progress:
        for group, indices in _split(patients).items():
            datalist[group] = []
            for rank, index in enumerate(indices):
                datalist[group] += make_patient(root, template, data_set, group, index, rank)
                progress.update()
    if data_set.scanners == "several":
        _choose_guides(datalist)
    (root / "datalist.json").write_text(json.dumps(datalist, indent=2) + "\n", encoding="utf-8")


def _choose_guides(datalist: Mapping[str, Any]) -> None:
    """Name, for every patient held out, a high-quality training image by his target scanner, in turn."""
    for group in ("validation", "testing"):
        for rank, entry in enumerate(datalist[group]):
            guides = [other["image"] for other in datalist["training_hq"] if other["style"] == entry["style"]]
            entry["guide"] = guides[rank // len(SCANNERS) % len(guides)]


def demo(
    output_dir: str,
    patients: int = 45,
    seed: int = 0,
    force: bool = False,
    task: str = "segmentation",
    scanners: str | None = None,
) -> None:
    """Make the demo's data set: simulated MR patients, low and high quality, with labels and a datalist.

    Nothing is downloaded. A folder that holds the same data set already is left as it is.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness; the same seed gives the same bytes.
        force: make the data anew even if they are there.
        task: segmentation (volumes with tissue labels) or classification (slices: has it lesions?).
        scanners: several (target scanners of different tissue contrast, heads with scalp and lesions) or one (bare
            brains, which differ by a tone curve); several by default, one for classification.
    """
    made = make_demo_data(output_dir, patients, seed, force, task, scanners)
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
