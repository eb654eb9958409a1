# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates with low scores are left out and counted."""

import numpy as np

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.formats.score_cutoff import drop_below, scores_of
from cryoice_scipion.core.records import MicrographTask

HEAD = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"


def test_low_scores_are_counted_and_unknown_ones_stay(tmp_path):
    (tmp_path / "m.star").write_text(f"{HEAD}_rlnAutopickFigureOfMerit\n1 1 0.5\n2 2 0.4\n3 3 -999\n4 4 nan\n")
    picks = read_picks(tmp_path / "m.star")
    drop_below(picks, 0.5)
    assert picks.table["rlnCoordinateX"].tolist() == [1, 3, 4]
    assert np.isnan(scores_of(picks.table)).tolist() == [False, True, True]
    assert picks.left_out == {"low_score": 1} and picks.counts().rows == 4


def test_a_file_without_scores_is_not_cut(tmp_path):
    (tmp_path / "m.star").write_text(f"{HEAD}1 1\n")
    picks = read_picks(tmp_path / "m.star")
    drop_below(picks, 0.5)
    assert len(picks) == 1 and not picks.left_out


def test_after_a_cut_the_files_of_a_micrograph_are_those_that_still_have_coordinates(tmp_path):
    for name, rows in (("m", "1 1 0.1\n2 2 0.1\n"), ("m_topaz", "3 3 0.9\n"), ("m_DW_topaz", "3 3 0.9\n")):
        (tmp_path / f"{name}.star").write_text(f"{HEAD}_rlnAutopickFigureOfMerit\n{rows}")
    picks = read_picks(tmp_path)
    drop_below(picks, 0.5)
    (warning,) = assign_picks(picks, [MicrographTask(1, "m.mrc", "m")]).warnings
    assert f"such as {tmp_path / 'm_DW_topaz.star'} and {tmp_path / 'm_topaz.star'} of m; 1 of" in warning
