# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that fail at any call, and clocks that jump: afterwards a resume gives what an undisturbed run gives."""

import csv
import itertools
import os
import time
from pathlib import Path

import pytest
from faults import ERRORS, FailingDisk
from standin import executor, make_tasks, write_micrograph
from test_watched_run import go_on, watching

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

CONFIG = ScreenConfig(reference=2, outlier=False, thumbnails=False, regions=False)
#: How many of the calls of a run are tried; 1: all.
STEP = int(os.environ.get("CRYOICE_FAULT_STEP", "23"))


def screen(folder, tasks, **options):
    with ScreeningRun(folder, CONFIG, [executor()], RunOptions(**options)) as run:
        return list(run.process(tasks))


def told(folder):
    """Return tables, maps and masks of a run, without the times."""
    with open(folder / "micrographs.csv", newline="") as stream:
        table = sorted(({**row, "seconds": ""} for row in csv.DictReader(stream)), key=lambda row: int(row["id"]))
    summary = read_summary(folder)
    counts = (summary.micrographs, summary.kept, summary.rejected, summary.backlog, summary.finished)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("probability", "masks", "coordinates", "micrographs")
        for path in (folder / name).rglob("*")
        if path.is_file()
    }
    return table, counts, files


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    tasks = make_tasks(folder / "m", 3)
    with FailingDisk(folder / "o") as disk:
        screen(folder / "o", tasks)
    return tasks, told(folder / "o"), disk.calls


@pytest.mark.parametrize("length", [None, 1], ids=["for good", "once"])
def test_a_disk_that_fails_at_any_call_stops_the_run_with_one_line_and_a_resume_is_whole(undisturbed, tmp_path, length):
    tasks, whole, calls = undisturbed
    failed = 0
    for first in range(1 if length else 1 + STEP // 2, calls + 1, STEP):
        folder = tmp_path / str(first)
        with FailingDisk(folder, first, ERRORS[first % len(ERRORS)], length):
            try:
                screen(folder, tasks)
            except FolderError as error:
                failed += 1
                assert "cannot be written" in str(error), error
        assert not [one.reason for one in read_records(folder) if one.status == "failed"]
        screen(folder, tasks, resume=(folder / "journal.jsonl").exists())
        assert told(folder) == whole, first
    assert failed


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_a_clock_that_jumps_by_a_day_changes_nothing(undisturbed, tmp_path, monkeypatch, jump):
    tasks, real, shift = undisturbed[0], time.time, itertools.cycle([0.0, jump])
    monkeypatch.setattr(time, "time", lambda: real() + next(shift))
    (tmp_path / "m").mkdir()
    with watching(tmp_path / "m", tmp_path / "o") as watch:
        for task in tasks:
            write_micrograph(tmp_path / "m" / Path(task.path).name, seed=task.id - 1)
        found = go_on(watch)
        list(watch.finish())
    assert sorted(found) == [task.stem for task in tasks]
    assert [record.status for record in read_records(tmp_path / "o")] == ["accepted"] * 3
    assert read_summary(tmp_path / "o").finished
