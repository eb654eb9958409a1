# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets read while others write them: nothing twice, nothing missed, in any order."""

import os
import sqlite3
import threading
import time

import pytest
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.protocols.screen_input import Pairing, ScreenInput
from cryoice_scipion.streams import CoordinateReader, MicrographReader

pytestmark = pytest.mark.scipion


class Growing:
    """A set that grows, and the pointer to it."""

    def __init__(self, path, kind):
        self.path, self._kind = str(path), kind

    def get(self):
        output = self._kind()
        output._mapperPath.set(f"{self.path}, ")
        return output

    def getObjValue(self):
        return None

    def add(self, *items, closed=False):
        output = self._kind(filename=self.path)
        output.enableAppend()
        for item in items:
            output.append(item)
        output.setStreamState(output.STREAM_CLOSED if closed else output.STREAM_OPEN)
        output.write()
        output.close()


def mic(key, name=None, folder="/data"):
    item = Micrograph(location=f"{folder}/{name or f'm{key}.mrc'}")
    item.setMicName(name or f"m{key}.mrc")
    item.setObjId(key)
    return item


def pick(key, micrograph, x=10, y=20):
    item = Coordinate(x=x, y=y)
    item.setMicId(micrograph)
    item.setMicName(f"m{micrograph}")
    item.setObjId(key)
    return item


@pytest.fixture
def micrographs(tmp_path):
    return Growing(tmp_path / "micrographs.sqlite", SetOfMicrographs)


@pytest.fixture
def coordinates(tmp_path):
    return Growing(tmp_path / "coordinates.sqlite", SetOfCoordinates)


def ids(found):
    return {micrograph: list(triples[::3]) for micrograph, triples in found.items()}


def test_a_micrograph_is_told_once_whatever_the_order_of_ids(micrographs):
    reader = MicrographReader(micrographs)
    assert reader.look() == []
    assert not reader.closed
    micrographs.add(mic(5), mic(7))
    assert [row.id for row in reader.look()] == [5, 7]
    assert reader.look() == []
    micrographs.add(mic(2), mic(9), closed=True)
    assert [row.id for row in reader.look()] == [2, 9]
    assert reader.closed


def test_of_two_with_one_stem_the_later_gets_its_id_and_keeps_it_in_the_next_session(micrographs):
    reader = MicrographReader(micrographs)
    micrographs.add(mic(5, "a/m.mrc"))
    reader.look()
    micrographs.add(mic(2, "b/m.mrc"))
    reader.look()
    told = {key: row.stem for key, row in reader.rows.items()}
    assert told == {5: "m", 2: "m_2"}
    again = MicrographReader(micrographs, {stem: key for key, stem in told.items()})
    again.look()
    assert {key: row.stem for key, row in again.rows.items()} == told


def test_late_portions_bring_all_coordinates_of_their_micrograph(coordinates):
    reader = CoordinateReader(coordinates)
    assert reader.look() == {}
    coordinates.add(pick(10, 1), pick(11, 1), pick(12, 2))
    assert ids(reader.look()) == {1: [10, 11], 2: [12]}
    assert reader.look() == {}
    coordinates.add(pick(13, 3), pick(14, 1))
    assert ids(reader.look()) == {3: [13], 1: [10, 11, 14]}
    coordinates.add(pick(3, 2), pick(15, 4))  # an id below those that were there
    assert ids(reader.look()) == {2: [3, 12], 4: [15]}
    coordinates.add(closed=True)
    assert (reader.look(), reader.closed) == ({}, True)


def test_coordinates_without_a_micrograph_are_told_as_of_number_0(coordinates):
    reader = CoordinateReader(coordinates)
    coordinates.add(pick(1, None), pick(2, 5))
    assert ids(reader.look()) == {0: [1], 5: [2]}
    coordinates.add(pick(3, None), pick(4, 5))
    assert ids(reader.look()) == {0: [1, 3], 5: [2, 4]}


def test_a_micrograph_whose_coordinates_were_taken_away_is_told_so(coordinates):
    reader = CoordinateReader(coordinates)
    coordinates.add(pick(1, 5), pick(2, 6))
    reader.look()
    with sqlite3.connect(coordinates.path) as connection:
        connection.execute("DELETE FROM Objects WHERE id = 1")
    assert ids(reader.look()) == {5: []}
    assert reader.look() == {}


def move(coordinates, key, x):
    """Move a coordinate of a set under its id, as an editor of picks does."""
    with sqlite3.connect(coordinates.path) as connection:
        (column,) = connection.execute("SELECT column_name FROM Classes WHERE label_property = '_x'").fetchone()
        connection.execute(f"UPDATE Objects SET {column} = ? WHERE id = ?", (x, key))
    connection.close()


def test_a_micrograph_whose_coordinates_were_moved_is_told_when_the_set_is_closed(coordinates):
    reader = CoordinateReader(coordinates)
    coordinates.add(pick(1, 5), pick(2, 6))
    reader.look()
    move(coordinates, 1, 33)
    assert reader.look() == {}  # a growing set is not read again as a whole
    coordinates.add(pick(3, 7), closed=True)
    assert {key: list(found) for key, found in reader.look().items()} == {5: [1, 33, 20], 7: [3, 10, 20]}
    move(coordinates, 2, 44)
    assert {key: list(found) for key, found in reader.look().items()} == {6: [2, 44, 20]}
    assert reader.look() == {}


def test_nothing_is_read_again_of_a_file_that_has_not_changed(coordinates, monkeypatch):
    coordinates.add(pick(1, 5))
    os.utime(coordinates.path, (1e9, 1e9))
    reader = CoordinateReader(coordinates)
    reader.look()
    monkeypatch.setattr(sqlite3, "connect", None)  # would fail
    assert reader.look() == {}
    assert reader.seen
    monkeypatch.undo()
    coordinates.add(pick(2, 5))
    assert ids(reader.look()) == {5: [1, 2]}


def test_positions_are_those_of_the_set(coordinates):
    coordinates.add(pick(1, 1, 321, 123))
    assert list(CoordinateReader(coordinates).look()[1]) == [1, 321, 123]


def test_a_look_waits_for_the_writer_and_sees_all_or_nothing_of_what_it_writes(coordinates):
    coordinates.add(pick(1, 1))
    writer = sqlite3.connect(coordinates.path, check_same_thread=False)
    columns = [row[1] for row in writer.execute("PRAGMA table_info(Objects)")]
    row = list(writer.execute("SELECT * FROM Objects").fetchone())
    writer.execute("BEGIN EXCLUSIVE")
    for key in (2, 3):
        writer.execute(f"INSERT INTO Objects VALUES ({','.join('?' * len(columns))})", [key, *row[1:]])
    threading.Thread(target=lambda: (time.sleep(0.5), writer.commit(), writer.close())).start()
    assert ids(CoordinateReader(coordinates).look()) == {1: [1, 2, 3]}


def test_a_damaged_file_is_one_line_that_names_it(coordinates):
    with open(coordinates.path, "wb") as stream:
        stream.write(b"no database" * 500)
    with pytest.raises(CryoIceError, match="coordinates.sqlite: cannot be read"):
        CoordinateReader(coordinates).look()


def make_input(micrographs, coordinates, pairing=None):
    return ScreenInput(MicrographReader(micrographs), CoordinateReader(coordinates), 2.0, 1.0, 30.0, pairing)


def taken(source, number=100):
    source.look()
    return {task.id: [pick.id for pick in task.picks] for task in source.take(number, lambda task: False)}


def test_coordinates_wait_for_their_micrograph_and_those_that_wait_in_vain_are_told(micrographs, coordinates):
    source = make_input(micrographs, coordinates)
    coordinates.add(pick(1, 7), pick(2, 8))
    assert taken(source) == {}
    assert sorted(source.unmatched()) == [1, 2]
    micrographs.add(mic(6), mic(7))
    assert taken(source) == {6: [], 7: [1]}
    coordinates.add(pick(3, 6), pick(4, 7), closed=True)
    assert taken(source) == {6: [3], 7: [1, 4]}
    assert not source.closed
    micrographs.add(closed=True)
    assert taken(source) == {}
    assert source.closed
    assert source.unmatched() == [2]
    counts = source.counts()
    assert (counts.rows, counts.left_out, counts.matched) == (4, {"unmatched": 1}, 3)


def test_what_is_done_is_passed_over_and_batches_have_their_size(micrographs, coordinates):
    source = make_input(micrographs, coordinates)
    micrographs.add(*(mic(key) for key in range(1, 8)))
    source.look()
    first = source.take(3, lambda task: task.id in (1, 2))
    assert [task.id for task in first] == [3, 4, 5]
    assert source.waiting == 2


def test_other_micrographs_are_paired_by_name_in_whatever_order_they_come(tmp_path, micrographs, coordinates):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    source = ScreenInput(
        others, CoordinateReader(coordinates), 1.0, 2.0, 60.0, Pairing(MicrographReader(picked), others)
    )
    picked.add(mic(1, "a.mrc"), mic(2, "b.mrc"))
    coordinates.add(pick(10, 1), pick(20, 2), pick(30, 3))
    assert taken(source) == {}
    micrographs.add(mic(1, "b_DW.mrc"))  # the same id, another field
    assert taken(source) == {1: [20]}
    micrographs.add(mic(2, "a_DW.mrc"), mic(3, "c_DW.mrc"), closed=True)
    assert taken(source) == {2: [10], 3: []}
    picked.add(mic(3, "c_aligned.mrc"), closed=True)
    coordinates.add(closed=True)
    assert taken(source) == {3: [30]}
    assert source.closed
    assert source.unmatched() == []


def test_ids_pair_only_when_all_have_come_and_no_name_does(tmp_path, micrographs, coordinates):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    source = ScreenInput(
        others, CoordinateReader(coordinates), 1.0, 1.0, 30.0, Pairing(MicrographReader(picked), others)
    )
    picked.add(mic(1, "a.mrc"), closed=True)
    coordinates.add(pick(10, 1), closed=True)
    micrographs.add(mic(1, "x.mrc"))
    assert taken(source) == {1: []}
    micrographs.add(mic(2, "y.mrc"), closed=True)
    assert taken(source) == {1: [10], 2: []}


def test_two_picked_micrographs_of_one_field_give_both_their_coordinates(tmp_path, micrographs, coordinates):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    source = ScreenInput(
        others, CoordinateReader(coordinates), 1.0, 1.0, 30.0, Pairing(MicrographReader(picked), others)
    )
    micrographs.add(mic(5, "a.mrc"))
    picked.add(mic(1, "a_DW.mrc"), mic(2, "a_aligned.mrc"))
    coordinates.add(pick(10, 1))
    assert taken(source) == {5: [10]}
    coordinates.add(pick(11, 2))
    assert taken(source) == {5: [10, 11]}


def test_a_name_that_fits_several_leaves_out_its_own_coordinates_only(tmp_path, micrographs, coordinates):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    pairing = Pairing(MicrographReader(picked), others)
    source = ScreenInput(others, CoordinateReader(coordinates), 1.0, 1.0, 30.0, pairing)
    micrographs.add(mic(5, "a_DW.mrc"), mic(6, "a_aligned.mrc"), mic(7, "b.mrc"), closed=True)
    picked.add(mic(1, "a.mrc"), mic(2, "b.mrc"), closed=True)
    coordinates.add(pick(10, 1), pick(11, 1), pick(12, 2), pick(13, 9), closed=True)
    assert taken(source) == {5: [], 6: [], 7: [12]}
    counts = source.counts()
    assert (counts.rows, counts.left_out, counts.matched) == (4, {"unmatched": 1, "ambiguous_name": 2}, 1)
    assert "a.mrc: fits several micrographs" in pairing.complaints[0]


def test_of_several_micrographs_of_one_name_in_a_joined_set_only_that_with_the_same_file_counts(
    tmp_path, micrographs, coordinates
):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    pairing = Pairing(MicrographReader(picked), others)
    source = ScreenInput(others, CoordinateReader(coordinates), 1.0, 1.0, 30.0, pairing)
    micrographs.add(mic(1, "a.mrc", "/grid1"), mic(2, "a.mrc", "/grid2"), closed=True)
    picked.add(mic(1, "a.mrc", "/denoised2"), mic(2, "a.mrc", "/denoised1"), mic(7, "a.mrc", "/grid2"), closed=True)
    coordinates.add(pick(10, 1), pick(11, 2), pick(12, 7), closed=True)
    assert taken(source) == {1: [], 2: [12]}
    assert source.counts().left_out == {"ambiguous_name": 2}
    assert pairing.complaints[0].startswith("a.mrc: fits several micrographs: /grid1/a.mrc, /grid2/a.mrc")


def test_ambiguous_names_are_not_paired_by_id(tmp_path, micrographs, coordinates):
    picked = Growing(tmp_path / "picked.sqlite", SetOfMicrographs)
    others = MicrographReader(micrographs)
    pairing = Pairing(MicrographReader(picked), others)
    micrographs.add(mic(1, "a.mrc", "/grid1"), mic(2, "a.mrc", "/grid2"), closed=True)
    picked.add(mic(1, "a.mrc", "/denoised2"), mic(2, "a.mrc", "/denoised1"), closed=True)
    pairing.look(others.look())
    assert pairing.ids == {} and pairing.closed
