# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on coordinates counted by what lies under them, on label images drawn by hand."""

import numpy as np
import pytest

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.evaluation.pick_verdicts import (
    BAD_PICK,
    CLEAN_PICK,
    NEAR,
    by_distance,
    drop_without_size,
    pick_verdicts,
    picks_of_folder,
    removed,
)
from cryoice_scipion.core.evaluation.tables import distance_table, pick_table

SAMPLING = 10.0  # Å
DOUBTFUL = 127


@pytest.fixture
def verdicts():
    """Support on the left of x = 100 Å, border below y = 20 Å, a doubtful patch on the right."""
    codes = np.zeros((50, 60), np.uint8)
    codes[:, :10] = CLASSES.index("support")
    codes[:2] = CLASSES.index("border")
    codes[20:30, 50:] = DOUBTFUL
    x = np.array([50.0, 50.0, 130.0, 300.0, 300.0, 550.0, -5.0, np.nan])
    y = np.array([200.0, 5.0, 200.0, 200.0, 60.0, 250.0, 100.0, 100.0])
    goodness = np.array([0.1, 0.0, 0.3, 0.9, 0.15, 0.5, np.nan, np.nan])
    return pick_verdicts("mic", codes, SAMPLING, x, y, goodness)


def test_each_pick_is_of_one_kind_and_doubtful_ones_are_left_out(verdicts):
    assert verdicts.kinds.tolist() == ["support", "border", NEAR, CLEAN_PICK, NEAR]
    assert verdicts.distance.tolist() == pytest.approx([0, 0, 40, 190, 50])
    assert len(verdicts.goodness) == 5


def test_what_is_below_a_threshold_is_removed(verdicts):
    rows = removed([verdicts, verdicts], [0.2, 0.5])
    assert list(rows) == [BAD_PICK, "support", "border", NEAR, CLEAN_PICK]
    assert rows[BAD_PICK]["picks"] == 4 and rows["support"]["micrographs"] == 2
    shares = {kind: [row["removed"][cut]["value"] for cut in ("0.2", "0.5")] for kind, row in rows.items()}
    assert shares == {BAD_PICK: [1, 1], "support": [1, 1], "border": [1, 1], NEAR: [0.5, 1], CLEAN_PICK: [0, 0]}
    (line,) = (line for line in pick_table(rows, [0.2]).splitlines() if NEAR in line)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [NEAR, "4", "2", "50.0 % [50.0 %, 50.0 %]"]


def test_clean_picks_are_counted_by_distance(verdicts):
    rows = by_distance([verdicts], 0.2, (0, 45, 100, np.inf))
    assert [(row["picks"], row["removed"]) for row in rows] == [(1, 0.0), (1, 1.0), (1, 0.0)]
    assert "100 Å and more" in distance_table(rows)
    assert removed([], [0.5]) == {} and by_distance([], 0.5)[0]["removed"] is None


def test_the_picks_of_a_data_set_are_found_by_micrograph(tmp_path):
    assert picks_of_folder(tmp_path) == {}
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n_cryoiceDiameter\n"
    (tmp_path / "picks.star").write_text(head + "1 2 micrographs/a.mrc 30\n3 4 micrographs/b.mrc 30\n5 6 a.mrc 30\n")
    found = picks_of_folder(tmp_path)
    assert [(pick.x, pick.y, pick.diameter) for pick in found["a"]] == [(1, 2, 30), (5, 6, 30)]
    assert len(found["b"]) == 1
    found["a"][0].diameter = None
    assert drop_without_size(found) == 1 and [pick.x for pick in found["a"]] == [5]
