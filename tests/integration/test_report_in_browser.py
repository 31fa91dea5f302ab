# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""The report's page in a real browser, without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.reports import BatchReport, CaseRecord, Limit, SafetyThresholds

HOSTILE = "größe <script>document.title = 'broken'</script> 頭部"
NAMES = ("head/first", HOSTILE, "notes.txt")

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no Chromium is installed (Debian's package chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three cases: one ok, one to be checked, one failed."""
    colours = {"before": (255, 0, 0), "after": (0, 0, 255), "uncertainty": (0, 255, 0)}
    pictures = {kind: np.full((240, 320, 3), colour, dtype=np.uint8) for kind, colour in colours.items()}
    report = BatchReport(tmp_path_factory.mktemp("report"), SafetyThresholds({"structure": Limit(lower=0.74)}, cases=5))
    report.add(CaseRecord(NAMES[0], "in/first", "first.nii.gz", verdict="ok", measures={"structure": 0.9}), pictures)
    report.add(
        CaseRecord(
            HOSTILE,
            "in/second",
            "second.nii.gz",
            verdict="check",
            reasons=["structural agreement 0.610 is below 0.740"],
            measures={"structure": 0.61},
            marks={"new_structure": (0.25, 0.5)},
        ),
        pictures,
    )
    report.add(CaseRecord(NAMES[2], "in/notes.txt", status="failed", message="this is no image"))
    return report.write(NAMES, {"Model": "test"})["html"]


def chromium(browser: str, page: Path, *options: str, size: str = "1400,1200") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ),
            *(
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--virtual-time-budget=5000",
            ),
            *("--enable-logging=stderr", f"--user-data-dir={page.parent / 'profile'}", f"--window-size={size}"),
            *(*options, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def run_script(browser: str, page: Path, script: str) -> Any:
    """Run a script at the end of a copy of the page; return what it assigns to `result`."""
    copy = page.with_name("driven.html")
    ending = f"<script>{{let result; {script}; document.body.dataset.result = JSON.stringify(result);}}</script>"
    copy.write_text(page.read_text(encoding="utf-8") + ending, encoding="utf-8")
    finished = chromium(browser, copy, "--dump-dom")
    assert "CONSOLE" not in finished.stderr, finished.stderr
    found = re.search(r'data-result="([^"]*)"', finished.stdout)
    assert found is not None, "the script did not come to its end"
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def screenshot(browser: str, page: Path, size: str) -> Image.Image:
    target = page.with_name(f"{size}.png")
    chromium(browser, page, f"--screenshot={target}", size=size)
    return Image.open(target).convert("RGB")


def test_slider_cuts_the_enhanced_picture(browser: str, page: Path) -> None:
    script = """
      const range = document.querySelector('.card input[type=range]');
      const cut = value => {
        range.value = value;
        range.dispatchEvent(new Event('input', {bubbles: true}));
        const card = range.closest('.card');
        return ['.after', '.uncertainty'].map(part => getComputedStyle(card.querySelector(part)).clipPath);
      };
      result = [cut(0), cut(30), cut(100)]
    """
    assert run_script(browser, page, script) == [
        [f"inset(0px 0px 0px {cut}%)"] * 2 if cut else ["inset(0px 0px 0px 0%)"] * 2 for cut in (0, 30, 100)
    ]


def test_slider_of_one_case_leaves_the_others(browser: str, page: Path) -> None:
    script = """
      const ranges = [...document.querySelectorAll('.card input[type=range]')];
      ranges[0].value = 10;
      ranges[0].dispatchEvent(new Event('input'));
      result = [...document.querySelectorAll('.compare')].map(part => part.style.getPropertyValue('--cut'))
    """
    assert run_script(browser, page, script) == ["10%", "50%"]


def test_slider_follows_a_finger_on_the_picture(browser: str, page: Path) -> None:
    script = """
      const compare = document.querySelector('.compare');
      const box = compare.getBoundingClientRect();
      compare.setPointerCapture = () => {};
      compare.dispatchEvent(new PointerEvent('pointerdown', {clientX: box.left + 0.25 * box.width, pointerId: 1}));
      result = [compare.style.getPropertyValue('--cut'), compare.closest('.card').querySelector('[type=range]').value]
    """
    assert run_script(browser, page, script) == ["25%", "25"]


def test_slider_has_a_name_and_takes_the_keyboard(browser: str, page: Path) -> None:
    script = """
      const range = document.querySelector('.card input[type=range]');
      range.focus();
      result = [document.activeElement === range, range.getAttribute('aria-label')]
    """
    focused, label = run_script(browser, page, script)
    assert focused
    assert label == "Share of the picture that shows the original of head/first"


@pytest.mark.parametrize(
    ("state", "shown"), [("all", list(NAMES)), ("ok", [NAMES[0]]), ("check", [NAMES[1]]), ("failed", [NAMES[2]])]
)
def test_buttons_filter(browser: str, page: Path, state: str, shown: list[str]) -> None:
    script = f"""
      document.querySelector('[data-filter={state}]').click();
      result = [...document.querySelectorAll('[data-state]')].filter(entry => entry.checkVisibility())
        .map(entry => entry.querySelector('h3, strong').textContent)
    """
    assert run_script(browser, page, script) == shown


def test_search_finds_part_of_a_name(browser: str, page: Path) -> None:
    script = """
      const search = document.getElementById('search');
      const found = text => {
        search.value = text;
        search.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('[data-state]')].filter(entry => entry.checkVisibility()).length;
      };
      result = [found('GRÖSSE'), found('GRÖßE'), found('head'), found('in/'), found('nowhere'), found('')]
    """
    assert run_script(browser, page, script) == [0, 1, 1, 3, 0, 3]


def test_uncertainty_is_shown_when_it_is_asked_for(browser: str, page: Path) -> None:
    script = """
      const picture = document.querySelector('.uncertainty');
      const before = picture.checkVisibility();
      document.querySelector('[data-shows=".uncertainty"]').click();
      result = [before, picture.checkVisibility()]
    """
    assert run_script(browser, page, script) == [False, True]


def test_name_is_text_and_never_a_script(browser: str, page: Path) -> None:
    result = run_script(browser, page, "result = [document.title, document.querySelectorAll('h3')[1].textContent]")
    assert result == ["Enhanced images", HOSTILE]


def test_page_loads_nothing_else(browser: str, page: Path) -> None:
    script = """
      for (const image of document.images) image.loading = 'eager';
      const loaded = performance.getEntriesByType('resource').map(entry => entry.name);
      result = loaded.filter(name => !name.startsWith('data:'))
    """
    assert run_script(browser, page, script) == []
    assert "http" not in re.sub(r"http-equiv", "", page.read_text(encoding="utf-8"))


def test_page_fits_a_phone(browser: str, page: Path) -> None:
    # Chromium opens no window as narrow as a phone; a frame is.
    outer = page.with_name("phone.html")
    frame = f'<iframe id="phone" src="{page.name}" style="width: 390px; height: 800px; border: 0"></iframe>'
    script = (
        "<script>document.getElementById('phone').onload = event => {"
        "const root = event.target.contentDocument.documentElement;"
        "document.body.dataset.result = root.scrollWidth + ' of ' + root.clientWidth;}</script>"
    )
    outer.write_text(f"<!DOCTYPE html><body>{frame}{script}</body>", encoding="utf-8")
    dom = chromium(browser, outer, "--dump-dom", "--allow-file-access-from-files").stdout
    found = re.search(r'data-result="(\d+) of (\d+)"', dom)
    assert found is not None
    assert int(found[1]) <= int(found[2]) <= 390


def test_screenshot_shows_the_original_on_the_left_and_the_result_on_the_right(browser: str, page: Path) -> None:
    picture = np.asarray(screenshot(browser, page, "1400,1200")).astype(int)
    red = (picture[..., 0] > 200) & (picture[..., 1:].max(-1) < 60)
    blue = (picture[..., 2] > 200) & (picture[..., :2].max(-1) < 60)
    assert red.sum() > 20_000
    assert red.sum() == pytest.approx(blue.sum(), rel=0.1)
    first_card = slice(0, 450)
    assert np.nonzero(red[:, first_card])[1].max() < np.nonzero(blue[:, first_card])[1].min()
