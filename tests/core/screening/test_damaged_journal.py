# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged journal is noticed: the run ends as if nothing had happened, or one sentence says what to do."""

import logging
import re

import pytest
from journals import unsealed
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results import journal as journal_module
from cryoice_scipion.core.results.run_reader import RunReader, read_records, read_summary
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

CONFIG = ScreenConfig(reference=2, outlier=False, thumbnails=False, regions=False, grade=False)
NUMBER = 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return tasks, and the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    tasks = make_tasks(folder / "m", NUMBER)
    screen(folder / "run", tasks)
    return tasks, folder / "run"


def screen(folder, tasks, resume=False):
    with ScreeningRun(folder, CONFIG, [executor()], RunOptions(resume, True)) as run:
        list(run.process(tasks))


def totals(folder):
    summary = read_summary(folder)
    rows = [(one.stem, one.status, one.bad_area, one.kept, len(one.scores)) for one in read_records(folder)]
    return summary.micrographs, summary.accepted, summary.picks, summary.kept, summary.finished, rows


def copy_of(run, folder, lines):
    """Write a run folder that has another journal."""
    folder.mkdir()
    (folder / ".maps").symlink_to(run / ".maps")
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    return folder


def flipped(line, index):
    return line[:index] + bytes([line[index] ^ 1]) + line[index + 1 :]


def other_digit(line):
    """Change the first digit of a number."""
    found = re.search(rb":(?:\[)?-?(\d)", line)
    return line[: found.start(1)] + (b"1" if found.group(1) != b"1" else b"2") + line[found.end(1) :]


ONE_LINE = {
    "digit": other_digit,
    "first byte": lambda line: flipped(line, 0),
    "middle byte": lambda line: flipped(line, len(line) // 2),
    "seal": lambda line: line.replace(b'"crc"', b'"crd"'),
    "cut": lambda line: line[: len(line) // 2] + b"\n",
    "joined": lambda line: line[:-1],
    "NULs": lambda line: b"\0" * (len(line) - 1) + b"\n",
    "no UTF-8": lambda line: line[:30] + b"\xff\xfe" + line[32:],
    "other schema": lambda line: b'{"kind":"screened","record":[]}\n',
    "gone": lambda line: b"",
    "doubled": lambda line: line + line,
}


def damages(lines, other):
    """Yield a name and the lines of each damaged journal."""
    for index in (0, 1, 3, len(lines) - 2, len(lines) - 1):  # head, map, reference, map, record
        for name, change in ONE_LINE.items():
            yield f"{name} {index}", [*lines[:index], change(lines[index]), *lines[index + 1 :]]
        yield f"other run's {index}", [*lines[:index], other[index], *lines[index + 1 :]]
        if index:
            yield f"swapped {index}", [*lines[: index - 1], lines[index], lines[index - 1], *lines[index + 1 :]]
    yield "nothing", []
    yield "only NULs", [b"\0" * 5000]
    yield "only one break", [b"\n"]
    yield "backwards", lines[::-1]


def test_every_damage_is_repaired_or_named(tmp_path, finished, monkeypatch, caplog):
    monkeypatch.setattr(journal_module.os, "fsync", lambda descriptor: None)
    tasks, run = finished
    screen(tmp_path / "other", tasks)
    lines, other = ((one / "journal.jsonl").read_bytes().splitlines(True) for one in (run, tmp_path / "other"))
    expected, repaired, refused = totals(run), 0, 0
    for number, (name, changed) in enumerate(damages(lines, other)):
        folder = copy_of(run, tmp_path / str(number), changed)
        for read in (read_records, lambda one: RunReader(one).look()):
            try:
                read(folder)
            except CryoIceError as error:
                assert "damaged" in str(error) and "--resume" in str(error), name
        caplog.clear()
        try:
            screen(folder, tasks, resume=True)
        except CryoIceError as error:
            assert re.search("restore the file from a copy, or start a new run", str(error)), name
            refused += 1
        else:
            assert totals(folder) == expected, name
            repaired += bool(caplog.records)
            read_records(folder)  # a repaired journal needs no repair
    assert number > 60
    assert repaired > 15
    assert 10 < refused < 40


def test_a_lost_record_is_screened_again_and_the_line_is_kept_aside(tmp_path, finished, caplog):
    tasks, run = finished
    lines = (run / "journal.jsonl").read_bytes().splitlines(True)
    index = next(index for index, line in enumerate(lines) if b'"screened"' in line)
    bad = lines[index].replace(b'"accepted"', b'"discarded"')
    folder = copy_of(run, tmp_path / "o", [*lines[:index], bad, *lines[index + 1 :]])
    with caplog.at_level(logging.WARNING), ScreeningRun(folder, CONFIG, [executor()], RunOptions(True)) as again:
        assert len(list(again.process(tasks))) == 1
    assert re.search(
        rf"journal.jsonl: line {index + 1} is damaged; what is lost by this is screened again", caplog.text
    )
    assert (folder / "journal.damaged").read_bytes() == bad
    assert totals(folder) == totals(run)


@pytest.mark.parametrize("kind", ["head", "reference"])
def test_without_settings_or_reference_a_run_does_not_go_on(tmp_path, finished, kind):
    tasks, run = finished
    lines = [line for line in (run / "journal.jsonl").read_bytes().splitlines(True) if f'"{kind}"'.encode() not in line]
    folder = copy_of(run, tmp_path / "o", lines)
    for _ in range(2):
        with pytest.raises(CryoIceError, match="(first line|session reference).*restore the file from a copy"):
            screen(folder, tasks, resume=True)


def test_a_journal_of_an_earlier_version_is_continued(tmp_path, finished):
    tasks, run = finished
    lines = unsealed((run / "journal.jsonl").read_text()).encode().splitlines(True)
    folder = copy_of(run, tmp_path / "o", lines[:-1])
    screen(folder, tasks, resume=True)
    assert totals(folder) == totals(run)
    mixed = (folder / "journal.jsonl").read_bytes().splitlines(True)
    assert mixed[:-1] == lines[:-1]
    assert b'"crc"' in mixed[-1]
    folder = copy_of(run, tmp_path / "p", [*mixed[:2], b"{\n", *mixed[3:]])
    screen(folder, tasks, resume=True)
    assert totals(folder) == totals(run)


def test_damage_that_a_checkpoint_hides_is_found_at_the_next_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SMALLEST", 0)
    monkeypatch.setattr(checkpoint, "_COMPARED", 50)
    tasks = make_tasks(tmp_path / "m", NUMBER)
    screen(tmp_path / "o", tasks)
    path = tmp_path / "o" / "journal.jsonl"
    before, data = totals(tmp_path / "o"), path.read_bytes()
    path.write_bytes(data.replace(b'"screened"', b'"SCREENED"', 1))
    screen(tmp_path / "o", tasks, resume=True)
    assert path.stat().st_size == len(data)  # nothing needed the damaged line
    last = tasks[0].picks.pop()
    with pytest.raises(CryoIceError, match="line at byte .* is damaged; continue the run"):
        screen(tmp_path / "o", tasks, resume=True)
    tasks[0].picks.append(last)
    screen(tmp_path / "o", tasks, resume=True)
    assert totals(tmp_path / "o") == before
