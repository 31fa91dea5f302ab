# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM in, DICOM out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey

from ..errors import InputError, named
from .base import PATIENT_SPACE, PIXEL_SPACE, SPACE, CaseImage, Provenance
from .dicom_derivation import DEVIATION, ENHANCED, derive, uid_seed
from .dicom_frames import GEOMETRY_TAGS, PIXEL_TAGS, Frame, PixelFormat, describe_frames
from .dicom_geometry import Arrangement, arrange
from .dicom_header import IDENTITY_TAGS, Faults, naming, read_dataset, read_header
from .dicom_pixels import DATA_TAGS, PALETTE_TAGS, decode_frames
from .dicom_rescaling import is_padding, keep_padding, set_rescaling, to_stored, to_units, values_cut, widened
from .dicom_writing import encode, save, set_deviation, set_pixels

__all__ = ["DICOMCase"]

MOST_FAULTS = 10
"""Files with damaged pixels after which no further ones of a series are looked for."""


class DICOMCase(CaseImage):
    """A DICOM series, or a single DICOM file with one picture or many.

    Single-frame files with a position in the patient, and the frames of enhanced multi-frame files, make a volume, in
    the order of their positions; the frames of a film make one without an affine (``evenly_spaced`` is False), a file
    without a position a photograph. Rescale slope and intercept are applied slice by slice, MONOCHROME1 is turned the
    right way round as ITK turns it, colour of any kind (YBR, palette) becomes RGB.

    What is read is written: results keep the pixels' type, bits and rescaling, so that an unchanged image has the
    source's stored values, bit for bit; colour is written as RGB. Memory holds the image only; what a result inherits
    is read from the source files again.

    Args:
        image: see :class:`CaseImage`.
        padding: likewise.
        arrangement: the pictures in the order of the slices.
        pixel_format: how they are stored.
    """

    def __init__(
        self, image: MetaTensor, padding: torch.Tensor | None, arrangement: Arrangement, pixel_format: PixelFormat
    ) -> None:
        self.image = image
        self.padding = padding
        self.slice_axis = 2 if arrangement.is_volume else None
        self.evenly_spaced = arrangement.evenly_spaced
        self._arrangement = arrangement
        self._format = pixel_format

    @classmethod
    def read(cls, files: Sequence[Path]) -> DICOMCase:
        """Read the files of one series.

        Args:
            files: in any order; or a single file.

        Raises:
            InputError: when a file cannot be read, the files make no image together, or all of it is pixel padding.
        """
        files = [Path(file) for file in files]
        if not files:
            raise InputError("a DICOM series needs at least one file")
        frames, pixel_format = _describe(files)
        arrangement = arrange(frames)
        shape = (pixel_format.columns, pixel_format.rows, len(frames))
        volume, padding, faults = np.empty(0, np.float32), None, Faults()
        for file, places in _places(arrangement).items():
            with faults.of(file):
                dataset = read_dataset(file, (*PIXEL_TAGS, *PALETTE_TAGS, *DATA_TAGS))
                for at, stored in zip(places, decode_frames(dataset, pixel_format, len(places)), strict=True):
                    if volume.size == 0:
                        # Only now that a frame is as large as the header says, which may say anything.
                        volume = np.empty((pixel_format.channels, *shape), np.float32)
                    frame = arrangement.frames[at]
                    volume[..., at] = to_units(stored, frame, pixel_format).T
                    if frame.padding is not None:
                        padding = np.zeros((1, *shape), bool) if padding is None else padding
                        padding[0, ..., at] = is_padding(stored, frame.padding).T
            if len(faults) == MOST_FAULTS:
                break
        faults.tell()
        if not arrangement.is_volume:
            volume, padding = volume[..., 0], None if padding is None else padding[..., 0]
        space = PATIENT_SPACE if arrangement.is_placed else PIXEL_SPACE
        meta = {ImageMetaKey.FILENAME_OR_OBJ: str(files[0]), SPACE: space}
        image = MetaTensor(torch.from_numpy(volume), affine=torch.from_numpy(arrangement.affine), meta=meta)
        mask = torch.from_numpy(padding) if padding is not None and padding.any() else None
        if mask is not None and mask.all():
            raise InputError(
                f'cannot read "{files[0] if len(files) == 1 else files[0].parent}": all of it is pixel padding'
            )
        return cls(image, mask, arrangement, pixel_format)

    def write(self, result: torch.Tensor, target: Path, provenance: Provenance | None) -> Path:
        """Write a result as a derived series; see :meth:`CaseImage.write`.

        A single file gives ``target.dcm``, a series a folder with a file for each of its files, under the same names
        where these differ, under numbers where not.

        Raises:
            InputError: when a source file cannot be read any more, or holds values that no DICOM file may hold.
        """
        if provenance is None:
            raise ValueError("a derived DICOM series must say how it was made")
        values = self._by_slices(result, len(self.image))
        widened_frames = widened(values, self._arrangement.frames, self._format)
        origin = uid_seed(ENHANCED, provenance)
        for file, places, output in self._outputs(target):
            dataset = read_dataset(file)
            frames = [widened_frames[at] for at in places]
            with naming(file):
                pixels = np.stack(
                    [to_stored(values[at], f, self._format) for at, f in zip(places, frames, strict=True)]
                )
                if any(frame.padding is not None for frame in frames):
                    originals = decode_frames(dataset, self._format, len(frames))
                    for stored, original, frame in zip(pixels, originals, frames, strict=True):
                        keep_padding(stored, original, frame, self._format)
                derive(dataset, ENHANCED, provenance, origin)
                if frames != [self._arrangement.frames[at] for at in places]:
                    set_rescaling(dataset, frames)
                set_pixels(dataset, pixels, self._format)
            save(dataset, output)
        return self._target(target)

    def check_writable(self) -> None:
        """See :meth:`CaseImage.check_writable`: every header of a result is encoded, without its pixels."""
        # `write` encodes anew: its headers differ in identifiers, provenance, slopes and pixels.
        nobody = Provenance("", "", "")
        for file in _places(self._arrangement):
            dataset = read_dataset(file)
            with naming(file):
                derive(dataset, ENHANCED, nobody, uid_seed(ENHANCED, nobody))
                dataset.PixelData = bytes(2)
                encode(dataset)

    def values_cut(self, result: torch.Tensor) -> int:
        """See :meth:`CaseImage.values_cut`."""
        values, source = (self._by_slices(image, len(self.image)) for image in (result, self.image.as_tensor()))
        frames = widened(values, self._arrangement.frames, self._format)
        return sum(values_cut(v, s, f, self._format) for v, s, f in zip(values, source, frames, strict=True))

    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        """Write a map of standard deviations as a derived series of its own; see :meth:`CaseImage.write_deviation`.

        The map is unsigned, with one slope for the whole series and a window from 0 to its maximum. It is an object of
        the source's kind for CT, MR and PET, whose definitions leave room for that, and a secondary capture for any
        other. Files are named as those of :meth:`write` are.

        Raises:
            InputError: see :meth:`write`.
        """
        values = self._by_slices(deviation, 1)
        origin = uid_seed(DEVIATION, provenance)
        largest = max(float(values.max()), 0.0)
        for file, places, output in self._outputs(target):
            dataset = read_dataset(file)
            with naming(file):
                derive(dataset, DEVIATION, provenance, origin)
                set_deviation(dataset, values[list(places), ..., 0], largest)
            save(dataset, output)
        return self._target(target)

    def _by_slices(self, values: torch.Tensor, channels: int) -> np.ndarray:
        """Values as slices × rows × columns × channels, after a check of their shape."""
        expected = (channels, *self.image.shape[1:])
        if tuple(values.shape) != expected:
            raise ValueError(f"the shape is {tuple(values.shape)} where that of the image is {expected}")
        array = values.detach().cpu().numpy()
        if not np.isfinite(array).all():
            raise ValueError("a result must be finite")
        return (array if self._arrangement.is_volume else array[..., None]).T

    def _outputs(self, target: Path) -> Iterator[tuple[Path, list[int], Path]]:
        """Source files, the slices that are in each, and the file to write."""
        places = _places(self._arrangement)
        folder = self._target(target)
        if len(places) == 1:
            yield from ((file, slices, folder) for file, slices in places.items())
            return
        folder.mkdir()
        distinct = len({file.name.lower() for file in places}) == len(places)
        for number, (file, slices) in enumerate(places.items(), start=1):
            yield file, slices, folder / (file.name if distinct else f"{number:05d}.dcm")

    def _target(self, target: Path) -> Path:
        return target if len(_places(self._arrangement)) > 1 else target.with_name(f"{target.name}.dcm")


def _describe(files: Sequence[Path]) -> tuple[list[Frame], PixelFormat]:
    """Read the headers of a series and see that they belong together."""
    frames: list[Frame] = []
    formats: dict[PixelFormat, list[Path]] = defaultdict(list)
    series: dict[str, list[Path]] = defaultdict(list)
    instances: dict[str, list[Path]] = defaultdict(list)
    faults = Faults()
    for file in files:
        with faults.of(file):
            header = read_header(file, (*PIXEL_TAGS, *GEOMETRY_TAGS, *IDENTITY_TAGS))
            pixel_format, described = describe_frames(header, file)
            frames += described
            with naming(file):
                instance = str(header.get("SOPInstanceUID") or "")
                if not instance:
                    raise ValueError("it has no SOP instance UID, which a result would have to refer to")
                series[str(header.get("SeriesInstanceUID"))].append(file)
            formats[pixel_format].append(file)
            instances[instance].append(file)
    faults.tell()
    same = [same for same in instances.values() if len(same) > 1]
    if same:
        raise InputError(f"{'; '.join(map(named, same))} are the same image (SOP instance): keep one of each")
    if len(series) > 1:
        raise InputError(
            f"{named([members[0] for members in series.values()])} are of different series: give one series at a time"
        )
    if len(formats) > 1:
        raise InputError(_difference(formats))
    return frames, next(iter(formats))


def _difference(formats: Mapping[PixelFormat, list[Path]]) -> str:
    """Say which files are stored unlike most of their series, and in what."""
    (usual, files), *others = sorted(formats.items(), key=lambda item: -len(item[1]))
    unlike = [file for _, members in others for file in members]
    name, most, other = next((n, x, y) for n, x, y in zip(usual._fields, usual, others[0][0], strict=True) if x != y)
    return (
        f'"{files[0]}" and {named(unlike)} of one series differ in {name.replace("_", " ")} ({most} and {other}): '
        "put them into series of their own"
    )


def _places(arrangement: Arrangement) -> dict[Path, list[int]]:
    """For each file, the slices that its pictures are, in the order of the file."""
    places: dict[Path, dict[int, int]] = {}
    for at, frame in enumerate(arrangement.frames):
        places.setdefault(frame.file, {})[frame.number] = at
    return {file: [slices[number] for number in sorted(slices)] for file, slices in places.items()}
