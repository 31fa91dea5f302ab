# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""A folder of everything that users have by mistake, or by right, among their images."""

from __future__ import annotations

import functools
import gzip
import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

__all__ = [
    "Expectation",
    "dicom_bytes",
    "expectations",
    "make_bad_folder",
    "nifti_bytes",
    "odd_text",
    "raster_bytes",
    "series",
]

SIZE = 24


class Expectation(NamedTuple):
    """What becomes of a file, or of the files of a folder.

    Attributes:
        stage: ``"passed over"`` without a word, refused when ``"found"`` or when ``"opened"``, opened and then
            ``"unfit"`` for a network, or ``"good"``.
        message: a part of the sentence that says why it is refused.
        cases: how many there are, of those that are found.
    """

    stage: Literal["passed over", "found", "opened", "unfit", "good"]
    message: str = ""
    cases: int = 1


PASSED_OVER, GOOD = Expectation("passed over", cases=0), Expectation("good")


def found(message: str) -> Expectation:
    return Expectation("found", message, cases=0)


def opened(message: str) -> Expectation:
    return Expectation("opened", message)


def unfit(message: str) -> Expectation:
    return Expectation("unfit", message)


def texture(*shape: int, seed: int = 0) -> np.ndarray:
    """A smooth pattern of 16 bits, different everywhere."""
    axes = np.meshgrid(*[np.linspace(0, 3 + seed, length) for length in shape], indexing="ij")
    return np.asarray(500 + 400 * np.sin(sum(axes)) + axes[0], np.int16)


def nifti_bytes(values: np.ndarray | None = None, affine: np.ndarray | None = None, **fields: Any) -> bytes:
    """A NIfTI file whose header has these fields, true or not."""
    image = nib.Nifti1Image(texture(SIZE, SIZE, 4) if values is None else values, np.eye(4))
    if affine is not None:
        image.set_sform(affine, 1)
    content = image.to_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + content[348:]


def dicom_bytes(values: np.ndarray | None = None, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """An MR image of 16 bits with these attributes, which are its identity; None takes one away."""
    pixels = texture(SIZE, SIZE) if values is None else values
    dataset = pydicom.Dataset()
    uid = generate_uid(entropy_srcs=[repr(attributes), repr(pixels.tobytes())])
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2", uid, 3
    dataset.Modality, dataset.SeriesDescription, dataset.PatientID = "MR", "T1", "patient"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient, dataset.PixelData = [0, 0, 0], pixels.astype("<u2").tobytes()
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def odd_text(before: bytes, after: bytes, **attributes: Any) -> bytes:
    """A DICOM image in which some bytes are others, of the same number."""
    content = dicom_bytes(**attributes)
    assert len(before) == len(after)
    assert content.count(before) == 1
    return content.replace(before, after)


def raster_bytes(image: Image.Image | None = None, format_: str = "PNG", **options: Any) -> bytes:
    """A picture in a format that Pillow writes."""
    picture = Image.fromarray((texture(SIZE, SIZE) // 4).astype(np.uint8)) if image is None else image
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def claim_size(png: bytes, width: int, height: int) -> bytes:
    """A PNG picture with another size in its header, whose checksum is right."""
    return png[:8] + png_chunk(b"IHDR", struct.pack(">2I", width, height) + png[24:29]) + png[33:]


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG picture, with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(samples: np.ndarray, *between: bytes, passes: Sequence[np.ndarray] | None = None) -> bytes:
    """A PNG picture of grey or RGB samples, as Pillow does not write it.

    Args:
        samples: (rows, columns) or (rows, columns, 1 or 3), 8 or 16 bits.
        between: chunks between the header and the pixels.
        passes: the parts of an interlaced picture, in the order of the file; the samples give the size alone.
    """
    depth, colour_type = samples.dtype.itemsize, 2 if samples.shape[2:] == (3,) else 0
    height, width = samples.shape[:2]
    header = struct.pack(">2I5B", width, height, 8 * depth, colour_type, 0, 0, passes is not None)
    parts = [samples] if passes is None else passes
    rows = b"".join(b"\0" + row.astype(f">u{depth}").tobytes() for part in parts for row in part if row.size)
    chunks = [png_chunk(b"IHDR", header), *between, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep_png() -> bytes:
    """A colour picture of 16 bits, which Pillow can neither write nor read."""
    return png_of(np.stack([texture(SIZE, SIZE)] * 3, -1).astype(np.uint16))


def series(*positions: float, uid: str = "1.2.3") -> dict[str, bytes]:
    """Files of a series, a slice at each position."""
    return {
        f"{uid} {i}.dcm": dicom_bytes(
            texture(SIZE, SIZE, seed=i), SeriesInstanceUID=uid, ImagePositionPatient=[0, 0, position]
        )
        for i, position in enumerate(positions)
    }


def make_bad_folder(folder: Path) -> dict[str, Expectation]:
    """Fill a folder with broken, odd and good input.

    Args:
        folder: an empty folder.

    Returns:
        What is to become of each file and folder, by its path below ``folder``; always the same.
    """
    for path, (content, _) in _contents().items():
        files = {path: content} if isinstance(content, bytes) else {f"{path}/{n}": c for n, c in content.items()}
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    (folder / "empty folder").mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "to nothing.png").symlink_to(folder / "nowhere")
    (folder / "to itself").symlink_to(folder / "to itself")
    os.mkfifo(folder / "pipe.nii")
    return expectations()


def expectations() -> dict[str, Expectation]:
    """What is to become of each file and folder that :func:`make_bad_folder` makes."""
    return {path: expectation for path, (_, expectation) in _contents().items()} | {
        "empty folder": PASSED_OVER,
        "loop": PASSED_OVER,
        "to nothing.png": found("a link to nothing"),
        "to itself": found("symbolic links"),
        "pipe.nii": found("neither a file nor a folder"),
    }


Content = bytes | dict[str, bytes]
"""Of a file, or of the files of a folder."""


@functools.cache
def _contents() -> dict[str, tuple[Content, Expectation]]:
    return {**_nifti(), **_dicom(), **_raster(), **_others()}


def _nifti() -> dict[str, tuple[Content, Expectation]]:
    values = texture(SIZE, SIZE, 4).astype(np.float32)
    holes, peaks = values.copy(), values.copy()
    holes[3, 3, 1], peaks[3, 3, 1] = np.nan, np.inf
    packed = gzip.compress(nifti_bytes())
    return {
        "good.nii.gz": (packed, GOOD),
        "not really packed.nii.gz": (nifti_bytes(), GOOD),
        "packed.nii": (packed, GOOD),
        "negative zooms.nii": (nifti_bytes(pixdim=[1, -1, -2, 3, 0, 0, 0, 0], sform_code=0, qform_code=1), GOOD),
        "no geometry.nii": (nifti_bytes(sform_code=0, qform_code=0), GOOD),
        "one channel in five axes.nii": (nifti_bytes(values[..., None, None]), GOOD),
        "nan.nii": (nifti_bytes(holes), unfit("not finite")),
        "inf.nii": (nifti_bytes(peaks), unfit("not finite")),
        "constant.nii": (nifti_bytes(np.full_like(values, 7)), unfit("constant")),
        "one voxel.nii": (nifti_bytes(values[:1, :1, :1]), unfit("1")),
        "four axes.nii": (nifti_bytes(np.stack([values] * 5, -1)), opened("it holds 5 volumes: split it")),
        "five axes.nii": (nifti_bytes(np.ones((4, 4, 4, 2, 3), "f4")), opened("it holds 2 volumes: split it")),
        "complex.nii": (nifti_bytes(values.astype(np.complex64)), opened("complex values: save their magnitude")),
        "cut short.nii": (nifti_bytes()[:2000], opened("it is cut short")),
        "cut short.nii.gz": (packed[: len(packed) // 2], opened("cut short")),
        "damaged.nii.gz": (packed[:-8] + bytes(8), opened("its compression is damaged")),
        "claims too much.nii": (nifti_bytes(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), opened("it is cut short")),
        "bomb.nii.gz": (
            gzip.compress(nifti_bytes(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])),
            opened("it would unpack to"),
        ),
        "no length.nii": (nifti_bytes(dim=[3, 24, 0, 4, 1, 1, 1, 1]), opened("axes of lengths")),
        "flat affine.nii": (nifti_bytes(affine=np.diag([1, 0, 1, 1])), opened("affine matrix cannot be inverted")),
        "unknown type.nii": (nifti_bytes(datatype=1536), opened("a type that is not supported")),
        "of garbage.nii.gz": (gzip.compress(b"anything"), found("it is neither NIfTI")),
        "half of a pair.img": (bytes(1000), found("images in two files are not supported")),
    }


def _dicom() -> dict[str, tuple[Content, Expectation]]:
    jpeg = raster_bytes(format_="JPEG", quality=95)
    eight_bits: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "LossyImageCompression": "01"}
    single = [dicom_bytes(InstanceNumber=i) for i in range(9)]
    return {
        "good.dcm": (single[0], GOOD),
        "good series": (series(0, 4, 8), GOOD),
        "same instance numbers": (
            {
                f"{i}.dcm": dicom_bytes(SeriesInstanceUID="1.2.9", InstanceNumber=1, ImagePositionPatient=[0, 0, 4 * i])
                for i in range(3)
            },
            GOOD,
        ),
        "encrypted.dcm": (
            b"\x30\x82\x0b\x1c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(range(256)),
            found("neither"),
        ),
        "two series": (series(0, 4, 8) | series(0, 4, 8, uid="1.2.4"), GOOD._replace(cases=2)),
        "jpeg.dcm": (dicom_bytes(syntax=JPEGBaseline8Bit, PixelData=encapsulate([jpeg]), **eight_bits), GOOD),
        "1.2.840.113619": (single[1], GOOD),
        "really dicom.png": (single[2], GOOD),
        "no preamble.dcm": (single[3][132:], GOOD),
        "constant.dcm": (dicom_bytes(np.full((SIZE, SIZE), 7)), unfit("constant")),
        "cut short.dcm": (single[4][:-500], opened("cut short")),
        "cut in the header.dcm": (single[5][:300], found("its header gives no rows")),
        "no pixels.dcm": (dicom_bytes(PixelData=None), found("it holds no pixel data")),
        "text.dcm": (b"anything", found("it is neither NIfTI")),
        "report.dcm": (
            dicom_bytes(SOPClassUID=BasicTextSRStorage, PixelData=None, Rows=None),
            found("it is a structured report"),
        ),
        "structures.dcm": (
            dicom_bytes(SOPClassUID=RTStructureSetStorage, PixelData=None, Rows=None),
            found("it is a radiotherapy object"),
        ),
        "label map.dcm": (
            dicom_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7", Modality="SEG", SegmentationType="LABELMAP"),
            found("it is a segmentation"),
        ),
        "labels as CT.dcm": (dicom_bytes(SOPClassUID=CTImageStorage, Modality="SEG"), found("it is a segmentation")),
        "odd numbers.dcm": (odd_text(b"IS\x02\x003 ", b"IS\x02\x00A1"), GOOD),
        "packed.dcm.gz": (gzip.compress(single[7]), found("it is a packed DICOM file: unpack it first")),
        "wrong size.dcm": (dicom_bytes(Rows=60000, Columns=60000), opened("wrong size")),
        "same positions": (series(0, 4, 4), opened("2 positions")),
        "mixed orientations": (
            series(0, 4)
            | {"9.dcm": dicom_bytes(SeriesInstanceUID="1.2.3", ImageOrientationPatient=[0, 1, 0, 0, 0, 1])},
            opened("different planes"),
        ),
        "mixed sizes": (
            series(0, 4) | {"9.dcm": dicom_bytes(texture(9, 9), SeriesInstanceUID="1.2.3")},
            opened("differ in"),
        ),
    }


def _raster() -> dict[str, tuple[Content, Expectation]]:
    pages = [Image.new("L", (SIZE, SIZE), i) for i in range(3)]
    colours = Image.merge("RGB", [Image.open(io.BytesIO(raster_bytes()))] * 3)
    return {
        "good.png": (raster_bytes(), GOOD),
        "deep.png": (deep_png(), GOOD),
        "palette.png": (raster_bytes(colours.quantize(8)), GOOD),
        "alpha.png": (raster_bytes(colours.convert("RGBA")), GOOD),
        "really png.nii.gz": (raster_bytes(), GOOD),
        "really png.jpg": (raster_bytes(), GOOD),
        "constant.png": (raster_bytes(Image.new("L", (SIZE, SIZE), 7)), unfit("constant")),
        "one pixel.png": (raster_bytes(Image.new("L", (1, 1), 7)), unfit("1")),
        "pages.tif": (raster_bytes(pages[0], "TIFF", save_all=True, append_images=pages[1:]), opened("holds 3 pages")),
        "moving.gif": (raster_bytes(pages[0], "GIF", save_all=True, append_images=pages[1:]), opened("holds 3 pages")),
        "for printing.jpg": (raster_bytes(colours.convert("CMYK"), "JPEG"), opened("save it as RGB")),
        "cut short.png": (raster_bytes()[:120], opened("it is damaged")),
        "cut short.jpg": (raster_bytes(format_="JPEG")[:300], opened("it is")),
        "cut short.tif": (raster_bytes(format_="TIFF")[:300], opened("it is")),
        "claims too much.png": (claim_size(raster_bytes(), 10000, 10000), opened("which no image does")),
        "claims far too much.png": (claim_size(raster_bytes(), 60000, 60000), opened("more pixels than")),
    }


def _others() -> dict[str, tuple[Content, Expectation]]:
    return {
        "Müller 北京 😀.nii": (nifti_bytes(), GOOD),
        f"{'long ' * 40}.nii": (nifti_bytes(), GOOD),
        "a folder.nii": ({"scan.png": raster_bytes()}, GOOD),
        "zero bytes.nii": (b"", found("it is empty")),
        "zero bytes.dcm": (b"", found("it is empty")),
        "zero bytes.png": (b"", found("it is empty")),
        "thesis.docx": (b"PK\3\4anything", found("it is neither NIfTI")),
        "DICOMDIR": (b"anything", PASSED_OVER),
        ".hidden.nii": (nifti_bytes(), PASSED_OVER),
        "__MACOSX": ({"good.png": b"anything"}, PASSED_OVER),
        "Thumbs.db": (b"anything", PASSED_OVER),
        "notes.txt": (b"anything", PASSED_OVER),
    }
