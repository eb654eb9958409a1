# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates that come in any order, with ids that stay."""

import pandas as pd
import pytest

from cryoice_scipion.core.errors import CoordinatesError, SettingsError
from cryoice_scipion.core.formats.coordinates import ROWS_OF_A_PART, write_star
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates


def streaming(check=lambda path, picks: None):
    return StreamingCoordinates(check)


def star(path, *rows, optics=None, **columns):
    """Write rows of (micrograph, x, y)."""
    names = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    write_star(path, pd.DataFrame(rows, columns=names).assign(**columns), optics)
    return path


def places(picks, stem):
    return [(pick.id, pick.x, pick.y) for pick in picks.of(stem)]


def test_it_does_not_matter_which_comes_first_the_micrograph_or_its_coordinates(tmp_path):
    (tmp_path / "a.box").write_text("0 0 20 20\n")
    (tmp_path / "b_autopick.box").write_text("10 10 20 20\n")
    picks = streaming()
    assert picks.read(tmp_path / "a.box") == set()
    assert picks.count_unmatched() == 1
    assert picks.add_micrograph("a") == {"a"}
    assert picks.add_micrograph("b") == set()
    assert picks.read(tmp_path / "b_autopick.box") == {"b"}
    assert places(picks, "a") == [(0, 10, 10)]
    assert places(picks, "b") == [(ROWS_OF_A_PART, 20, 20)]
    assert (picks.of("a")[0].diameter, picks.of("a")[0].box_size) == (None, 20)
    assert picks.of("nothing") == []
    assert picks.count_unmatched() == 0


def test_a_file_that_grows_touches_only_whom_it_tells_something_new(tmp_path):
    picks = streaming()
    for stem in "abc":
        picks.add_micrograph(stem)
    path = star(tmp_path / "p.star", ("a", 1.0, 1.0), ("b", 2.0, 2.0))
    assert picks.read(path) == {"a", "b"}
    assert picks.read(path) == set()
    star(path, ("a", 1.0, 1.0), ("b", 2.0, 2.0), ("b", 3.0, 3.0), ("c", 4.0, 4.0))
    assert picks.read(path) == {"b", "c"}
    assert places(picks, "b") == [(1, 2, 2), (2, 3, 3)]
    star(path, ("a", 1.5, 1.0), ("c", 2.0, 2.0), ("b", 3.0, 3.0))
    assert picks.read(path) == {"a", "b", "c"}
    assert places(picks, "b") == [(2, 3, 3)]
    assert places(picks, "c") == [(1, 2, 2)]
    assert len(picks) == 3


def test_coordinates_of_one_micrograph_in_two_files_are_together_by_id(tmp_path):
    picks = streaming()
    picks.add_micrograph("a")
    picks.read(star(tmp_path / "one.star", ("a", 1.0, 1.0), ("x", 0.0, 0.0), ("a_DW", 2.0, 2.0), ("a", 3.0, 3.0)))
    assert picks.read(star(tmp_path / "two.star", ("a.mrc", 4.0, 4.0))) == {"a"}
    assert [key for key, _, _ in places(picks, "a")] == [0, 2, 3, ROWS_OF_A_PART]


def test_a_better_match_that_comes_later_takes_the_coordinates_over(tmp_path):
    """The outcome is that of a run that knows all files from the start."""
    picks = streaming()
    picks.add_micrograph("a")
    picks.read(star(tmp_path / "p.star", ("a_DW.mrc", 1.0, 1.0)))
    assert len(picks.of("a")) == 1
    assert picks.add_micrograph("a_DW") == {"a", "a_DW"}
    assert (picks.of("a"), len(picks.of("a_DW"))) == ([], 1)
    (tmp_path / "b_DW_autopick.box").write_text("0 0 20 20\n")
    picks.read(tmp_path / "b_DW_autopick.box")
    assert picks.add_micrograph("b") == {"b"} and picks.add_micrograph("b_DW") == {"b", "b_DW"}
    assert len(picks.of("b_DW")) == 1 and picks.count_unmatched() == 0


def test_a_name_that_fits_two_is_said_once_and_its_coordinates_belong_to_none(tmp_path):
    picks = streaming()
    picks.add_micrograph("a")
    picks.read(star(tmp_path / "p.star", ("a_mic_autopick", 1.0, 1.0)))
    assert picks.add_micrograph("a_DW") == {"a"}
    picks.add_micrograph("a_aligned")
    assert len(picks.warnings) == 1 and "fits several micrographs" in picks.warnings[0]
    assert picks.count_unmatched() == 1


@pytest.mark.parametrize("first", ["picks", "micrograph"])
def test_picks_of_another_folder_belong_to_none(tmp_path, first):
    picks = streaming()
    if first == "micrograph":
        picks.add_micrograph("m", "/data/gridB/m.mrc")
    picks.read(star(tmp_path / "a.star", ("gridA/m.mrc", 1, 1), ("gridA/m.mrc", 2, 2)))
    if first == "picks":
        picks.add_micrograph("m", "/data/gridB/m.mrc")
    assert [pick[1:] for pick in places(picks, "m")] == [(1, 1), (2, 2)]  # files move: one folder is no contradiction
    assert picks.read(star(tmp_path / "b.star", ("gridB/m.mrc", 3, 3))) == {"m"}
    assert [pick[1:] for pick in places(picks, "m")] == [(3, 3)]
    assert picks.counts().left_out == {"unmatched": 2} and picks.counts().rows == 3


def test_only_when_no_micrograph_can_come_any_more_coordinates_are_lost(tmp_path):
    picks = streaming()
    picks.add_micrograph("a")
    picks.read(star(tmp_path / "p.star", ("b", 1.0, 1.0), ("a", 1.0, 1.0), ("b", 2.0, 2.0)))
    assert picks.lost() == []
    picks.closed = True
    assert sorted(picks.lost()) == [0, 2]


def test_parts_come_by_the_files_names_with_the_numbers_that_were_given(tmp_path):
    picks = streaming()
    picks.number_of = {"z.star": 3, "a.star": 7}.__getitem__
    picks.read(star(tmp_path / "z.star", ("m", 1.0, 1.0)))
    picks.read(star(tmp_path / "a.star", ("m", 2.0, 2.0)))
    assert [(first, len(table)) for first, table in picks.parts()] == [(7 * ROWS_OF_A_PART, 1), (3 * ROWS_OF_A_PART, 1)]


def test_optics_are_joined_and_a_file_that_contradicts_the_others_is_refused(tmp_path):
    def optics(group, voltage):
        return pd.DataFrame({"rlnOpticsGroup": [group], "rlnVoltage": [voltage]})

    picks = streaming()
    picks.read(star(tmp_path / "a.star", ("m", 1.0, 1.0), optics=optics(1, 300.0)))
    picks.read(star(tmp_path / "b.star", ("m", 1.0, 1.0), optics=optics(2, 300.0)))
    assert list(picks.optics["rlnOpticsGroup"]) == [1, 2]
    with pytest.raises(CoordinatesError, match="optics group 1"):
        picks.read(star(tmp_path / "c.star", ("m", 1.0, 1.0), optics=optics(1, 200.0)))
    assert len(picks) == 2
    picks.read(star(tmp_path / "b.star", ("m", 1.0, 1.0), optics=optics(2, 200.0)))
    assert list(picks.optics["rlnVoltage"]) == [300.0, 200.0]


def test_a_file_that_cannot_be_read_leaves_what_was_known(tmp_path):
    picks = streaming()
    picks.add_micrograph("a")
    path = star(tmp_path / "p.star", ("a", 1.0, 1.0))
    picks.read(path)
    path.write_text(path.read_text() + "_x 1.0\n")
    with pytest.raises(CoordinatesError, match="p.star"):
        picks.read(path)
    assert places(picks, "a") == [(0, 1, 1)]


def test_a_row_that_is_half_written_is_counted_until_it_is_whole(tmp_path):
    picks = streaming()
    picks.add_micrograph("a")
    path = star(tmp_path / "p.star", ("a", 1.0, 1.0))
    whole = path.read_text().rstrip("\n") + "\n"
    path.write_text(whole + "a\t2.0")
    assert picks.read(path) == {"a"}
    assert places(picks, "a") == [(0, 1, 1)]
    assert (picks.counts().rows, picks.counts().left_out) == (2, {"unreadable_row": 1})
    assert "line" in picks.table_of("p.star").warnings[0]
    path.write_text(whole + "a\t2.0\t2.0\n")
    assert picks.read(path) == {"a"}
    assert (picks.counts().rows, picks.counts().left_out, picks.counts().files) == (2, {}, 1)


def test_every_row_is_counted_under_one_reason(tmp_path):
    picks = streaming()
    for stem in ("a", "b_DW", "b_aligned"):
        picks.add_micrograph(stem)
    picks.read(star(tmp_path / "p.star", ("a", 1.0, 1.0), ("b", 2.0, 2.0), ("x", 3.0, 3.0), ("x", 4.0, 4.0)))
    (tmp_path / "a.box").write_text("1 2 3 3\n1 2 x 3\n")
    picks.read(tmp_path / "a.box")
    counts = picks.counts()
    assert (counts.rows, counts.files, counts.matched) == (6, 2, 2)
    assert counts.left_out == {"unreadable_row": 1, "unmatched": 2, "ambiguous_name": 1}
    assert picks.remove("p.star") == {"a"}
    assert (picks.counts().rows, picks.counts().left_out) == (2, {"unreadable_row": 1})
    assert [pick.id for pick in picks.of("a")] == [ROWS_OF_A_PART]
    assert picks.read(tmp_path / "p.star") == {"a"}  # it keeps its number
    assert [pick.id for pick in picks.of("a")] == [0, ROWS_OF_A_PART]


def test_only_a_file_that_is_used_decides_optics_and_size(tmp_path):
    asked = []
    picks = streaming(lambda path, table: asked.append(path.name))
    wrong = pd.DataFrame({"rlnOpticsGroup": [1], "rlnVoltage": [200.0]})
    right = pd.DataFrame({"rlnOpticsGroup": [1], "rlnVoltage": [300.0]})
    picks.read(star(tmp_path / "empty.star", optics=wrong))
    picks.read(star(tmp_path / "a.star", ("m", 1.0, 1.0), optics=right))
    with pytest.raises(CoordinatesError, match="optics group 1"):
        picks.read(star(tmp_path / "b.star", ("m", 1.0, 1.0), optics=wrong))
    assert list(picks.optics["rlnVoltage"]) == [300.0]
    assert "b.star" not in asked


def test_what_the_settings_must_say_is_asked_for(tmp_path):
    def check(path, picks):
        raise SettingsError(path, "no size")

    with pytest.raises(SettingsError):
        streaming(check).read(star(tmp_path / "p.star", ("a", 1.0, 1.0)))
