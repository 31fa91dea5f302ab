# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Make a controlled experiment of clean, labelled images: what was degraded is known, so gain can be measured.

Run it inside the bundle's folder:
`python -m scripts.experiments.controlled --image_dir DIR --label_dir DIR --output_dir DIR`.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from pathlib import Path

from ..data.datalist import LISTS
from ..errors import InputError, require, run_command
from ..io import image_format, image_stem, write_json
from .degrade import degrade, degrade_images

__all__ = ["make_experiment"]

MIN_IMAGES = 9
"""Three images a part, so that validation and test have one at least."""

Datalist = dict[str, list[dict[str, str]]]


def make_experiment(
    image_dir: str | Path,
    label_dir: str | Path,
    output_dir: str | Path,
    seed: int = 0,
    validation: int = 10,
    **ranges: Sequence[float],
) -> tuple[Datalist, list[Path]]:
    """Degrade two thirds of a folder of clean images, and write the datalist of an unpaired training and a paired test.

    The images, in the order of their names, are shuffled by `seed`. The first third becomes low-quality training
    images, the second stays clean and guides, and the rest is held out, degraded, with the clean image as its
    reference: first the validation, then the test. Every entry has its label, and is a patient of its own who is named
    like the file.

    Degraded images go into ``lq/`` of the output folder, with the draws of
    :func:`scripts.experiments.degrade.degrade_images`; the datalist into its ``datalist.json``. Paths in it are
    relative where they lead into the output folder, and absolute otherwise.

    Args:
        image_dir: folder whose own image files are taken, those of sub-folders not; one file a patient.
        label_dir: folder with the label of each image under the same name, or under the same name but for the suffix.
        output_dir: folder to write to, without a ``datalist.json`` and with nothing in its ``lq/``.
        seed: seed of the split and of the degradation, 0 or more.
        validation: number of held-out images for validation, at most a third of them whatever it says.
        ranges: arguments of :class:`scripts.transforms.degradation.RandScannerDegradation` that say how much.

    Returns:
        The datalist as it is written, and the images that were left out because they have no label.

    Raises:
        InputError: for a missing folder, an output folder that is in use or inside the images' folder, fewer than 9
            images with labels, names that do not tell which label belongs to which image, a forbidden seed, number or
            range, or images that cannot be degraded, whose companions are then removed again.
    """
    images, labels, output = (Path(str(folder)).expanduser().resolve() for folder in (image_dir, label_dir, output_dir))
    require(type(seed) is int and seed >= 0, f"--seed is {seed} but must be a whole number of at least 0")
    require(
        type(validation) is int and validation >= 1,
        f"--validation is {validation} but must be a whole number of at least 1",
    )
    _check_folders(images, labels, output)
    label_of, unlabelled = _match(images, labels)
    if len(label_of) < MIN_IMAGES:
        raise InputError(
            f'only {len(label_of)} of {len(label_of) + len(unlabelled)} images in "{images}" have a label of the same '
            f'name in "{labels}", and {MIN_IMAGES} are needed: add images, or name the labels like their images'
        )

    files = sorted(label_of, key=lambda file: file.name)
    random.Random(seed).shuffle(files)
    third = len(files) // 3
    low, high, held_out = files[:third], files[third : 2 * third], files[2 * third :]
    degraded = low + held_out
    written, failures = degrade_images(images, output / "lq", seed, degraded, **ranges)
    if failures:
        # The folder was empty: without these files the command can simply be given again.
        for file in written:
            file.unlink()
        raise InputError(f"{failures[0]} ({len(failures)} images could not be degraded: mend or remove them)")
    poor = dict(zip(degraded, written, strict=True))

    def entry(image: Path, clean: Path) -> dict[str, str]:
        return {"image": _written(image, output), "label": _written(label_of[clean], output), "patient": clean.name}

    cases = [entry(poor[file], file) | {"reference": _written(file, output)} for file in held_out]
    number = min(validation, len(held_out) // 3)
    lists = {
        "training_lq": [entry(poor[file], file) for file in low],
        "training_hq": [entry(file, file) for file in high],
        "validation": cases[:number],
        "testing": cases[number:],
    }
    write_json(lists, output / "datalist.json")
    return lists, unlabelled


def _check_folders(images: Path, labels: Path, output: Path) -> None:
    """Refuse folders that are missing, and an output that would touch or mix with files that are not its own."""
    for name, folder in (("image", images), ("label", labels)):
        if not folder.is_dir():
            raise InputError(f'there is no folder "{folder}": set --{name}_dir to the folder with the clean {name}s')
    if labels == images:
        raise InputError(f'--image_dir and --label_dir are both "{images}": put the labels into a folder of their own')
    if output.is_relative_to(images):
        raise InputError(f'--output_dir "{output}" is inside the folder of the clean images: name another folder')
    if output.exists() and not output.is_dir():
        raise InputError(f'--output_dir "{output}" is a file: name a folder')
    for path in (output / "datalist.json", output / "lq"):
        if path.is_file() or path.is_dir() and any(path.iterdir()):
            raise InputError(f'"{path}" is there already: name another --output_dir, or move it away')


def _match(image_dir: Path, label_dir: Path) -> tuple[dict[Path, Path], list[Path]]:
    """Each image's label, of the same name or else the same name but for the suffix; and the images without one."""
    by_stem: dict[str, list[Path]] = {}
    for label in _image_files(label_dir):
        by_stem.setdefault(image_stem(label), []).append(label)
    matched: dict[Path, Path] = {}
    unlabelled: list[Path] = []
    seen: dict[str, Path] = {}
    for image in _image_files(image_dir):
        stem = image_stem(image)
        twin = seen.setdefault(stem, image)
        if twin != image:
            raise InputError(f'"{twin}" and "{image.name}" are both called "{stem}": rename or remove one of them')
        candidates = by_stem.get(stem, [])
        exact = [label for label in candidates if label.name == image.name]
        if not candidates:
            unlabelled.append(image)
        elif exact or len(candidates) == 1:
            matched[image] = (exact or candidates)[0]
        else:
            raise InputError(
                f'"{candidates[0]}" and "{candidates[1].name}" could both be the label of "{image.name}": remove one'
            )
    return matched, unlabelled


def _image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, in the order of their names."""
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return [file for file in files if not file.name.startswith(".") and file.is_file() and image_format(file)]


def _written(path: Path, output: Path) -> str:
    """A path as the datalist in `output` has it: relative to that folder if inside, so that the folder can be moved."""
    return path.relative_to(output).as_posix() if path.is_relative_to(output) else str(path)


def controlled(
    image_dir: str, label_dir: str, output_dir: str, seed: int = 0, validation: int = 10, **ranges: Sequence[float]
) -> None:
    """Make a controlled experiment of clean, labelled images, to see how much enhancement regains.

    A third becomes low-quality training images, another third stays clean and guides, and the last is held out for
    validation and test, degraded, with the clean images as references. Then train with --dataset_dir set to output_dir.

    Args:
        image_dir: folder with the clean images, one file a patient.
        label_dir: folder with their labels, named like the images.
        output_dir: folder to write to: degraded images in lq/, and datalist.json.
        seed: seed of the split and of the degradation; the same seed gives the same experiment.
        validation: number of held-out images for validation, a third of them at most.
        ranges: the ranges of scripts.experiments.degrade, such as --noise_std_range 0.02,0.05; its --help lists them.
    """
    known = [name for name in inspect.signature(degrade).parameters if name.endswith("_range")]
    for name in ranges:
        require(name in known, f"There is no option --{name}: the ranges are {', '.join(known)}.")
    lists, unlabelled = make_experiment(image_dir, label_dir, output_dir, seed, validation, **ranges)
    if unlabelled:
        print(f'Left out {len(unlabelled)} images without a label, the first "{unlabelled[0]}"')
    file = Path(str(output_dir)).expanduser().resolve() / "datalist.json"
    print(f"{file}: " + ", ".join(f"{len(lists[name])} {name}" for name in LISTS))


def main(arguments: list[str] | None = None) -> None:
    """Run the command, see :func:`scripts.errors.run_command`."""
    run_command(controlled, "controlled.py", arguments)


if __name__ == "__main__":
    main()
