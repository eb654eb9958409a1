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

    return Labels(tmp_path / "labels.json")


def again(labels):
    return type(labels)(labels._path)


def test_labels_are_in_the_file_after_each_change(labels):
    from cryoice_scipion.viewers.labels import Place

    labels.mark("one", Place(10.0, 20.0, GOOD), 5.0)
    labels.mark("one", Place(40.0, 20.0, BAD), 5.0)
    labels.decide("two", False)
    assert again(labels).places == {"one": (Place(10.0, 20.0, GOOD), Place(40.0, 20.0, BAD))}
    assert again(labels).verdicts == {"two": False}
    labels.mark("one", Place(12.0, 20.0, BAD), 5.0)  # the same place: it corrects the first
    assert (again(labels).number(GOOD), again(labels).number(BAD)) == (0, 2)
    assert labels.remove("one", 41.0, 21.0, 5.0)
    assert not labels.remove("one", 400.0, 21.0, 5.0)
    assert again(labels).places == {"one": (Place(12.0, 20.0, BAD),)}
    labels.decide("two", False)  # again: as the run decided
    assert again(labels).verdicts == {}


def test_every_change_can_be_undone(labels):
    from cryoice_scipion.viewers.labels import Place

    labels.mark("one", Place(10.0, 20.0, GOOD), 5.0)
    labels.decide("one", True)
    labels.remove("one", 10.0, 20.0, 5.0)
    states = []
    while labels.can_undo:
        labels.undo()
        states.append((again(labels).number(GOOD), again(labels).verdicts))
    assert states == [(1, {"one": True}), (1, {}), (0, {})]


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"places": {"one": [{"x": 1, "y": 2, "label": "?"}]}})])
def test_a_damaged_file_is_one_line_and_stays(labels, text):
    labels._path.write_text(text)
    with pytest.raises(CryoIceError, match="labels.json: cannot be read .*; move it away"):
        again(labels)
    assert labels._path.read_text() == text


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
