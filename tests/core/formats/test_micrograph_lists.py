# SPDX-License-Identifier: GPL-3.0-or-later
"""RELION's lists of micrographs: names and pixel sizes are read, and a part is written with all columns."""

import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.micrograph_lists import InputList, write_micrographs
from cryoice_scipion.core.formats.micrograph_star import MicrographStar
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.images.naming import expand_micrographs

OPTICS = "data_optics\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n_rlnVoltage\n"
GROUPS = f"{OPTICS}one 1 0.885 300\ntwo 2 1.5 200\n"
LIST = "data_micrographs\nloop_\n_rlnMicrographName\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(path):
    """Return the tables of a list by name, as lists of rows."""
    return {block.name: block.table.values.tolist() for block in read_star(path)}


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (GROUPS + LIST + "_rlnOpticsGroup\na.mrc 2\nb.mrc 1\nc.mrc 3\n", [1.5, 0.885, None]),
        (OPTICS + "one 1 0.885 300\n" + LIST + "a.mrc\nb.mrc\nc.mrc\n", [0.885] * 3),
        (OPTICS + "one 1 none 300\n" + LIST + "a.mrc\nb.mrc\nc.mrc\n", [None] * 3),
        (GROUPS + LIST + "a.mrc\nb.mrc\nc.mrc\n", [None] * 3),
        (OPTICS + "one 1 none 300\n" + LIST + "_rlnOpticsGroup\na.mrc 1\nb.mrc 1\nc.mrc 1\n", [None] * 3),
        (LIST + "_rlnMicrographPixelSize\na.mrc 1.25\nb.mrc 0\nc.mrc unknown\n", [1.25, None, None]),
        (LIST + "_rlnMagnification\n_rlnDetectorPixelSize\na.mrc 50000 5\nb.mrc 0 5\nc.mrc 5 x\n", [1.0, None, None]),
        (
            LIST + "_rlnMagnification\n_rlnDetectorPixelSize\n_rlnImageName\na.mrc 50000 5 1@a.mrcs\n"
            "a.mrc 50000 5 2@a.mrcs\nb.mrc 50000 5 1@b.mrcs\nc.mrc 50000 5 1@c.mrcs\n",  # of scaled particles
            [None] * 3,
        ),
        (LIST + "_rlnMagnification\na.mrc 50000\nb.mrc 50000\nc.mrc 50000\n", [None] * 3),
        (LIST + "a.mrc\nb.mrc\na.mrc\nc.mrc\n", [None] * 3),
    ],
)
def test_each_micrograph_has_the_pixel_size_of_its_optics_group_its_row_or_its_magnification(tmp_path, text, sizes):
    found = MicrographStar.read(write(tmp_path / "m.star", text)).listed()
    assert [name for name, _ in found] == ["a.mrc", "b.mrc", "c.mrc"]
    assert [size for _, size in found] == sizes


def test_an_optics_group_has_one_pixel_size(tmp_path):
    rows = LIST + "_rlnOpticsGroup\na.mrc 2\nb.mrc 1\n"
    twice = write(tmp_path / "m.star", OPTICS + "one 1 0.885 300\ntwo 2 1.5 300\none 1 1.77 300\n" + rows)
    reason = r"m\.star: gives optics group 1 0\.885 Å/px and 1\.77 Å/px; correct the optics table"
    with pytest.raises(CryoIceError, match=reason):
        MicrographStar.read(twice).listed()
    with pytest.raises(CryoIceError, match=reason):
        expand_micrographs([str(twice)])
    write(twice, OPTICS + "one 1 none 300\none 1 0.885 300\ntwo 2 1.5 300\none 1 0.8851 200\n" + rows)  # calibration
    assert MicrographStar.read(twice).listed() == [("a.mrc", 1.5), ("b.mrc", 0.885)]


@pytest.mark.parametrize(
    ("text", "words"),
    [(OPTICS, "no column _rlnMicrographName.*; give"), (LIST, "lists no micrographs; give"), ("1\n", "no column")],
)
def test_a_file_that_names_no_micrographs_is_one_line(tmp_path, text, words):
    with pytest.raises(CryoIceError, match=f"m.star: .*{words}"):
        MicrographStar.read(write(tmp_path / "m.star", text))


def test_a_part_of_a_list_has_all_its_columns_and_its_optics(tmp_path):
    rows = ["Mics/a.mrc 2 0.5\n", "Mics/b.mrc 1 0.25\n", "Mics/c.mrc 2 0.125\n"]
    text = GROUPS + LIST + "_rlnOpticsGroup\n_rlnCtfMaxResolution\n" + "".join(rows)
    (tmp_path / "Mics").mkdir()
    paths = {f"{name}.mrc": str(write(tmp_path / "Mics" / f"{name}.mrc", "")) for name in "abc"}
    given = InputList(write(tmp_path / "m.star", text))
    assert given.names == {path: f"Mics/{name}" for name, path in paths.items()}
    write_micrographs(tmp_path / "o.star", {paths["c.mrc"]: None, paths["a.mrc"]: 7.0}, given)
    assert read(tmp_path / "o.star") == {
        "optics": [["one", 1, 0.885, 300], ["two", 2, 1.5, 200]],
        "micrographs": [["Mics/a.mrc", 2, 0.5], ["Mics/c.mrc", 2, 0.125]],
    }
    assert (tmp_path / "o.star").read_text().count("# version 30001\n") == 2
    assert given.star.write_part(tmp_path / "p.star", lambda name: name.endswith("b.mrc")) == 1


def test_a_part_of_an_old_list_is_of_the_old_form(tmp_path):
    text = "data_\nloop_\n_rlnMicrographName\n_rlnVoltage\n/a.mrc 300\n/b.mrc 200\n"
    given = InputList(write(tmp_path / "m.star", text))
    write_micrographs(tmp_path / "o.star", {"/b.mrc": None}, given)
    assert read(tmp_path / "o.star") == {"": [["/b.mrc", 200]]}
    assert "# version" not in (tmp_path / "o.star").read_text()


def test_micrographs_that_the_list_lacks_make_a_new_list(tmp_path):
    given = InputList(write(tmp_path / "m.star", LIST + "/a.mrc\n"))
    write_micrographs(tmp_path / "o.star", {"/a.mrc": 1.5, "/x.mrc": 2.0, "/y.mrc": 1.5}, given)
    assert read(tmp_path / "o.star") == {
        "optics": [["opticsGroup1", 1, 1.5], ["opticsGroup2", 2, 2.0]],
        "micrographs": [["/a.mrc", 1], ["/x.mrc", 2], ["/y.mrc", 1]],
    }
    assert MicrographStar.read(tmp_path / "o.star").listed() == [("/a.mrc", 1.5), ("/x.mrc", 2.0), ("/y.mrc", 1.5)]
    assert (tmp_path / "o.star").read_text().count("# version 30001\n") == 2


@pytest.mark.parametrize("micrographs", [{"/a.mrc": 1.5, "001": None}, {}])
def test_a_new_list_has_optics_groups_only_if_all_pixel_sizes_are_known(tmp_path, micrographs):
    write_micrographs(tmp_path / "o.star", micrographs)
    assert read(tmp_path / "o.star") == {"micrographs": [[name] for name in micrographs]}
