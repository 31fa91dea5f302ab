# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the demo's data: simulated MR patients from the MNI152 template.

Run it inside the bundle's folder: `python -m scripts.data.demo --output_dir DIR`.
"""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import torch
from monai.networks.layers import GaussianFilter
from monai.transforms import Resample, Resize
from monai.transforms.utils import create_rotate
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from tqdm import tqdm

from scripts.errors import InputError, run_command
from scripts.transforms.degradation import RandScannerDegradation

__all__ = [
    "CONTRAST_STYLES",
    "LABELS",
    "SPACING",
    "SPATIAL_SIZE",
    "Template",
    "load_template",
    "make_demo_data",
    "simulate_patient",
    "write_dicom_series",
    "write_nifti",
]

VERSION = 1
"""Raised when the same seed gives other data than before, so that old data sets are made anew."""

MIN_PATIENTS = 9
SPATIAL_SIZE = (96, 112, 16)
SPACING = (2.0, 2.0, 4.0)
"""Voxel size of the images in mm; slices are the last axis."""

LABELS = {0: "background", 1: "cerebrospinal fluid and other brain", 2: "grey matter", 3: "white matter"}
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


@dataclass(frozen=True)
class Template:
    """The anatomy that every patient is deformed from.

    Attributes:
        maps: T1 intensity, probability of cerebrospinal fluid or other brain, of grey matter, and of white matter, each
            in [0, 1]: float32 tensor of shape (4, X, Y, Z).
        affine: voxel to RAS+ millimetres, diagonal.
    """

    maps: torch.Tensor
    affine: np.ndarray


@dataclass(frozen=True)
class Patient:
    """One simulated head.

    Attributes:
        image: clean T1-like intensities in [0, 1], air 0: float32 of shape `SPATIAL_SIZE`.
        label: tissue classes, see `LABELS`: uint8 of the same shape.
        affine: voxel to RAS+ millimetres.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def load_template() -> Template:
    """Load T1, grey and white matter of the MNI152 template from the nilearn package; nothing is downloaded.

    Cerebrospinal fluid and other brain is what the brain mask holds beyond grey and white matter.

    Raises:
        InputError: where nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise InputError(
            "the demo data need the MNI152 template of nilearn, which is not installed: "
            'run pip install ".[demo]" in the folder of pyproject.toml'
        ) from error
    image = datasets.load_mni152_template(resolution=1)
    t1, grey, white, mask = (
        np.asarray(source.dataobj, dtype=np.float32)
        for source in (
            image,
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
            datasets.load_mni152_brain_mask(resolution=1),
        )
    )
    other = np.clip(mask - grey - white, 0, 1)
    return Template(torch.from_numpy(np.stack([t1 * mask, other, grey * mask, white * mask])), np.asarray(image.affine))


def simulate_patient(template: Template, random_state: np.random.RandomState, gamma: float = 1.0) -> Patient:
    r"""Simulate one head: own anatomy, tissue contrast and position.

    The template is sampled once, at :math:`p - w\,e^{-|(p - v)/s|^2} (p - v)` with
    :math:`p = c + R S^{-1} x + u_{22}(x) + u_7(x)`: a head scaled by 0.92 to 1.08 per axis, turned by up to 6 degrees
    and displaced by Gaussian random fields that are smooth over 22 mm (standard deviation 2.5 to 3 mm per axis) and
    over 7 mm (1.3 mm); w in [-0.25, 0.4] shrinks or widens the ventricles around v.

    Tissue probabilities are sharpened (:math:`p_k^2 / \sum_j p_j^2`), since those of the template average 152 people.
    Intensities follow from them and from tissue means drawn for this patient, and keep half of the template's texture.
    Slices average two planes of 2 mm, hence have partial volumes. The label is the most probable class.

    Args:
        template: the anatomy to start from.
        random_state: all randomness comes from here.
        gamma: exponent applied to the intensities: the contrast style, see `CONTRAST_STYLES`.
    """
    fine_size = (SPATIAL_SIZE[0], SPATIAL_SIZE[1], 2 * SPATIAL_SIZE[2])
    maps = _deformed(template, random_state, fine_size)
    probability = maps[1:].clamp(0, 1)
    mask = probability.sum(0).clamp(0, 1)
    sharp = probability**2
    sharp = sharp / sharp.sum(0).clamp_min(1e-6) * mask

    own = [random_state.normal(mean, std) for mean, std in ((0.28, 0.03), (0.62, 0.02), (0.88, 0.015))]
    texture = maps[0] - torch.tensordot(torch.tensor([0.34, 0.65, 0.84]), probability, dims=1)
    image = torch.tensordot(torch.tensor(own, dtype=torch.float32), sharp, dims=1) + 0.5 * texture * mask
    image = _pairs_of_planes_averaged(image[None])[0].clamp(0, 1) ** gamma
    label = _pairs_of_planes_averaged(torch.cat([1 - mask[None], sharp])).argmax(0)

    # Rounded to what a DICOM decimal string can hold, so that both formats agree.
    origin = np.round(-(np.array(SPATIAL_SIZE) - 1) / 2 * np.array(SPACING) + random_state.uniform(-15, 15, 3), 2)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return Patient(image.numpy(), label.numpy().astype(np.uint8), affine)


def _pairs_of_planes_averaged(volume: torch.Tensor) -> torch.Tensor:
    return volume.unflatten(-1, (-1, 2)).mean(-1)


def _deformed(template: Template, random_state: np.random.RandomState, size: tuple[int, ...]) -> torch.Tensor:
    """Sample the template's maps on a grid of 2 mm through one patient's deformation: (4, *size)."""
    axes = [torch.arange(n) * 2.0 - (n - 1) for n in size]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"))

    angles = np.deg2rad(random_state.uniform(-1, 1, 3) * (3, 3, 6))
    rotation = np.asarray(create_rotate(3, tuple(angles)))[:3, :3]
    inverse_scale = np.diag(1 / random_state.uniform(0.92, 1.08, 3))
    # The centre of the field of view: about 10 mm above the commissures, where all slices show plenty of brain.
    centre = np.array([0.0, -16.0, 11.0]) + random_state.uniform(-4, 4, 3)
    point = torch.tensordot(torch.as_tensor(rotation @ inverse_scale, dtype=torch.float32), position, dims=1)
    point = point + _column(centre)
    for correlation, amplitude in ((22.0, (2.5, 3.0, 2.5)), (7.0, (1.3, 1.3, 1.3))):
        point = point + _random_field(random_state, correlation, size) * _column(amplitude)

    offset = point - _column((0.0, -12.0, 16.0))
    widening = random_state.uniform(-0.25, 0.4)
    near_ventricles = torch.exp(-((offset / _column((24.0, 34.0, 20.0))) ** 2).sum(0))
    point = point - widening * near_ventricles * offset

    shape = np.array(template.maps.shape[1:])
    # MONAI resamples at voxel positions counted from the middle of the volume.
    voxel = (point - _column(template.affine[:3, 3])) / _column(np.diag(template.affine)[:3]) - _column((shape - 1) / 2)
    resample = Resample(mode="bilinear", padding_mode="zeros", dtype=np.float32)
    return torch.as_tensor(resample(template.maps, grid=torch.cat([voxel, torch.ones_like(voxel[:1])])))


def _column(values: Any) -> torch.Tensor:
    return torch.tensor(np.array(values), dtype=torch.float32)[:, None, None, None]


def _random_field(random_state: np.random.RandomState, correlation: float, size: tuple[int, ...]) -> torch.Tensor:
    """Three Gaussian random fields of unit variance on a grid of 2 mm, smoothed over `correlation` mm: (3, *size)."""
    step = correlation / 2
    margin = 6
    coarse = [int(np.ceil(2 * n / step)) + 1 for n in size]
    noise = torch.from_numpy(random_state.normal(size=(1, 3, *[n + 2 * margin for n in coarse])).astype(np.float32))
    field = GaussianFilter(3, correlation / step)(noise)[0]
    field = field[:, margin:-margin, margin:-margin, margin:-margin]
    field = torch.as_tensor(Resize(size, mode="trilinear", align_corners=True)(field))
    # White noise after a Gaussian filter of standard deviation s has, in 3-D, the variance (4 pi s^2)^(-3/2).
    return field * float((4 * np.pi * (correlation / step) ** 2) ** 0.75)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume as `.nii.gz` in scanner coordinates; the same input gives the same bytes.

    Args:
        path: file to write.
        array: (X, Y, Z), of the type to store.
        affine: voxel to RAS+ millimetres.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def write_dicom_series(folder: Path, array: np.ndarray, affine: np.ndarray, patient: str, entropy: str) -> None:
    """Write an axial volume as a series of MR Image Storage, one file a slice, from the lowest slice upwards.

    Args:
        folder: made, and filled with `slice_001.dcm` and so on.
        array: (X, Y, Z) of int16, 0 or more, in RAS+ order.
        affine: voxel to RAS+ millimetres, diagonal and positive.
        patient: patient ID and name.
        entropy: what the unique identifiers are derived from: the same text gives the same identifiers.
    """
    folder.mkdir(parents=True)
    spacing = np.diag(affine)[:3]
    # DICOM counts columns to the patient's left and rows to the back (LPS): both in-plane axes of RAS+ are reversed.
    pixels = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0)).astype("<u2")
    corner = affine @ np.array([array.shape[0] - 1, array.shape[1] - 1, 0, 1])
    peak = int(array.max())
    for index, plane in enumerate(pixels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[entropy, "instance", str(index)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian

        ds = pydicom.Dataset()
        ds.file_meta = meta
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260101"
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
        ds.AccessionNumber = ""
        ds.Modality = "MR"
        ds.Manufacturer = "HQG-Net demo"
        ds.ReferringPhysicianName = ""
        ds.StudyDescription = "Simulated brain"
        ds.SeriesDescription = "T1w simulated from MNI152"
        ds.PatientName = patient
        ds.PatientID = patient
        ds.PatientBirthDate = ""
        ds.PatientSex = "O"
        ds.BodyPartExamined = "BRAIN"
        ds.ScanningSequence = "RM"
        ds.SequenceVariant = "NONE"
        ds.ScanOptions = ""
        ds.MRAcquisitionType = "2D"
        ds.RepetitionTime = None
        ds.EchoTime = None
        ds.EchoTrainLength = None
        ds.SliceThickness = float(spacing[2])
        ds.SpacingBetweenSlices = float(spacing[2])
        ds.PatientPosition = "HFS"
        ds.StudyInstanceUID = generate_uid(entropy_srcs=[entropy, "study"])
        ds.SeriesInstanceUID = generate_uid(entropy_srcs=[entropy, "series"])
        ds.StudyID = "1"
        ds.SeriesNumber = 1
        ds.InstanceNumber = index + 1
        location = round(float(corner[2] + index * spacing[2]), 4)
        ds.ImagePositionPatient = [round(-float(corner[0]), 4), round(-float(corner[1]), 4), location]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.FrameOfReferenceUID = generate_uid(entropy_srcs=[entropy, "frame"])
        ds.PositionReferenceIndicator = ""
        ds.SliceLocation = location
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows, ds.Columns = plane.shape
        ds.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        ds.PixelRepresentation = 0
        ds.WindowCenter = peak / 2
        ds.WindowWidth = max(peak, 1)
        ds.RescaleIntercept = 0
        ds.RescaleSlope = 1
        ds.RescaleType = "US"
        ds.PixelData = plane.tobytes()
        ds.save_as(folder / f"slice_{index + 1:03d}.dcm", enforce_file_format=True)


def _split(patients: int) -> dict[str, range]:
    """Patients of each list: a third, a third, then one and two thirds of the rest."""
    third = patients // 3
    validation = (patients - 2 * third) // 3
    ends = np.cumsum([0, third, third, validation, patients - 2 * third - validation])
    names = ("training_lq", "training_hq", "validation", "testing")
    return {name: range(int(start), int(end)) for name, start, end in zip(names, ends[:-1], ends[1:], strict=True)}


_FOLDERS = {"training_lq": "train", "training_hq": "train", "validation": "validation", "testing": "test"}
_KINDS = {
    "train": ("lq", "hq", "labels"),
    "validation": ("lq", "labels", "reference"),
    "test": ("lq", "labels", "reference"),
}


def _make_patient(root: Path, template: Template, seed: int, index: int, group: str, rank: int) -> dict[str, str]:
    """Simulate and write one patient; its datalist entry."""
    generator = np.random.MT19937(np.random.SeedSequence([seed, index]))
    random_state = np.random.RandomState(generator)
    patient = f"P{index + 1:03d}"
    style = HQ_STYLES[rank % len(HQ_STYLES)] if group == "training_hq" else "standard"
    # The contrast scarcely varies within a style; the scanner's unit varies freely.
    gamma = CONTRAST_STYLES[style] * random_state.uniform(0.96, 1.04)
    unit = random_state.uniform(800, 1300)
    head = simulate_patient(template, random_state, gamma)

    image = head.image
    if group != "training_hq":
        degrade = RandScannerDegradation(blur_dims=(0, 1))
        degrade.set_random_state(state=random_state)
        image = np.asarray(degrade(image[None]))[0]
    folder = _FOLDERS[group]
    kind = "hq" if group == "training_hq" else "lq"
    entry = {"patient": patient}
    raw = np.rint(image * unit).astype(np.int16)
    # The second of every four, so that the smallest data set has a series in every group but validation.
    if rank % DICOM_EVERY == 1:
        entry["image"] = f"{folder}/{kind}/{patient}"
        write_dicom_series(root / entry["image"], raw, head.affine, patient, f"hqgnet-demo-{VERSION}-{seed}-{patient}")
    else:
        entry["image"] = f"{folder}/{kind}/{patient}.nii.gz"
        write_nifti(root / entry["image"], raw, head.affine)
    entry["label"] = f"{folder}/labels/{patient}.nii.gz"
    write_nifti(root / entry["label"], head.label, head.affine)
    if folder != "train":
        entry["reference"] = f"{folder}/reference/{patient}.nii.gz"
        write_nifti(root / entry["reference"], np.rint(head.image * unit).astype(np.int16), head.affine)
    if group == "training_hq":
        entry["style"] = style
    return entry


def _readme(patients: int, seed: int) -> str:
    classes = "; ".join(f"{value} {name}" for value, name in LABELS.items())
    size, spacing = ("x".join(f"{n:g}" for n in values) for values in (SPATIAL_SIZE, SPACING))
    return f"""\
{_README_TITLE}

{patients} patients, seed {seed}, version {VERSION}: {size} voxels of {spacing} mm. Nobody was scanned: every head is a
random deformation of the MNI152 template. Not for diagnosis.

train/lq          low-quality training images, as of a low-field scanner: bias field, low contrast, blur, Rician noise
train/hq          high-quality training images of other patients, in the contrast styles {" and ".join(HQ_STYLES)}
validation, test  further patients: low quality (lq) and the same image before degradation (reference)
labels            {classes}
datalist.json     all of it as a MONAI datalist

Images are NIfTI files or, for every fourth patient, folders with a DICOM series.
LICENSE-MNI152.txt must stay with all copies.
"""


def _check(output_dir: Path, patients: int, seed: int, force: bool) -> bool:
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
        keys = ("image", "label", "reference")
        paths = [output_dir / entry[key] for entry in entries for key in keys if key in entry]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if made.get("version") != VERSION:
        return False
    if (made.get("patients"), made.get("seed")) != (patients, seed):
        raise InputError(
            f'"{output_dir}" holds demo data of {made.get("patients")} patients and seed {made.get("seed")}: '
            "name another --output_dir, or add --force to replace them"
        )
    return all(
        len(list(path.glob("*.dcm"))) == SPATIAL_SIZE[2] if path.suffix != ".gz" else path.is_file() for path in paths
    )


def make_demo_data(output_dir: str | Path, patients: int = 45, seed: int = 0, force: bool = False) -> bool:
    """Make the demo's data set: simulated MR patients, low and high quality, with tissue labels and a datalist.

    A third of the patients is low quality for training, a third high quality for training (other patients), the rest
    is for validation and test, with the clean image as reference. Nothing is downloaded, and the same seed gives the
    same bytes. A folder that holds the same data set already is left as it is.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness, 0 or more.
        force: make the data anew even if they are there, replacing demo data of another seed or size.

    Returns:
        Whether the data were made: False where they were there already. The datalist is `output_dir/datalist.json`.

    Raises:
        InputError: for too few patients, a folder that holds something else, or where nilearn is missing.
    """
    if isinstance(patients, bool) or not isinstance(patients, int) or patients < MIN_PATIENTS:
        raise InputError(f"--patients is {patients} but must be a whole number of at least {MIN_PATIENTS}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"--seed is {seed} but must be a whole number of at least 0")
    output_dir = Path(str(output_dir)).expanduser().resolve()
    if _check(output_dir, patients, seed, force):
        return False

    template = load_template()
    partial = output_dir.with_name(f".{output_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    threads = torch.get_num_threads()
    # The order of a sum of floats depends on the number of threads, and the bytes must not.
    torch.set_num_threads(1)
    try:
        for folder, kinds in _KINDS.items():
            for kind in kinds:
                (partial / folder / kind).mkdir(parents=True)
        (partial / "README.txt").write_text(_readme(patients, seed), encoding="utf-8")
        (partial / "LICENSE-MNI152.txt").write_text(_MNI_NOTICE, encoding="utf-8")
        datalist: dict[str, Any] = {
            "description": "HQG-Net demo: T1-like MR of simulated patients, deformed from the MNI152 template",
            "license": "see LICENSE-MNI152.txt",
            "generator": {"name": "scripts.data.demo", "version": VERSION, "patients": patients, "seed": seed},
            "labels": {str(value): name for value, name in LABELS.items()},
        }
        with tqdm(total=patients, desc="Simulating patients", unit="patient") as progress:
            for group, indices in _split(patients).items():
                datalist[group] = []
                for rank, index in enumerate(indices):
                    datalist[group].append(_make_patient(partial, template, seed, index, group, rank))
                    progress.update()
        (partial / "datalist.json").write_text(json.dumps(datalist, indent=2) + "\n", encoding="utf-8")
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


def demo(output_dir: str, patients: int = 45, seed: int = 0, force: bool = False) -> None:
    """Make the demo's data set: simulated MR patients, low and high quality, with tissue labels and a datalist.

    Nothing is downloaded. A folder that holds the same data set already is left as it is.

    Args:
        output_dir: folder to make; it may exist if it is empty or holds earlier demo data.
        patients: number of patients, 9 or more.
        seed: seed of all randomness; the same seed gives the same bytes.
        force: make the data anew even if they are there.
    """
    made = make_demo_data(output_dir, patients, seed, force)
    folder = Path(str(output_dir)).expanduser().resolve()
    split = ", ".join(f"{len(indices)} {name}" for name, indices in _split(patients).items())
    state = "Made" if made else "Already there, left as they are"
    print(f"{state}: {patients} simulated patients ({split}), seed {seed}.")
    print(f"Folder:   {folder}\nDatalist: {folder / 'datalist.json'}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(demo, "demo.py", arguments)


if __name__ == "__main__":
    main()
