# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of graded micrographs."""

from pathlib import Path

import pytest

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.grades.table import GradeRow, GradeTable, match_grades, read_grades


def grades_of(rows, micrographs):
    """Return the grades of micrographs; ``rows`` are names and grades."""
    table = GradeTable(Path("t.csv"), [GradeRow(number, *row) for number, row in enumerate(rows, 2)])
    return match_grades(table, micrographs).grades


def test_dots_in_names_stay(tmp_path):
    names = ["hole_1.25", "hole_1.5", "a/hole_2.mrc", "hole_3.mrc.gz"]
    (tmp_path / "t.csv").write_text("micrograph,grade\n" + "".join(f"{name},film\n" for name in names))
    micrographs = {
        "hole_1.25": "hole_1.25.mrc",
        "hole_1.5": "hole_1.5.mrc",
        "hole_2": "a/hole_2.mrc",
        "hole_3": "hole_3.mrc",
    }
    assert match_grades(read_grades(tmp_path / "t.csv"), micrographs).grades == dict.fromkeys(micrographs, "film")


def test_a_micrograph_and_its_dose_weighted_one_have_their_own_grades(tmp_path):
    (tmp_path / "t.csv").write_text("micrograph,grade\nX.mrc,great\nX_DW.mrc,film\n")
    grades = read_grades(tmp_path / "t.csv")
    assert match_grades(grades, {"X": "a/X.mrc", "X_DW": "a/X_DW.mrc"}).grades == {"X": "great", "X_DW": "film"}
    assert match_grades(grades, {"X": "a/X.mrc"}) == ({"X": "great"}, ["X_DW.mrc"])
    assert grades_of([("X", "great")], {"X_DW": "a/X_DW.mrc", "Y": "a/Y.mrc"}) == {"X_DW": "great"}


def test_micrographs_of_one_name_in_two_folders_have_their_own_grades():
    micrographs = {"X": "p/a/X.mrc", "b_X": "p/b/X.mrc"}
    assert grades_of([("a/X.mrc", "great"), ("b/X.mrc", "film")], micrographs) == {"X": "great", "b_X": "film"}
    assert grades_of([("X", "great"), ("b_X", "film")], micrographs) == {"X": "great", "b_X": "film"}
    assert grades_of([("a/X.mrc", "great"), ("b/X.mrc", "film")], {"X": "p/b/X.mrc"}) == {"X": "film"}


@pytest.mark.parametrize(
    "names", [("X.mrc", "X.mrc"), ("X.mrc", "m/X.mrc"), ("X_aligned.mrc", "X_DW.mrc"), ("a/X", "b/X")]
)
def test_two_rows_of_one_micrograph_count_once_and_must_agree(tmp_path, names):
    table, text = tmp_path / "t.csv", "micrograph,grade\nY,film\n{},great\n{},{}\n"
    table.write_text(text.format(*names, "great"))
    micrographs = {"X": "m/X.mrc", "Y": "m/Y.mrc"}
    assert match_grades(read_grades(table), micrographs) == ({"X": "great", "Y": "film"}, [])
    table.write_text(text.format(*names, "film"))
    with pytest.raises(SettingsError) as error:
        match_grades(read_grades(table), micrographs)
    rows = f"great in row 3 ({names[0]}), film in row 4 ({names[1]})"
    remedy = "keep one of these rows, or write the names with their folders"
    assert str(error.value) == f"{table}: has several grades for m/X.mrc: {rows}; {remedy}"
    assert match_grades(read_grades(table), {"Y": "m/Y.mrc"}).absent == list(dict.fromkeys(names))
