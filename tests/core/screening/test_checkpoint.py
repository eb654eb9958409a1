# SPDX-License-Identifier: GPL-3.0-or-later
"""A long run continues from a checkpoint, which only saves time: every file is as if the journal had been read."""

import dataclasses
import os
import pickle
from pathlib import Path

import pandas as pd
import pytest
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y
from cryoice_scipion.core.records import to_json
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.csv_table import CsvTable
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.screening.state import RunState

CONFIG = ScreenConfig(reference=2, max_thumbnails=4, outlier=False)
OF_SESSION = {"started", "updated", "seconds_per_micrograph", "micrographs_per_hour", "recent_per_hour"}


@pytest.fixture(autouse=True)
def _for_short_runs_too(monkeypatch):
    monkeypatch.setattr(checkpoint, "SMALLEST", 0)


def with_rows(tasks):
    """Return tasks whose coordinates are the rows of a table, and the table."""
    rows = [(pick.x, pick.y, task.path) for task in tasks for pick in task.picks]
    numbers = iter(range(len(rows)))
    tasks = [
        dataclasses.replace(task, picks=[dataclasses.replace(pick, id=next(numbers)) for pick in task.picks])
        for task in tasks
    ]
    return tasks, PickTable(pd.DataFrame(rows, columns=[X, Y, MICROGRAPH]), "table")


def screen(folder, tasks, picks, resume=False, config=CONFIG):
    with ScreeningRun(folder, config, [executor()], RunOptions(resume, True, picks=picks)) as run:
        list(run.process(tasks))


def files_of(folder):
    """Return what a run says, without the times of its sessions."""
    names = ["coordinates/kept.star", "coordinates/rejected.star", "coordinates/autopick.star"]
    names += sorted(str(path.relative_to(folder)) for path in folder.glob("micrographs/*.star"))
    names += sorted(str(path.relative_to(folder)) for path in folder.glob("coordinates/per_micrograph/*"))
    files = {name: (folder / name).read_text().replace(str(folder), "") for name in names}
    summary = {key: value for key, value in to_json(read_summary(folder)).items() if key not in OF_SESSION}
    seconds = [row.split(",") for row in (folder / "micrographs.csv").read_text().splitlines()]
    at = seconds[0].index("seconds")
    return files, summary, [row[:at] + row[at + 1 :] for row in seconds], sorted(os.listdir(folder / "thumbnails"))


def test_a_run_continued_from_checkpoints_writes_the_files_of_an_undisturbed_one(tmp_path, monkeypatch):
    tasks, table = with_rows(make_tasks(tmp_path / "m", 9))
    Path(tasks[4].path).write_bytes(b"")
    screen(tmp_path / "one", tasks, table)
    early = [dataclasses.replace(task, picks=task.picks[: task.id % 3]) for task in tasks]
    screen(tmp_path / "two", early[:6], table)
    (tmp_path / "first").write_bytes((tmp_path / "two" / checkpoint.NAME).read_bytes())
    monkeypatch.setattr(RunState, "records", lambda self: pytest.fail("the whole journal was read"))
    for portion in (tasks[:3], early):
        screen(tmp_path / "two", portion, table, resume=True)
    (tmp_path / "two" / checkpoint.NAME).write_bytes((tmp_path / "first").read_bytes())  # as if killed since
    (tmp_path / "two").rename(tmp_path / "moved")
    screen(tmp_path / "moved", tasks, table, resume=True)
    assert files_of(tmp_path / "moved") == files_of(tmp_path / "one")
    assert len(read_records(tmp_path / "moved")) == 9


def test_a_continued_run_writes_only_the_coordinate_files_that_are_missing(tmp_path):
    config = CONFIG.model_copy(update={"box_files": True, "box_size": 16})
    tasks, table = with_rows(make_tasks(tmp_path / "m", 4))
    screen(tmp_path / "o", tasks, table, config=config)
    expected, _, _, _ = files_of(tmp_path / "o")
    files = sorted((tmp_path / "o" / "coordinates" / "per_micrograph").iterdir())
    assert len(files) == 8
    others = {path: path.stat().st_ino for path in files[4:]}
    files[0].unlink()  # the .box file of one micrograph
    files[3].unlink()  # the .star file of another
    screen(tmp_path / "o", tasks, table, resume=True, config=config)
    assert files_of(tmp_path / "o")[0] == expected
    assert {path: path.stat().st_ino for path in others} == others


class _Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("how", ["damaged", "cut", "harmful", "other journal", "other settings"])
def test_a_checkpoint_that_does_not_fit_is_ignored(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    tasks, table = with_rows(make_tasks(tmp_path / "m", 4))
    screen(tmp_path / "o", tasks[:3], table)
    path, journal = tmp_path / "o" / checkpoint.NAME, tmp_path / "o" / "journal.jsonl"
    data = path.read_bytes()
    if how == "damaged":
        path.write_bytes(b"no checkpoint")
    elif how == "cut":
        path.write_bytes(data[:-10])
    elif how == "harmful":
        path.write_bytes(pickle.dumps(_Harmful()))
    elif how == "other journal":
        screen(tmp_path / "p", tasks[:3], table)
        journal.write_bytes((tmp_path / "p" / "journal.jsonl").read_bytes())
    else:
        path.write_bytes(data.replace(b"variance-1", b"variance-2"))
    read = []
    monkeypatch.setattr(RunState, "records", lambda self, real=RunState.records: read.append(1) or real(self))
    screen(tmp_path / "o", tasks, table, resume=True)
    assert read and not Path("harm").exists()


def test_a_short_run_has_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.undo()
    tasks, table = with_rows(make_tasks(tmp_path / "m", 2))
    screen(tmp_path / "o", tasks, table)
    assert not (tmp_path / "o" / checkpoint.NAME).exists()


def test_only_the_named_attributes_are_taken_from_a_file():
    table = CsvTable(Path("micrographs.csv"), ["micrograph"], lambda record: [])
    checkpoint.set_attributes(table, CsvTable.STORED, {"_rows": {1: "one\n"}, "path": Path("another")})
    assert (table.path, table._rows) == (Path("micrographs.csv"), {1: "one\n"})
