# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
import math
import re
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from scripts.errors import InputError
from scripts.reports import (
    MEASURES,
    BatchReport,
    CaseRecord,
    Limit,
    SafetyThresholds,
    Verdict,
    report_pictures,
    report_plane,
)

GREY = np.full((8, 10, 3), 128, dtype=np.uint8)
PICTURES = {"before": GREY, "after": GREY}
THRESHOLDS = SafetyThresholds({"structure": Limit(lower=0.74), "intensity_drift": Limit(-0.1, 0.1)}, 5)


def record(name: str = "a/scan", **entries: Any) -> CaseRecord:
    return CaseRecord(name, **{"source": f"in/{name}", "verdict": "ok", **entries})


FULL = record(
    output="a/scan.nii.gz",
    verdict="check",
    reasons=["structural agreement 0.61 is below 0.74"],
    measures={"structure": 0.61, "energy_added_1": -1.25, "new_structure": math.inf},
    places={"new_structure": (4, 5, 2)},
    slice_axis=2,
    slices=7,
    plane=2,
    marks={"new_structure": (0.25, 0.5)},
    seconds={"total": 2.5, "read": 0.5},
    fingerprint={"size": 12, "model": "3f9a"},
)


def page_of(report: BatchReport, *names: str, **options: Any) -> str:
    return report.write(names, **options)["html"].read_text(encoding="utf-8")


def rows_of(report: BatchReport, *names: str) -> list[dict[str, str]]:
    with report.write(names)["csv"].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_record_survives_json() -> None:
    restored = CaseRecord.from_dict(json.loads(json.dumps(FULL.to_dict(), allow_nan=False)))
    assert math.isnan(restored.measures.pop("new_structure"))
    expected = CaseRecord(**vars(FULL))
    expected.measures = {"structure": 0.61, "energy_added_1": -1.25}
    assert restored == expected


@pytest.mark.parametrize(
    "change",
    [
        {"status": "perhaps"},
        {"verdict": "good"},
        {"name": 5},
        {"output": 5},
        {"plane": "2"},
        {"measures": {"structure": "high"}},
        {"measures": None},
        {"places": {"new_structure": 3}},
        {"marks": {"new_structure": [0.5]}},
        {"unknown": 1},
    ],
)
def test_damaged_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        CaseRecord.from_dict(FULL.to_dict() | change)


@pytest.mark.parametrize("content", [None, [], {}, "record"])
def test_something_else_is_no_record(content: Any) -> None:
    with pytest.raises(InputError, match="no record"):
        CaseRecord.from_dict(content)


def test_case_is_found_again(tmp_path: Path) -> None:
    BatchReport(tmp_path).add(record(fingerprint={"size": 3}), PICTURES)
    assert BatchReport(tmp_path).find("a/scan") == record(fingerprint={"size": 3})


def test_case_that_was_not_added_is_not_found(tmp_path: Path) -> None:
    assert BatchReport(tmp_path).find("a/scan") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b"{}"])
def test_broken_record_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    report = BatchReport(tmp_path)
    report.add(record())
    next(report.folder.glob("*.json")).write_bytes(content)
    assert report.find("a/scan") is None


def test_record_of_another_case_counts_as_absent(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record("a"))
    report.add(record("b"))
    first, second = sorted(report.folder.glob("*.json"))
    first.write_bytes(second.read_bytes())
    assert report.find("a") is None


@pytest.mark.parametrize(
    "names",
    [("a/b", "a_b"), ("a", "A"), ("x" * 300, "x" * 301), ("größe", "grosse"), ("..", "."), ("\udcff", "\udcfe")],
)
def test_names_that_look_alike_are_kept_apart(tmp_path: Path, names: tuple[str, str]) -> None:
    report = BatchReport(tmp_path)
    for name in names:
        report.add(record(name), PICTURES)
    assert [report.find(name) for name in names] == [record(name) for name in names]
    stems = [path.name.lower() for path in report.folder.iterdir()]
    assert len(set(stems)) == 6


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    BatchReport(tmp_path / "out").add(record("../../escape"), PICTURES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_record_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    with pytest.raises(TypeError):
        report.add(record(fingerprint={"path": Path("a")}))
    assert list(report.folder.iterdir()) == []


def test_report_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = BatchReport(tmp_path)
    report.add(record())
    before = page_of(report, "a/scan")
    monkeypatch.setattr(BatchReport, "_card", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(["a/scan"])
    assert (tmp_path / "report.html").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.csv", "report.html"]


def test_case_added_again_loses_its_old_pictures(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record(), {**PICTURES, "uncertainty": GREY})
    report.add(record(), PICTURES)
    assert sorted(path.name.rsplit("_")[-1] for path in report.folder.glob("*.jpg")) == ["after.jpg", "before.jpg"]


def test_csv_has_a_row_per_case_in_the_order_asked_for(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    for name in ("a", "b", "c"):
        report.add(record(name))
    assert [row["name"] for row in rows_of(report, "c", "missing", "a", "c")] == ["c", "a"]


def test_csv_has_the_measures_and_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(FULL)
    (row,) = rows_of(report, "a/scan")
    assert set(MEASURES) < set(row)
    assert (float(row["structure"]), float(row["energy_added_1"]), row["new_structure"]) == (0.61, -1.25, "")
    assert (row["verdict"], row["reasons"]) == ("check", "structural agreement 0.61 is below 0.74")
    assert (row["slices"], row["seconds_total"], row["seconds_write"]) == ("7", "2.5", "")
    assert row["new_structure_place"] == "4 5 2"


def test_csv_tells_why_a_case_failed(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record(status="failed", verdict=None, message='ends early, says "libjpeg"\nsecond line'))
    (row,) = rows_of(report, "a/scan")
    assert (row["status"], row["verdict"]) == ("failed", "")
    assert row["message"] == 'ends early, says "libjpeg"\nsecond line'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path, start: str) -> None:
    report = BatchReport(tmp_path)
    name = f"{start}cmd|' /C calc'!A0"
    report.add(record(name, source=name, message=name))
    (row,) = rows_of(report, name)
    assert [row[key] for key in ("name", "source", "message")] == [f"'{name}"] * 3


def test_page_counts_the_cases(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record("a"))
    report.add(record("b", verdict="check"))
    report.add(record("c", verdict="check"))
    report.add(record("d", status="failed", verdict=None, message="no image"))
    page = page_of(report, *"abcd")
    counts = dict(re.findall(r'data-filter="(\w+)"[^>]*>\w+ <span>(\d+)</span>', page))
    assert counts == {"all": "4", "check": "2", "ok": "1", "failed": "1"}
    assert re.findall(r'<article class="card" data-state="(\w+)"', page) == ["ok", "check", "check"]
    assert "<strong>d</strong><span>no image</span>" in page


def test_page_shows_details_date_and_where_the_limits_come_from(tmp_path: Path) -> None:
    report = BatchReport(tmp_path, THRESHOLDS)
    page = page_of(report, title="Ward 5", details={"Model": "HQG-Net <2>"}, created=datetime(2026, 1, 2, 3, 4))
    assert "<h1>Ward 5</h1>" in page
    assert "<dt>Model</dt><dd>HQG-Net &lt;2&gt;</dd>" in page
    assert "2026-01-02 03:04" in page
    assert "from 5 validation cases" in page
    assert "Not for diagnosis without the original." in page


def test_page_of_a_model_without_limits_says_so(tmp_path: Path) -> None:
    assert "none: the model is not calibrated" in page_of(BatchReport(tmp_path))


def test_page_shows_measures_with_their_limits(tmp_path: Path) -> None:
    report = BatchReport(tmp_path, THRESHOLDS)
    report.add(record(measures={"structure": 0.61, "intensity_drift": 0.05, "new_structure": math.nan}))
    page = page_of(report, "a/scan")
    rows = re.findall(
        r'<tr( class="exceeded")?>.*?<span[^>]*>([^<]+)</span></th><td>([^<]+)</td><td>([^<]+)</td>', page
    )
    assert rows == [
        (' class="exceeded"', "structural agreement", "0.610", "≥ 0.740"),
        ("", "new structure", "not measurable", "none"),
        ("", "intensity drift", "0.05", "-0.10 to 0.10"),
    ]


def test_page_says_where_the_new_structure_is(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(FULL, PICTURES)
    page = page_of(report, "a/scan")
    assert "slice 3 of 7, voxel (4, 5, 2), counted from 0" in page
    assert 'class="mark new_structure" style="left: 25.00%; top: 50.00%"' in page


def test_place_in_a_plane_image_is_a_pixel(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record(places={"new_structure": (4, 5)}))
    assert "pixel (4, 5), counted from 0" in page_of(report, "a/scan")


def test_page_holds_its_pictures(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record(), PICTURES)
    sources = re.findall(r'<img class="(\w+)" (?:hidden )?src="data:image/jpeg;base64,', page_of(report, "a/scan"))
    assert sources == ["before", "after"]


def test_case_whose_picture_is_lost_is_still_in_the_report(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(record(), PICTURES)
    next(report.folder.glob("*_after.jpg")).write_bytes(b"no picture")
    assert "This case has no picture." in page_of(report, "a/scan")


# A product that no time of the day holds, as 49 is held by 9:49.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ${1+1} {{ 1234*5678 }} größe \udcff"


@pytest.mark.parametrize("status", ["done", "failed"])
def test_nothing_in_a_name_becomes_markup(tmp_path: Path, status: str) -> None:
    report = BatchReport(tmp_path)
    report.add(
        record(HOSTILE, status=status, output=HOSTILE, message=HOSTILE, reasons=[HOSTILE]),
        PICTURES,
    )
    page = page_of(report, HOSTILE, title=HOSTILE, details={HOSTILE: HOSTILE})
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert str(1234 * 5678) not in re.sub(r"base64,[^\"]*", "", page).split("</style>")[-1].split("<footer>")[0]


def test_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    report.add(FULL, PICTURES)
    page = page_of(report, "a/scan")
    assert not re.findall(r"""(?:src|href|url|action|data)\s*[=(]\s*["']?(?!data:image/jpeg;base64)[^"'>\s]*//""", page)
    assert "<link" not in page
    assert "default-src 'none'" in page


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    report = BatchReport(tmp_path)
    generator = np.random.default_rng(0)
    noisy = {kind: generator.integers(0, 255, (200, 200, 3), dtype=np.uint8) for kind in ("before", "after")}
    names = [f"case {index}" for index in range(40)]
    for name in names:
        report.add(record(name), noisy)

    def peak(count: int) -> int:
        tracemalloc.start()
        report.write(names[:count])
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    peak(1)
    assert peak(40) < 2 * peak(4)


def encoded_size(pixels: np.ndarray[Any, Any]) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return len(file.getvalue())


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 40, 30), (480, 360)), ((1, 1000, 2000), (256, 512)), ((3, 512, 512), (512, 512))]
)
def test_picture_is_at_most_512_pixels_long(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    shown = report_plane(torch.rand(shape), 0, 1)
    assert shown.shape[:2] in (expected, expected[::-1])
    assert shown.shape[2] == 3
    assert shown.dtype == np.uint8


def test_picture_has_the_proportions_of_the_patient() -> None:
    image = MetaTensor(torch.rand(1, 40, 40, 4), affine=torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])))
    height, width, _ = report_plane(image, 0, 1).shape
    assert height == 2 * width


def test_picture_runs_from_low_to_high() -> None:
    shown = report_plane(torch.tensor([[[-50.0, 100.0], [150.0, 200.0]]]), 100, 200)
    assert sorted({int(value) for value in shown.flatten()}) == [0, 128, 255]


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_picture_shows_the_slice_asked_for(slice_axis: int) -> None:
    volume = torch.zeros(1, 6, 6, 6)
    volume.select(slice_axis + 1, 1).fill_(1)
    assert report_plane(volume, 0, 1, slice_axis, plane=1).min() == 255
    assert report_plane(volume, 0, 1, slice_axis).max() == 0


def test_input_and_result_are_shown_in_the_window_of_the_input() -> None:
    before = torch.linspace(0, 1, 400).reshape(1, 20, 20)
    pictures = report_pictures(before, before / 2).pictures
    assert pictures["before"].max() == 255
    assert pictures["after"].max() == pytest.approx(128, abs=2)


PLACES = {"new_structure": (3, 4, 1), "lost_structure": (3, 4, 5)}


@pytest.mark.parametrize(
    ("verdict", "plane"),
    [
        (None, 4),
        (Verdict("ok", []), 4),
        (Verdict("check", ["why"]), 1),
        (Verdict("check", ["why"], ("new_structure", "lost_structure")), 1),
        (Verdict("check", ["why"], ("lost_structure",)), 5),
    ],
)
def test_volume_to_be_checked_is_shown_where_to_look(verdict: Verdict | None, plane: int) -> None:
    volume = torch.rand(1, 10, 10, 8)
    shown = report_pictures(volume, volume, places=PLACES, verdict=verdict)
    assert shown.plane == plane
    assert set(shown.marks) == {name for name, place in PLACES.items() if place[2] == plane}


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_mark_is_where_the_picture_shows_the_voxel(flip: tuple[int, int]) -> None:
    volume = torch.zeros(1, 16, 12, 4)
    volume[0, 3, 9, 1] = 1
    image = MetaTensor(volume, affine=torch.diag(torch.tensor([*map(float, flip), 1.0, 1.0])))
    places = {"new_structure": (3, 9, 1)}
    shown = report_pictures(image, image, places=places, verdict=Verdict("check", ["why"]))
    rows, columns = np.nonzero(shown.pictures["before"][..., 0] > 128)
    height, width = shown.pictures["before"].shape[:2]
    left, top = shown.marks["new_structure"]
    assert (left, top) == pytest.approx(((columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height), abs=0.01)


def test_uncertainty_is_black_where_there_is_none_and_yellow_from_the_limit_on() -> None:
    before = torch.linspace(0, 100, 400).reshape(1, 20, 20)
    deviation = torch.zeros(1, 20, 20)
    deviation[:, :10] = 20
    heat = report_pictures(before, before, deviation=deviation).pictures["uncertainty"]
    assert {tuple(colour) for colour in heat.reshape(-1, 3).tolist()} == {(0, 0, 0), (255, 215, 60)}


def test_pictures_of_many_cases_make_a_small_page() -> None:
    image = torch.nn.functional.interpolate(torch.rand(1, 1, 20, 20), size=(600, 600), mode="bicubic")[0]
    assert encoded_size(report_plane(image, 0, 1)) < 60_000


def _damaged(content: Any, random: np.random.RandomState) -> Any:
    """The same JSON with one of its values, at any depth, replaced by something else."""
    strange: list[Any] = [None, -1, 1e308, True, "", "<b>", "=1+1", [], [1, [2]], {}, {"structure": "x"}, {"": None}]
    if isinstance(content, dict) and content and random.rand() < 0.9:
        key = sorted(content)[random.randint(len(content))]
        return {**content, key: _damaged(content[key], random)}
    if isinstance(content, list) and content and random.rand() < 0.9:
        at = random.randint(len(content))
        return [*content[:at], _damaged(content[at], random), *content[at + 1 :]]
    return strange[random.randint(len(strange))]


def test_no_damage_to_a_record_breaks_the_report(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    report = BatchReport(tmp_path, SafetyThresholds({"structure": Limit(lower=0.74)}, cases=5))
    report.add(FULL)
    (file,) = (tmp_path / "report").glob("*.json")
    content = json.loads(file.read_text())
    found = 0
    for _ in range(120):
        file.write_text(json.dumps(_damaged(content, random)))
        found += report.find(FULL.name) is not None
        report.write([FULL.name])
    assert 0 < found < 120
    whole = json.dumps(content).encode()
    for _ in range(60):
        place = random.randint(len(whole))
        file.write_bytes(whole[:place] + bytes([random.randint(256)]) + whole[place + 1 :])
        report.write([FULL.name])
