# SPDX-License-Identifier: GPL-3.0-or-later
"""The outlier number of a run: recorded, shown, without effect on verdicts; like grades, the same after a kill."""

import copy
import csv
import dataclasses
import json
import shutil

import mrcfile
import numpy as np
import pytest
from journals import unsealed
from simple_grader import CLASSES, use_simple_grader
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.records import to_json
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

REFERENCE, NUMBER = 6, 8
CONFIG = ScreenConfig(reference=REFERENCE)


@pytest.fixture(scope="module", autouse=True)
def grader():
    with pytest.MonkeyPatch.context() as patch:
        use_simple_grader(patch)
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Eight micrographs; the last one is brighter than the others from edge to edge, which the detector ignores."""
    found = make_tasks(tmp_path_factory.mktemp("session"), NUMBER, bad_columns=24)
    with mrcfile.open(found[-1].path, mode="r+") as mrc:
        mrc.data[:] += 40
    return found


def screen(folder, tasks, config=CONFIG, batches=1, **options):
    options = RunOptions(write_report=write_report, **options)
    with ScreeningRun(folder, config, [executor(classes=CLASSES)], options) as run:
        size = -(-len(tasks) // batches)
        for batch in range(batches):
            list(run.process(tasks[batch * size : (batch + 1) * size], closed=batch == batches - 1))
    return {record.id: record for record in read_records(folder)}


def results(folder):
    """Return what the run says of each micrograph without times, and its outlier maps."""
    told = [to_json(dataclasses.replace(one, seconds=0.0, screened_at=0.0)) for one in read_records(folder)]
    return told, {path.name: path.read_bytes() for path in (folder / "outlier").iterdir()}


@pytest.fixture(scope="module")
def run(tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    screen(folder, tasks)
    return folder


def test_the_unusual_micrograph_is_first_in_table_summary_and_report(run):
    with open(run / "micrographs.csv", newline="") as stream:
        rows = {row["stem"]: row for row in csv.DictReader(stream)}
    assert float(rows["mic008"]["outlier"]) > 5 and "unusual" in rows["mic008"]["flags"]
    assert all(0 < float(rows[f"mic{key:03d}"]["outlier"]) < 2.5 for key in range(1, NUMBER))
    assert {row["outlier_p"] for row in rows.values()} == {""}  # the reference has fewer than 20 micrographs
    summary = read_summary(run)
    assert summary.most_unusual[0]["micrograph"] == "mic008" and summary.unusual == 1
    assert len(summary.most_unusual) == NUMBER and "one_class" not in summary.reference
    report = (run / "report.html").read_text()
    section = report[report.index('id="unusual"') :]
    assert section.index("mic008") < section.index("mic001")
    assert "outlier" in report[report.index("mic001") :]


def test_the_map_has_coarse_cells_of_which_those_of_the_unusual_micrograph_are_high(run):
    record = {one.stem: one for one in read_records(run)}
    usual, sampling = read_map(run / record["mic007"].outlier_map)
    unusual, _ = read_map(run / record["mic008"].outlier_map)
    assert sampling == pytest.approx(128.0) and usual.shape == (5, 7)
    assert np.median(unusual) > 2 * np.median(usual)


def test_it_changes_no_verdict(run, tasks, tmp_path):
    without = screen(tmp_path / "out", tasks, CONFIG.model_copy(update={"outlier": False}))
    for record in read_records(run):
        plain = without[record.id]
        assert plain.grade_probabilities != record.grade_probabilities  # the session counts for the grade
        assert (plain.outlier, plain.outlier_p, plain.outlier_map) == (None, None, "")
        same = {
            "outlier": None,
            "outlier_map": "",
            "deviations": [],
            "seconds": 0.0,
            "screened_at": 0.0,
            "flags": plain.flags,
        }
        same.update({name: getattr(plain, name) for name in vars(plain) if name.startswith("grade")})
        assert dataclasses.replace(record, **same) == dataclasses.replace(plain, seconds=0.0, screened_at=0.0)
        assert (run / record.mask).read_bytes() == (tmp_path / "out" / plain.mask).read_bytes()
        assert (run / record.probability).read_bytes() == (tmp_path / "out" / plain.probability).read_bytes()
    assert not (tmp_path / "out" / "outlier").exists() and not list((tmp_path / "out" / ".maps").glob("*.npy"))


def test_kept_star_is_the_same_with_and_without(tasks, tmp_path):
    import pandas as pd

    tasks = copy.deepcopy(tasks)
    for row, pick in enumerate(pick for task in tasks for pick in task.picks):
        pick.id = row
        pick.x = 10.0 if row % 2 else pick.x  # in the bad strip
    rows = [(pick.x, pick.y, task.path) for task in tasks for pick in task.picks]
    texts = []
    for outlier in (True, False):
        picks = PickTable(pd.DataFrame(rows, columns=[X, Y, MICROGRAPH]), "picks")
        folder = tmp_path / str(outlier)
        screen(folder, tasks, CONFIG.model_copy(update={"outlier": outlier}), picks=picks)
        texts.append([(folder / "coordinates" / name).read_text() for name in ("kept.star", "rejected.star")])
    assert texts[0] == texts[1] and all(len(text.splitlines()) > 20 for text in texts[0])


@pytest.mark.parametrize("stage", [1, REFERENCE, REFERENCE + 1, REFERENCE + 2, REFERENCE + 5])
def test_a_run_that_stopped_at_a_line_of_its_journal_gives_the_same_numbers(run, tasks, tmp_path, stage):
    shutil.copytree(run, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:stage]) + lines[stage][: len(lines[stage]) // 2])
    screen(tmp_path / "out", tasks, resume=True)
    assert results(tmp_path / "out") == results(run)
    assert results(run)[0][-1]["grade"] == "empty"


@pytest.mark.parametrize("batches", [2, 4, 8])
def test_batches_do_not_change_the_numbers(run, tasks, tmp_path, batches):
    screen(tmp_path / "out", tasks, batches=batches)
    assert results(tmp_path / "out") == results(run)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no array")])
def test_missing_or_damaged_features_are_measured_again(run, tasks, tmp_path, damage):
    shutil.copytree(run, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    frozen = next(index for index, line in enumerate(lines) if json.loads(line)["kind"] == "reference")
    journal.write_bytes(b"".join(lines[: frozen + 1]))  # nothing is scored yet
    damage(tmp_path / "out" / ".maps" / "mic002.npy")
    screen(tmp_path / "out", tasks, resume=True)
    assert results(tmp_path / "out") == results(run)


def test_a_run_of_a_version_without_the_setting_is_continued(tasks, tmp_path):
    screen(tmp_path / "out", tasks[:REFERENCE], CONFIG.model_copy(update={"outlier": False}))
    journal = tmp_path / "out" / "journal.jsonl"
    head, *others = unsealed(journal.read_text()).splitlines()
    head = json.loads(head)
    for name in ("outlier", "grade", "miss_cost", "reject_grades"):
        del head["config"][name]
    others = [json.loads(line) for line in others]
    for line in others:
        for key in (
            *("outlier", "outlier_p", "outlier_map", "features_path", "features_sampling", "one_class", "power"),
            *("grade", "grade_confidence", "grade_reason", "grade_probabilities"),
        ):
            for values in line.values():
                if isinstance(values, dict):
                    values.pop(key, None)
    journal.write_text("".join(json.dumps(line) + "\n" for line in [head, *others]))
    found = screen(tmp_path / "out", tasks, resume=True)
    assert [found[key].outlier for key in sorted(found)] == [None] * NUMBER
    assert [found[key].grade for key in sorted(found)] == [""] * REFERENCE + ["great"] * (NUMBER - REFERENCE)


def test_a_reference_that_looks_bad_to_the_detector_is_a_warning(run, tmp_path):
    assert not any("outlier" in line for line in read_summary(run).warnings)
    bad = make_tasks(tmp_path / "m", REFERENCE, bad_columns=150)
    screen(tmp_path / "out", bad)
    (line,) = (line for line in read_summary(tmp_path / "out").warnings if "outlier" in line)
    assert line.startswith("5 of the 5 reference micrographs")
