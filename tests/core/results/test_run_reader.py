# SPDX-License-Identifier: GPL-3.0-or-later
"""A viewer's view of a run: what the journal says, and no more of it is read than is new."""

import numpy as np
import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MicrographRecord, PickScore, to_json
from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.journal_lines import parse
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.results.run_reader import RunReader, read_records


def screened(key, goodness, status="accepted", first=0):
    scores = [PickScore(first + place, value, "good", True) for place, value in enumerate(goodness)]
    return MicrographRecord(key, f"mic_{key}", f"mic_{key}.mrc", status, bad_area=0.1, scores=scores)


def write(folder, *records, created="now"):
    journal = Journal(folder / JOURNAL, parse)
    if not (folder / JOURNAL).stat().st_size:
        journal.append("head", records_version=1, config={}, model="", created=created)
    for record in records:
        journal.append("screened", record=to_json(record), picks="")
    journal.close()


def ids_of(records):
    return [record.id for record in records.micrographs]


def test_a_threshold_keeps_what_is_at_least_as_good_on_accepted_micrographs(tmp_path):
    write(tmp_path, screened(1, [0.2, 0.5, None]), screened(2, [0.9, 0.9], "discarded", 10), screened(3, [], first=20))
    write(tmp_path, screened(4, [0.5, 0.49999, 1.0, 0.0], first=30))
    records = RunReader(tmp_path).look()
    for threshold, kept in (
        (0.0, {0, 1, 30, 31, 32, 33}),
        (0.5, {1, 30, 32}),
        (1.0, {32}),
        (-1.0, {0, 1, 2, *range(30, 34)}),  # also what could not be scored
    ):
        assert set(records.ids[records.kept(threshold)]) == kept
        assert records.kept_number(threshold) == len(kept)
    assert records.kept_counts(0.5).tolist() == [1, 0, 0, 2]
    assert records.picks.tolist() == [3, 2, 0, 4]
    assert records.ids[records.of(3)].tolist() == [30, 31, 32, 33]
    assert np.isnan(records.goodness[records.of(0)][2])


def test_late_coordinates_that_failed_are_kept_at_no_threshold_nor_by_hand(tmp_path):
    records = []
    for key, status, first in ((1, "accepted", 0), (2, "discarded", 10)):
        records.append(screened(key, [0.2, None], status, first))
        records[-1].scores.append(PickScore(first + 2, None, "failed", False))
    write(tmp_path, *records)
    found = RunReader(tmp_path).look()
    for records, kept in ((found, [0, 1]), (found.changed({2: True}), [0, 1, 10, 11])):
        assert records.ids[records.kept(-1.0)].tolist() == kept
        assert records.kept_number(-1.0) == records.kept_counts(-1.0).sum() == len(kept)
    assert found.failed.tolist() == [False, False, True] * 2


def test_each_look_takes_what_is_new_and_says_when_nothing_is(tmp_path):
    reader = RunReader(tmp_path)
    assert ids_of(reader.look()) == []
    assert reader.look() is None
    write(tmp_path, screened(2, [0.5]))
    assert ids_of(reader.look()) == [2]
    assert reader.look() is None
    write(tmp_path, screened(1, [0.5], first=10), screened(2, [0.5, 0.6]))
    records = reader.look()
    assert ids_of(records) == [2, 1]  # late coordinates do not move a micrograph
    assert records.ids.tolist() == [0, 1, 10]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    write(tmp_path, screened(1, [0.5]), screened(2, [0.5], first=10))
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole[:-20])
    reader = RunReader(tmp_path)
    assert ids_of(reader.look()) == [1]
    (tmp_path / JOURNAL).write_bytes(whole)
    assert ids_of(reader.look()) == [1, 2]


@pytest.mark.parametrize("gone_for_a_while", [True, False])
def test_a_run_that_was_started_anew_is_read_anew(tmp_path, gone_for_a_while):
    write(tmp_path, screened(1, [0.5]))
    reader = RunReader(tmp_path)
    reader.look()
    (tmp_path / JOURNAL).unlink()
    if gone_for_a_while:
        assert ids_of(reader.look()) == []
    write(tmp_path, screened(5, [0.5]), screened(6, [0.5], first=10), created="later")
    assert ids_of(reader.look()) == [5, 6]


def test_a_damaged_journal_is_named(tmp_path):
    write(tmp_path, screened(1, [0.5]))
    with open(tmp_path / JOURNAL, "a") as stream:
        stream.write("{rubbish}\n")
    with pytest.raises(CryoIceError, match=f"{JOURNAL}.*damaged"):
        RunReader(tmp_path).look()


def test_a_thumbnail_that_was_removed_is_not_shown(tmp_path):
    told = screened(1, [0.5])
    told.thumbnail = "thumbnails/m1.png"
    write(tmp_path, told)
    reader = RunReader(tmp_path)
    assert reader.look().micrographs[0].thumbnail == "thumbnails/m1.png"
    journal = Journal(tmp_path / JOURNAL, parse)
    journal.append("thinned", ids=[1])
    journal.close()
    assert reader.look().micrographs[0].thumbnail == ""
    assert read_records(tmp_path)[0].thumbnail == ""
