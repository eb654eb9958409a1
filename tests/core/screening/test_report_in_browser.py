# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a real browser: it says what the records say, fits a phone, and tells when it is old."""

import csv
import html
import json
import os
import re
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from simple_grader import CLASSES, use_simple_grader
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither Chromium nor Chrome is installed")
PHONE, DESKTOP = 360, 1280  # px
ODD = '"q" & <img src=x onerror=parent.hacked=1> ' + "long_name_" * 15

LOOK = """
const told = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, root = page.documentElement, shown = (name) => page.getElementById(name);
  const text = (node) => node.innerText.replace(/\\s+/g, " ").trim();
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  const rows = () => [...page.querySelectorAll("#grade-table tbody tr")].filter((one) => one.offsetHeight > 0);
  const grades = () => rows().map((one) => text(one.cells[1]));
  const [name, grade] = page.querySelectorAll("#grade-table thead button");
  grade.click();
  const rising = grades();
  grade.click();
  const falling = grades();
  name.click();
  const names = rows().map((one) => text(one.cells[0]));
  const choice = page.querySelector("#grade-filter select");
  choice.value = "film";
  choice.onchange();
  const only = grades();
  choice.value = "";
  choice.onchange();
  told[frame.id] = {
    width: root.scrollWidth, room: root.clientWidth,
    totals: [...page.querySelectorAll(".numbers li")].map(text),
    failed: [...shown("failed").parentNode.querySelectorAll("tbody th")].map(text),
    captions: [...page.querySelectorAll(".pictures figcaption")].map(text),
    pictures: [...page.images].map((one) => one.naturalWidth > 0 && one.alt.length > 0),
    headings: [...page.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1])),
    landmarks: ["header", "nav", "main", "footer"].map((name) => page.querySelectorAll(name).length),
    charts: [...page.querySelectorAll("svg[role=img]")].map((one) => one.getAttribute("aria-label")),
    headless: [...page.querySelectorAll("table")].filter((one) => !one.querySelector("th[scope=col]")).length,
    graded: {rising, falling, names, only},
    stale: shown("stale") ? shown("stale").offsetHeight > 0 : null,
  };
}
told.hacked = window.hacked === undefined ? 0 : 1;
document.body.textContent = "TOLD" + JSON.stringify(told) + "DLOT";
"""


def browse(folder, pages):
    """Return what a browser makes of pages; each is a name, its text and the width of its window in px."""
    frames = "".join(
        f'<iframe id="{name}" style="width: {width}px; height: 900px; border: 0" srcdoc="{html.escape(text)}"></iframe>'
        for name, text, width in pages
    )
    (folder / "all.html").write_text(
        f"<!DOCTYPE html><body>{frames}<script>window.onload = () => {{ {LOOK} }};</script></body>", encoding="utf-8"
    )
    command = [
        BROWSER,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
    ]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run([*command, (folder / "all.html").as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search("TOLD(.*)DLOT", done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a run of eight micrographs that goes on: two are broken, one has an odd name, the last one is a film."""
    base = tmp_path_factory.mktemp("browser")
    tasks = make_tasks(base / "m", 9, bad_columns=24)
    write_micrograph(tasks[7].path, seed=7, bad_columns=150)
    Path(tasks[1].path).write_bytes(b"")
    Path(tasks[2].path).write_bytes(b"no image" * 5)
    for task in tasks[2:4]:
        task.stem = f"{ODD}{task.id}"
    card = "# model\n\n" + "a_long_word_" * 40 + "\n\n| measure | value |\n|---|---|\n" + f"| {'wide_' * 30} | 1 |\n"
    options = RunOptions(card=card, write_report=write_report)
    with pytest.MonkeyPatch.context() as patch:
        use_simple_grader(patch)
        with ScreeningRun(base / "o", ScreenConfig(reference=2), [executor(classes=CLASSES)], options) as run:
            list(run.process(tasks[:8]))
            run._outputs.finish(3, run.reference, finished=False, everything=True)
    return base / "o"


@pytest.fixture(scope="module")
def seen(folder, tmp_path_factory):
    page = (folder / "report.html").read_text(encoding="utf-8")
    then = (datetime.now().astimezone() - timedelta(minutes=11)).isoformat(timespec="seconds")
    old = re.sub('datetime="[^"]*"', f'datetime="{then}"', page)
    assert old != page
    pages = [("phone", page, PHONE), ("desktop", page, DESKTOP), ("old", old, DESKTOP)]
    return browse(tmp_path_factory.mktemp("page"), pages)


def test_the_counts_are_those_of_the_records(folder, seen):
    with open(folder / "micrographs.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["micrographs"], summary["failed"]) == (8, 2)
    expected = {"micrographs": len(rows), "coordinates": sum(int(row["picks"]) for row in rows)}
    for name in ("accepted", "discarded", "failed"):
        expected[name] = sum(row["status"] == name for row in rows)
    for name in ("kept", "rejected"):
        expected[name] = sum(int(row[name]) for row in rows)
        assert expected[name] == summary[name]
    for width in ("phone", "desktop"):
        shown = {
            words: int(number.replace(",", "")) for number, words in (t.split(" ", 1) for t in seen[width]["totals"])
        }
        assert {name: shown[name] for name in expected} == expected
        assert seen[width]["failed"] == [row["stem"] for row in rows if row["status"] == "failed"]


def test_nothing_is_wider_than_the_window(seen):
    assert (seen["phone"]["room"], seen["desktop"]["room"]) == (PHONE, DESKTOP)
    assert seen["phone"]["width"] <= PHONE
    assert seen["desktop"]["width"] <= DESKTOP


def test_names_are_shown_and_do_nothing(seen):
    assert any(caption.startswith(ODD) for caption in seen["desktop"]["captions"])
    assert not seen["hacked"]


def test_pictures_are_there_and_everything_has_words(seen):
    page = seen["desktop"]
    assert page["pictures"] == [True] * 6
    assert page["landmarks"] == [1, 1, 1, 1]
    assert page["headless"] == 0, "tables without headings of columns"
    assert len(page["charts"]) == 5 and all(re.search(r"\d", words) for words in page["charts"])
    assert page["headings"][0] == 1 and page["headings"].count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page["headings"], page["headings"][1:]))


def test_micrographs_are_sorted_and_filtered_by_grade(folder, seen):
    with open(folder / "micrographs.csv", newline="", encoding="utf-8") as stream:
        grades = {row["stem"]: row["grade"] for row in csv.DictReader(stream) if row["grade"]}
    assert sorted(grades.values()) == ["film"] + ["great"] * 5
    for width in ("phone", "desktop"):
        told = seen[width]["graded"]
        assert told["rising"] == ["great"] * 5 + ["film"] and told["falling"] == told["rising"][::-1]
        assert told["names"] == sorted(grades) and told["only"] == ["film"]
        assert seen[width]["charts"][-1] == "Micrographs by grade: great 5 (83.3 %), film 1 (16.7 %)"


def test_a_page_that_is_no_longer_written_says_that_the_run_has_probably_stopped(seen):
    assert (seen["desktop"]["stale"], seen["old"]["stale"]) == (False, True)
