# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.errors import InputError
from scripts.io import Provenance
from scripts.io.nifti import NiftiCase, write_nifti
from scripts.transforms import ReadImaged

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")
AFFINE = np.array([[-1.5, 0.1, 0, 9.3], [0.1, 1.4, 0, -8.7], [0, 0, 4, 7.1], [0, 0, 0, 1]])
REAL_TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def save(file: Path, values: np.ndarray, affine: np.ndarray | None = AFFINE, **fields: Any) -> Path:
    """Write a NIfTI file whose header has these fields; nibabel keeps the values apart from slope and intercept."""
    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    image = nib.Nifti1Image(values, affine, header)
    nib.save(image, file)
    patch(file, **fields)
    return file


def patch(file: Path, **fields: Any) -> None:
    packed = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + content[348:]
    file.write_bytes(gzip.compress(content) if packed else content)


def numbers(dtype: str, shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    """Numbers over the whole range of a type."""
    random = np.random.RandomState(0)
    if np.dtype(dtype).kind == "f":
        return (random.standard_normal(shape) * 1e3).astype(dtype)
    bits = random.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.frombuffer(bits, dtype).reshape(shape)


def stored(file: Path) -> np.ndarray:
    """What a file stores, without slope and intercept, by nibabel."""
    return np.asarray(nib.load(file).dataobj.get_unscaled())  # type: ignore[attr-defined]


def training_reader(file: Path) -> Any:
    return ReadImaged("image")({"image": str(file)})["image"]


def identity(file: Path) -> Path:
    case = NiftiCase.read(file)
    return case.write(case.image.as_tensor(), file.with_name("result"), PROVENANCE)


# -------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("fields", [{}, {"scl_slope": 0.25, "scl_inter": -3}, {"scl_slope": 0, "scl_inter": 7}])
@pytest.mark.parametrize("dtype", REAL_TYPES)
def test_values_and_affine_are_those_of_the_reader_for_training(
    dtype: str, fields: dict[str, Any], name: str, tmp_path: Path
) -> None:
    file = save(tmp_path / name, numbers(dtype), **fields)
    image, expected = NiftiCase.read(file).image, training_reader(file)
    assert image.dtype == torch.float32
    assert np.array_equal(image.as_tensor().numpy(), expected.as_tensor().numpy())
    assert np.array_equal(image.affine.numpy(), expected.affine.numpy())
    assert image.meta["filename_or_obj"] == str(file)


@pytest.mark.parametrize(
    "shape",
    [(5, 4), (5, 4, 1), (5, 1, 4), (1, 5, 4), (5, 4, 3, 1), (5, 4, 1, 1), (5, 4, 3, 1, 1), (5, 4, 1, 1, 3)]
    + [(5, 4, 3, 1, 3), (1, 1, 1), (5, 4, 3, 1, 2)],
)
def test_axes_are_those_of_the_reader_for_training(shape: tuple[int, ...], tmp_path: Path) -> None:
    file = save(tmp_path / "a.nii", numbers("i2", shape))
    assert torch.equal(NiftiCase.read(file).image.as_tensor(), training_reader(file).as_tensor())


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colours_become_channels_without_alpha(channels: str, tmp_path: Path) -> None:
    values = np.zeros((5, 4, 3), [(channel, "u1") for channel in channels])
    for channel in channels:
        values[channel] = numbers("u1") // 2 + ord(channel)
    image = NiftiCase.read(save(tmp_path / "a.nii", values)).image
    assert np.array_equal(image.numpy(), np.stack([values[channel] for channel in "RGB"]))


@pytest.mark.parametrize("kind", [nib.Nifti2Image, nib.Nifti1Image])
@pytest.mark.parametrize("order", "<>")
def test_both_versions_and_both_byte_orders_are_read(kind: Any, order: str, tmp_path: Path) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(kind(numbers("i2"), AFFINE, header), tmp_path / "a.nii")
    assert np.array_equal(NiftiCase.read(tmp_path / "a.nii").image[0].numpy(), numbers("i2"))
    assert np.array_equal(stored(identity(tmp_path / "a.nii")), numbers("i2"))


@pytest.mark.parametrize(
    ("codes", "pixdim"),
    [((0, 0), (1, 2, 3)), ((1, 0), (1, 2, 3)), ((0, 1), (1, 2, 3)), ((2, 3), (1, 2, 3)), ((0, 1), (-1, 2, 3))],
)
def test_the_affine_is_sform_or_else_qform_or_else_the_voxel_sizes(
    codes: tuple[int, int], pixdim: tuple[float, ...], tmp_path: Path
) -> None:
    file = save(tmp_path / "a.nii", numbers("i2"), qform_code=codes[0], sform_code=codes[1])
    patch(file, pixdim=[-1, *pixdim, 0, 0, 0, 0])
    assert np.array_equal(NiftiCase.read(file).image.affine.numpy(), nib.load(file).affine)  # type: ignore[attr-defined]


def test_an_image_without_any_geometry_gets_unit_spacing(tmp_path: Path) -> None:
    file = save(tmp_path / "a.nii", numbers("i2"), sform_code=0, qform_code=0, pixdim=np.zeros(8))
    assert NiftiCase.read(file).image.affine[:3, :3].abs().tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_compression_is_told_by_the_content(name: str, tmp_path: Path) -> None:
    save(tmp_path / "other.nii", numbers("i2"))
    content = (tmp_path / "other.nii").read_bytes()
    (tmp_path / name).write_bytes(content if name.endswith(".gz") else gzip.compress(content))
    assert np.array_equal(NiftiCase.read(tmp_path / name).image[0].numpy(), numbers("i2"))


@pytest.mark.parametrize(
    ("zooms", "dim_info", "expected"),
    [
        ((1, 1, 4), None, 2),
        ((4, 1, 1), None, 0),
        ((1, 1, 1.1), None, None),
        ((1, 4, 4), None, None),
        ((1, 1, 4), 0, 0),
        ((1, 1, 1), 1, 1),
    ],
)
def test_the_slice_axis_is_the_headers_or_else_the_one_of_clearly_larger_spacing(
    zooms: tuple[float, ...], dim_info: int | None, expected: int | None, tmp_path: Path
) -> None:
    header = nib.Nifti1Header()
    header.set_dim_info(slice=dim_info)
    file = save(tmp_path / "a.nii", numbers("i2"), np.diag([*zooms, 1]), dim_info=header["dim_info"])
    assert NiftiCase.read(file).slice_axis == expected


def test_an_image_of_two_axes_has_no_slice_axis(tmp_path: Path) -> None:
    assert NiftiCase.read(save(tmp_path / "a.nii", numbers("i2", (5, 4)), dim_info=48)).slice_axis is None


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "fields", "reason"),
    [
        (numbers("i2", (4, 4, 3, 5)), {}, "it holds 5 volumes: split it into volumes"),
        (numbers("i2", (4, 4, 3, 1, 1, 2)), {}, "it has 6 axes .*: split it"),
        (numbers("f4").astype("c8"), {}, "complex values: save their magnitude"),
        (numbers("i2"), {"datatype": 1}, r"type that is not supported \(1\): convert it"),
        (numbers("i2"), {"datatype": 1536}, "type that is not supported"),
        (numbers("i2"), {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "it is cut short: 472 of 7.* bytes are there"),
        (numbers("i2"), {"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, "3 axes of lengths"),
        (numbers("i2"), {"dim": [9, 5, 4, 3, 1, 1, 1, 1]}, "wrong length"),
        (numbers("i2"), {"dim": [1, 60, 1, 1, 1, 1, 1, 1]}, "a row of values"),
        (numbers("i2"), {"vox_offset": 1e9}, "cannot begin at byte 1e"),
        (numbers("i2"), {"vox_offset": np.nan}, "cannot begin at byte nan"),
        (numbers("i2"), {"vox_offset": 3}, "cannot begin at byte 3"),
        (numbers("i2"), {"sizeof_hdr": 347}, "tells a wrong length"),
        (numbers("i2"), {"magic": b"ni1"}, "no NIfTI file"),
        (numbers("i2"), {"scl_slope": 2, "scl_inter": np.inf}, "intercept"),
        (numbers("i2"), {"srow_x": [0, 0, 0, 0]}, "affine matrix cannot be inverted"),
        (numbers("i2"), {"srow_x": [np.nan, 0, 0, 0]}, "affine matrix cannot be inverted"),
        (numbers("i2"), {"pixdim": np.full(8, np.inf)}, "voxel sizes are not finite"),
        (numbers("i2"), {"sform_code": 0, "qform_code": 1, "quatern_b": 5}, "orientation is no rotation"),
    ],
)
def test_what_is_no_image_is_refused_with_its_name(
    values: np.ndarray, fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    file = save(tmp_path / "a.nii", values, **fields)
    with pytest.raises(InputError, match=rf'^cannot read "\S*a.nii": [^\n]*{reason}'):
        NiftiCase.read(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"neither image nor anything", "no NIfTI file"),
        (b"\x1f\x8b neither image nor anything", "compression is damaged"),
        (gzip.compress(b"neither image nor anything"), "no NIfTI file"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_content_is_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        NiftiCase.read(tmp_path / name)


@pytest.mark.parametrize("length", [2, 20, 300, 351, 460, 471])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_is_cut_short_is_refused(name: str, length: int, tmp_path: Path) -> None:
    file = save(tmp_path / name, numbers("i2"))
    content = file.read_bytes()
    file.write_bytes(content[: length * len(content) // 472])
    with pytest.raises(InputError, match="cut short|no NIfTI|damaged"):
        NiftiCase.read(file)


def test_a_damaged_value_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    file = save(tmp_path / "a.nii", numbers("i2"))
    packed = bytearray(gzip.compress(file.read_bytes(), compresslevel=0))
    packed[-20] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(packed)
    with pytest.raises(InputError, match="compression is damaged"):
        NiftiCase.read(tmp_path / "b.nii.gz")


def test_a_compressed_file_that_would_unpack_to_far_more_than_an_image_does_is_refused_before_it_does(
    tmp_path: Path,
) -> None:
    file = save(tmp_path / "a.nii.gz", numbers("i2"), dim=[3, 1000, 1000, 1000, 1, 1, 1, 1])
    with pytest.raises(InputError, match="would unpack to 2e"):
        NiftiCase.read(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='cannot read "\\S*a.nii": No such file'):
        NiftiCase.read(tmp_path / "a.nii")


# -------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("fields", [{}, {"scl_slope": 0.1, "scl_inter": -3.7}, {"scl_slope": -1e-4, "scl_inter": 1e4}])
@pytest.mark.parametrize("dtype", REAL_TYPES)
def test_an_unchanged_image_gives_back_what_is_stored(dtype: str, fields: dict[str, Any], tmp_path: Path) -> None:
    file = save(tmp_path / "a.nii.gz", numbers(dtype), **fields)
    result = identity(file)
    assert result == tmp_path / "result.nii.gz"
    assert np.array_equal(stored(result), numbers(dtype))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3, 1), (5, 4, 1, 1, 3), (5, 4, 3, 1, 3)])
def test_axes_are_written_as_they_were(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = numbers("i2", shape)
    assert np.array_equal(stored(identity(save(tmp_path / "a.nii", values))), values)


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colours_are_written_beside_their_alpha(channels: str, tmp_path: Path) -> None:
    values = numbers("u1", (5, 4, 3, len(channels))).view([(channel, "u1") for channel in channels])[..., 0]
    case = NiftiCase.read(save(tmp_path / "a.nii", values))
    result = stored(case.write(255 - case.image.as_tensor(), tmp_path / "b", PROVENANCE))
    for channel in channels:
        assert np.array_equal(result[channel], values[channel] if channel == "A" else 255 - values[channel])


def test_the_header_stays_to_the_last_bit_but_for_the_description(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "pixdim": [-1.0, 1.00000012, 2, 3, 5, 7, 0, 0],
        "qform_code": 1,
        "sform_code": 4,
        "quatern_b": 0.5,
        "qoffset_x": 1 / 3,
        "srow_x": [1 / 3, 0, 0.1, 5],
        "xyzt_units": 10,
        "dim_info": 57,
        "intent_code": 1001,
        "intent_name": b"estimate",
        "aux_file": b"aux",
        "cal_min": -1,
        "cal_max": 9,
        "slice_code": 3,
        "slice_end": 2,
        "toffset": 0.5,
        "glmax": 7,
    }
    file = save(tmp_path / "a.nii", numbers("i2"), scl_slope=0.5, scl_inter=3, **odd)
    header = nib.Nifti1Header(file.read_bytes()[:348], check=False)
    header["descrip"] = b"HQG-Net 1.2.3 derived, model 0123abcd"
    case = NiftiCase.read(file)
    result = case.write(case.image.as_tensor() + 1, tmp_path / "b", PROVENANCE)
    assert result.read_bytes()[:348] == header.binaryblock


def test_extensions_are_kept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbers("i2"), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"by hand"))
    nib.save(image, tmp_path / "a.nii")
    extension = nib.load(identity(tmp_path / "a.nii")).header.extensions[0]  # type: ignore[attr-defined]
    assert (extension.get_code(), extension.get_content()) == (6, b"by hand")


def read_back(case: NiftiCase, result: torch.Tensor, tmp_path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """The values that a result is read as by nibabel, those that it stores, and the magnitude of its slope."""
    file = case.write(result, tmp_path / "result", PROVENANCE)
    slope = float(nib.Nifti1Header(file.read_bytes()[:348], check=False)["scl_slope"])  # type: ignore[arg-type]
    return nib.load(file).get_fdata(), stored(file), abs(slope)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4"])
@pytest.mark.parametrize("fields", [{}, {"scl_slope": 0.25, "scl_inter": -3}, {"scl_slope": -2, "scl_inter": 5}])
@pytest.mark.parametrize("beyond", [(1.5, 1.5), (1.5, 0.5), (0.5, 1.5)])
def test_a_result_beyond_the_stored_range_gets_a_wider_slope(
    dtype: str, fields: dict[str, Any], beyond: tuple[float, float], tmp_path: Path
) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii", np.arange(4, dtype=dtype).reshape(4, 1, 1), **fields))
    slope, intercept = fields.get("scl_slope", 1), fields.get("scl_inter", 0)
    limits = np.iinfo(dtype)
    wanted = (
        np.array([limits.min * beyond[0] - 100 * (beyond[0] > 1), limits.max * beyond[1], 0, 3]) * slope + intercept
    )
    result = torch.from_numpy(wanted.astype(np.float32)).reshape(1, 4, 1, 1)
    values, _, step = read_back(case, result, tmp_path)
    assert np.abs(values.flatten() - wanted).max() <= step / 2 + 1e-6 * np.abs(wanted).max()
    assert step <= (wanted.max() - wanted.min()) / (limits.max - limits.min) * 2.1
    assert case.values_cut(result) == 0


def test_what_is_zero_stays_zero_where_the_slope_is_widened(tmp_path: Path) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii", np.array([[[0]], [[32767]]], "i2"), scl_slope=0.5, scl_inter=0))
    values, kept, _ = read_back(case, torch.tensor([0.0, 20000.0]).reshape(1, 2, 1, 1), tmp_path)
    assert values.flatten() == pytest.approx([0, 20000], abs=0.5)
    assert kept.flatten()[0] == 0


def test_colours_have_no_slope_and_what_is_cut_is_counted(tmp_path: Path) -> None:
    values = np.zeros((3, 2, 1), [(channel, "u1") for channel in "RGB"])
    values["R"][0] = 255
    case = NiftiCase.read(save(tmp_path / "a.nii", values))
    result = case.image.as_tensor().clone()
    result[0] += 10  # 255 was the end of the range before, 0 was not
    assert case.values_cut(result) == 0
    result[1, 1] = 256
    result[2, 2] = -1  # 0 was the end of the range before
    assert case.values_cut(result) == 2


def test_slope_and_intercept_are_undone(tmp_path: Path) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii", np.zeros((1, 2, 1), "i2"), scl_slope=0.5, scl_inter=-1000))
    result = case.write(torch.tensor([10.0, -999.2]).reshape(1, 1, 2, 1), tmp_path / "b", PROVENANCE)
    assert stored(result).flatten().tolist() == [2020, 2]
    assert nib.load(result).get_fdata().flatten().tolist() == [10, -999]  # type: ignore[attr-defined]


def test_floating_point_is_not_rounded(tmp_path: Path) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii", numbers("f4")))
    result = case.image.as_tensor() * 1.1
    assert np.array_equal(stored(case.write(result, tmp_path / "b", PROVENANCE)), result[0].numpy())


def test_a_result_of_another_size_is_an_error(tmp_path: Path) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii", numbers("i2")))
    with pytest.raises(ValueError, match="the result is"):
        case.write(torch.zeros(1, 5, 4, 2), tmp_path / "b", PROVENANCE)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = save(tmp_path / "result.nii", numbers("i2"))
    with pytest.raises(FileExistsError):
        identity(file)


def test_the_same_result_makes_the_same_file(tmp_path: Path) -> None:
    case = NiftiCase.read(save(tmp_path / "a.nii.gz", numbers("i2")))
    files = [case.write(case.image.as_tensor(), tmp_path / name, PROVENANCE) for name in ("b", "c")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("values", [numbers("i2"), numbers("i2", (5, 4, 3, 1, 3)), numbers("i2", (5, 4))])
def test_a_deviation_has_the_geometry_of_its_source_and_units_of_its_own(values: np.ndarray, tmp_path: Path) -> None:
    file = save(tmp_path / "a.nii.gz", values, scl_slope=2, scl_inter=5, cal_max=9, xyzt_units=2)
    case = NiftiCase.read(file)
    deviation = torch.rand(1, *case.image.shape[1:])
    result: Any = nib.load(case.write_deviation(deviation, tmp_path / "b", PROVENANCE))
    assert np.array_equal(np.asarray(result.dataobj, np.float32), deviation[0].numpy())
    assert np.array_equal(result.affine, nib.load(file).affine)  # type: ignore[attr-defined]
    assert result.get_data_dtype() == np.float32
    assert (float(result.header["cal_max"]), int(result.header["xyzt_units"])) == (0, 2)


# ------------------------------------------------------------------------------------------- from another format


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 5, 4), (1, 5, 4, 3), (3, 5, 4, 3), (3, 5, 4)])
def test_an_image_of_another_format_is_written_with_its_geometry(
    shape: tuple[int, ...], dtype: torch.dtype, tmp_path: Path
) -> None:
    values = (torch.rand(shape) * 1000).to(dtype)
    file = write_nifti(values, torch.from_numpy(AFFINE), tmp_path / "a", "from elsewhere")
    image, read = training_reader(file), nib.load(file)
    assert torch.equal(image.as_tensor().reshape(shape), values.float())
    assert image.affine.numpy() == pytest.approx(AFFINE, abs=1e-6)
    assert read.get_data_dtype() == values.numpy().dtype  # type: ignore[attr-defined]
    assert read.header["descrip"].item() == b"from elsewhere"  # type: ignore[index]


@pytest.mark.parametrize(("shear", "code"), [(0, 1), (0.5, 0)])
def test_a_tilted_gantry_is_told_by_sform_alone(shear: float, code: int, tmp_path: Path) -> None:
    affine = torch.diag(torch.tensor([1.0, 1, 3, 1], dtype=torch.float64))
    affine[1, 2] = shear
    file = write_nifti(torch.rand(1, 5, 4, 3), affine, tmp_path / "a", "")
    assert int(nib.load(file).header["qform_code"]) == code  # type: ignore[index]
    assert nib.load(file).affine == pytest.approx(affine.numpy())  # type: ignore[attr-defined]


def test_the_same_image_of_another_format_makes_the_same_file(tmp_path: Path) -> None:
    values, affine = torch.rand(1, 5, 4, 3), torch.eye(4, dtype=torch.float64)
    files = [write_nifti(values, affine, tmp_path / name, "") for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_types_are_not_converted_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int16 or float32"):
        write_nifti(torch.zeros(1, 2, 2, dtype=torch.float64), torch.eye(4), tmp_path / "a", "")


def test_a_real_volume_comes_back_as_it_was(shared_data: Path, tmp_path: Path) -> None:
    file = sorted((shared_data / "hippocampus" / "images").iterdir())[0]
    case = NiftiCase.read(file)
    result = case.write(case.image.as_tensor(), tmp_path / "a", PROVENANCE)
    assert torch.equal(case.image.as_tensor(), training_reader(file).as_tensor())
    assert np.array_equal(stored(result), stored(file))
    assert nib.load(result).affine.tobytes() == nib.load(file).affine.tobytes()  # type: ignore[attr-defined]
