# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the demo's data: simulated MR patients from the MNI152 template.

Run it inside the bundle's folder: `python -m scripts.experiments.demo --output_dir DIR`. The labels are tissues, or
with `--task classification` whether a slice shows lesions.
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

from ..errors import InputError, run_command
from ..transforms.degradation import RandScannerDegradation

__all__ = [
    "CONTRAST_STYLES",
    "LABELS",
    "LESION_LABELS",
    "SPACING",
    "SPATIAL_SIZE",
    "TASKS",
    "Template",
    "draw_lesions",
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
LESION_LABELS = {0: "no lesion", 1: "lesions in the white matter"}
TASKS = {"segmentation": LABELS, "classification": LESION_LABELS}
"""What a downstream network learns, and the classes that it tells apart."""

CONTRAST_STYLES = {"standard": 1.0, "flat": 0.75, "steep": 1.35}
"""Exponent that each contrast style applies to intensities in [0, 1]."""

HQ_STYLES = ("flat", "steep")
DICOM_EVERY = 4

LESION_RADIUS = (3.5, 5.0)
"""In mm."""

LESION_EDGE = 1.0
"""Scale in mm over which a lesion fades at its rim."""

LESION_CONTRAST = 0.75
"""Share of the signal that the white matter loses in a lesion."""

LESIONS_PER_SLICE = (2, 4)
MIN_LESION_AREA = 20.0
"""Area in mm² from which a slice counts as one with lesions; the smallest single lesion has nearly twice as much."""

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


def draw_lesions(
    head: Patient, random_state: np.random.RandomState, gamma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw dark lesions into the white matter of half of the slices.

    .. math:: x \leftarrow x\,(1 - 0.75\,s)^\gamma, \quad s(p) = \max_i \sigma\big((r_i - |p - c_i|) / 1\,mm\big)

    Each of these slices gets two to four discs, where there is room, of radius :math:`r_i` from 3.5 to 5 mm around
    :math:`c_i`; every disc lies in white matter altogether and keeps clear of the others. A lesion is as thick as its
    slice and leaves the neighbouring slices untouched, so that none is half in a slice whose label does not say so.

    A slice counts as one with lesions when :math:`s > 1/2` in at least 20 mm² of it.

    Args:
        head: the patient, not changed.
        random_state: all randomness comes from here.
        gamma: exponent that was applied to the patient's intensities, see :func:`simulate_patient`.

    Returns:
        The image with lesions, float32 of shape `SPATIAL_SIZE`, and for every slice whether it shows lesions: bool of
        shape (Z,).
    """
    strength = np.zeros(head.image.shape, dtype=np.float32)
    place = np.stack(np.meshgrid(*(np.arange(n) for n in SPATIAL_SIZE[:2]), indexing="ij"), axis=-1)
    in_plane = np.array(SPACING[:2])
    for index in random_state.permutation(SPATIAL_SIZE[2])[: SPATIAL_SIZE[2] // 2]:
        for _ in range(random_state.randint(LESIONS_PER_SLICE[0], LESIONS_PER_SLICE[1] + 1)):
            radius = random_state.uniform(*LESION_RADIUS)
            free = (head.label[..., index] == 3) & (strength[..., index] < 0.05)
            centres = np.argwhere(_eroded(free, radius / in_plane))
            if not len(centres):
                break
            distance = np.linalg.norm((place - centres[random_state.randint(len(centres))]) * in_plane, axis=-1)
            disc = 1 / (1 + np.exp((distance - radius) / LESION_EDGE))
            strength[..., index] = np.maximum(strength[..., index], disc)
    area = (strength > 0.5).sum(axis=(0, 1)) * in_plane.prod()
    image = head.image * (1 - LESION_CONTRAST * strength) ** np.float32(gamma)
    return image.astype(np.float32), area >= MIN_LESION_AREA


def _eroded(mask: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Where an ellipse of these half-axes, in pixels, lies in a two-dimensional mask altogether."""
    reach = np.ceil(radii).astype(int)
    offsets = [np.array(index) - reach for index in np.ndindex(*(2 * reach + 1))]
    inside = [tuple(offset) for offset in offsets if ((offset / radii) ** 2).sum() <= 1]
    # The head is far from the borders, across which roll would carry it.
    return np.logical_and.reduce([np.roll(mask, offset, axis=(0, 1)) for offset in inside])


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image as `.nii.gz` in scanner coordinates; the same input gives the same bytes.

    Args:
        path: file to write.
        array: (X, Y, Z), or (X, Y) for a single slice, of the type to store.
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
        write_nifti(entry["image"], raw[kind], head.affine)
    entry["label"] = folder / "labels" / f"{patient}.nii.gz"
    write_nifti(entry["label"], head.label, head.affine)
    if "reference" in raw:
        entry["reference"] = folder / "reference" / f"{patient}.nii.gz"
        write_nifti(entry["reference"], raw["reference"], head.affine)
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
            path = folder / kind / patient / f"slice_{index + 1:02d}.nii.gz"
            write_nifti(path, volume[..., index], position)
            entry["reference" if kind == "reference" else "image"] = path
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
    if isinstance(patients, bool) or not isinstance(patients, int) or patients < MIN_PATIENTS:
        raise InputError(f"--patients is {patients} but must be a whole number of at least {MIN_PATIENTS}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"--seed is {seed} but must be a whole number of at least 0")
    if task not in TASKS:
        raise InputError(f'--task is "{task}" but must be {" or ".join(TASKS)}')
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
        for folder, kinds in _KINDS.items():
            for kind in (*kinds, "labels") if task == "segmentation" else kinds:
                (partial / folder / kind).mkdir(parents=True)
        (partial / "README.txt").write_text(_readme(patients, seed, task), encoding="utf-8")
        (partial / "LICENSE-MNI152.txt").write_text(_MNI_NOTICE, encoding="utf-8")
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
                    datalist[group] += _make_patient(partial, template, seed, index, group, rank, task)
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
