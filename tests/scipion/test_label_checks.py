# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of a user: kept in a file, undone, and checked before a training. No window is needed."""

import json

import pytest

from cryoice_scipion.constants import BAD, GOOD
from cryoice_scipion.core.errors import CryoIceError

pytestmark = pytest.mark.scipion


@pytest.fixture
def labels(tmp_path):
    from cryoice_scipion.viewers.labels import Labels

    return Labels(tmp_path)


def again(labels):
    return type(labels)(labels._folder)


def numbers(labels):
    """Return how many good and bad places are in the files."""
    counts = again(labels).counts()
    return counts[GOOD], counts[BAD]


def test_labels_are_in_the_file_after_each_change(labels):
    from cryoice_scipion.viewers.labels import Place

    labels.mark("one", Place(10.0, 20.0, GOOD), 5.0, 30.0)
    labels.mark("one", Place(40.0, 20.0, BAD), 5.0, 30.0)
    labels.decide(["two"], False)
    assert again(labels).of("one") == (Place(10.0, 20.0, GOOD), Place(40.0, 20.0, BAD))
    assert again(labels).verdicts == {"two": False}
    labels.mark("one", Place(12.0, 20.0, BAD), 5.0, 30.0)  # the same place: it corrects the first
    assert numbers(labels) == (0, 2)
    assert labels.remove("one", 41.0, 21.0, 5.0)
    assert not labels.remove("one", 400.0, 21.0, 5.0)
    assert again(labels).of("one") == (Place(12.0, 20.0, BAD),)
    labels.decide(["two"], False)  # again: as the run decided
    assert again(labels).verdicts == {}


def test_every_change_can_be_undone(labels):
    from cryoice_scipion.viewers.labels import Place

    labels.mark("one", Place(10.0, 20.0, GOOD), 5.0, 30.0)
    labels.decide(["one"], True)
    labels.decide(["one", "two"], False)  # both, as with the lasso
    assert again(labels).verdicts == {"one": False, "two": False}
    labels.remove("one", 10.0, 20.0, 5.0)
    states = []
    while labels.can_undo:
        labels.undo()
        states.append((again(labels).counts()[GOOD], again(labels).verdicts))
    assert states == [(1, {"one": False, "two": False}), (1, {"one": True}), (1, {}), (0, {})]


def test_changes_of_the_page_stay(labels):
    from cryoice_scipion.viewers.labels import Place

    page = again(labels)
    page.mark("one", Place(10.0, 20.0, GOOD), 5.0, 30.0)
    page.decide(["one"], True)
    labels.mark("one", Place(90.0, 20.0, BAD), 5.0, 30.0)
    labels.decide(["two"], False)
    assert numbers(labels) == (1, 1)
    assert again(labels).verdicts == {"one": True, "two": False}
    labels.undo()
    labels.undo()
    assert numbers(labels) == (1, 0)
    assert again(labels).verdicts == {"one": True}


def test_changes_of_the_page_are_read_once(labels):
    from cryoice_scipion.viewers.labels import Place

    page = again(labels)
    assert not labels.look()
    page.mark("one", Place(10.0, 20.0, GOOD), 5.0, 30.0)
    page.decide(["two"], False)
    assert labels.look() and not labels.look()
    assert labels.of("one") == page.of("one") and labels.verdicts == {"two": False}


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.json", "{"), ("labels.json", '{"micrographs": {"one": [{"x": 1}]}}'), ("review.json", "{}")],
)
def test_a_damaged_file_is_one_line_and_stays(labels, name, text):
    (labels._folder / name).write_text(text)
    with pytest.raises(CryoIceError, match=name):
        again(labels)
    assert (labels._folder / name).read_text() == text


def test_the_files_are_those_of_the_local_page(labels):
    from cryoice_scipion.core.regions.labels import read_labels
    from cryoice_scipion.viewers.labels import Place

    labels.mark("one", Place(100.0, 60.0, GOOD), 5.0, 30.0)
    labels.decide(["two"], False)
    ((stem, box),) = read_labels(labels._folder / "labels.json").boxes()
    assert (stem, box.label, box.x, box.y, box.width) == ("one", "good", 85.0, 45.0, 30.0)
    boxes = {"one": [{"x": 10, "y": 20, "width": 80, "height": 60, "class": "frost"}]}  # drawn in the page
    (labels._folder / "labels.json").write_text(json.dumps({"version": 1, "micrographs": boxes}))
    (place,) = again(labels).of("one")
    assert place == Place(50.0, 50.0, "frost") and place.kind == BAD
    reread = again(labels)
    reread.decide(["two"], True)
    ((_, box),) = read_labels(labels._folder / "labels.json").boxes()
    assert (box.cls, box.width) == ("frost", 80)  # its class and size stay
    assert json.loads((labels._folder / "review.json").read_text())["micrographs"] == {"two": "accepted"}


def counts(**micrographs):
    from cryoice_scipion.label_counts import LabelCounts

    return {name: LabelCounts(*(*numbers, 0)[:3]) for name, numbers in micrographs.items()}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (counts(a=(5, 5), b=(5, 5)), ""),
        (counts(a=(0, 5), b=(0, 5)), ""),  # the background is good
        (counts(a=(9, 10)), "bad on a (10)"),
        (counts(a=(9, 10), b=(9, 0), c=(9, 0)), "bad on a (10)"),
        (counts(a=(9, 3), b=(9, 1)), "4 bad coordinates are too few"),
        (counts(a=(9, 9, 9), b=(9, 9, 9)), "All bad coordinates are also good coordinates"),
        (counts(a=(9, 9, 2), b=(9, 9, 0)), ""),
        (counts(a=(9, 9), b=(9, 9), held=(9, 9)), ""),
        (counts(a=(9, 9), held=(9, 9)), "or hold out fewer"),
        ({}, "0 bad coordinates are too few"),
    ],
)
def test_labels_that_do_not_suffice_are_told_with_their_micrographs(labels, words):
    from cryoice_scipion.label_counts import complaints

    found = complaints(labels, ["held"], 0.25, background=True)
    assert (words in found[0]) if words else not found


def test_without_background_good_places_are_needed_on_two_micrographs_too():
    from cryoice_scipion.label_counts import complaints

    assert "good on a (9)" in complaints(counts(a=(9, 9), b=(0, 9)), [], 0.25, background=False)[0]
