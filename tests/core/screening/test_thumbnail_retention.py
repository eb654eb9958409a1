# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails are capped, lie spread over the whole run, and records say which there are."""

import dataclasses
import json
import random

import pytest
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.screening.state import RunState
from cryoice_scipion.core.screening.thumbnail_retention import ThumbnailRetention

CAP = 4


def record(number, bad_area=0.1):
    stem = f"mic{number}"
    return MicrographRecord(
        number, stem, stem + ".mrc", "accepted", bad_area=bad_area, thumbnail=f"thumbnails/{stem}.png"
    )


class Records:
    """A run's records without a run, which would take minutes for thousands of micrographs."""

    def __init__(self, folder, most):
        self.state = RunState(folder, ScreenConfig(), load_config(resolve_model("spots")), "", resume=False)
        self.retention = ThumbnailRetention(folder, most, self.state)

    def add(self, one):
        lost = self.retention.admit(one)
        self.state.add_record(one, "")
        self.retention.remove(lost)

    @property
    def shown(self):
        return sorted(one.id for one in self.state.records() if one.thumbnail)


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)

    def make(most, name="run"):
        (tmp_path / name).mkdir()
        return Records(tmp_path / name, most)

    return make


@pytest.mark.parametrize("stride", [1, 2, 3, 10, 64])
def test_thumbnails_are_spread_over_the_run_at_any_moment(records, stride):
    run, most = records(60), 60
    for count in range(1, 801):
        run.add(record(stride * count, bad_area=0.0))
        if count in (50, 100, 333, 800):
            places = [0, *(key // stride for key in run.shown), count + 1]
            assert len(run.shown) == min(count, most)
            widest = max(after - before for before, after in zip(places, places[1:]))
            assert widest <= max(1, 5 * count / most), f"after {count}"


def test_the_worst_are_shown_wherever_they_are(records):
    run = records(60)
    bad = random.Random(0).sample(range(1, 501), 12)
    for number in range(1, 501):
        run.add(record(number, 0.9 if number in bad else 0.1))
    assert set(bad) <= set(run.shown)
    assert len(run.shown) <= 60


def test_what_is_shown_depends_on_the_micrographs_only(records):
    told = [record(number, number * 37 % 101 / 101) for number in range(1, 201)]
    shown = []
    for seed in range(3):
        run = records(30, f"run{seed}")
        for one in random.Random(seed).sample(told, len(told)):
            run.add(dataclasses.replace(one))
        shown.append(run.shown)
    assert shown[0] == shown[1] == shown[2]


def screen(folder, tasks, cap=CAP, resume=False, executors=1, **options):
    config = ScreenConfig(reference=2, max_thumbnails=cap)
    with ScreeningRun(folder, config, [executor() for _ in range(executors)], RunOptions(resume)) as run:
        list(run.process(tasks, **options))


def shown(folder):
    """Return the stems of the micrographs with a thumbnail; files and records have to agree."""
    recorded = {one.stem for one in read_records(folder) if one.thumbnail}
    assert {path.stem for path in (folder / "thumbnails").iterdir()} == recorded
    return recorded


def test_files_and_records_agree_in_parallel_in_portions_and_after_late_coordinates(tmp_path):
    tasks = make_tasks(tmp_path / "m", 10)
    write_micrograph(tasks[6].path, seed=6, bad_columns=128)
    screen(tmp_path / "one", tasks)
    assert len(shown(tmp_path / "one")) == CAP and tasks[6].stem in shown(tmp_path / "one")
    screen(tmp_path / "two", tasks[::-1], executors=2)
    early = [dataclasses.replace(task, picks=task.picks[:2]) for task in tasks]
    for portion in (early[:5], early, tasks):
        screen(tmp_path / "three", portion, resume=(tmp_path / "three").exists(), closed=portion is tasks)
        shown(tmp_path / "three")
    assert shown(tmp_path / "one") == shown(tmp_path / "two") == shown(tmp_path / "three")
    name = f"thumbnails/{tasks[6].stem}.png"
    assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), "with all coordinates"


def test_a_kill_between_record_and_file_is_mended_on_resume(tmp_path):
    tasks = make_tasks(tmp_path / "m", 7)
    screen(tmp_path / "whole", tasks)
    screen(tmp_path / "o", tasks[:6])
    lines = (tmp_path / "o" / "journal.jsonl").read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "thinned")
    (tmp_path / "o" / "journal.jsonl").write_text("".join(lines[:last]))  # the record before it is there
    gone = next(one for one in read_records(tmp_path / "whole") if not one.thumbnail)
    (tmp_path / "o" / "thumbnails" / f"{gone.stem}.png").write_bytes(b"left over")
    screen(tmp_path / "o", tasks, resume=True)
    assert shown(tmp_path / "o") == shown(tmp_path / "whole")


def test_a_resume_may_have_another_cap(tmp_path):
    tasks = make_tasks(tmp_path / "m", 6)
    screen(tmp_path / "o", tasks, cap=-1)
    assert len(shown(tmp_path / "o")) == 6
    screen(tmp_path / "o", tasks, cap=2, resume=True)
    assert len(shown(tmp_path / "o")) == 2
    screen(tmp_path / "o", tasks, cap=0, resume=True)
    assert not shown(tmp_path / "o")
