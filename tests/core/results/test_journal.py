# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal survives whatever a crash leaves of its last line, and a full disk."""

import json
import os
import zlib

import pytest
from journals import unsealed

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.journal import DamagedLineError, Journal, read_lines
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
    with pytest.raises(FolderError, match=f"^{tmp_path}: .*No space left.*free disk space"):
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


def sealed(path, number, run="ab12"):
    """Write a journal and return its lines."""
    journal = Journal(path, parse, run)
    for i in range(number):
        journal.append("screened", number=i)
    journal.close()
    return path.read_bytes().splitlines(True)


def damaged(line):
    return line.replace(b'"screened"', b'"SCREENED"')


def test_a_line_ends_with_the_run_its_number_and_a_checksum_of_the_text_before(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, parse, "ab12")
    bodies = ['{"kind":"a","text":"é, 1","run":"ab12","line":1', '{"kind":"b","name":"x?","run":"ab12","line":2']
    expected = [b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)) for body in map(str.encode, bodies)]
    places = [journal.append("a", text="é, 1"), journal.append("b", name="x\udcff")]
    assert path.read_bytes() == b"".join(expected)
    assert places == [0, len(expected[0])] and journal.end == path.stat().st_size
    journal.close()
    journal = Journal(path, parse, "ffff")  # an existing journal keeps its id
    journal.append("c")
    journal.close()
    assert path.read_bytes().splitlines()[2].startswith(b'{"kind":"c","run":"ab12","line":3,')


def test_lines_that_are_written_while_the_journal_is_read_come_with_the_next_reading(tmp_path):
    sealed(tmp_path / "j", 2)
    journal = Journal(tmp_path / "j", parse)
    seen = []
    for place, line in journal.lines():
        seen.append((place, line["number"]))
        journal.append("screened", number=7)
    assert [number for _, number in seen] == [0, 1]
    assert [line["number"] for _, line in journal.lines(seen[1][0])] == [1, 7, 7]
    journal.close()


@pytest.mark.parametrize("length", [65534, 65535, 65536, 65537, 131072])
@pytest.mark.parametrize("torn", [b"", b"{"])
def test_a_journal_goes_on_after_a_last_line_of_any_length(tmp_path, length, torn):
    """The end of a file is read in blocks of 65536 bytes."""
    path = tmp_path / "j"
    journal = Journal(path, parse, "ab12")
    journal.append("a")
    start = journal.append("a", text="")
    journal.append("a", text="y" * (length - (journal.end - start)))
    assert len(path.read_bytes().splitlines(True)[2]) == length
    journal.close()
    with open(path, "ab") as stream:
        stream.write(torn)
    journal = Journal(path, parse)
    journal.append("b")
    assert [line["line"] for _, line in journal.lines()] == [1, 2, 3, 4]
    journal.close()


def test_reading_from_a_byte_on_gives_the_bytes_of_each_line_and_leaves_an_incomplete_one(tmp_path):
    path = tmp_path / "j"
    lines = sealed(path, 4)
    path.write_bytes(b"".join(lines)[:-1])
    one, two, three, four = (len(b"".join(lines[:number])) for number in range(1, 5))
    found = [(start, end, line["number"]) for start, end, line in read_lines(path, parse, one)]
    assert found == [(one, two, 1), (two, three, 2)]


@pytest.mark.parametrize(
    ("change", "start", "words"),
    [
        (lambda one, two, three, other: [two, three], 0, "line 1 is damaged"),
        (lambda one, two, three, other: [one, three], 0, "line 2 is damaged"),
        (lambda one, two, three, other: [one, two, two], 1, "line 2 after byte {} is damaged"),
        (lambda one, two, three, other: [one, other[1]], 0, "line 2 is damaged"),
        (lambda one, two, three, other: [one, damaged(two)], 1, "line 1 after byte {} is damaged"),
        (lambda one, two, three, other: [one, unsealed(two.decode()).encode()], 0, "line 2 is damaged"),
        (lambda one, two, three, other: [one, b"[1]\n"], 0, "line 2 is damaged"),
    ],
)
def test_a_line_that_is_not_the_next_one_of_its_run_is_an_error_that_names_it(tmp_path, change, start, words):
    lines = sealed(tmp_path / "j", 3)
    changed = change(*lines, sealed(tmp_path / "other", 3, "cd34"))
    (tmp_path / "j").write_bytes(b"".join(changed))
    first = len(b"".join(changed[:start]))
    with pytest.raises(DamagedLineError, match=f"/j: {words.format(first)}; continue the run"):
        list(read_lines(tmp_path / "j", parse, first))


def test_a_damaged_line_that_is_read_by_its_place_is_an_error_that_names_it(tmp_path):
    lines = sealed(tmp_path / "j", 3)
    journal = Journal(tmp_path / "j", parse)
    (tmp_path / "j").write_bytes(b"".join([lines[0], damaged(lines[1]), lines[2]]))
    with pytest.raises(DamagedLineError, match=f"/j: the line at byte {len(lines[0])} is damaged"):
        list(journal.read([0, len(lines[0])]))
    assert [line["number"] for line in journal.read([0])] == [0]
    journal.close()


def repaired(path):
    """Return the numbers of the lines, and what was wrong; then one more line."""
    journal = Journal(path, parse)
    try:
        found = journal.repaired(lambda: [line["number"] for _, line in journal.lines()])
        journal.append("screened", number="new")
        assert [line["number"] for _, line in journal.lines()] == [*found[0], "new"]
        return found
    finally:
        journal.close()


def disordered(path, order):
    """Write a journal of six lines in another order: a digit is a line, a letter is the damaged line; return these."""
    lines = sealed(path, 6)
    bad = [damaged(lines["abcdef".index(one)]) for one in order if one.isalpha()]
    rest = iter(bad)
    path.write_bytes(b"".join(lines[int(one)] if one.isdigit() else next(rest) for one in order))
    return bad


@pytest.mark.parametrize(
    ("order", "kept", "words"),
    [
        ("012345", "012345", None),
        ("0112345", "012345", "lines are doubled or moved"),
        ("021345", "012345", "lines are doubled or moved"),
        ("0b2345", "02345", "line 2 is damaged"),
        ("0235", "0235", "2 lines are missing"),
        ("0b45", "045", "line 2 is damaged; 2 lines are missing"),
        ("0b2d45", "0245", "line 2 is damaged; line 4 is damaged"),
        ("0bcd45", "045", "line 2 is damaged; line 3 is damaged; line 4 is damaged"),
    ],
)
def test_a_repair_keeps_sound_lines_in_order_and_says_what_was_wrong(tmp_path, order, kept, words):
    path, aside = tmp_path / "j.jsonl", tmp_path / "j.damaged"
    bad = disordered(path, order)
    text = f"{path}: {words}; what is lost by this is screened again" if words else ""
    assert repaired(path) == ([int(number) for number in kept], text)
    assert (aside.read_bytes() if aside.exists() else b"") == b"".join(bad)
    assert path.read_bytes().count(b'"run":"ab12"') == len(kept) + 1


@pytest.mark.parametrize("order", ["a12345", "123", "0bcde5", "54321"])
def test_a_journal_without_its_first_line_or_most_others_is_not_changed(tmp_path, order):
    path = tmp_path / "j.jsonl"
    disordered(path, order)
    before = path.read_bytes()
    with pytest.raises(CryoIceError, match="j.jsonl: .*; restore the file from a copy"):
        repaired(path)
    assert path.read_bytes() == before and not (tmp_path / "j.damaged").exists()


def test_a_journal_of_an_earlier_version_is_repaired_too(tmp_path):
    path = tmp_path / "j.jsonl"
    lines = [unsealed(line.decode()).encode() for line in sealed(path, 4)]
    path.write_bytes(b"".join([lines[0], b"{\n", *lines[2:]]))
    assert repaired(path)[0] == [0, 2, 3]
    assert path.read_bytes().count(b'"run":"","line":') == 4
    path.write_bytes(lines[0])
    journal = Journal(path, parse, "ab12")
    journal.append("screened", number=1)
    journal.close()
    assert path.read_bytes().splitlines()[1].startswith(b'{"kind":"screened","number":1,"run":"","line":1,')
    path.write_bytes(b"".join([b"{\n", *lines[1:]]))
    with pytest.raises(CryoIceError, match="line 1 is damaged; restore"):
        repaired(path)
