# SPDX-License-Identifier: GPL-3.0-or-later
"""A CryoPPP folder gives micrographs, true and false coordinates, and says what does not fit."""

import pytest

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.cryoppp import read_cryoppp


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "10017"
    for name in ("micrographs", "ground_truth/particle_coordinates", "ground_truth/false_positives"):
        (folder / name).mkdir(parents=True)
    for stem in "ab":
        (folder / "micrographs" / f"{stem}.mrc").write_bytes(b"x")
        csv = "X-Coordinate,Y-Coordinate,Diameter\n10,20,108\n30,40,108\n"
        (folder / "ground_truth/particle_coordinates" / f"{stem}.csv").write_text(csv)
    (folder / "micrographs" / "a.jpg").write_bytes(b"x")
    (folder / "ground_truth/false_positives/a.csv").write_text("X-Coordinate,Y-Coordinate\n5,6\n")
    return folder


def test_an_entry(entry):
    for folder in (entry, entry.parent):
        data = read_cryoppp(folder)
        assert [file.name for file in data.micrographs] == ["a.mrc", "b.mrc"]
        assert len(data.good) == 4 and set(data.good.table["rlnMicrographName"]) == {"a", "b"}
        assert (data.good.table["cryoiceDiameter"] == 108).all()
        assert len(data.bad) == 1
        assert data.messages == ["1 of 2 micrographs has no false positives"]


def test_a_picture_stands_for_a_micrograph_without_an_mrc_file(entry):
    (entry / "micrographs/b.mrc").rename(entry / "micrographs/b.jpg")
    assert [file.name for file in read_cryoppp(entry).micrographs] == ["a.mrc", "b.jpg"]


def test_an_entry_without_false_positives_and_with_orphans(entry):
    (entry / "ground_truth/false_positives/a.csv").unlink()
    (entry / "micrographs/b.mrc").unlink()
    data = read_cryoppp(entry)
    assert data.bad is None
    assert "1 micrograph that is not in the folder (b" in data.messages[0]


def test_true_coordinates_from_the_star_file(entry):
    for file in (entry / "ground_truth/particle_coordinates").iterdir():
        file.unlink()
    with pytest.raises(CoordinatesError, match="no true coordinates"):
        read_cryoppp(entry)
    star = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\na.mrc 1 2\n"
    (entry / "ground_truth/empiar-10017_particles_selected.star").write_text(star)
    assert len(read_cryoppp(entry).good) == 1


def test_other_folders_say_what_is_expected(entry, tmp_path):
    (tmp_path / "other" / "micrographs").mkdir(parents=True)
    for named, words in (
        (tmp_path, "several"),
        (tmp_path / "other" / "micrographs", "no images"),
        (entry / "micrographs", "no folder micrographs"),
        (tmp_path / "missing", "no such folder"),
    ):
        with pytest.raises(CoordinatesError, match=f"^{named}: .*{words}.*; "):
            read_cryoppp(named.parent if named.parent.name == "other" else named)
