# SPDX-License-Identifier: GPL-3.0-or-later
"""micrographs.csv: new rows at once, changed ones by a refresh, never half a row."""

import csv
import os

import pytest

from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.screening.tables import MicrographTable


def screened(number, picks=0):
    scores = [PickScore(k, 0.5, "good", True) for k in range(picks)]
    return MicrographRecord(number, f"m{number}", f"m{number}.mrc", "accepted", scores=scores)


def picks_in(path):
    with open(path, newline="") as stream:
        return {int(row["id"]): int(row["picks"]) for row in csv.DictReader(stream)}


@pytest.fixture
def table(tmp_path):
    table = MicrographTable(tmp_path / "micrographs.csv")
    table.refresh()
    return table


def test_a_changed_row_waits_and_new_ones_do_not(table):
    for number in (1, 2):
        table.add(screened(number))
    table.add(screened(1, picks=7))
    assert picks_in(table.path) == {1: 0, 2: 0}
    table.add(screened(3, picks=4))
    assert picks_in(table.path) == {1: 0, 2: 0, 3: 4}
    table.refresh()
    assert picks_in(table.path) == {1: 7, 2: 0, 3: 4}
    table.add(screened(4))
    assert list(picks_in(table.path)) == [1, 2, 3, 4]


def test_appending_keeps_the_file_and_a_refresh_without_a_change_does_nothing(table):
    table.add(screened(1))
    before = os.stat(table.path)
    table.add(screened(2))
    table.refresh()
    after = os.stat(table.path)
    assert after.st_ino == before.st_ino and after.st_size > before.st_size


def test_what_a_crash_tore_is_mended_by_the_first_refresh(table):
    table.add(screened(1))
    table.path.write_bytes(table.path.read_bytes()[:-9])
    again = MicrographTable(table.path)
    again.note(screened(1))
    again.refresh()
    again.add(screened(2))
    assert picks_in(table.path) == {1: 0, 2: 0}


@pytest.mark.parametrize("written", [0, 10])
def test_a_full_disk_leaves_whole_rows(table, monkeypatch, written):
    table.add(screened(1))
    before, write = table.path.read_bytes(), os.write

    def short(descriptor, data):
        return write(descriptor, data[:written])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(FolderError, match="No space left"):
        table.add(screened(2))
    monkeypatch.undo()
    assert table.path.read_bytes() == before
    table.add(screened(3))
    table.refresh()
    assert list(picks_in(table.path)) == [1, 2, 3]
