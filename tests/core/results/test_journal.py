# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal survives whatever a crash leaves of its last line, and a full disk."""

import json
import os

import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.run_folder import FolderError


def parse(line):
    values = json.loads(line)
    if not isinstance(values, dict) or "kind" not in values:
        raise ValueError("no line")
    return values


def written(path, number=3):
    journal = Journal(path, parse)
    places = [journal.append("screened", number=i) for i in range(number)]
    journal.close()
    return places


def numbers(path):
    journal = Journal(path, parse)
    try:
        return [line["number"] for _, line in journal.lines()]
    finally:
        journal.close()


def test_lines_come_back_in_order_and_by_their_place(tmp_path):
    places = written(tmp_path / "j")
    assert numbers(tmp_path / "j") == [0, 1, 2]
    journal = Journal(tmp_path / "j", parse)
    assert [line["number"] for line in journal.read(reversed(places))] == [2, 1, 0]
    assert [place for place, _ in journal.lines()] == places
    journal.close()


def test_a_last_line_that_was_cut_anywhere_is_dropped_and_the_journal_goes_on(tmp_path):
    path = tmp_path / "j"
    places = written(path)
    whole = path.read_bytes()
    for length in range(places[-1], len(whole)):
        path.write_bytes(whole[:length])
        journal = Journal(path, parse)
        journal.append("screened", number=9)
        journal.close()
        assert numbers(path) == [0, 1, 9]


@pytest.mark.parametrize("tail", [b"\0" * 200, b"\0" * 200 + b"\n", b'{"kind"\n', b"[1]\n"])
def test_what_a_power_cut_leaves_is_dropped(tmp_path, tail):
    written(tmp_path / "j")
    with open(tmp_path / "j", "ab") as stream:
        stream.write(tail)
    assert numbers(tmp_path / "j") == [0, 1, 2]


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    places = written(tmp_path / "j")
    data = bytearray((tmp_path / "j").read_bytes())
    data[places[1] + 2] = 0
    (tmp_path / "j").write_bytes(bytes(data))
    with pytest.raises(CryoIceError, match="line 2 is damaged"):
        numbers(tmp_path / "j")


def test_after_a_failed_write_the_journal_is_as_it_was(tmp_path, monkeypatch):
    """The disk fills in the middle of a line: half of it is written."""
    journal = Journal(tmp_path / "j", parse)
    journal.append("screened", number=0)
    real = os.write

    def half(descriptor, data):
        monkeypatch.undo()
        real(descriptor, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(FolderError, match="No space left.*free disk space"):
        journal.append("screened", number=1)
    journal.append("screened", number=2)
    journal.close()
    assert numbers(tmp_path / "j") == [0, 2]


@pytest.mark.parametrize("torn", [b"", b'{"kind":"b"', b'{"kind":"b","text":"' + b"x" * 200_000])
def test_lines_of_any_length_are_found_from_the_end(tmp_path, torn):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, parse)
    journal.append("a", waiting=False, text="y" * 100_000)
    journal.append("a", text="z" * 70_000)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    journal = Journal(path, parse)
    assert path.read_bytes() == whole and journal.end == len(whole)
    journal.close()
