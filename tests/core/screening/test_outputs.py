# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made from the journal says what the journal says, however the run came about."""

import csv
import dataclasses
from pathlib import Path

from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.records import to_json
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun


def run_in(folder, resume=False):
    return ScreeningRun(folder, ScreenConfig(reference=2), [executor()], RunOptions(resume, write_report=write_report))


def screen(folder, tasks, resume=False):
    with run_in(folder, resume) as run:
        list(run.process(tasks))


def rows(folder):
    with open(folder / "micrographs.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_totals_of_a_resumed_run_with_late_coordinates_are_those_of_an_undisturbed_one(tmp_path):
    tasks = make_tasks(tmp_path / "m", 6)
    Path(tasks[4].path).write_bytes(b"")
    screen(tmp_path / "one", tasks)
    early = [dataclasses.replace(task, picks=task.picks[: task.id % 3]) for task in tasks]
    screen(tmp_path / "two", early[:5])
    for portion in (tasks[:2], early, tasks):
        screen(tmp_path / "two", portion, resume=True)
    one, two = (to_json(read_summary(tmp_path / name)) for name in ("one", "two"))
    session = {"started", "updated", "seconds_per_micrograph", "micrographs_per_hour", "recent_per_hour"}
    assert {key: one[key] for key in one if key not in session} == {key: two[key] for key in two if key not in session}
    without_seconds = [[{**row, "seconds": ""} for row in rows(tmp_path / name)] for name in ("one", "two")]
    assert without_seconds[0] == without_seconds[1]


def test_the_report_counts_what_the_records_say_after_late_coordinates(tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    with run_in(tmp_path / "o") as run:
        list(run.process([dataclasses.replace(task, picks=[]) for task in tasks], closed=False))
        list(run.process(tasks))
        told = list(run.recorded())
    page = (tmp_path / "o" / "report.html").read_text()
    picks, kept = sum(len(one.scores) for one in told), sum(one.kept for one in told)
    assert (picks, kept) == (24, 12)
    for number, name in ((4, "micrographs"), (picks, "coordinates"), (kept, "kept"), (picks - kept, "rejected")):
        assert f"<b>{number}</b> {name}<" in page
    assert "-0.0 %" not in page


def test_the_summary_tells_a_monitor_that_the_run_goes_on_and_how_fast(tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    with run_in(tmp_path / "o") as run:
        list(run.process(tasks[:1], closed=False))
        waiting = read_summary(tmp_path / "o")
        list(run.process(tasks[1:3], closed=False))
        going = read_summary(tmp_path / "o")
        list(run.process(tasks))
    assert (waiting.finished, waiting.backlog, waiting.recent_per_hour) == (False, 1, None)
    assert (going.finished, going.backlog, going.micrographs) == (False, 0, 3)
    assert going.recent_per_hour > 0 and going.micrographs_per_hour > 0
    ended = read_summary(tmp_path / "o")
    assert ended.finished and ended.started == waiting.started
    assert "http-equiv" not in (tmp_path / "o" / "report.html").read_text()
