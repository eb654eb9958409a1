# SPDX-License-Identifier: GPL-3.0-or-later
"""Two programs change the labels and verdicts of one run, and neither loses what the other wrote."""

import os

from cryoice_scipion.core.regions.labels import LabelledBox
from cryoice_scipion.core.results.review_files import (
    add_labels,
    change_labels,
    change_verdicts,
    read_labels,
    read_verdicts,
)

NUMBER = 20


def change(folder, name):
    for number in range(NUMBER):
        box = LabelledBox(x=number, y=0, width=1, height=1)
        change_labels(folder, "shared", lambda boxes, box=box: [*boxes, box])
        change_verdicts(folder, {f"{name}{number}": "accepted"})


def test_changes_of_two_processes_at_the_same_time_are_all_kept(tmp_path):
    child = os.fork()
    if not child:
        try:
            change(tmp_path, "child")
        finally:
            os._exit(0)
    change(tmp_path, "parent")
    os.waitpid(child, 0)
    assert sorted(box.x for box in read_labels(tmp_path)["shared"]) == sorted([*range(NUMBER)] * 2)
    assert len(read_verdicts(tmp_path)) == 2 * NUMBER


def test_a_change_returns_what_was_there_before(tmp_path):
    box = LabelledBox(x=1, y=2, width=3, height=4)
    assert change_labels(tmp_path, "one", lambda boxes: [box]) == ([], {"one": [box]})
    assert change_labels(tmp_path, "one", lambda boxes: []) == ([box], {})
    assert change_verdicts(tmp_path, {"one": "rejected"}) == ({"one": ""}, {"one": "rejected"})
    assert change_verdicts(tmp_path, {"one": "", "two": ""}) == ({"one": "rejected", "two": ""}, {})


def test_added_labels_replace_those_of_the_same_box_only(tmp_path):
    edges = {"x": 1, "y": 2, "width": 3, "height": 4}
    bad, good, other = LabelledBox(**edges), LabelledBox(**edges, good=True), LabelledBox(**{**edges, "x": 2})
    add_labels(tmp_path, {"one": [bad, other], "two": [bad]})
    add_labels(tmp_path, {"one": [good], "three": []})
    assert read_labels(tmp_path) == {"one": [other, good], "two": [bad]}
