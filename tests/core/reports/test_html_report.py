# SPDX-License-Identifier: GPL-3.0-or-later
"""The report is one page that needs nothing else, and says what happened to every micrograph."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cryoice_scipion.core.records import MicrographRecord, PickScore, Summary
from cryoice_scipion.core.reports import html
from cryoice_scipion.core.results.run_sums import RunSums

SETTINGS = {"model": "default", "threshold": None, "margin": 0.0}


class Page(HTMLParser):
    """What a browser would make of a page: its tags, what they refer to, its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.words, self.equivalents = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "action")]
        if "http-equiv" in dict(attributes):
            self.equivalents.append((dict(attributes)["http-equiv"], dict(attributes)["content"]))

    def handle_data(self, data):
        self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def record(number, folder, **fields):
    """Return an accepted micrograph with a thumbnail and two coordinates."""
    thumbnail = folder / "thumbnails" / f"mic{number}.png"
    thumbnail.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), number % 256, np.uint8)).save(thumbnail)
    values = {
        "id": number,
        "stem": f"mic{number}",
        "path": f"mic{number}.mrc",
        "status": "accepted",
        "bad_area": number / 100,
        "areas": {"good": 1 - number / 100, "crystalline": number / 100},
        "scores": [PickScore(1, 0.9, "good", True), PickScore(2, None, "outside", False)],
        "thumbnail": f"thumbnails/mic{number}.png",
    }
    return MicrographRecord(**{**values, **fields})


def failed(number, reason):
    return MicrographRecord(number, f"broken{number}", f"broken{number}.mrc", "failed", reason=reason)


def write(folder, records, settings=SETTINGS, card="", state=None):
    sums = RunSums(settings.get("threshold"))
    for one in records:
        sums.add(one)
    path = html.write_report(folder, sums, settings, card, state)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_a_run_of_many_is_shown_in_at_most_twelve_pictures(tmp_path):
    page = write(tmp_path, (record(number, tmp_path) for number in range(1, 41)))
    assert page.tags.count("img") == 12
    shown = [f"mic{number}:" in page.words for number in range(1, 41)]
    assert all(shown[-6:]), "the worst"
    assert sum(shown) == 12
    assert "40 micrographs" in page.text and "80 coordinates" in page.text
    assert "40 kept" in page.text and "40 rejected" in page.text


def test_the_page_has_the_name_of_the_run_or_of_its_folder(tmp_path):
    assert f"Screening report: {tmp_path.name}" in write(tmp_path, [record(1, tmp_path)]).text
    html.write_report(tmp_path, RunSums(0.5), SETTINGS, name="session / grid 3 & 4")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Screening report: session / grid 3 & 4" in page.text


def test_the_page_needs_nothing_but_itself(tmp_path):
    card = (
        "see https://example.org, <https://example.org>, [this](https://example.org), ![x](https://example.org/x.png)"
    )
    page = write(tmp_path, [record(1, tmp_path)], card=card, state=Summary(backlog=1))
    assert page.references and all(reference.startswith(("data:image/", "#")) for reference in page.references)
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert "https://example.org/x.png" in page.text, "shown as it is written"


def test_the_card_is_shown_as_a_part_of_the_page(tmp_path):
    card = "# name\n\nfiles a*, b*\n\n## Measured\n\n| measure | value |\n|---|---|\n| auc | 0.93 |\n"
    bare, page = write(tmp_path, []), write(tmp_path, [], card=card)
    assert page.tags.count("table") == bare.tags.count("table") + 1
    assert (page.tags.count("h1"), page.tags.count("h3"), page.tags.count("h4")) == (1, 1, 1)
    assert "auc 0.93" in page.text and "files a*, b*" in page.text


def test_failures_are_listed_with_their_reason(tmp_path):
    page = write(tmp_path, [record(1, tmp_path), failed(2, "truncated: 10 of 20 bytes")])
    assert "broken2 truncated: 10 of 20 bytes" in page.text


def test_very_many_failures_are_counted(tmp_path):
    page = write(tmp_path, [failed(number, "empty") for number in range(250)])
    assert "And 50 more" in page.text


def test_names_cannot_become_markup(tmp_path):
    odd = "\"'><script>alert(1)</script>"
    page = write(tmp_path, [record(1, tmp_path, stem=odd), failed(2, odd)], {"model": odd}, odd)
    assert "script" not in page.tags
    assert page.text.count(odd) >= 4


def test_bad_area_is_averaged_over_what_could_be_read(tmp_path):
    page = write(tmp_path, [record(10, tmp_path), record(20, tmp_path), failed(3, "empty")])
    assert "crystalline 15.0 % 20.0 % in mic20" in page.text


def test_grades_are_counted_and_listed_up_to_a_number_of_each(tmp_path):
    graded = {"grade": "great", "grade_confidence": 0.9, "grade_reason": "No bad area."}
    bad = {"grade": "film", "grade_confidence": 0.61, "grade_reason": "Film on 70 %."}
    records = [record(1, tmp_path, id=number, **graded) for number in range(250)]
    page = write(tmp_path, [*records, record(7, tmp_path, id=300, **bad)], {**SETTINGS, "reject_grades": ["film"]})
    assert "great 250 (99.6 %) film 1 (0.4 %)" in page.text
    assert page.text.count("great 0.90 1.0 % accepted No bad area.") == 200
    assert "mic7 film 0.61 7.0 % accepted Film on 70 %." in page.text
    assert "at most 200 micrographs of each grade; 50 more" in page.text
    assert "discarded with their coordinates: film" in page.text and "reject grades film" in page.text


def test_flags_are_counted_whatever_number_they_carry(tmp_path):
    flags = [["border", "picks_outside=3"], ["border", "picks_outside=5"]]
    page = write(tmp_path, [record(number, tmp_path, flags=flags[number]) for number in (0, 1)])
    assert "border 2 picks_outside 2" in page.text


DAMAGE = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "zeros from some point on": lambda path: path.write_bytes(path.read_bytes()[:40] + bytes(40)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_thumbnail_that_is_gone_or_damaged_does_not_spoil_the_report(damage, tmp_path):
    told = [record(number, tmp_path) for number in range(1, 9)]
    damage(tmp_path / told[7].thumbnail)
    page = write(tmp_path, told)
    shown = [f"mic{number}:" in page.words for number in range(1, 9)]
    assert shown == [True] * 7 + [False]
    assert "8 micrographs" in page.text


def test_a_run_that_goes_on_says_what_waits_and_is_loaded_again_each_minute(tmp_path):
    state = Summary(backlog=17, micrographs_per_hour=412.4, recent_per_hour=0.0)
    page = write(tmp_path, [record(1, tmp_path)], state=state)
    assert "The run is not finished: 17 micrographs are waiting" in page.text
    assert "412 per hour (this session)" in page.text and "0 micrographs per hour (last 10 min)" in page.text
    assert ("refresh", "60") in page.equivalents


def test_a_finished_run_says_so_and_is_not_loaded_again(tmp_path):
    state = Summary(finished=True, micrographs_per_hour=412.4, recent_per_hour=400.0)
    page = write(tmp_path, [record(1, tmp_path)], state=state)
    assert "The run is finished" in page.text and "waiting" not in page.text
    assert not page.equivalents


def test_the_page_of_a_run_that_was_screened_twice_is_that_of_the_second_screening(tmp_path):
    first = [record(number, tmp_path) for number in range(1, 21)]
    second = [
        record(number, tmp_path, scores=[PickScore(1, number / 21, "support", number > 5)], flags=["late"])
        for number in range(1, 21)
    ]
    sums = RunSums(0.5)
    for one in first:
        sums.add(one)
    for old, new in zip(first[::-1], second[::-1]):
        sums.remove(old)
        sums.add(new)
    settings = {"threshold": 0.5}
    html.write_report(tmp_path, sums, settings)
    changed = (tmp_path / "report.html").read_text()
    write(tmp_path, second, settings)
    expected = (tmp_path / "report.html").read_text()
    assert without_time(changed) == without_time(expected)


def without_time(page):
    return [line for line in page.splitlines() if "datetime=" not in line]


@pytest.mark.parametrize("settings", [{}, SETTINGS, {"threshold": -1.0}])
def test_an_empty_run_has_a_report_too(tmp_path, settings):
    page = write(tmp_path, [], settings)
    assert "0 micrographs" in page.text
    assert "img" not in page.tags


def test_writing_again_replaces_the_page(tmp_path):
    write(tmp_path, [])
    page = write(tmp_path, [record(1, tmp_path)])
    assert "1 micrograph" in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "thumbnails"]
