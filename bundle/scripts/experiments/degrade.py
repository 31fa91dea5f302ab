# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Degrade clean images as a low-field scanner would, for trying the method on one's own images.

Run it inside the bundle's folder: `python -m scripts.experiments.degrade --input_dir DIR --output_dir DIR`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError, run_command
from ..io import PATIENT_SPACE, SPACE, DICOMCase, image_format, image_stem, open_image, write_nifti
from ..transforms.degradation import RandScannerDegradation

__all__ = ["degrade_images"]

THICK_SLICE = 1.5
"""An axis whose voxels are longer than the shortest times this is not blurred: its slices are thick already."""


def degrade_images(
    input_dir: str | Path,
    output_dir: str | Path,
    seed: int = 0,
    images: Sequence[str | Path] | None = None,
    **ranges: Sequence[float],
) -> tuple[list[Path], list[str]]:
    """Degrade an image, or all images below a folder, into files of the same names.

    NIfTI, PNG, TIFF and JPEG keep format, geometry and data type; a folder with a DICOM series (or one DICOM file)
    becomes a `.nii.gz` file of its name. Intensities are taken as fractions of the 99.9th percentile above the minimum
    (of 255 for 8-bit pictures), degraded, and put back into their unit. Every file has its own draws, which depend on
    `seed` and on its path below `input_dir` only. A file that cannot be degraded is reported and left out.

    Args:
        input_dir: an image, or a folder whose images are found at any depth; files of other kinds are ignored.
        output_dir: folder to write to; files of the same names are replaced.
        seed: seed of all randomness, 0 or more.
        images: paths below `input_dir` of those to degrade; None for all.
        ranges: arguments of :class:`scripts.transforms.degradation.RandScannerDegradation` that say how much.

    Returns:
        The files written, in the order of the images, and one sentence for each file that was left out.

    Raises:
        InputError: for a folder without images, an output folder that is the input folder, or a forbidden range.
    """
    source = Path(str(input_dir)).expanduser().resolve()
    target = Path(str(output_dir)).expanduser().resolve()
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"--seed is {seed} but must be a whole number of at least 0")
    RandScannerDegradation(**ranges)  # type: ignore[arg-type]
    if target == source or target == source.parent and source.is_file():
        raise InputError(f'--output_dir "{target}" holds the clean images, which would be lost: name another folder')
    if target.exists() and not target.is_dir():
        raise InputError(f'--output_dir "{target}" is a file: name a folder')
    found = _find_images(source, target) if images is None else [source / image for image in images]
    jobs = {image: _output_name(image, source) for image in found}
    twice = [name for name, count in Counter(jobs.values()).items() if count > 1]
    if twice:
        raise InputError(f'two images below "{source}" would both become "{twice[0]}": rename one of them')

    written, failures = [], []
    for image, name in tqdm(jobs.items(), desc="Degrading", unit="image"):
        key = os.path.relpath(image, source if source.is_dir() else source.parent).replace(os.sep, "/")
        digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
        generator = np.random.MT19937(np.random.SeedSequence(int.from_bytes(digest, "big")))
        try:
            written.append(_degrade(image, target / name, np.random.RandomState(generator), ranges))
        except (InputError, OSError) as error:
            failures.append(str(error) if str(image) in str(error) else f'cannot degrade "{image}": {error}')
            tqdm.write(f"skipped: {failures[-1]}", file=sys.stderr)
    return written, failures


def _find_images(source: Path, target: Path) -> list[Path]:
    """Image files and DICOM series folders at or below `source`, in order, without those below `target`."""
    if not source.exists():
        raise InputError(f'--input_dir "{source}" does not exist: name a folder with images, or one image')
    if source.is_file():
        if image_format(source) is None:
            raise InputError(f'"{source}" is no image: give NIfTI, PNG, TIFF, JPEG or DICOM')
        return [source]
    images = []
    for folder, subfolders, files in os.walk(source):
        here = Path(folder)
        subfolders[:] = sorted(d for d in subfolders if not d.startswith(".") and here / d != target)
        kinds = {here / file: image_format(here / file) for file in sorted(files) if not file.startswith(".")}
        images += [file for file, kind in kinds.items() if kind in ("nifti", "raster")]
        if "dicom" in kinds.values():
            images.append(here)
    if not images:
        raise InputError(f'--input_dir "{source}" holds no images: give NIfTI, PNG, TIFF, JPEG or DICOM')
    return images


def _output_name(image: Path, source: Path) -> Path:
    """Path of the result below the output folder."""
    relative = Path(image.name) if image == source else image.relative_to(source)
    if image.is_dir():
        return relative.with_name(f"{relative.name}.nii.gz")
    if image_format(image) == "dicom":
        return relative.with_name(f"{image_stem(image)}.nii.gz")
    return relative


def _degrade(path: Path, output: Path, random_state: np.random.RandomState, ranges: dict[str, Sequence[float]]) -> Path:
    """Degrade and write one image; return the file."""
    case = open_image(path)
    array = case.without_padding().as_tensor().numpy()
    if not np.isfinite(array).all():
        raise InputError(f'"{path}" holds values that are not finite (NaN or infinity): repair it or leave it out')
    low, high = case.full_scale or _span(array)
    if low == high:
        raise InputError(f'"{path}" is constant: leave it out')

    blur_dims = None
    if case.image.meta[SPACE] == PATIENT_SPACE and array.ndim == 4:
        spacing = np.asarray(case.image.pixdim)
        blur_dims = [axis for axis, length in enumerate(spacing) if length <= THICK_SLICE * spacing.min()]
    degradation = RandScannerDegradation(blur_dims=blur_dims, **ranges)  # type: ignore[arg-type]
    degradation.set_random_state(state=random_state)
    scaled = np.clip((array - low) / (high - low), 0, 1).astype(np.float32)
    result = low + (high - low) * np.asarray(degradation(scaled), dtype=np.float64)

    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    target = output.with_name(image_stem(output))
    if isinstance(case, DICOMCase):
        whole = np.array_equal(array, np.rint(array)) and np.abs(array).max() <= np.iinfo(np.int16).max
        values = np.rint(result).astype(np.int16) if whole else result.astype(np.float32)
        return write_nifti(values, case.image.affine, target)
    return case.write(torch.from_numpy(result), target, None)


def _span(array: np.ndarray) -> tuple[float, float]:
    """Values that become 0 and 1. The few brightest voxels (vessels) do not decide, but a sparse image's peak does."""
    low, high = float(array.min()), float(np.percentile(array, 99.9))
    return low, high if high > low else float(array.max())


def degrade(
    input_dir: str,
    output_dir: str,
    seed: int = 0,
    gamma_range: Sequence[float] = (0.6, 0.85),
    bias_strength_range: Sequence[float] = (0.15, 0.28),
    smooth_sigma_range: Sequence[float] = (0.4, 0.7),
    zoom_range: Sequence[float] = (0.6, 0.8),
    noise_std_range: Sequence[float] = (0.06, 0.1),
) -> None:
    """Degrade clean images as a low-field scanner would: low contrast, bias field, blur, Rician noise.

    NIfTI, PNG, TIFF and JPEG keep name, format, geometry and data type; a DICOM series folder becomes a .nii.gz file.
    Parameters are drawn for every file from the ranges, written as LOW,HIGH.

    Args:
        input_dir: an image, or a folder whose images are found at any depth.
        output_dir: folder to write to.
        seed: seed of all randomness; the same seed gives the same images.
        gamma_range: exponent of the contrast change; smaller is less contrast, 1 leaves it.
        bias_strength_range: strength of the bias field; 0 for none.
        smooth_sigma_range: standard deviation of the smoothing in voxels; 0 for none.
        zoom_range: resolution relative to that of the image, up to 1 for no loss.
        noise_std_range: noise as a fraction of the image's intensity range; 0 for none.
    """
    written, failures = degrade_images(
        input_dir,
        output_dir,
        seed,
        gamma_range=gamma_range,
        bias_strength_range=bias_strength_range,
        smooth_sigma_range=smooth_sigma_range,
        zoom_range=zoom_range,
        noise_std_range=noise_std_range,
    )
    print(f"Degraded {len(written)} images into {Path(str(output_dir)).expanduser().resolve()}")
    if failures:
        raise InputError(f"{len(failures)} images could not be degraded and were skipped, as listed above")


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(degrade, "degrade.py", arguments)


if __name__ == "__main__":
    main()
