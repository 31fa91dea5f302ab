# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin
from tests.io.bad_files import claim_size, raster_bytes

from scripts.errors import InputError
from scripts.io import Provenance
from scripts.io.raster import RasterCase
from scripts.transforms import ReadImaged

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")
SOFTWARE = "HQG-Net 1.2.3 derived, model 0123abcd"
ORIENTATION, SOFTWARE_TAG, DESCRIPTION = 274, 305, 270
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

LOSSLESS = [
    *[("1", suffix) for suffix in ("png", "tif", "bmp")],
    *[("L", suffix) for suffix in ("png", "tif", "tiff", "bmp", "gif")],
    *[("RGB", suffix) for suffix in ("png", "tif", "bmp")],
    *[("RGBA", suffix) for suffix in ("png", "tif")],
    *[("LA", suffix) for suffix in ("png", "tif")],
    *[("I;16", suffix) for suffix in ("png", "tif")],
    ("I;16B", "tif"),
    ("I", "tif"),
    ("F", "tif"),
]


def numbers(dtype: Any, *shape: int) -> np.ndarray:
    return np.frombuffer(np.random.RandomState(0).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(
        shape
    )


def picture(mode: str) -> Image.Image:
    """A picture of 4 rows and 6 columns."""
    if mode == "1":
        return Image.fromarray(numbers("u1", 4, 6) > 127)
    if mode == "I;16B":
        return Image.frombytes(mode, (6, 4), numbers("u1", 48).tobytes())
    if mode == "F":
        return Image.fromarray(np.random.RandomState(0).standard_normal((4, 6)).astype("f4"))
    if mode == "I":
        return Image.fromarray(numbers("i4", 4, 6) // 512)
    if mode == "I;16":
        return Image.fromarray(numbers("u2", 4, 6))
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (6, 4), numbers("u1", 24 * channels).tobytes())


def save(file: Path, image: Image.Image, **options: Any) -> Path:
    image.save(file, **options)
    return file


def read(file: Path) -> torch.Tensor:
    return RasterCase.read(file).image.as_tensor()


def training_reader(file: Path) -> torch.Tensor:
    image: torch.Tensor = ReadImaged("image")({"image": str(file)})["image"].as_tensor()
    return image


def identity(file: Path) -> Path:
    case = RasterCase.read(file)
    return case.write(case.image.as_tensor(), file.with_name("result"), PROVENANCE)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def sample_format(samples: np.ndarray) -> tuple[int]:
    return ({"u": 1, "i": 2}[samples.dtype.kind],)


def save_tiff(file: Path, samples: np.ndarray, rows: int | None = None) -> Path:
    """Write grey TIFF of types that Pillow does not write; it may claim to have more rows."""
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    height, width = samples.shape
    structure = {256: width, 257: rows or height, 258: 8 * samples.dtype.itemsize, 259: 1, 262: 1, 273: 0, 277: 1}
    for tag, value in {**structure, 278: height, 279: samples.nbytes, 339: sample_format(samples)}.items():
        tags[tag] = value
    file.write_bytes(b"II*\0\x08\0\0\0" + tags.tobytes(8) + samples.tobytes())
    return file


def save_deep(file: Path, samples: np.ndarray) -> Path:
    """Write 16 bits a channel by ITK, whose TIFF says that it has multiplied colours with alpha, which it has not."""
    itk.imwrite(itk.image_from_array(samples, is_vector=True), str(file))
    extra_samples = b"\x52\x01\x03\0\x01\0\0\0"
    file.write_bytes(file.read_bytes().replace(extra_samples + b"\x01", extra_samples + b"\x02"))
    return file


def read_deep(file: Path, channels: int) -> np.ndarray:
    return np.asarray(itk.array_from_image(itk.imread(str(file), itk.Vector[itk.F, channels])))


# -------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("mode", "suffix"), [*LOSSLESS, ("L", "jpg"), ("RGB", "jpeg"), ("P", "png"), ("P", "gif")])
def test_values_are_those_of_the_reader_for_training(mode: str, suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"a.{suffix}", picture(mode))
    image = RasterCase.read(file).image
    assert image.dtype == torch.float32
    assert torch.equal(image.as_tensor(), training_reader(file))
    assert torch.equal(image.affine, torch.eye(4, dtype=torch.float64))
    assert image.meta["filename_or_obj"] == str(file)


@pytest.mark.parametrize(("colours", "channels"), [([0, 0, 0, 9, 9, 9], 1), ([0, 0, 0, 9, 8, 7], 3)])
def test_a_palette_becomes_grey_or_colour(colours: list[int], channels: int, tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpixel((1, 0), 1)
    palette.putpalette(colours)
    assert read(save(tmp_path / "a.png", palette))[:, 1, 0].tolist() == colours[3 : 3 + channels]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_all_16_bits_of_colours_are_read(suffix: str, channels: int, tmp_path: Path) -> None:
    samples = numbers("u2", 4, 6, channels)
    file = save_deep(tmp_path / f"a.{suffix}", samples)
    assert np.array_equal(read(file).numpy(), samples.transpose(2, 1, 0)[:3])


@pytest.mark.parametrize("dtype", ["i1", "i2", "u4"])
def test_whole_numbers_of_tiff_keep_sign_and_range(dtype: str, tmp_path: Path) -> None:
    samples = numbers(dtype, 4, 6)
    file = save_tiff(tmp_path / "a.tif", samples)
    assert np.array_equal(read(file)[0].T.numpy(), samples.astype("f4"))
    with Image.open(identity(file)) as result:
        directory = result.tag_v2
        assert (directory[258], directory[339]) == ((8 * samples.dtype.itemsize,), sample_format(samples))
        assert np.array_equal(np.asarray(result).astype(dtype), samples)


@pytest.mark.parametrize("name", ["a.jpg", "a.dat", "a.nii.gz"])
def test_what_a_file_is_its_content_tells(name: str, tmp_path: Path) -> None:
    save(tmp_path / "other.png", picture("RGB"))
    (tmp_path / name).write_bytes((tmp_path / "other.png").read_bytes())
    assert identity(tmp_path / name).name == "result.png"


def test_large_photographs_are_read_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = save(tmp_path / "a.png", Image.new("L", (15, 10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(file).shape == (1, 15, 10)


@pytest.mark.slow
def test_a_photograph_of_160_million_pixels_is_read(tmp_path: Path) -> None:
    scan = Image.frombytes("1", (20000, 8000), np.random.default_rng(0).bytes(20000 * 8000 // 8))
    assert read(save(tmp_path / "a.png", scan)).shape == (1, 20000, 8000)


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tif"), ("LAB", "tif")])
def test_colours_for_printing_are_refused_with_the_mend(mode: str, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has colours of the kind {mode}: save it as RGB"):
        RasterCase.read(save(tmp_path / f"a.{suffix}", Image.new(mode, (4, 4))))


def test_of_a_photograph_with_further_pictures_the_first_is_taken(tmp_path: Path) -> None:
    photograph, depth = Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 10)
    photograph.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[depth])
    case = RasterCase.read(tmp_path / "a.jpg")
    assert float(case.image.mean()) == 200
    written = case.write(case.image - 50, tmp_path / "b", None)
    with Image.open(written) as result:
        assert (result.format, getattr(result, "n_frames", 1), result.getpixel((1, 1))) == ("JPEG", 1, 150)


@pytest.mark.parametrize("suffix", ["tif", "gif", "png"])
def test_several_pages_are_refused(suffix: str, tmp_path: Path) -> None:
    pages = [Image.new("L", (4, 4), i) for i in range(3)]
    with pytest.raises(InputError, match="it holds 3 pages: save each page"):
        RasterCase.read(save(tmp_path / f"a.{suffix}", pages[0], save_all=True, append_images=pages[1:]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"neither image nor anything", "it is no PNG, TIFF"), (b"\x89PNG\r\n\x1a\n", "it is")],
)
def test_what_is_no_image_is_refused_with_its_name(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=rf'^cannot read "\S*a.png": {reason}[^\n]*$'):
        RasterCase.read(tmp_path / "a.png")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='cannot read "\\S*a.png": No such file'):
        RasterCase.read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp", "gif"])
def test_a_file_that_is_cut_short_is_refused(suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"a.{suffix}", Image.fromarray(numbers("u1", 64, 64)))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match='cannot read "'):
        RasterCase.read(file)


def test_a_tiff_some_rows_of_which_are_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is damaged: parts of it are missing"):
        RasterCase.read(save_tiff(tmp_path / "a.tif", numbers("u1", 4, 6), rows=9))


@pytest.mark.parametrize(
    ("size", "reason"),
    [((10000, 10000), "it would unpack to 1e.08 bytes"), ((30000, 30000), "more pixels than Pillow")],
)
def test_a_size_that_cannot_be_true_is_refused_before_memory_is_taken(
    size: tuple[int, int], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(claim_size(raster_bytes(Image.new("L", (4, 4))), *size))
    with pytest.raises(InputError, match=reason):
        RasterCase.read(tmp_path / "a.png")


# -------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("mode", "suffix"), LOSSLESS)
def test_an_unchanged_image_gives_back_what_is_stored(mode: str, suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"a.{suffix}", picture(mode))
    result = identity(file)
    assert result == tmp_path / f"result.{suffix}"
    assert np.array_equal(pixels(result), pixels(file))
    with Image.open(result) as written, Image.open(file) as source:
        assert written.mode == source.mode.replace("I;16B", "I;16")


# Pillow does not know 16-bit TIFF of grey with alpha.
@pytest.mark.parametrize(("suffix", "channels"), [("png", 2), ("png", 3), ("png", 4), ("tif", 3), ("tif", 4)])
def test_16_bits_of_every_channel_come_back(suffix: str, channels: int, tmp_path: Path) -> None:
    samples = numbers("u2", 4, 6, channels)
    result = identity(save_deep(tmp_path / f"a.{suffix}", samples))
    assert np.array_equal(read_deep(result, channels), samples)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_stays_while_colours_change(suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"a.{suffix}", picture("RGBA"))
    case = RasterCase.read(file)
    result = pixels(case.write(255 - case.image.as_tensor(), tmp_path / "b", PROVENANCE))
    assert np.array_equal(result[..., :3], 255 - pixels(file)[..., :3])
    assert np.array_equal(result[..., 3], pixels(file)[..., 3])


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_becomes_alpha(mode: str, key: Any, tmp_path: Path) -> None:
    image = picture(mode)
    image.putpixel((0, 0), key)
    with Image.open(identity(save(tmp_path / "a.png", image, transparency=key))) as result:
        assert result.mode == {"L": "LA", "RGB": "RGBA"}[mode]
        assert np.asarray(result)[0, 0, -1] == 0


@pytest.mark.parametrize(
    ("mode", "suffix", "most"), [("L", "png", 255), ("I;16", "png", 65535), ("I;16", "tif", 65535), ("1", "png", 1)]
)
def test_values_are_rounded_and_cut_to_the_range_of_the_stored_type(
    mode: str, suffix: str, most: int, tmp_path: Path
) -> None:
    case = RasterCase.read(save(tmp_path / f"a.{suffix}", Image.new(mode, (2, 1))))
    result = pixels(case.write(torch.tensor([[[-9.0], [1e9]]]), tmp_path / "b", PROVENANCE))
    assert result.tolist() == [[0, most]]


def test_values_that_are_cut_are_counted_save_those_at_the_end_of_the_range_before(tmp_path: Path) -> None:
    picture_of_ends = Image.fromarray(np.array([[255, 254, 0, 7, 9]], np.uint8))
    case = RasterCase.read(save(tmp_path / "a.png", picture_of_ends))
    assert case.values_cut(torch.tensor([300.0, 255.4, -9, 7, 9]).reshape(1, 5, 1)) == 0
    assert case.values_cut(torch.tensor([300.0, 256, -9, -1, 9]).reshape(1, 5, 1)) == 2


def test_floating_point_is_never_cut(tmp_path: Path) -> None:
    case = RasterCase.read(save(tmp_path / "a.tif", picture("F")))
    assert case.values_cut(case.image.as_tensor() * 1e30) == 0


def test_the_range_of_a_whole_number_of_tiff_is_kept(tmp_path: Path) -> None:
    case = RasterCase.read(save(tmp_path / "a.tif", Image.new("I", (2, 1))))
    result = pixels(case.write(torch.tensor([[[-1e30], [1e30]]]), tmp_path / "b", PROVENANCE))
    assert result.tolist() == [[-(2**31), 2**31 - 1]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_written_at_high_quality_with_full_colour_resolution(mode: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype("u1")
    image = Image.fromarray(ramp if mode == "L" else np.stack([ramp, ramp.T, ramp[::-1]], -1))
    file = save(tmp_path / "a.jpg", image, quality=95, subsampling=0)
    result = identity(file)
    assert np.abs(pixels(result).astype(int) - pixels(file)).max() <= 4
    with Image.open(result) as written:
        assert {layer[1:3] for layer in written.layer} == {(1, 1)}
        assert max(written.quantization[0]) <= 12


def test_a_palette_of_colours_is_written_as_colours(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", picture("RGB").quantize(8))
    assert np.array_equal(pixels(identity(file)), pixels(file))


def test_a_gif_of_colours_is_written_as_png(tmp_path: Path) -> None:
    file = save(tmp_path / "a.gif", picture("RGB").quantize(8))
    result = identity(file)
    assert result.suffix == ".png"
    assert np.array_equal(pixels(result), pixels(file))


@pytest.mark.parametrize(("compression", "kept"), [("tiff_lzw", "tiff_lzw"), ("raw", "raw"), ("packbits", "packbits"),
                                                   ("jpeg", "tiff_adobe_deflate")])  # fmt: skip
def test_tiff_is_compressed_without_loss(compression: str, kept: str, tmp_path: Path) -> None:
    file = save(tmp_path / "a.tif", picture("L"), compression=compression)
    with Image.open(identity(file)) as result:
        assert result.info["compression"] == kept
        assert np.array_equal(np.asarray(result), pixels(file))


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_resolution_and_colour_profile_are_kept(suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"a.{suffix}", picture("RGB"), dpi=(300, 150), icc_profile=SRGB)
    with Image.open(identity(file)) as result:
        assert result.info["dpi"] == pytest.approx((300, 150), abs=0.1)
        assert result.info["icc_profile"] == SRGB


def test_resolution_of_bmp_is_kept(tmp_path: Path) -> None:
    with Image.open(identity(save(tmp_path / "a.bmp", picture("RGB"), dpi=(300, 300)))) as result:
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_resolution_and_colour_profile_of_16_bit_colours_are_kept(tmp_path: Path) -> None:
    once = identity(save_deep(tmp_path / "a.tif", numbers("u2", 4, 6, 3)))
    with Image.open(once) as image:
        directory = image.tag_v2
        assert directory[282] == pytest.approx(25.4, abs=0.01)
        assert directory[SOFTWARE_TAG] == SOFTWARE


def test_a_profile_for_colours_is_not_given_to_grey(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([5, 5, 5])
    with Image.open(identity(save(tmp_path / "a.png", palette, icc_profile=SRGB))) as result:
        assert "icc_profile" not in result.info


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_stays_and_with_it_the_pixels_as_stored(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[271] = 6, "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    file = save(tmp_path / f"a.{suffix}", picture("L"), exif=exif)
    with Image.open(identity(file)) as result:
        assert result.size == (6, 4)
        written = result.getexif()
        assert (written[ORIENTATION], written[271]) == (6, "Maker")
        assert written.get_ifd(0x8769)[0x9003] == "2024:01:01 00:00:00"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiff_is_turned_upright(compression: str, tmp_path: Path) -> None:
    image = picture("L")
    file = save(tmp_path / "a.tif", image, tiffinfo={ORIENTATION: 6}, compression=compression)
    with Image.open(identity(file)) as result:
        assert result.getexif().get(ORIENTATION, 1) == 1
        assert np.array_equal(np.asarray(result), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def test_texts_of_png_are_kept_beside_the_software(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "left eye")
    texts.add_itxt("Author", "Müller")
    with Image.open(identity(save(tmp_path / "a.png", picture("L"), pnginfo=texts))) as result:
        assert result.text == {"Title": "left eye", "Author": "Müller", "Software": SOFTWARE}


def test_the_description_of_tiff_is_kept_beside_the_software(tmp_path: Path) -> None:
    with Image.open(identity(save(tmp_path / "a.tif", picture("L"), tiffinfo={DESCRIPTION: "left eye"}))) as result:
        tags = result.tag_v2
        assert (tags[DESCRIPTION], tags[SOFTWARE_TAG]) == ("left eye", SOFTWARE)


def test_the_comment_of_jpeg_is_kept_beside_the_software(tmp_path: Path) -> None:
    with Image.open(identity(save(tmp_path / "a.jpg", picture("L"), comment=b"left eye"))) as result:
        assert (result.info["comment"], result.getexif()[SOFTWARE_TAG]) == (b"left eye", SOFTWARE)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp", "gif"])
def test_the_same_result_makes_the_same_file(suffix: str, tmp_path: Path) -> None:
    case = RasterCase.read(save(tmp_path / f"a.{suffix}", picture("L")))
    files = [case.write(case.image.as_tensor(), tmp_path / name, PROVENANCE) for name in "bc"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        identity(save(tmp_path / "result.png", picture("L")))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_deviation_is_written_in_floating_point(suffix: str, tmp_path: Path) -> None:
    case = RasterCase.read(save(tmp_path / f"a.{suffix}", picture("RGB")))
    deviation = torch.rand(1, 6, 4)
    file = case.write_deviation(deviation, tmp_path / "b", PROVENANCE)
    assert file == tmp_path / "b.tif"
    assert np.array_equal(pixels(file), deviation[0].T.numpy())


@pytest.mark.parametrize("pattern", ["drive/images/*.tif", "drimdb_good/*.jpg", "eyeq_usable/image/*.png"])
def test_real_fundus_photographs_come_back_as_they_were(pattern: str, shared_data: Path, tmp_path: Path) -> None:
    file = sorted(shared_data.glob(pattern))[0]
    case = RasterCase.read(file)
    assert torch.equal(case.image.as_tensor(), training_reader(file))
    result = pixels(case.write(case.image.as_tensor(), tmp_path / "a", PROVENANCE)).astype(int)
    assert np.abs(result - pixels(file)).mean() <= (0.5 if file.suffix == ".jpg" else 0)
