# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that fail at any call, and clocks that jump: afterwards a resume gives what an undisturbed run gives."""

import csv
import os
import time

import pytest
from faults import ERRORS, FailingDisk
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import read_picks, write_star
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

CONFIG = ScreenConfig(reference=2, outlier=False, thumbnails=False, regions=False)
#: How many of the calls of a run are tried; 1: all. The sweep over all is a part of benchmarks/bench_faults.py.
STEP = int(os.environ.get("CRYOICE_FAULT_STEP", "9"))


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


def sweep(calls, offset):
    return range(1 + offset % STEP, calls + 1, STEP)


@pytest.mark.parametrize("length", [None, 1], ids=["for good", "once"])
@pytest.mark.parametrize("number", ERRORS, ids=lambda number: os.strerror(number).split()[0])
def test_a_disk_that_fails_at_any_call_stops_the_run_with_one_line_and_a_resume_is_whole(
    undisturbed, tmp_path, number, length
):
    tasks, whole, calls = undisturbed
    failed = 0
    for first in sweep(calls, ERRORS.index(number) + 4 * bool(length)):
        folder = tmp_path / str(first)
        with FailingDisk(folder, first, number, length):
            try:
                screen(folder, tasks)
            except FolderError as error:
                failed += 1
                assert "cannot be written" in str(error), error
        assert not [one.reason for one in read_records(folder) if one.status == "failed"]
        screen(folder, tasks, resume=(folder / "journal.jsonl").exists())
        assert told(folder) == whole, first
    assert failed
