# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Degrade clean images as a low-field scanner would, for trying the method on one's own images.

Run it inside the bundle's folder: `python -m scripts.experiments.degrade --input_dir DIR --output_dir DIR`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from PIL import Image
from tqdm import tqdm

from ..errors import InputError, run_command
from ..transforms.degradation import RandScannerDegradation
from ..transforms.loading import ReadImaged, image_format, image_stem
from .demo import write_nifti

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
    """Degrade and write one image."""
    image = ReadImaged(keys="image", label_keys=())({"image": path})["image"]
    array = np.asarray(image.as_tensor() if isinstance(image, MetaTensor) else image)
    if not np.isfinite(array).all():
        raise InputError(f'"{path}" holds values that are not finite (NaN or infinity): repair it or leave it out')
    kind = "dicom" if path.is_dir() else image_format(path)
    low, high = (0.0, 255.0) if kind == "raster" and _is_8_bit(path) else _span(array)
    if low == high:
        raise InputError(f'"{path}" is constant: leave it out')

    blur_dims = None
    if kind != "raster" and array.ndim == 4:
        spacing = np.asarray(image.pixdim)
        blur_dims = [axis for axis, length in enumerate(spacing) if length <= THICK_SLICE * spacing.min()]
    degradation = RandScannerDegradation(blur_dims=blur_dims, **ranges)  # type: ignore[arg-type]
    degradation.set_random_state(state=random_state)
    scaled = np.clip((array - low) / (high - low), 0, 1).astype(np.float32)
    result = low + (high - low) * np.asarray(degradation(scaled), dtype=np.float64)

    output.parent.mkdir(parents=True, exist_ok=True)
    if kind == "nifti":
        _write_like(path, output, result)
    elif kind == "raster":
        _write_raster(path, output, result)
    else:
        whole = np.array_equal(array, np.rint(array)) and np.abs(array).max() <= np.iinfo(np.int16).max
        volume = np.rint(result[0]).astype(np.int16) if whole else result[0].astype(np.float32)
        write_nifti(output, volume, np.asarray(image.affine))
    return output


def _span(array: np.ndarray) -> tuple[float, float]:
    """What becomes 0 and 1: the few brightest voxels (vessels, artefacts) do not decide; a sparse image's peak does."""
    low, high = float(array.min()), float(np.percentile(array, 99.9))
    return low, high if high > low else float(array.max())


def _is_8_bit(path: Path) -> bool:
    with Image.open(path) as picture:
        return not picture.mode.startswith(("I", "F"))


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def _write_like(path: Path, output: Path, result: np.ndarray) -> None:
    """Write channel-first values with the header, the data type and the shape of a NIfTI file."""
    original = nib.load(path)
    if not isinstance(original, nib.Nifti1Image):
        raise InputError(f'"{path}" is not a NIfTI file in spite of its name: rename or convert it')
    values = np.moveaxis(result, 0, -1).reshape(original.shape)
    # Whole numbers with a slope of their own are left to nibabel, which finds a new slope for the new values.
    slope, offset = original.header.get_slope_inter()
    if slope in (None, 1.0) and offset in (None, 0.0):
        values = _as_type(values, original.get_data_dtype())
    content = type(original)(values, original.affine, original.header).to_bytes()
    output.write_bytes(gzip.compress(content, mtime=0) if output.name.lower().endswith(".gz") else content)


def _write_raster(path: Path, output: Path, result: np.ndarray) -> None:
    """Write channel-first values, (C, W, H) as MONAI reads pictures, in a picture's format and depth."""
    with Image.open(path) as picture:
        mode, file_format = picture.mode, picture.format
    dtype = np.dtype(np.uint8 if _is_8_bit(path) else np.float32 if mode == "F" else np.uint16)
    pixels = _as_type(np.ascontiguousarray(result.transpose(2, 1, 0)), dtype)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if file_format == "JPEG":
        picture.save(output, format=file_format, quality=95, subsampling=0)
    else:
        picture.save(output, format=file_format)


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
