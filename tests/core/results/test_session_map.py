# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a session keeps similar micrographs together."""

import numpy as np
import pytest

from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.reports.session_map import POINTS, session_map_of
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.results.session_map import LEAST, NEIGHBOURS, PCA, TSNE, session_map


def two_groups(number=12, features=6):
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (2 * number, features))
    rows[number:, :3] += 4
    return {index + 1: row.tolist() for index, row in enumerate(rows)}


@pytest.mark.parametrize("method", [PCA, TSNE])
def test_groups_are_apart_and_neighbours_are_of_the_same_group(method):
    found = session_map(two_groups(), method)
    first, second = found.positions[:12], found.positions[12:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 3 * max(first.std(axis=0).max(), second.std(axis=0).max())
    for key, near in found.neighbours.items():
        assert len(near) == NEIGHBOURS and key not in near and all((other > 12) == (key > 12) for other in near)


def test_the_map_depends_on_the_features_only():
    features = two_groups()
    backwards = dict(reversed(list(features.items())))
    assert session_map(features).positions.tolist() == session_map(backwards).positions.tolist()
    assert 0.5 < session_map(features).explained <= 1


def test_too_few_micrographs_and_other_numbers_of_features_are_left_out():
    features = two_groups()
    few = {key: features[key] for key in list(features)[: LEAST - 1]}
    assert session_map(few).ids == [] and session_map({}).ids == []
    assert session_map({**features, 99: [1.0, 2.0], 100: []}).ids == list(features)


def test_the_report_has_a_point_with_its_words_for_each_micrograph():
    sums = RunSums()
    assert session_map_of(sums) == {}
    for key, row in two_groups().items():
        sums.add(MicrographRecord(key, f"mic{key:02d}", "", "accepted", bad_area=0.1, deviations=row))
    drawn = session_map_of(sums)
    assert len(drawn["points"]) == 24 <= POINTS and drawn["legend"][0][0] == "accepted"
    assert drawn["points"][0]["words"].startswith("mic01: accepted, bad area 10.0 %. Most similar: mic")
    assert all(0 <= float(point[axis]) <= 100 for point in drawn["points"] for axis in "xy")
