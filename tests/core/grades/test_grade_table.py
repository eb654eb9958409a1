# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of graded micrographs."""

from cryoice_scipion.core.grades.table import read_grades
from cryoice_scipion.core.images.naming import micrograph_key


def test_dots_in_names_stay(tmp_path):
    names = ["hole_1.25", "hole_1.5", "a/hole_2.mrc", "hole_3.mrc.gz"]
    (tmp_path / "t.csv").write_text("micrograph,grade\n" + "".join(f"{name},film\n" for name in names))
    assert list(read_grades(tmp_path / "t.csv")) == [micrograph_key(name) for name in names]
    assert micrograph_key("hole_1.25") != micrograph_key("hole_1.5")
