# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Damaged files: seeds of every format, some bytes of which are changed, lost or repeated, the same in every run."""

from __future__ import annotations

import gzip
import io
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, RLELossless
from tests.io.bad_files import deep_png, dicom_bytes, nifti_bytes, raster_bytes, texture
from tests.io.compression import HIGH_THROUGHPUT, compress
from tests.io.process_tree import PeakMemory

from scripts.errors import InputError
from scripts.io import CaseImage, Provenance, find_cases, open_case

FEW, MANY = 100, int(os.environ.get("HQGNET_FUZZ_MUTATIONS", "10000"))
"""Mutants of a seed in the fast tests, and in the slow ones."""

MOST_VALUES = 2**24
MOST_MEMORY = 2**29
LONGEST = 5.0  # seconds of the processor

PROVENANCE = Provenance("HQG-Net", "1.2.3", "0123abcd")
EIGHT_BITS: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def multi_frame() -> bytes:
    return dicom_bytes(NumberOfFrames=3, PixelData=np.stack([texture(24, 24)] * 3).tobytes())


def rle() -> bytes:
    segment = b"\xe9\x07\xe9\x09" * 12  # 24 times 7, 24 times 9 ...
    return dicom_bytes(
        syntax=RLELossless,
        PixelData=encapsulate([(1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + segment]),
        **EIGHT_BITS,
    )


def jpeg_dicom() -> bytes:
    return dicom_bytes(syntax=JPEGBaseline8Bit, PixelData=encapsulate([raster_bytes(format_="JPEG")]), **EIGHT_BITS)


def recoded(process: str, bits: int = 16) -> bytes:
    """An image in another transfer syntax, by its name in GDCM's ``TransferSyntax``."""
    # GDCM would add today's date.
    stored: dict[str, Any] = {"BitsStored": bits, "HighBit": bits - 1, "StudyDate": "20240102", "StudyTime": "101112"}
    with tempfile.TemporaryDirectory() as folder:
        plain, other = Path(folder) / "plain.dcm", Path(folder) / "other.dcm"
        plain.write_bytes(dicom_bytes(**stored))
        compress(plain, other, process)
        return other.read_bytes()


def high_throughput() -> bytes:
    return dicom_bytes(texture(24, 24)[:8, :8], syntax=HTJ2KLossless, PixelData=encapsulate([HIGH_THROUGHPUT]))


def deep_sequences(depth: int = 200) -> bytes:
    """An image with a sequence in a sequence in a sequence ..."""
    item = pydicom.Dataset()
    for _ in range(depth):
        outer = pydicom.Dataset()
        outer.ReferencedImageSequence = [item]
        item = outer
    return dicom_bytes(ReferencedImageSequence=[item])


def odd_meta() -> bytes:
    """An image whose file-meta information has representations that the standard does not know."""
    return dicom_bytes().replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00ZZ", 1)


CODECS: dict[str, Callable[[], bytes]] = {
    "jpeg dicom": jpeg_dicom,
    "12-bit jpeg dicom": lambda: recoded("JPEGExtendedProcess2_4", 12),
    "jpeg lossless dicom": lambda: recoded("JPEGLosslessProcess14"),
    "jpeg lossless first-order dicom": lambda: recoded("JPEGLosslessProcess14_1"),
    "jpeg-ls dicom": lambda: recoded("JPEGLSLossless"),
    "jpeg-ls near-lossless dicom": lambda: recoded("JPEGLSNearLossless"),
    "jpeg 2000 lossless dicom": lambda: recoded("JPEG2000Lossless"),
    "jpeg 2000 dicom": lambda: recoded("JPEG2000"),
    "high-throughput jpeg 2000 dicom": high_throughput,
}
"""Compressed pixels, which another process decodes."""


def nifti2() -> bytes:
    return bytes(nib.Nifti2Image(texture(24, 24, 4), np.eye(4)).to_bytes())


def colours() -> Image.Image:
    grey = Image.open(io.BytesIO(raster_bytes()))
    return Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_90), grey])


SEEDS: dict[str, Callable[[], bytes]] = {
    "dicom": dicom_bytes,
    "multi-frame dicom": multi_frame,
    "rle dicom": rle,
    "implicit dicom": lambda: recoded("ImplicitVRLittleEndian"),
    "big-endian dicom": lambda: recoded("ExplicitVRBigEndian"),
    "deflated dicom": lambda: recoded("DeflatedExplicitVRLittleEndian"),
    "deep dicom": deep_sequences,
    "nifti": lambda: nifti_bytes(scl_slope=0.5, scl_inter=3),
    "colour nifti": lambda: nifti_bytes(np.zeros((8, 8, 4), [(channel, "u1") for channel in "RGB"])),
    "nifti 2": nifti2,
    "png": lambda: raster_bytes(colours()),
    "palette png": lambda: raster_bytes(colours().quantize(8), transparency=3),
    "deep png": deep_png,
    "tiff": lambda: raster_bytes(format_="TIFF"),
    "packed tiff": lambda: raster_bytes(colours(), "TIFF", compression="tiff_lzw"),
    "jpeg": lambda: raster_bytes(colours(), "JPEG"),
    "bmp": lambda: raster_bytes(colours(), "BMP"),
    "gif": lambda: raster_bytes(format_="GIF"),
}


def mutate(content: bytes, random: np.random.RandomState, start: int = 0) -> bytes:
    """Damage a file as transfers, disks and other programs do, mostly in the 400 bytes from ``start`` on."""
    damaged = bytearray(content)
    for _ in range(random.randint(1, 5)):
        # Headers are short, and what they say counts most.
        near = random.rand() < 0.7 and len(damaged) > start
        at = random.randint(start, min(len(damaged), start + 400)) if near else random.randint(len(damaged))
        kind = random.randint(6)
        if kind == 0:
            damaged[at] ^= 1 << random.randint(8)
        elif kind == 1:
            damaged[at : at + 4] = random.bytes(len(damaged[at : at + 4]))
        elif kind == 2:
            damaged[at : at + 4] = random.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(damaged[at : at + 4])
        elif kind == 3:
            del damaged[at : at + random.randint(1, 9)]
        elif kind == 4:
            damaged[at:at] = damaged[at : at + random.randint(1, 99)]
        elif at > 8:
            del damaged[at:]
    return bytes(damaged)


def with_checksums(png: bytes) -> bytes:
    """Make the checksums of a PNG picture true, so that its damage is not known by them."""
    repaired, at = png[:8], 8
    while len(png) >= at + 12:
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        repaired += png[at:end] + zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return repaired


def mutant(content: bytes, number: int, start: int = 0) -> bytes:
    """The damaged file of that number; number 0 is whole."""
    return mutate(content, np.random.RandomState(number), start) if number else content


def mutants(seed: Callable[[], bytes], count: int = FEW) -> Iterator[bytes]:
    content = seed()
    yield from (mutant(content, number) for number in range(count + 1))


def peak_memory() -> int:
    """The most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(file: Path) -> CaseImage | None:
    """Read a file as a run would; None where it is refused as it should be."""
    start = time.process_time()
    try:
        cases, problems = find_cases(file)
        messages = [problem.message for problem in problems]
        image = open_case(cases[0]) if cases else None
    except InputError as error:
        messages, image = [str(error)], None
    assert time.process_time() - start < LONGEST
    if image is None:
        assert len(messages) == 1
        assert str(file) in messages[0]
        assert "\n" not in messages[0]
        return None
    assert image.image.dtype == torch.float32
    assert image.image.ndim in (3, 4)
    assert 0 < image.image.numel() <= MOST_VALUES
    return image


class Kind(NamedTuple):
    """How damaged files are made.

    Attributes:
        seed: makes the whole file.
        suffix: of its name.
        wrap: what is done to it after the damage.
        start: bytes before those that are damaged most.
        is_lossy: whether a result is not what was written.
    """

    seed: Callable[[], bytes]
    suffix: str = ".dcm"
    wrap: Callable[[bytes], bytes] = bytes
    start: Callable[[bytes], int] = lambda content: 0
    is_lossy: bool = False


def begin_of_pixels(dicom: bytes) -> int:
    return dicom.index(b"\xe0\x7f\x10\x00")


KINDS = {
    **{name: Kind(seed, is_lossy=name == "jpeg") for name, seed in SEEDS.items()},
    **{name: Kind(seed) for name, seed in CODECS.items()},
    **{f"pixels of {name}": Kind(seed, start=begin_of_pixels) for name, seed in [*CODECS.items(), ("rle dicom", rle)]},
    "packed nifti": Kind(SEEDS["nifti"], ".nii.gz", lambda content: gzip.compress(content, 1)),
    **{f"{n} with true checksums": Kind(s, ".png", with_checksums) for n, s in SEEDS.items() if "png" in n},
}


def trial(kind: Kind, content: bytes, folder: Path) -> str:
    """Read a file, and write what is accepted: what happened, in a word."""
    file = folder / f"a{kind.suffix}"
    file.write_bytes(kind.wrap(content))
    image = read(file)
    if image is None:
        return "refused"
    if not bool(image.image.isfinite().all()):
        return "not finite"
    try:
        image.check_writable()
    except InputError:
        return "not writable"
    result = image.write(image.image.as_tensor(), folder / "result", PROVENANCE)
    again = read(result)
    assert again is not None
    assert kind.is_lossy or torch.equal(again.image.as_tensor(), image.image.as_tensor())
    shutil.rmtree(result) if result.is_dir() else result.unlink()
    return "accepted"


# Those whose result is what was written, and written fast: each is written and read again as well.
WRITTEN = {name for name in SEEDS if "dicom" not in name and name not in ("jpeg", "gif")}


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_file_is_read_or_refused_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    before, accepted = peak_memory(), 0
    for i, content in enumerate(mutants(SEEDS[name])):
        if name in WRITTEN:
            accepted += trial(KINDS[name], content, tmp_path) == "accepted"
        else:
            file = tmp_path / f"{i}.dcm"
            file.write_bytes(content)
            accepted += read(file) is not None
    assert accepted > 0
    assert peak_memory() - before < MOST_MEMORY


class Trials(NamedTuple):
    """What became of some mutants.

    Attributes:
        counts: how many were refused, accepted ...
        failures: number and traceback of those that should have been neither.
        slowest: seconds of the slowest, by the clock.
        memory: bytes by which the process and its children grew.
    """

    counts: dict[str, int]
    failures: list[str]
    slowest: float
    memory: int


def try_some(name: str, first: int, step: int, end: int) -> Trials:
    """Try every ``step``-th mutant of a kind, in a process of its own."""
    logging.disable(logging.WARNING)  # pydicom's
    kind, counts, failures, slowest = KINDS[name], dict[str, int](), list[str](), 0.0
    seed = kind.seed()
    start = kind.start(seed)
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        for number in range(first, end, step):
            content, begin = mutant(seed, number, start), time.perf_counter()
            try:
                outcome = trial(kind, content, Path(folder))
            except Exception:  # whatever it is: it is told of, and the others are tried
                outcome = "failed"
                failures.append(f"mutant {number} of {name}: {traceback.format_exc(limit=-3)}")
            slowest = max(slowest, time.perf_counter() - begin)
            counts[outcome] = counts.get(outcome, 0) + 1
    return Trials(counts, failures, slowest, memory.growth)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A process for each core."""
    with ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_mutant_breaks_the_program_hangs_or_passes_with_a_wrong_result(
    name: str, pool: ProcessPoolExecutor, record_property: Callable[[str, object], None]
) -> None:
    workers = cores()
    futures = [pool.submit(try_some, name, first, workers, MANY + 1) for first in range(workers)]
    results = [future.result() for future in futures]
    record_property("outcomes", [result.counts for result in results])
    assert [failure for result in results for failure in result.failures] == []
    assert sum(result.counts.get("accepted", 0) for result in results) > 0
    assert (
        max(result.slowest for result in results) < 6 * LONGEST
    )  # another process may be waited for on a busy machine
    assert max(result.memory for result in results) < MOST_MEMORY


def test_an_odd_representation_in_the_file_meta_information_is_refused_or_read(tmp_path: Path) -> None:
    with PeakMemory() as memory:
        (tmp_path / "a.dcm").write_bytes(odd_meta())
        read(tmp_path / "a.dcm")
    assert memory.growth < MOST_MEMORY


def test_a_damaged_file_that_is_packed_is_read_or_refused(tmp_path: Path) -> None:
    for i, content in enumerate(mutants(SEEDS["nifti"])):
        (tmp_path / f"{i}.nii.gz").write_bytes(gzip.compress(content, compresslevel=1))
        read(tmp_path / f"{i}.nii.gz")


@pytest.mark.parametrize("name", [name for name in SEEDS if "png" in name])
def test_a_damaged_png_with_true_checksums_is_read_or_refused(name: str, tmp_path: Path) -> None:
    before = peak_memory()
    for i, content in enumerate(mutants(SEEDS[name])):
        (tmp_path / f"{i}.png").write_bytes(with_checksums(content))
        read(tmp_path / f"{i}.png")
    assert peak_memory() - before < MOST_MEMORY


def test_damage_to_packed_bytes_is_always_noticed(tmp_path: Path) -> None:
    whole = gzip.compress(nifti_bytes())
    for i, content in enumerate(mutants(lambda: whole)):
        file = tmp_path / f"{i}.nii.gz"
        file.write_bytes(content)
        image = read(file)
        assert image is None or np.array_equal(image.image[0].numpy(), texture(24, 24, 4))
