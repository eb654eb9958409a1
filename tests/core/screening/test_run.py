# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over several micrographs: the reference, resuming, late coordinates, bad input, what is written."""

import csv
import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import standin
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.constants import ACCEPTED, FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CoordinatesError, SettingsError, WorkerError
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.maps.session_baseline import is_bright, offset_of
from cryoice_scipion.core.records import MicrographTask, Pick, to_json
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers.interface import WorkerDied

MAP_FOLDERS = ("probability", "masks", "thumbnails")


def screen(folder, tasks, config=None, executors=None, **options):
    """Screen in one go and return the records by id."""
    options = RunOptions(write_report=write_report, **options)
    with ScreeningRun(folder, config or ScreenConfig(reference=3), executors or [executor()], options) as run:
        return {record.id: record for record in run.process(tasks)}


def results(folder):
    """Return all that a run says, without the times."""
    told = [dataclasses.replace(record, seconds=0.0, screened_at=0.0) for record in read_records(folder)]
    files = sorted(path for name in MAP_FOLDERS for path in (folder / name).iterdir())
    return [to_json(one) for one in told], {path.name: path.read_bytes() for path in files}, reference_of(folder)


def reference_of(folder):
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    found = [line["reference"] for line in lines if line["kind"] == "reference"]
    assert len(found) <= 1
    return found


def rows(folder):
    with open(folder / "micrographs.csv", newline="") as stream:
        return {int(row["id"]): row for row in csv.DictReader(stream)}


def test_a_plain_run_writes_what_the_contract_lists(tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    told = screen(tmp_path / "o", tasks, ScreenConfig(reference=3, full_size_masks=True))
    for task in tasks:
        map_, sampling = read_map(tmp_path / "o" / told[task.id].probability)
        mask, _ = read_map(tmp_path / "o" / told[task.id].mask)
        full, pixel_size = read_map(tmp_path / "o" / told[task.id].full_mask)
        assert (sampling, pixel_size) == (pytest.approx(standin.SAMPLING), pytest.approx(standin.PIXEL))
        assert map_.shape == mask.shape == (20, 26)
        assert full.shape == standin.SIDE
        np.testing.assert_array_equal(full, np.kron(mask, np.ones((8, 8))))
        np.testing.assert_array_equal(mask == 1, 1 - map_ >= 0.5)
        assert (tmp_path / "o" / told[task.id].thumbnail).is_file()
        assert [one.kept for one in told[task.id].scores] == [True, False] * 3
    table = rows(tmp_path / "o")
    assert [table[i]["kept"] for i in table] == ["3"] * 4
    assert float(table[1]["area_support"]) == pytest.approx(8 / 26, abs=1e-4)
    summary = read_summary(tmp_path / "o")
    assert (summary.micrographs, summary.kept, summary.rejected, summary.backlog) == (4, 12, 12, 0)
    assert summary.finished
    assert (tmp_path / "o" / "report.html").stat().st_size > 1000


def test_masks_of_non_square_frames_that_are_no_multiple_of_the_cell_lose_no_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "SIDE", (163, 201))
    told = screen(tmp_path / "o", make_tasks(tmp_path / "m", 1), ScreenConfig(full_size_masks=True))
    mask, _ = read_map(tmp_path / "o" / told[1].mask)
    full, _ = read_map(tmp_path / "o" / told[1].full_mask)
    assert mask.shape == (21, 26)
    np.testing.assert_array_equal(full, np.kron(mask, np.ones((8, 8)))[:163, :201])


def test_the_reference_is_the_25th_percentile_over_the_first_micrographs_by_id(tmp_path):
    tasks = make_tasks(tmp_path / "m", 6)
    write_micrograph(tasks[1].path, bad_columns=200)
    Path(tasks[0].path).write_bytes(b"")
    screen(tmp_path / "o", tasks[::-1], ScreenConfig(reference=3))
    levels = {}
    for line in (tmp_path / "o" / "journal.jsonl").read_text().splitlines():
        value = json.loads(line)
        if value["kind"] == "mapped":
            levels[value["id"]] = value["result"]["median_logit"]
    (frozen,) = reference_of(tmp_path / "o")
    assert frozen["micrographs"] == [2, 3, 4]  # the first one failed
    assert frozen["session_logit"] == pytest.approx(np.percentile([levels[i] for i in (2, 3, 4)], 25))
    assert frozen["logit_offset"] == 0


def test_nothing_is_screened_before_the_reference_is_frozen(tmp_path):
    screen(tmp_path / "o", make_tasks(tmp_path / "m", 5))
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "o" / "journal.jsonl").read_text().splitlines()]
    assert kinds[0] == "head"
    assert kinds.index("reference") < kinds.index("screened")
    assert kinds[: kinds.index("reference")].count("mapped") >= 3


@pytest.mark.parametrize("limit, offset, shift", [(0, 3, 0), (5, 3, 3), (5, 7, 0), (5, -3, 0)])
def test_an_offset_is_subtracted_up_to_the_limit_of_the_model_and_not_at_all_beyond(tmp_path, limit, offset, shift):
    one = executor()
    one.model.offset_limit = limit
    one.model.baseline_logit = -3.97 - offset  # the level of these micrographs is about -3.97
    screen(tmp_path / "o", make_tasks(tmp_path / "m", 3), executors=[one])
    assert reference_of(tmp_path / "o")[0]["logit_offset"] == pytest.approx(shift, abs=0.4)
    assert [offset_of(excess, 5.0) for excess in (-1.0, 0.0, 2.5, 5.0, 5.01, 99.0)] == [0, 0, 2.5, 5, 0, 0]


@pytest.mark.parametrize("bad, unusual", [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_a_session_that_is_bad_throughout_is_flagged_in_one_sentence(tmp_path, caplog, bad, unusual):
    """Whatever the order in which its micrographs come."""
    tasks = make_tasks(tmp_path / "m", 4)
    for task in tasks[:bad]:
        write_micrograph(task.path, bad_columns=208)
    for name, order in (("forth", tasks), ("back", [dataclasses.replace(t, id=9 - t.id) for t in tasks])):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            screen(tmp_path / name, order, ScreenConfig(reference=2))
        summary = read_summary(tmp_path / name)
        assert summary.session_unusual is unusual
        assert any("unusual session" in line for line in summary.warnings) is unusual
        assert ("unusual session" in caplog.text) is unusual
        assert ("unusual session" in (tmp_path / name / "report.html").read_text(encoding="utf-8")) is unusual


def test_without_a_reference_nothing_is_shifted_and_particles_are_taken_for_dark(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    write_micrograph(tasks[1].path, seed=1, bright=True)
    told = screen(tmp_path / "o", tasks, ScreenConfig(reference=0))
    assert reference_of(tmp_path / "o")[0]["logit_offset"] == 0
    assert {key: one.status for key, one in told.items()} == {1: "accepted", 2: "accepted", 3: "accepted"}
    assert inversions(tmp_path / "o") == {1: False, 2: False, 3: False}


def inversions(folder):
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return {line["id"]: line["result"]["inverted"] for line in lines if line["kind"] == "mapped"}


@pytest.mark.parametrize(
    "reference, dark, expected",
    [(5, [2], True), (5, [1, 2], False), (5, [0, 1, 3, 4], False), (3, [], True), (2, [], False), (1, [], False)],
)
def test_a_large_majority_of_the_reference_decides_that_particles_are_bright(tmp_path, reference, dark, expected):
    tasks = make_tasks(tmp_path / "m", 6, bright=True)
    for number in [*dark, 5]:
        write_micrograph(tasks[number].path, seed=number)
    screen(tmp_path / "o", tasks, ScreenConfig(reference=reference))
    assert set(inversions(tmp_path / "o").values()) == {expected}
    assert reference_of(tmp_path / "o")[0]["contrast"] == ("bright" if expected else "dark")


def test_the_vote_needs_three_micrographs_and_four_of_five():
    assert not is_bright([]) and not is_bright([9.0, 9.0])
    assert is_bright([9.0, 9.0, 9.0]) and not is_bright([9.0, 9.0, 0.0])
    assert is_bright([9.0] * 16 + [-9.0] * 4) and not is_bright([9.0] * 15 + [-9.0] * 5)


def test_a_contrast_that_is_given_is_taken(tmp_path):
    screen(tmp_path / "o", make_tasks(tmp_path / "m", 2), ScreenConfig(contrast="bright"))
    assert set(inversions(tmp_path / "o").values()) == {True}


def test_a_micrograph_that_vanishes_before_it_is_mapped_with_the_other_contrast_is_tried_again_later(tmp_path, caplog):
    tasks = make_tasks(tmp_path / "m", 4, bright=True)
    content = Path(tasks[0].path).read_bytes()

    def vanish(task):
        if task.id == 4:
            Path(tasks[0].path).unlink(missing_ok=True)

    options = RunOptions(retry_seconds=0.6, on_mapped=vanish)
    with ScreeningRun(tmp_path / "o", ScreenConfig(reference=4), [executor()], options) as run:
        assert list(run.process(tasks, closed=False)) == []  # not a loop without end
        assert 1 <= caplog.text.count("tried again") < 10
        Path(tasks[0].path).write_bytes(content)
        time.sleep(0.2)
        assert {one.status for one in run.process(tasks)} == {"accepted"}
    assert set(inversions(tmp_path / "o").values()) == {True}


@pytest.mark.parametrize("number", [2, 3])
def test_results_do_not_depend_on_the_number_of_executors_or_the_order_of_tasks(tmp_path, number):
    tasks = make_tasks(tmp_path / "m", 9)
    write_micrograph(tasks[1].path, bright=True, seed=1)
    screen(tmp_path / "one", tasks)
    screen(tmp_path / "more", tasks[::-1], executors=[executor(pause=0.01 * i) for i in range(number)])
    assert results(tmp_path / "one") == results(tmp_path / "more")


def test_results_do_not_depend_on_the_portions_in_which_micrographs_come(tmp_path):
    tasks = make_tasks(tmp_path / "m", 8)
    screen(tmp_path / "one", tasks)
    with ScreeningRun(tmp_path / "more", ScreenConfig(reference=3), [executor()]) as run:
        assert list(run.process(tasks[:2], closed=False)) == []  # too few for the reference
        assert run.backlog == 2
        assert {one.id for one in run.process(tasks[2:5], closed=False)} == {1, 2, 3, 4, 5}
        assert {one.id for one in run.process(tasks, closed=True)} == {6, 7, 8}
    assert results(tmp_path / "one") == results(tmp_path / "more")


def test_an_input_that_closes_with_too_few_is_screened_by_what_there_is(tmp_path):
    told = screen(tmp_path / "o", make_tasks(tmp_path / "m", 2), ScreenConfig(reference=20))
    assert len(told) == 2
    assert reference_of(tmp_path / "o")[0]["micrographs"] == [1, 2]


def test_an_empty_input_ends_well(tmp_path):
    assert screen(tmp_path / "o", []) == {}
    assert read_summary(tmp_path / "o").finished


def test_a_second_session_does_nothing_again(tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    screen(tmp_path / "o", tasks)
    before, size = results(tmp_path / "o"), (tmp_path / "o" / "journal.jsonl").stat().st_size
    assert screen(tmp_path / "o", tasks, resume=True) == {}
    assert results(tmp_path / "o") == before
    assert (tmp_path / "o" / "journal.jsonl").stat().st_size == size
    assert len(rows(tmp_path / "o")) == 4


def test_a_resume_never_computes_a_frozen_reference_again(tmp_path):
    tasks = make_tasks(tmp_path / "m", 8)
    screen(tmp_path / "o", tasks[3:6])
    (before,) = reference_of(tmp_path / "o")
    screen(tmp_path / "o", tasks, resume=True)
    assert reference_of(tmp_path / "o") == [before]
    assert before["micrographs"] == [4, 5, 6]


@pytest.mark.parametrize("stage", range(11))
def test_a_run_that_stopped_at_any_line_of_its_journal_ends_like_an_undisturbed_one(tmp_path, stage):
    tasks = make_tasks(tmp_path / "m", 5)
    write_micrograph(tasks[0].path, bright=True)
    Path(tasks[2].path).write_bytes(b"nothing")
    screen(tmp_path / "one", tasks)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    journal = tmp_path / "two" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 11
    journal.write_bytes(b"".join(lines[:stage]) + lines[stage][: len(lines[stage]) // 2])
    screen(tmp_path / "two", tasks, resume=True)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert {key: row["kept"] for key, row in rows(tmp_path / "one").items()} == {
        key: row["kept"] for key, row in rows(tmp_path / "two").items()
    }


def child(tmp_path, folder, mode, number):
    command = [
        sys.executable,
        str(Path(standin.__file__)),
        "screen",
        str(folder),
        str(tmp_path / "m"),
        str(number),
        mode,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_runs_end_like_an_undisturbed_one(tmp_path):
    """kill -9 before, while and after the reference is frozen, and while judging."""
    tasks = make_tasks(tmp_path / "m", 10)
    screen(tmp_path / "one", tasks, ScreenConfig(reference=4))
    killed = tmp_path / "killed"
    for session, mapped in enumerate((2, 5, 8)):
        process = child(tmp_path, killed, "resume" if session else "new", 10)
        while process.poll() is None:
            journal = killed / "journal.jsonl"
            if journal.exists() and journal.read_bytes().count(b'"mapped"') >= mapped:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(read_records(killed)) < 10
    process = child(tmp_path, killed, "resume", 10)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert results(tmp_path / "one") == results(killed)
    assert len(rows(killed)) == 10


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros at the end": lambda path: path.write_bytes(path.read_bytes()[:-20] + bytes(20)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_missing_or_damaged_stored_maps_are_made_again(damage, tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    screen(tmp_path / "one", tasks)
    screen(tmp_path / "two", add_late_picks(tasks))
    damage(tmp_path / "one" / ".maps" / "mic001.npz")
    damage(tmp_path / "one" / ".maps" / "mic002.jpg")
    told = screen(tmp_path / "one", tasks, resume=True)
    assert [one.status for one in told.values()] == ["accepted"] * 3
    assert [len(one.scores) for one in told.values()] == [7] * 3
    assert results(tmp_path / "one") == results(tmp_path / "two")


def add_late_picks(tasks):
    for task in tasks:
        task.picks.append(Pick(task.id + 90000, 100.0, 100.0, 16.0))
    return tasks


def test_late_coordinates_are_scored_on_the_stored_map(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    screen(tmp_path / "one", tasks)
    early = [dataclasses.replace(task, picks=task.picks[: 2 * (task.id - 1)]) for task in tasks]
    Path(tasks[2].path).write_bytes(b"")
    with ScreeningRun(tmp_path / "two", ScreenConfig(reference=2), [executor()]) as run:
        first = {one.id: one for one in run.process(early, closed=False)}
        thumbnail = (tmp_path / "two" / first[1].thumbnail).read_bytes()
        for task in tasks[:2]:
            shutil.move(task.path, task.path + ".away")  # the micrograph is not needed any more
        second = {one.id: one for one in run.process(tasks)}
    assert [len(first[key].scores) for key in (1, 2, 3)] == [0, 2, 4]
    assert [len(second[key].scores) for key in (1, 2, 3)] == [6, 6, 6]
    assert [one.kept for one in second[1].scores] == [True, False] * 3
    assert (second[3].status, {one.goodness for one in second[3].scores}) == ("failed", {None})
    assert (tmp_path / "two" / second[1].thumbnail).read_bytes() != thumbnail
    table, summary = rows(tmp_path / "two"), read_summary(tmp_path / "two")
    assert sorted(table) == [1, 2, 3]
    assert [table[key]["picks"] for key in (1, 2, 3)] == ["6"] * 3
    assert (summary.micrographs, summary.picks, summary.kept, summary.failed) == (3, 18, 6, 1)


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:20000]),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "missing": lambda path: path.unlink(),
    "a volume": lambda path: stack(path),
    "constant": lambda path: rewrite(path, np.full((64, 64), 3, np.float32)),
    "NaN": lambda path: rewrite(path, np.full((64, 64), np.nan, np.float32)),
    "no pixel size": lambda path: rewrite(path, noise(), 0.0),
    "no image": lambda path: path.write_text("I am not an image\n" * 200),
}


def noise():
    return np.random.default_rng(3).normal(0, 1, (64, 64)).astype(np.float32)


def stack(path):
    rewrite(path, np.stack([noise()] * 4))


def rewrite(path, pixels, pixel_size=4.0):
    with mrcfile.new(str(path), overwrite=True) as mrc:
        mrc.set_data(pixels)
        mrc.voxel_size = pixel_size


def test_each_bad_micrograph_fails_with_one_line_and_the_others_go_on(tmp_path, caplog):
    tasks = make_tasks(tmp_path / "m", len(BROKEN) + 3)
    for task, broken in zip(tasks, BROKEN.values()):
        broken(Path(task.path))
    told = screen(tmp_path / "o", tasks)
    for task, name in zip(tasks, BROKEN):
        one = told[task.id]
        assert one.status == "failed", name
        assert "\n" not in one.reason and Path(task.path).name in one.reason, name
        assert "Traceback" not in one.reason and "unexpected" not in one.reason, one.reason
        assert [(score.goodness, score.kept) for score in one.scores] == [(None, False)] * 6
        assert rows(tmp_path / "o")[task.id]["reason"] == one.reason
    assert [told[task.id].status for task in tasks[len(BROKEN) :]] == ["accepted"] * 3
    assert read_summary(tmp_path / "o").failed == len(BROKEN)


def test_an_unexpected_error_of_a_detector_fails_only_its_micrograph(tmp_path):
    one = executor()
    real = one.detector.map
    one.detector.map = lambda image, *rest: real(image, *rest) if image.std() < 100 else 1 / 0
    tasks = make_tasks(tmp_path / "m", 3)
    rewrite(Path(tasks[1].path), noise() * 1000)
    told = screen(tmp_path / "o", tasks, executors=[one])
    assert [told[i].status for i in (1, 2, 3)] == ["accepted", "failed", "accepted"]
    assert "ZeroDivisionError" in told[2].reason


def test_picks_outside_the_frame_are_rejected_counted_and_named(tmp_path, caplog):
    tasks = make_tasks(tmp_path / "m", 2)
    tasks[0].picks.append(Pick(77, 5000.0, 10.0, 16.0))
    told = screen(tmp_path / "o", tasks)
    assert told[1].scores[-1].cls == "outside"
    assert "picks_outside=1" in told[1].flags
    assert "1 coordinate is outside" in caplog.text


def test_failed_micrographs_are_tried_again_only_when_asked(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    shutil.move(tasks[1].path, tmp_path / "aside")
    assert screen(tmp_path / "o", tasks)[2].status == "failed"
    shutil.move(tmp_path / "aside", tasks[1].path)
    assert screen(tmp_path / "o", tasks, resume=True) == {}
    told = screen(tmp_path / "o", tasks, resume=True, retry_failed=True)
    assert {key: one.status for key, one in told.items()} == {2: "accepted"}
    assert read_summary(tmp_path / "o").failed == 0


@pytest.mark.parametrize("limit, status", [(0.3, "discarded"), (0.31, "accepted")])
def test_micrographs_with_too_much_bad_area_are_discarded(tmp_path, limit, status):
    told = screen(tmp_path / "o", make_tasks(tmp_path / "m", 1), ScreenConfig(max_bad_area=limit))[1]
    assert told.status == status
    assert told.bad_area == pytest.approx(8 / 26)
    assert told.kept == (3 if status == "accepted" else 0)
    assert [round(score.goodness) for score in told.scores] == [1, 0] * 3


def test_mostly_bad_micrographs_sound_the_alarm_and_change_no_decision(tmp_path, caplog):
    told = screen(tmp_path / "o", make_tasks(tmp_path / "m", 3, bad_columns=190), ScreenConfig(reference=0))
    assert all("mostly_bad" in one.flags and one.status == "accepted" for one in told.values())
    assert "3 of 3 micrographs are bad over almost all of their area" in caplog.text
    assert read_summary(tmp_path / "o").mostly_bad == 3


def test_coordinates_of_unknown_size_are_refused_at_once(tmp_path):
    tasks = make_tasks(tmp_path / "m", 1)
    tasks[0].picks[0].diameter = None
    with pytest.raises(CoordinatesError, match="diameter is not known.*--box-size"):
        screen(tmp_path / "o", tasks)


def test_two_micrographs_of_one_stem_or_id_are_refused(tmp_path):
    tasks = make_tasks(tmp_path / "m", 2)
    for wrong in (MicrographTask(9, "x", tasks[0].stem), MicrographTask(1, "x", "other")):
        with pytest.raises(SettingsError, match="another micrograph"):
            screen(tmp_path / wrong.stem, [*tasks, wrong])


def test_a_folder_with_a_run_is_not_taken_without_resume(tmp_path):
    tasks = make_tasks(tmp_path / "m", 1)
    screen(tmp_path / "o", tasks)
    with pytest.raises(SettingsError, match="holds a run already; continue it with --resume"):
        screen(tmp_path / "o", tasks)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_whose_micrographs_all_failed_is_begun_anew_with_other_settings(tmp_path, resume):
    tasks = make_tasks(tmp_path / "m", 2)
    for task in tasks:
        task.pixel_size = None
        with mrcfile.open(task.path, "r+") as mrc:
            mrc.voxel_size = 0
    screen(tmp_path / "o", tasks)
    assert [one.status for one in read_records(tmp_path / "o")] == [FAILED] * 2
    corrected = ScreenConfig(reference=3, pixel_size=4.0)
    screen(tmp_path / "o", tasks, corrected, resume=resume)
    assert [one.status for one in read_records(tmp_path / "o")] == [ACCEPTED] * 2
    assert read_summary(tmp_path / "o").failed == 0
    with pytest.raises(SettingsError, match="pixel_size was 4.0, is None"):
        screen(tmp_path / "o", tasks, resume=True)


def test_a_resume_with_other_settings_names_them(tmp_path):
    tasks = make_tasks(tmp_path / "m", 1)
    screen(tmp_path / "o", tasks)
    other = ScreenConfig(reference=3, threshold=0.7, margin=10)
    with pytest.raises(SettingsError, match="threshold was None, is 0.7; margin was 0.0, is 10.0"):
        screen(tmp_path / "o", tasks, other, resume=True)
    retrained = executor()
    retrained.fingerprint = "variance-2"
    with pytest.raises(SettingsError, match="model was variance-1, is variance-2"):
        screen(tmp_path / "o", tasks, executors=[retrained], resume=True)
    renamed = ScreenConfig(reference=3, model="another/path/of/the/same")
    assert screen(tmp_path / "o", tasks, renamed, resume=True) == {}


def test_two_runs_cannot_share_a_folder(tmp_path):
    with ScreeningRun(tmp_path / "o", ScreenConfig(), [executor()]):
        with pytest.raises(FolderError, match=f"another run .process {os.getpid()}. is working"):
            ScreeningRun(tmp_path / "o", ScreenConfig(), [executor()], RunOptions(resume=True))
    screen(tmp_path / "o", [], ScreenConfig(), resume=True)


def test_a_full_disk_stops_the_run_and_everything_done_stays(tmp_path, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 6)
    screen(tmp_path / "one", tasks)
    real, left = os.replace, [14]

    def replace(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(FolderError, match="No space left on device.*free disk space"):
        screen(tmp_path / "two", tasks)
    monkeypatch.undo()
    assert not [one for one in read_records(tmp_path / "two") if one.status == "failed"]
    screen(tmp_path / "two", tasks, resume=True)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written.*choose another folder"):
        screen(tmp_path / "file" / "o", [])


def test_what_the_consumer_leaves_unread_is_resumed(tmp_path):
    tasks = make_tasks(tmp_path / "m", 6)
    screen(tmp_path / "one", tasks)
    with ScreeningRun(tmp_path / "two", ScreenConfig(reference=3), [executor()]) as run:
        for record in run.process(tasks):
            if record.id == 3:
                break
    assert len(rows(tmp_path / "two")) == len(read_records(tmp_path / "two")) == 3
    screen(tmp_path / "two", tasks, resume=True)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_late_coordinates_that_cannot_be_scored_leave_their_micrograph_what_it_was(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    first = screen(tmp_path / "o", tasks)[1]
    os.unlink(tasks[0].path)  # the facility has moved it away, and the stored map is lost too
    os.unlink(tmp_path / "o" / ".maps" / "mic001.npz")
    late = dataclasses.replace(tasks[0], picks=[*tasks[0].picks, Pick(77, 100.0, 100.0, 16.0)])
    second = screen(tmp_path / "o", [late], resume=True)[1]
    assert (second.status, second.bad_area) == (first.status, first.bad_area) == ("accepted", first.bad_area)
    assert second.scores[:-1] == first.scores
    assert (second.scores[-1].cls, second.scores[-1].kept) == ("failed", False)
    assert "late_picks_failed" in second.flags
    write_micrograph(tasks[0].path, seed=0)  # it is back
    third = screen(tmp_path / "o", [late], resume=True, retry_failed=True)[1]
    assert third.scores[:-1] == first.scores
    assert third.scores[-1].goodness is not None
    assert "late_picks_failed" not in third.flags


def test_coordinates_that_moved_and_cannot_be_scored_do_not_keep_the_scores_of_earlier_ones(tmp_path):
    tasks = make_tasks(tmp_path / "m", 2)
    first = screen(tmp_path / "o", tasks)[1]
    assert [score.kept for score in first.scores] == [True, False] * 3
    os.unlink(tasks[0].path)
    os.unlink(tmp_path / "o" / ".maps" / "mic001.npz")
    moved = [dataclasses.replace(pick, x=202.0 - pick.x) for pick in tasks[0].picks]  # good ones become bad ones
    second = screen(tmp_path / "o", [dataclasses.replace(tasks[0], picks=moved)], resume=True)[1]
    assert second.status == "accepted" and "late_picks_failed" in second.flags
    assert [(score.cls, score.kept, score.goodness) for score in second.scores] == [("failed", False, None)] * 6
    write_micrograph(tasks[0].path, seed=0)
    third = screen(tmp_path / "o", [dataclasses.replace(tasks[0], picks=moved)], resume=True, retry_failed=True)[1]
    assert [score.kept for score in third.scores] == [False, True] * 3


def test_a_device_on_which_every_micrograph_dies_is_given_up_and_the_rest_is_spared(tmp_path):
    class Sick:
        model, fingerprint, device = executor().model, "variance-1", "cuda:0"

        def map(self, task, *rest):
            raise WorkerDied("worker", "was ended by signal 9", "see the log")

        def close(self):
            pass

    tasks = make_tasks(tmp_path / "m", 8)
    with pytest.raises(WorkerError, match="died of 6 micrographs in a row"):
        screen(tmp_path / "sick", tasks, executors=[Sick()])
    assert not read_records(tmp_path / "sick")  # none of them is at fault
    mended = screen(tmp_path / "sick", tasks, resume=True, retry_failed=True)
    assert {one.status for one in mended.values()} == {"accepted"}
    both = screen(tmp_path / "both", tasks, executors=[Sick(), executor(pause=0.05)])
    assert {one.status for one in both.values()} == {"accepted"}
