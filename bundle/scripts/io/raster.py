# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Photographs: PNG, TIFF, JPEG, BMP and GIF."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..errors import InputError, first_line, without_controls
from .base import PIXEL_SPACE, SPACE, CaseImage, Provenance, UnreadableError
from .jpeg import check_end
from .limits import check_unpacked_size
from .png import check_rows, png_metadata
from .raster_writing import (
    BITS_PER_SAMPLE,
    SAMPLE_FORMAT,
    SOFTWARE,
    Content,
    directory,
    encode,
    picture_of,
    saved,
)
from .storage import real_values, stored_values, values_cut
from .tiff import black_is_zero, check_directory, kind_of_tiff, packed_bits, samples_of_tiff
from .upright import EXIF_ORIENTATION

__all__ = ["RasterCase"]

SUFFIXES = {
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")

LOSSLESS = ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate")
"""TIFF compressions that are kept; any other becomes deflate."""

TIFF_METADATA = (270, 271, 272, 282, 283, 296, 306, 315, 700, 33432)
"""Description, maker and model, resolution, date, artist, XMP, copyright."""

ORIENTATION = 274
COLOUR_SPACES = {1: b"GRAY", 3: b"RGB "}


class RasterCase(CaseImage):
    """A photograph in a PNG, TIFF, JPEG, BMP or GIF file, of one page; what it is the content tells, not the name.

    The image is (C, columns, rows) of 1 or 3 channels, in the numbers that the file stores (0 and 255 where it stores
    single bits); its affine is the identity. A palette becomes colour, or grey where it holds nothing else. 16-bit
    colour, which Pillow cuts to 8 bits, is read by ITK.

    What is written has the format, the bits and the alpha of the source, its resolution, colour profile, EXIF data
    without thumbnail, texts, comments and dates; the software is named where the format has a place for it. EXIF's
    orientation stays, and with it the pixels as stored; TIFF is turned upright, as Pillow reads it, and says so. TIFF
    stays uncompressed, or is compressed without loss; JPEG has quality 95 and full colour resolution. Images whose
    palette has colours are written as RGB, and those of GIF, which has nothing else, as PNG.

    Use :meth:`read`.
    """

    def __init__(self, image: MetaTensor, content: Content) -> None:
        self.image = image
        self.full_scale = (0.0, 255.0) if content.stored.dtype == np.uint8 else None
        self._content = content

    @classmethod
    def read(cls, file: Path, keep_palette: bool = False, allowed: int = 0) -> RasterCase:
        """Read a file.

        Args:
            file: the file.
            keep_palette: whether a palette's indices are the values, as in a label; its colours are, by default.
            allowed: bytes that it may unpack to in any case, as a label that is nearly all 0 does.

        Raises:
            InputError: naming the file and the reason: no image, damaged, several pages, colours for printing, more
                pixels than Pillow's limit of 179 millions.
        """
        try:
            with warnings.catch_warnings():
                # Pillow warns of large images, metadata out of order and the like; what is too large it refuses.
                warnings.simplefilter("ignore")
                content = _read(file, keep_palette, allowed)
        # The readers raise whatever a damaged file leads them to: struct.error, IndexError, zlib.error, KeyError ...
        except Exception as error:
            unsupported = kind_of_tiff(file) if isinstance(error, UnidentifiedImageError) else None
            raise InputError(f'cannot read "{file}": {without_controls(unsupported or _why(error))}') from error
        values = torch.from_numpy(real_values(content.stored))
        meta: dict[str, Any] = {ImageMetaKey.FILENAME_OR_OBJ: str(file), SPACE: PIXEL_SPACE}
        # TIFF stands upright already.
        orientation = content.options["exif"].get(ORIENTATION, 1) if "exif" in content.options else 1
        if orientation in range(2, 9):
            meta[EXIF_ORIENTATION] = orientation
        return cls(MetaTensor(values, affine=torch.eye(4, dtype=torch.float64), meta=meta), content)

    def write(self, result: torch.Tensor, target: Path, provenance: Provenance | None) -> Path:
        """Write a result as ``target`` with the suffix of the source; see :meth:`CaseImage.write`."""
        content = self._content
        stored = stored_values(self.with_missing(result).detach().cpu().numpy(), content.stored)
        if content.bits:
            stored = np.minimum(stored, (1 << content.bits) - 1)
        if content.alpha is not None:
            stored = np.concatenate([stored, content.alpha[None]])
        file = target.with_name(target.name + content.suffix)
        return _write(encode(stored.transpose(2, 1, 0), content, provenance.sentence() if provenance else None), file)

    def values_cut(self, result: torch.Tensor) -> int:
        """See :meth:`CaseImage.values_cut`."""
        content = self._content
        return values_cut(result.detach().cpu().numpy(), content.stored, bits=content.bits)

    def write_deviation(self, deviation: torch.Tensor, target: Path, provenance: Provenance) -> Path:
        """Write a map of standard deviations as ``target.tif``, float32; see :meth:`CaseImage.write_deviation`."""
        values = deviation.detach().cpu().numpy().astype(np.float32)
        software = provenance.sentence("standard deviation")
        options = {"compression": "tiff_adobe_deflate", "tiffinfo": directory({SOFTWARE: software})}
        content = saved(picture_of(values.transpose(2, 1, 0)), "TIFF", **options)
        return _write(content, target.with_name(f"{target.name}.tif"))


def _read(file: Path, keep_palette: bool, allowed: int) -> Content:
    if not file.stat().st_size:
        raise UnreadableError("it is empty")
    # Given a path, Pillow maps the file to memory and then scrambles uncompressed TIFF that is to be turned upright.
    with file.open("rb") as raw, Image.open(raw, formats=tuple(SUFFIXES)) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and image.format != "MPO":  # beside its photograph MPO has depth, gain or the other eye's view
            raise UnreadableError(f"it holds {pages} pages: save each page as a file, or the stack as NIfTI")
        if image.mode not in MODES:
            raise UnreadableError(f"it has colours of the kind {image.mode}: save it as RGB")
        check_unpacked_size(_stored_bytes(image), file.stat().st_size, allowed)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            check_directory(file, image)
            if sum(map(_area, image.tile)) < image.width * image.height:
                raise UnreadableError("it is damaged: parts of it are missing")
        if image.format == "PNG":
            check_rows(file)
        is_deep_colour = _is_deep_colour(image, file)
        image.load()
        if image.format in ("JPEG", "MPO"):
            check_end(file, image)
        is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        samples = _deep_samples(image, file) if is_deep_colour else _samples(image, keep_palette)
        samples = _with_transparent_colour(samples, image) if image.format == "PNG" else samples
        bits = packed_bits(image) if is_tiff else 0
        samples = black_is_zero(samples, image, bits) if is_tiff else samples
        channels = 1 if samples.shape[-1] < 3 else 3
        # As (C, columns, rows), in memory too.
        planes = np.ascontiguousarray(samples.transpose(2, 1, 0))
        stored, alpha = planes[:channels], planes[channels] if len(planes) > channels else None
        format_ = {"MPO": "JPEG"}.get(str(image.format), str(image.format))
        if format_ == "GIF" and channels == 3:
            format_ = "PNG"
        suffix = file.suffix if file.suffix.lower() in SUFFIXES[format_] else SUFFIXES[format_][0]
        chunks = png_metadata(file) if image.format == "PNG" else ()
        return Content(format_, suffix, stored, alpha, bits, image.mode == "1", _options(image, channels), chunks)


def _stored_bytes(image: Image.Image) -> int:
    """Bytes that the samples of a picture take where they lie side by side, colours of a palette included."""
    wide = {"I": 4, "F": 4, "P": 3, "PA": 4}
    size = wide.get(image.mode, 2 if image.mode.startswith("I;16") else len(image.getbands()))
    return image.width * image.height * size


def _area(tile: tuple[Any, ...]) -> int:
    """Pixels in a part of a TIFF file, as Pillow is about to read it."""
    left, top, right, bottom = tile[1]
    return int((right - left) * (bottom - top))


def _is_deep_colour(image: Image.Image, file: Path) -> bool:
    """Whether a file has more bits in a colour, or in grey beside alpha, than Pillow hands out."""
    if image.format == "PNG":
        with file.open("rb") as raw:
            depth, colour_type = raw.read(26)[24:]
        return depth == 16 and colour_type in (2, 4, 6)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode not in ("F", "I"):
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (1,))
        return len(bits) > 1 and max(bits) > 8
    return False


def _deep_samples(image: Image.Image, file: Path) -> np.ndarray:
    """Samples (rows, columns, channels) of 16 bits, from tifffile or from ITK, which must agree with Pillow's 8."""
    if image.format == "PNG":
        with file.open("rb") as raw:
            channels = {2: 3, 4: 2, 6: 4}[raw.read(26)[25]]
        expected = image.convert({2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    else:
        expected, channels = image, len(image.getbands())
        deep = samples_of_tiff(file)
        if deep is not None and deep.dtype == np.uint16 and deep.shape == (image.height, image.width, channels):
            return deep
    import itk  # takes long, and hardly any picture needs it

    reader = {"PNG": itk.PNGImageIO, "TIFF": itk.TIFFImageIO}[str(image.format)]
    deep = itk.array_from_image(itk.imread(str(file), itk.Vector[itk.F, channels], imageio=reader.New()))
    samples: np.ndarray = deep.reshape(*deep.shape[:2], channels).astype(np.uint16)
    eight_bits = np.asarray(expected).reshape(*expected.size[::-1], -1)
    if samples.shape != eight_bits.shape or not np.array_equal(samples >> 8, eight_bits):
        raise UnreadableError("its 16-bit colours are laid out in a way that is not supported: save it as 16-bit PNG")
    return samples


def _with_transparent_colour(samples: np.ndarray, image: Image.Image) -> np.ndarray:
    """Give 16-bit samples an alpha where a PNG file names one of its colours as transparent."""
    colour = image.info.get("transparency")
    if samples.dtype != np.uint16 or colour is None or samples.shape[-1] not in (1, 3):
        return samples
    opaque = np.any(samples != np.asarray(colour), axis=-1, keepdims=True)
    return np.concatenate([samples, np.where(opaque, np.uint16(65535), np.uint16(0))], axis=-1)


def _samples(image: Image.Image, keep_palette: bool = False) -> np.ndarray:
    """Samples (rows, columns, channels) with alpha last, in the type that the file stores."""
    if image.mode == "P" and keep_palette:
        return np.asarray(image)[..., None]
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        colours = np.asarray(image)
        grey = np.all(colours[..., :1] == colours[..., 1:3], axis=-1).all()
        return colours[..., [0, *range(3, colours.shape[-1])]] if grey else colours
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    samples = np.asarray(image)
    if image.mode == "1":
        samples = samples.astype(np.uint8) * np.uint8(255)
    elif isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in ("L", "I"):
        samples = samples.astype(_whole_type(image))
    elif image.mode.startswith("I"):
        samples = samples.astype(np.uint16)
    return samples.reshape(*image.size[::-1], -1)


def _whole_type(image: TiffImagePlugin.TiffImageFile) -> np.dtype:
    """Type of the whole numbers in a TIFF file; Pillow makes 8 bits without or 32 with a sign of them."""
    signed = image.tag_v2.get(SAMPLE_FORMAT, (1,))[0] == 2
    bits = image.tag_v2.get(BITS_PER_SAMPLE, (8,))[0]
    return np.dtype(f"{'i' if signed else 'u'}{max(1, bits // 8)}")


def _options(image: Image.Image, channels: int) -> dict[str, Any]:
    """How Pillow is to save a result like an image, metadata included, save for PNG's chunks."""
    options = {"dpi": image.info["dpi"]} if image.format != "TIFF" and "dpi" in image.info else {}
    if image.format in ("JPEG", "MPO"):
        options |= {"quality": 95, "subsampling": 0}
        options |= {key: image.info[key] for key in ("comment", "xmp") if key in image.info}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        compression = image.info.get("compression")
        options["compression"] = compression if compression in LOSSLESS else "tiff_adobe_deflate"
        options["tiffinfo"] = {tag: image.tag_v2[tag] for tag in TIFF_METADATA if tag in image.tag_v2}
    else:
        options["exif"] = _exif(image)
    profile = image.info.get("icc_profile")
    if profile and profile[16:20] == COLOUR_SPACES[channels]:
        options["icc_profile"] = profile
    return options


def _exif(image: Image.Image) -> Image.Exif:
    """EXIF data without the second directory, which is the thumbnail's; none where they are damaged."""
    try:
        exif = image.getexif()
        exif.tobytes()
    except Exception:  # damaged metadata, which may raise anything, must not keep the image from being read
        return Image.Exif()
    return exif


def _write(content: bytes, file: Path) -> Path:
    with file.open("xb") as raw:
        raw.write(content)
    return file


def _why(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than Pillow's limit of 179 millions: cut it into parts"
    if isinstance(error, UnidentifiedImageError):
        return "it is no PNG, TIFF, JPEG, BMP or GIF image, or its header is damaged"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, UnreadableError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it is damaged ({first_line(error)[:200]})"
