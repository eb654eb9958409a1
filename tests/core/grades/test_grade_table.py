# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of graded micrographs."""

from cryoice_scipion.core.grades.table import match_grades, read_grades


def test_dots_in_names_stay(tmp_path):
    names = ["hole_1.25", "hole_1.5", "a/hole_2.mrc", "hole_3.mrc.gz"]
    (tmp_path / "t.csv").write_text("micrograph,grade\n" + "".join(f"{name},film\n" for name in names))
    micrographs = {
        "hole_1.25": "hole_1.25.mrc",
        "hole_1.5": "hole_1.5.mrc",
        "hole_2": "a/hole_2.mrc",
        "hole_3": "hole_3.mrc",
    }
    assert match_grades(read_grades(tmp_path / "t.csv"), micrographs) == dict.fromkeys(micrographs, "film")


def test_a_micrograph_and_its_dose_weighted_one_have_their_own_grades(tmp_path):
    (tmp_path / "t.csv").write_text("micrograph,grade\nX.mrc,great\nX_DW.mrc,film\n")
    grades = read_grades(tmp_path / "t.csv")
    assert match_grades(grades, {"X": "a/X.mrc", "X_DW": "a/X_DW.mrc"}) == {"X": "great", "X_DW": "film"}
    assert match_grades(grades, {"X": "a/X.mrc"}) == {"X": "great"}
    assert match_grades({"X": "great"}, {"X_DW": "a/X_DW.mrc", "Y": "a/Y.mrc"}) == {"X_DW": "great"}


def test_micrographs_of_one_name_in_two_folders_have_their_own_grades():
    micrographs = {"X": "p/a/X.mrc", "b_X": "p/b/X.mrc"}
    assert match_grades({"a/X.mrc": "great", "b/X.mrc": "film"}, micrographs) == {"X": "great", "b_X": "film"}
    assert match_grades({"X": "great", "b_X": "film"}, micrographs) == {"X": "great", "b_X": "film"}
