# SPDX-License-Identifier: GPL-3.0-or-later
"""EMAN .box files: what is written is read back, and the marks of EMAN's programs are no scores."""

import numpy as np
import pytest

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats import eman_box
from cryoice_scipion.core.formats.coordinates import BOX_SIZE, SCORE, X, Y, read_picks


def test_boxes_are_written_as_corners_with_even_sides(tmp_path):
    path = tmp_path / "é.box"
    eman_box.write(path, [(100.5, 200, 40, 0.25), (10, 20, 41.5, None), (1e6 + 0.25, 5, 0.3, -1)])
    assert path.read_text().splitlines() == ["80.5\t180\t40\t40\t0.25", "-11\t-1\t42\t42", "999999.25\t4\t2\t2\t-1"]
    table = read_picks(path).table
    assert table[X].tolist() == [100.5, 10, 1e6 + 0.25] and table[Y].tolist() == [200, 20, 5]
    assert table[BOX_SIZE].tolist() == [40, 42, 2]
    np.testing.assert_equal(table[SCORE].to_numpy(), [0.25, np.nan, -1])


def test_a_box_without_a_size_has_none_and_one_of_unequal_sides_their_mean(tmp_path):
    (tmp_path / "m.box").write_text("10 20 0 0\n10 20 40 60\n")
    table = read_picks(tmp_path / "m.box").table
    assert table[[X, Y]].values.tolist() == [[10, 20], [30, 50]]
    np.testing.assert_equal(table[BOX_SIZE].to_numpy(), [np.nan, 50])
    (tmp_path / "m.box").write_text("10 20 0 0\n")
    assert BOX_SIZE not in read_picks(tmp_path / "m.box").table


def test_filaments_are_refused_and_minus_one_among_scores_is_a_score(tmp_path):
    path = tmp_path / "m.box"
    path.write_text("1 2 3 3 -1\n4 5 3 3 -2\n")
    with pytest.raises(CoordinatesError, match="m.box: holds filaments.*; cut the filaments"):
        read_picks(path)
    path.write_text("1 2 3 3 -1\n4 5 3 3 0.5\n")
    assert read_picks(path).table[SCORE].tolist() == [-1, 0.5]
    path.write_text("1 2 3 3 -3\n4 5 3 3\n")
    assert SCORE not in read_picks(path).table
