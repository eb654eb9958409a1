# SPDX-License-Identifier: GPL-3.0-or-later
"""The three parts in a real browser, which asks nobody but the server, at the width of a desktop and of a phone."""

import json
import shutil
import time
from urllib.parse import urlsplit

import pytest
from browser import CHROMIUM, Browser
from serving import FakeCommand, make_run, make_test_place, micrograph, mrc_bytes, served

from cryoice_scipion.core.serve import teaching

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="neither Chromium nor Chrome is installed")
TEXT = "document.getElementById('{}').textContent"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run whose first three micrographs look alike, and the others too."""
    folder = make_run(tmp_path_factory.mktemp("browser"), 6)
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for record in (line["record"] for line in lines if "record" in line):
        record["deviations"] = [float(record["id"] > 3), 0.1 * record["id"]]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    """Return a browser that has opened the printed address."""
    place = make_test_place(tmp_path_factory.mktemp("serve") / "own", run)
    with pytest.MonkeyPatch.context() as patch, served(place) as address:
        patch.setattr(teaching, "Command", FakeCommand)
        browser = Browser()
        try:
            browser.address = address
            browser.size(1280, 800)
            browser.open(address)
            yield browser
        finally:
            browser.close()


@pytest.fixture(autouse=True)
def only_itself(page):
    """Fail on any request that is not to the server, and on any error or content that the policy refused."""
    yield
    hosts = {urlsplit(one).netloc for one in page.requests if urlsplit(one).scheme not in ("data", "blob", "about")}
    assert hosts == {urlsplit(page.address).netloc}
    assert not page.errors


def check_layout(page):
    """Fail if something is wider than the window of a desktop or a phone, or has a barrier for some users."""
    for width in (390, 1280):
        page.size(width, 800)
        room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert room[0] <= room[1] == width
        assert not page.barriers()


def go(page, name):
    page.open(page.address.split("?")[0] + name)


def test_try(page, tmp_path):
    go(page, "try")
    (tmp_path / "mic.mrc").write_bytes(mrc_bytes(tmp_path, micrograph()))
    (tmp_path / "bad.mrc").write_bytes(b"text")
    page.give_file("#micrograph", tmp_path / "bad.mrc")
    page.wait("!document.getElementById('problem').hidden")
    assert "truncated" in page.evaluate(TEXT.format("problem"))
    page.give_file("#micrograph", tmp_path / "mic.mrc")
    page.wait("!document.getElementById('result').hidden && document.querySelector('#stage .area')")
    assert "Bad area" in page.evaluate(TEXT.format("facts")) and page.evaluate(
        "document.getElementById('problem').hidden"
    )
    for number in (2, 3, 4):
        page.click(f"#views button:nth-child({number})")
        assert (
            page.evaluate("document.querySelector('#stage image').getAttribute('href')")
            .split("/")[-1]
            .startswith({2: "mean", 3: "spectrum", 4: "probability"}[number])
        )
    page.wait("[...document.images].every((one) => one.alt !== null && one.naturalWidth > 0)")
    assert "all.zip" in page.evaluate("document.querySelector('.files a').href")
    page.click("#views button")
    page.evaluate("document.querySelector('#stage svg.picture').focus()")
    page.key("x")
    assert page.evaluate("document.querySelector('#stage .box').checkVisibility({visibilityProperty: true})")
    page.click("#stage [aria-expanded]")
    page.evaluate("(() => { const one = document.querySelector('.look input'); one.value = 10; "
                  "one.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.wait("document.querySelector('#stage image').getAttribute('href').endsWith('?low_pass=10')")
    before = page.evaluate("document.querySelector('#stage svg.picture').getAttribute('viewBox')")
    page.key("+")
    assert page.evaluate("document.querySelector('#stage svg.picture').getAttribute('viewBox')") != before
    check_layout(page)
    told = page.evaluate(TEXT.format("facts"))
    go(page, "try")  # loads the page again
    page.wait("!document.getElementById('result').hidden && document.querySelector('#stage .area')")
    assert page.evaluate(TEXT.format("facts")) == told


def test_the_result_is_that_of_the_last_file(page, tmp_path):
    go(page, "try")
    page.evaluate(
        "(() => { const ask = window.fetch; let number = 0; window.fetch = (...words) => ask(...words).then((found) => "
        "new Promise((done) => setTimeout(() => done(found), number++ ? 0 : 1500))); })()"
    )  # the first answer comes last
    for name in ("first.mrc", "last.mrc"):
        (tmp_path / name).write_bytes(mrc_bytes(tmp_path, micrograph()))
        page.give_file("#micrograph", tmp_path / name)
        page.wait(f"document.getElementById('chosen').textContent === '{name}'")
    page.wait("document.querySelector('#facts h2').textContent === 'last.mrc'")
    time.sleep(2)
    assert page.evaluate("document.querySelector('#facts h2').textContent") == "last.mrc"
    assert page.evaluate("document.getElementById('busy').hidden")


def test_review(page, run):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "warnings": ["the session is unusual"]}))
    go(page, "review")
    page.wait("document.querySelector('#warnings summary').textContent === '1 warning'")
    page.click("#warnings summary")
    assert page.evaluate("document.querySelector('#warnings p').textContent") == "the session is unusual"
    page.wait("document.querySelectorAll('.card').length === 6 && document.querySelector('#told .big')")
    page.wait("/of 36 coordinates kept/.test(document.getElementById('counts').textContent)")
    names = "[...document.querySelectorAll('.card')].map((one) => one.title)"
    assert page.evaluate(names) == [f"mic00{number}.mrc" for number in (6, 5, 4, 3, 2, 1)], "by bad area"
    page.evaluate("(() => { const one = document.getElementById('order'); one.value = 'time'; "
                  "one.dispatchEvent(new Event('change')); })()")  # fmt: skip
    assert page.evaluate(names)[0] == "mic006.mrc"
    before = page.evaluate(TEXT.format("counts"))
    page.evaluate("(() => { const one = document.getElementById('threshold'); one.value = 0.99; "
                  "one.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.wait(f"document.getElementById('counts').textContent !== {json.dumps(before)}")
    page.evaluate("document.querySelector('.card').focus()")
    page.key("r")
    page.wait("document.querySelector('.card .sign.rejected')")
    page.key("ArrowDown")
    page.wait("document.getElementById('name').textContent === 'mic005.mrc'")
    page.key("a")
    page.wait("document.querySelector('.card .sign.accepted')")
    page.click("#save")
    page.wait("/coordinates_kept.star/.test(document.getElementById('saved').textContent)")
    verdicts = json.loads((run / "review.json").read_text())["micrographs"]
    assert verdicts == {"mic005": "accepted", "mic006": "rejected"}
    check_layout(page)


def test_teach(page, run):
    go(page, "teach")
    page.wait("document.querySelectorAll('.card').length === 6 && document.getElementById('name').textContent")
    page.click("#kept")
    page.wait("document.querySelectorAll('.mark.good').length > 1")
    page.click("#undo")
    page.wait("document.querySelectorAll('.mark').length === 0")
    for number in (1, 2):
        page.drag("#stage svg.picture", (0.2, 0.45), (0.25, 0.55))
        page.wait("document.querySelectorAll('.mark').length === 1")
        page.key("3")
        page.drag("#stage svg.picture", (0.6, 0.5), (0.6, 0.5))
        page.wait("document.querySelectorAll('.mark').length === 2")
        page.drag("#stage svg.picture", (0.8, 0.5), (0.8, 0.5))
        page.key("z")
        page.wait("document.querySelectorAll('.mark').length === 2")
        page.key("2")
        if number == 1:
            page.key("ArrowDown")
            page.wait(
                "document.querySelectorAll('.mark').length === 0 && document.querySelector('#regions button.small')"
            )
    right, wrong = (f"#regions button.small:nth-of-type({number})" for number in (2, 3))
    page.click(wrong)
    page.wait("document.querySelectorAll('.mark.good').length > 1")
    page.click(right)
    page.wait("document.querySelectorAll('.mark.good').length === 1")
    pressed = "[...document.querySelectorAll('#regions button.small')].map((one) => one.ariaPressed)"
    assert page.evaluate(pressed)[:2] == ["true", "false"]
    page.click(right)
    page.wait("document.querySelectorAll('.mark').length === 2")
    page.click(right)
    page.wait("document.querySelectorAll('.mark').length > 2 && !document.getElementById('train').disabled")
    check_layout(page)
    page.click("#train")
    page.wait("!document.getElementById('trained').hidden && document.querySelector('#compared button')")
    assert "0.950, before 0.900" in page.evaluate(TEXT.format("measures"))
    page.click("#compared button")
    page.wait("document.querySelector('#before .area') && document.querySelector('#after .area')")
    page.evaluate("document.getElementById('new_name').value = 'mine'")
    page.click("#saving button")
    page.wait("/mine/.test(document.getElementById('models').textContent)")
    labels = json.loads((run / "labels.json").read_text())["micrographs"]
    assert sorted(labels) == ["mic005", "mic006"]
    assert [one["good"] for one in labels["mic006"]] == [False, True]
    check_layout(page)
    page.click("#find")
    page.wait("document.querySelector('#found button')")
    page.click("#found button")
    page.wait("document.querySelector('#stage svg.picture > g:last-of-type > rect.box')")
    shutil.rmtree(run / "models")


def test_the_map_of_the_session(page, run):
    go(page, "review")
    page.wait("document.querySelectorAll('.card').length === 6")
    page.click("#as_map")
    page.wait(
        "document.querySelectorAll('#plane circle[data-id]').length === 6 && document.querySelector('#near button')"
    )
    page.drag("#plane", (0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99))
    page.wait("document.querySelectorAll('#plane .picked').length === 3")
    page.click("[data-verdict=rejected]")
    page.wait("/ of 6 micrographs accepted/.test(document.getElementById('counts').textContent)")
    page.wait("document.querySelectorAll('#plane .picked.out').length === 3")
    verdicts = json.loads((run / "review.json").read_text())["micrographs"]
    alike = [f"mic00{number}" for number in ((1, 2, 3) if "mic001" in verdicts else (4, 5, 6))]
    assert {*alike} <= {stem for stem, word in verdicts.items() if word == "rejected"} <= {*alike, "mic006"}
    page.click("#mark_whole")
    page.wait("/3 micrographs are marked/.test(document.getElementById('news').textContent)")
    labels = json.loads((run / "labels.json").read_text())["micrographs"]
    assert all(labels[stem][-1]["class"] == "bad" and labels[stem][-1]["width"] > 180 for stem in alike)
    page.evaluate("document.getElementById('plane').focus()")
    page.key("Escape")
    chosen = page.evaluate(TEXT.format("name"))
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.key(key)
    page.wait(f"document.getElementById('name').textContent !== {json.dumps(chosen)}")
    page.key(" ")
    page.wait("document.querySelectorAll('#plane .picked').length === 1")
    check_layout(page)


def choose(page, name, value):
    page.evaluate(
        f"(() => {{ const one = document.getElementById('{name}'); one.value = '{value}'; "
        "one.dispatchEvent(new Event('change')); })()"
    )


def test_after_a_verdict_the_next_micrograph_of_a_filtered_list_is_opened(page, run):
    (run / "review.json").write_text('{"version": 1, "micrographs": {}}')
    go(page, "review")
    page.wait("document.querySelectorAll('.card').length === 6 && document.querySelector('#told .big')")
    choose(page, "only", "accepted")
    page.click(".card[title='mic004.mrc']")
    page.evaluate("document.getElementById('threshold').focus()")
    page.key("R")
    page.wait("document.querySelectorAll('.card').length === 5")
    assert page.evaluate(TEXT.format("progress")) == "5 of 6 micrographs"
    page.evaluate("document.activeElement.blur()")
    page.key("ArrowDown")
    page.wait("document.getElementById('name').textContent === 'mic003.mrc'")
    assert json.loads((run / "review.json").read_text())["micrographs"] == {"mic004": "rejected"}


def test_a_verdict_goes_to_the_micrograph_that_is_named_when_another_cannot_be_shown(page, run):
    (run / "review.json").write_text('{"version": 1, "micrographs": {}}')
    lost = run / ".maps" / "mic002.npz"
    lost.rename(run / "away")
    try:
        go(page, "review")
        page.wait("document.querySelectorAll('.card').length === 6 && document.querySelector('#told .big')")
        page.click(".card[title='mic002.mrc']")
        page.wait("/mic002.npz: the stored map cannot be read/.test(document.getElementById('told').textContent)")
        assert page.evaluate(TEXT.format("name")) == "mic002.mrc"
        assert page.evaluate("document.getElementById('stage').hidden"), "it shows the micrograph before"
        page.key("r")
        page.wait("document.querySelector('.card .sign.rejected')")
        assert json.loads((run / "review.json").read_text())["micrographs"] == {"mic002": "rejected"}
        (run / "review.json").write_text('{"version": 1, "micrographs": {"mic002": "accepted"}}')  # by another tab
        page.wait("document.getElementById('verdict').textContent === 'accepted by hand'")
        check_layout(page)
    finally:
        (run / "away").rename(lost)
    page.click(".card[title='mic001.mrc']")
    page.wait("!document.getElementById('stage').hidden && document.querySelector('#told .big')")


def test_two_tabs_mark_places_on_one_micrograph(page, run):
    (run / "labels.json").unlink(missing_ok=True)
    go(page, "teach")
    page.wait("document.querySelectorAll('.card').length === 6 && document.getElementById('name').textContent")
    other = {"x": 20.0, "y": 20.0, "width": 9.0, "height": 9.0, "class": "bad", "good": False}
    stem = page.evaluate(TEXT.format("name")).partition(".")[0]
    (run / "labels.json").write_text(json.dumps({"version": 1, "micrographs": {stem: [other]}}))
    page.drag("#stage svg.picture", (0.6, 0.45), (0.65, 0.55))
    page.wait("document.querySelectorAll('.mark').length === 2")
    assert json.loads((run / "labels.json").read_text())["micrographs"][stem][0] == other
    page.click("#undo")
    page.wait("document.querySelectorAll('.mark').length === 1")
    page.wait("document.getElementById('undo').disabled")


def test_a_small_picture_is_loaded_again_when_its_micrograph_is_screened_again(page, run):
    page.size(1280, 800)
    go(page, "review")
    page.wait("document.querySelectorAll('.card img').length === 6")
    sources = "[...document.querySelectorAll('.card')].map((one) => [one.title, one.querySelector('img').src]).sort()"
    before = dict(page.evaluate(sources))
    screen_again(run, 1.5)
    name, source = sorted(before.items())[1]
    page.wait(f"{sources}[1][1] !== {json.dumps(source)}")
    after = dict(page.evaluate(sources))
    assert name == "mic002.mrc" and [one for one in after if after[one] != before[one]] == [name]


@pytest.mark.parametrize("part", ["review", "teach"])
def test_the_open_micrograph_is_loaded_again_when_it_is_screened_again(page, run, part):
    (run / "labels.json").unlink(missing_ok=True)
    page.size(1280, 800)
    go(page, part)
    page.wait("document.querySelectorAll('.card img').length === 6 && document.getElementById('name').textContent")
    page.click(".card[title='mic002.mrc']")
    shown = "document.querySelector('#stage image').getAttribute('href')"
    page.wait(f"{shown}.startsWith('/api/run/2/picture.jpg')")
    if part == "teach":
        page.drag("#stage svg.picture", (0.6, 0.45), (0.65, 0.55))
        page.wait("document.querySelectorAll('.mark').length === 1")
    page.evaluate("document.querySelector('#stage svg.picture').focus()")
    page.key("+")
    view = "document.querySelector('#stage svg.picture').getAttribute('viewBox')"
    source, zoomed = page.evaluate(shown), page.evaluate(view)
    screen_again(run, {"review": 2.5, "teach": 3.5}[part])
    page.wait(f"{shown} !== {json.dumps(source)} && {shown}.startsWith('/api/run/2/picture.jpg')")
    assert page.evaluate(view) == zoomed
    if part == "teach":
        page.wait("document.querySelectorAll('.mark').length === 1")
        page.click("#undo")
        page.wait("document.querySelectorAll('.mark').length === 0")


def screen_again(run, logit):
    """Add another result of the second micrograph to the journal."""
    lines = (run / "journal.jsonl").read_text().splitlines()
    entry = next(one for one in map(json.loads, lines) if one.get("record", {}).get("id") == 2)
    entry["record"]["median_logit"] = logit
    with open(run / "journal.jsonl", "a") as journal:
        journal.write(json.dumps(entry) + "\n")
