# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made from the journal says what the journal says, however the run came about."""

import csv
import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, Y, read_picks, write_star
from cryoice_scipion.core.records import to_json
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_folder import KEPT, REJECTED
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates


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


@pytest.mark.parametrize("smallest", [0, 10**9])
@pytest.mark.parametrize("resumed", [False, True])
def test_coordinates_that_a_micrograph_loses_to_ambiguity_are_kept_in_no_file(tmp_path, monkeypatch, resumed, smallest):
    monkeypatch.setattr(checkpoint, "SMALLEST", smallest)
    made = make_tasks(tmp_path / "m", 2)
    for folder, task in zip("ab", made):
        (tmp_path / folder).mkdir()
        task.path = str(shutil.copy(task.path, tmp_path / folder / "mic.mrc"))
    write_star(tmp_path / "p.star", pd.DataFrame({X: [170.0, 32.0], Y: [20.0, 40.0], MICROGRAPH: "mic.mrc"}))
    picks = StreamingCoordinates(lambda path, table: None)
    picks.read(tmp_path / "p.star")
    stems, config = ("mic", "b_mic"), ScreenConfig(reference=0, particle_diameter=30)

    def process(run, number):
        tasks = [dataclasses.replace(task, stem=stem) for stem, task in zip(stems[:number], made)]
        for task in tasks:
            picks.add_micrograph(task.stem, task.path)
        run.note_input(picks.counts())
        list(run.process([dataclasses.replace(task, picks=picks.of(task.stem)) for task in tasks]))

    with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(picks=picks)) as run:
        process(run, 1)
        assert len(read_picks(tmp_path / "o" / KEPT)) == 1
        if not resumed:
            picks.closed = True
            process(run, 2)
    if resumed:
        picks.closed = True
        with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(True, picks=picks)) as run:
            process(run, 2)
    summary = read_summary(tmp_path / "o")
    assert (summary.kept, summary.rejected, summary.left_out, summary.adds_up) == (0, 0, {"ambiguous_name": 2}, True)
    assert (len(read_picks(tmp_path / "o" / KEPT)), len(read_picks(tmp_path / "o" / REJECTED))) == (0, 2)
    assert not list((tmp_path / "o" / "coordinates" / "per_micrograph").iterdir())


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
