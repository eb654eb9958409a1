# SPDX-License-Identifier: GPL-3.0-or-later
"""cryoSPARC result groups: the files of a group are joined by uid, and what does not agree is said."""

import datetime

import numpy as np
import pytest
import yaml
from cryosparc_project import exposures, micrograph, particles, split, write_cs, write_csg, write_project

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.cryosparc_dataset import append, read_dataset, write_dataset
from cryoice_scipion.core.formats.cryosparc_exposures import read_exposures
from cryoice_scipion.core.formats.cryosparc_group import GroupTable, read_group, read_group_table, write_group
from cryoice_scipion.core.images.naming import expand_micrographs


@pytest.fixture
def job(tmp_path):
    """Return a group whose positions are in a passthrough file, in another order."""
    table = particles()
    rest, location = split(table, "location/")
    write_cs(tmp_path / "J42_particles.cs", rest)
    write_cs(tmp_path / "J42_passthrough_particles.cs", location)
    files = {"pick_stats": "J42_particles.cs", "location": "J42_passthrough_particles.cs"}
    return table, write_csg(tmp_path / "J42_particles.csg", "particle", len(table), **files)


def test_columns_of_several_files_are_joined_by_uid(job, tmp_path):
    table, group = job
    joined = read_group_table(group)
    assert sorted(joined.table.dtype.names) == sorted(table.dtype.names) and not joined.warnings and not joined.lost
    assert all(np.array_equal(joined.table[name], table[name]) for name in table.dtype.names)
    alone = read_picks(write_cs(tmp_path / "x" / "alone.cs", table)).table
    assert read_picks(group).table.equals(alone)


def test_each_row_of_the_first_file_is_read_or_counted_as_lost(tmp_path):
    """Also of a damaged file whose rows have one uid."""
    table = particles()
    first, second = split(table, "location/")
    second["uid"] = 7
    write_cs(tmp_path / "first.cs", first)
    write_cs(tmp_path / "second.cs", second)
    group = write_csg(tmp_path / "g.csg", "particle", len(table), pick_stats="first.cs", location="second.cs")
    read = read_group_table(group)
    assert (len(read.table), read.lost) == (0, len(table) + 1)
    first["uid"] = 8
    write_cs(tmp_path / "first.cs", first)
    assert read_group_table(group).lost == len(table) + 1


@pytest.mark.parametrize("known", [False, True])
def test_a_written_group_is_read_back_and_keeps_what_the_input_says(tmp_path, known):
    table = particles(("a",))
    source = GroupTable(table, {"location": "particle.location.v2"}, "v4.4.1") if known else GroupTable(table)
    write_dataset(tmp_path / "picks_a.cs", table)
    write_group(tmp_path / "good_picks.csg", "particle", tmp_path / "picks_a.cs", table, source)
    content = yaml.safe_load((tmp_path / "good_picks.csg").read_text())
    assert abs(datetime.datetime.now() - content["created"]) < datetime.timedelta(minutes=5)
    assert content["created"].microsecond == 0 and set(content) == {"created", "group", "results", "version"}
    title = "Good picks"
    expected = {"description": f"{title} by cryoice", "name": "good_picks", "title": title, "type": "particle"}
    assert content["group"] == expected
    group = read_group(tmp_path / "good_picks.csg")
    location = "particle.location.v2" if known else "particle.location"
    assert group.version == ("v4.4.1" if known else "v4.0.0")
    assert {name: slot[1:] for name, slot in group.slots.items()} == {
        "location": (location, len(table)), "pick_stats": ("particle.pick_stats", len(table)),
    }  # fmt: skip
    read = read_group_table(tmp_path / "good_picks.csg")
    assert np.array_equal(read.table, table) and read.types["location"] == location and not read.warnings


def test_rows_of_several_tables_have_the_columns_of_all(tmp_path):
    one, two = particles(("a",), 1), particles(("b", "c"), 2)
    less = two[[name for name in two.dtype.names if name != "pick_stats/ncc_score"]]
    joined = append([one, less])
    assert joined.dtype.names == less.dtype.names and len(joined) == len(one) + len(two)
    assert joined["uid"].tolist() == [*one["uid"], *two["uid"]]
    assert append([one]) is one
    write_dataset(tmp_path / "less.cs", less)  # has gaps in its rows
    assert read_dataset(tmp_path / "less.cs").dtype.itemsize == joined.dtype.itemsize < less.dtype.itemsize


def test_items_that_a_file_lacks_and_wrong_numbers_are_said(job, tmp_path):
    table, group = job
    rest, location = split(table, "location/")
    write_cs(tmp_path / "J42_particles.cs", rest[2:])
    write_cs(tmp_path / "J42_passthrough_particles.cs", location[5:])
    picks = read_picks(group)
    assert len(picks) == len(table) - 7 and picks.left_out == {"unreadable_row": 7}
    assert picks.table["cryosparcUid"].tolist() == [str(uid) for uid in table["uid"][2:-5]]
    first, second, third = picks.warnings
    assert all(line.startswith(f"{group}: ") for line in picks.warnings)
    assert f"J42_particles.cs has {len(table) - 2} items, and the group says {len(table)}" in first
    assert f"has {len(table) - 5} items" in second and "7 items are not in" in third


def test_a_missing_file_and_a_file_without_groups_are_one_line(job, tmp_path):
    (tmp_path / "J42_particles.cs").unlink()
    with pytest.raises(CryoIceError, match="names J42_particles.cs, which is not in its folder"):
        read_picks(job[1])
    (tmp_path / "other.csg").write_text("results: {}\n")
    with pytest.raises(CryoIceError, match="names no .cs file"):
        read_picks(tmp_path / "other.csg")
    with pytest.raises(CryoIceError, match="y.cs: has no positions .*, or the .csg file of the job"):
        read_picks(write_cs(tmp_path / "y.cs", split(job[0], "location/")[0]))


@pytest.mark.parametrize(
    "text",
    ["- one", "a: [", "x: !!python/object/apply:os.mkdir [made]", "results: {location: 3}", "\x00", "a: " + "[" * 2000],
)
def test_other_yaml_is_refused_and_nothing_in_it_is_executed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.csg"
    path.write_text(text)
    with pytest.raises(CryoIceError, match="is not a cryoSPARC result group"):
        read_picks(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_exposures_name_micrographs_and_their_pixel_sizes(tmp_path, compressed):
    if compressed:
        pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed")
    project = write_project(tmp_path)
    source = write_cs(project / "J10" / "some.cs", exposures(), compressed)
    group = write_csg(project / "J10" / "some.csg", "exposure", 3, micrograph_blob="some.cs")
    for path in (source, group):
        tasks = expand_micrographs([str(path)])
        assert [task.path for task in tasks] == [str(project / micrograph(name)) for name in "abc"]
        assert [task.pixel_size for task in tasks] == [4.0] * 3
    with pytest.raises(CryoIceError, match="no column micrograph_blob/path"):
        expand_micrographs([str(project / "J42" / "picked_particles.cs")])


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_a_pixel_size_that_is_not_positive_is_unknown(tmp_path, value):
    table = exposures()
    table["micrograph_blob/psize_A"][1] = value
    assert [size for _, size in read_exposures(write_cs(tmp_path / "e.cs", table))] == [4.0, None, 4.0]


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        ("micrograph_blob/psize_A", "S3", "e.cs: column micrograph_blob/psize_A does not hold numbers"),
        ("micrograph_blob/psize_A", ("<f4", 2), "e.cs: column micrograph_blob/psize_A does not hold numbers"),
        ("micrograph_blob/path", "<i4", "e.cs: column micrograph_blob/path does not hold text"),
        ("micrograph_blob/path", ("S9", 2), "e.cs: column micrograph_blob/path does not hold text"),
        ("uid", "S3", "e.cs: column uid does not hold whole numbers"),
        ("uid", ("<u8", 2), "e.cs: column uid does not hold whole numbers"),
    ],
)
def test_columns_of_another_kind_are_one_line(tmp_path, column, kind, words):
    given = exposures()
    table = np.zeros(3, [(name, kind if name == column else given.dtype[name]) for name in given.dtype.names])
    table[column] = b"x" if "S" in str(kind) else 1
    write_cs(tmp_path / "e.cs", table)
    path = write_csg(tmp_path / "e.csg", "exposure", 3, micrograph_blob="e.cs")
    with pytest.raises(CryoIceError, match=words):
        read_exposures(path if column == "uid" else tmp_path / "e.cs")
