# SPDX-License-Identifier: GPL-3.0-or-later
"""A coordinate file that is given more than once is used once: twice by name, through a link, or through lists."""

import os

import pytest
from cryosparc_project import micrograph, particles, split, write_cs, write_csg

from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, read_picks
from cryoice_scipion.core.formats.score_cutoff import drop_below

HEAD = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"
PARTICLES = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
LIST = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Return the folder of a job with a list and its coordinate files, one with an unreadable row."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "job"
    (folder / "picks").mkdir(parents=True)
    (folder / "picks" / "m1_pick.star").write_text(HEAD + "1 2\n3 4\n")
    (folder / "picks" / "m2_pick.star").write_text(HEAD + "5 6\nx 6\n")
    text = LIST + "".join(f"Movies/{name}.mrc job/picks/{name}_pick.star\n" for name in ("m1", "m2"))
    for name in ("job/a.star", "job/b.star"):
        (tmp_path / name).write_text(text)
    (tmp_path / "link.star").symlink_to("job/a.star")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        ["job/a.star", "job/picks"],
        ["job/picks", "job/a.star"],
        ["job/picks/m1_pick.star", "job/picks", "job/a.star"],
        ["job/a.star", "job/a.star"],
        ["job/a.star", "link.star"],
        ["job/a.star", "/job/a.star"],  # an absolute path
        ["job/a.star", "job/b.star"],
        ["job", "job/b.star"],
        ["job"],
    ],
)
def test_files_of_a_list_are_used_once_whatever_else_has_them(job, given):
    picks = read_picks([path if path[0] != "/" else f"{job.parent}{path}" for path in given])
    assert sorted(zip(picks.table[MICROGRAPH], picks.table[X])) == [
        ("Movies/m1.mrc", 1), ("Movies/m1.mrc", 3), ("Movies/m2.mrc", 5),
    ]  # fmt: skip
    counts = picks.counts()
    assert (counts.rows, counts.left_out, counts.files) == (4, {"unreadable_row": 1}, 2)
    assert len(picks.warnings) == 1 and "1 unreadable row" in picks.warnings[0]
    assert sum("given more than once" in line for line in picks.notes) == 1
    assert "2 coordinate files are given more than once and used once, such as " in picks.notes[-1]
    assert len(picks.row_files.numbers) == 3 and picks.row_files.numbers.max() == 1 == len(picks.row_files.files) - 1


def test_one_file_is_used_once_by_any_path_and_others_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picks").mkdir()
    (tmp_path / "picks" / "p.star").write_text(PARTICLES + "m1.mrc 1 2\nm2.mrc x 4\n")
    (tmp_path / "picks" / "same.star").write_text(PARTICLES + "m1.mrc 1 2\nm2.mrc x 4\n")  # another picker agrees
    (tmp_path / "link.star").symlink_to("picks/p.star")
    alone = read_picks("picks/p.star").counts()
    for other in ("picks/p.star", "picks/../picks/p.star", str(tmp_path / "picks" / "p.star"), "link.star"):
        picks = read_picks(["picks/p.star", other])
        assert picks.counts() == alone and len(picks.warnings) == 1
        assert picks.notes == [f"1 coordinate file is given more than once and used once: {other}"]
    picks = read_picks(["picks", "link.star", "picks"])
    assert (picks.counts().rows, picks.counts().files, len(picks)) == (4, 2, 2)
    assert "2 coordinate files are given" in picks.notes[0] and len(picks.notes) == 1


def test_a_link_named_after_another_micrograph_gives_it_the_coordinates(tmp_path):
    (tmp_path / "m1.box").write_text("0 0 2 2\n")
    (tmp_path / "m2.box").symlink_to("m1.box")
    picks = read_picks(tmp_path)
    assert sorted(picks.table[MICROGRAPH]) == ["m1", "m2"] and picks.counts().files == 2
    (tmp_path / "list.star").write_text(LIST + "".join(f"{name}.mrc {tmp_path}/m1.box\n" for name in ("a", "b", "a")))
    picks = read_picks(tmp_path / "list.star")
    assert picks.table[MICROGRAPH].tolist() == ["a.mrc", "b.mrc"] and "1 coordinate file is given" in picks.notes[0]


def test_a_file_that_cannot_be_read_is_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.star").write_text(HEAD + "1 2\n")
    (tmp_path / "bad.star").write_text("words\n")
    (tmp_path / "notes.txt").write_text("words\n")
    picks = read_picks(["good.star", "bad.star", str(tmp_path / "bad.star"), str(tmp_path)])
    assert list(picks.not_read) == ["bad.star"] and picks.other == [str(tmp_path / "notes.txt")]
    (tmp_path / "notes.txt").write_text("x y\n3 4\n")
    picks = read_picks([tmp_path, "notes.txt"])  # the folder leaves it out, the user does not
    assert picks.other == [] and picks.table[X].tolist() == [1, 3]


def test_rows_below_the_minimum_score_count_for_their_file(job):
    for name, scores in (("m1", (0.1, 0.9)), ("m2", (0.2, 0.3))):
        rows = "".join(f"1 {number} {score}\n" for number, score in enumerate(scores))
        (job / "picks" / f"{name}_pick.star").write_text(f"{HEAD}_rlnAutopickFigureOfMerit\n{rows}")
    picks = read_picks("job/a.star")
    drop_below(picks, 0.5)
    assert [file.left_out for file in picks.row_files.files] == [{"low_score": 1}, {"low_score": 2}]


def test_particles_of_cryosparc_are_used_once_through_their_group(tmp_path):
    table = particles(("a",))
    rest, location = split(table, "location/")
    write_cs(tmp_path / "rest.cs", rest[:-1])  # one of the particles has no pick_stats
    source = write_cs(tmp_path / "location.cs", location)
    os.symlink(source, tmp_path / "again.cs")
    group = write_csg(tmp_path / "g.csg", "particle", len(table), pick_stats="rest.cs", location="location.cs")
    alone, direct = read_picks(group), read_picks(source)
    for given in ([group, source], [source, group], [group, group, tmp_path / "again.cs"]):
        picks = read_picks(given)
        assert picks.table.equals(alone.table) and list(picks.sources) == [group]
        assert (picks.counts().rows, picks.left_out, picks.files) == (len(table), {"unreadable_row": 1}, 1)
        assert "1 coordinate file is given more than once" in picks.notes[0]
    picks = read_picks([source, tmp_path / "again.cs"])
    assert picks.counts() == direct.counts() and list(picks.sources) == [source]
    assert set(picks.table[MICROGRAPH]) == {micrograph("a")}
