# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches in this process, with a stand-in for the network: what goes wrong, and what must not be done again."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import time

import pytest
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening import watch as watch_module
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.screening.watch import Watch
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.id_registry import IdRegistry
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

SETTLE = 0.05
BOXES = "24 12 16 16\n162 32 16 16\n"  # one in the bad strip, one not


@contextlib.contextmanager
def watching(folder, output, coordinates=None, resume=False, reference=2, patience=0.3, batch=4, check=None):
    """Yield a watch that has begun."""
    log, late = logging.getLogger("watch"), None
    if coordinates is not None:
        picks = StreamingCoordinates(check or (lambda path, picks: None))
        late = CoordinateWatcher(coordinates, picks, log, SETTLE, patience)
    with watching_with(folder, output, late, resume, reference, patience, batch) as watch:
        yield watch


@contextlib.contextmanager
def watching_with(folder, output, late, resume=False, reference=2, patience=0.3, batch=4):
    """Yield a watch that has begun, with a reader of its coordinates."""
    log, config = logging.getLogger("watch"), ScreenConfig(reference=reference, box_size=24.0)
    with ScreeningRun(
        output,
        config,
        [executor()],
        RunOptions(resume, True, retry_seconds=patience, picks=late.picks if late else None, write_report=write_report),
        log,
    ) as run:
        watch = Watch(folder, run, IdRegistry(output, run.ids), late, log, batch, SETTLE)
        watch.pause = 0.05
        with contextlib.closing(watch):
            watch.begin()
            yield watch


def go_on(watch, until=None, seconds=10.0):
    """Go round until something is so, or else until all is at rest; return the stems that were screened."""
    found, end, busy = [], time.monotonic() + seconds, time.monotonic()
    while not (until and until()) and time.monotonic() < end:
        screened = [record.stem for record in watch.round()]
        found += screened
        if screened or not watch.is_quiet:
            busy = time.monotonic()
        elif not until and min(files.looked for files in watchers_of(watch)) > busy + 2 * SETTLE:
            break
        time.sleep(0.01)
    return found


def watchers_of(watch):
    """Return what looks at files; on a busy machine a look may take long."""
    picks = watch._picks
    return [watch.files, *(one.files for one in getattr(picks, "_watchers", [picks] if picks else []))]


def make_old(folder):
    """Let files look as if nobody had written to them for long, so that they are taken in the first round."""
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))


def finish(watch):
    return [record.stem for record in watch.finish()]


def stars(output):
    """Return class and goodness of each coordinate by micrograph and place."""
    found = {}
    for name in ("kept", "rejected"):
        for row in read_picks(output / "coordinates" / f"{name}.star").table.itertuples():
            key = (os.path.basename(row.rlnMicrographName), row.rlnCoordinateX, row.rlnCoordinateY)
            assert key not in found
            found[key] = (name, row.cryoiceClass, str(row.cryoiceGoodness))
    return found


def lines(output, kind):
    text = (output / "journal.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, text) if line["kind"] == kind]


def test_too_few_for_the_reference_are_mapped_and_screened_at_the_end(tmp_path):
    make_tasks(tmp_path / "m", 2)
    with watching(tmp_path / "m", tmp_path / "o", reference=5) as watch:
        assert go_on(watch) == []
        assert len(lines(tmp_path / "o", "mapped")) == 2
        assert (watch.done, watch.arrived) == (0, {"mic001", "mic002"})
        assert finish(watch) == ["mic001", "mic002"]
    assert lines(tmp_path / "o", "reference")[0]["reference"]["micrographs"] == [1, 2]
    assert read_summary(tmp_path / "o").finished


def test_a_stop_maps_nothing_more_and_a_session_that_resumes_ends_like_one_without_a_break(tmp_path):
    make_tasks(tmp_path / "m", 9)
    make_old(tmp_path / "m")
    for name in ("stopped", "whole"):
        with watching(tmp_path / "m", tmp_path / name, reference=3, batch=5) as watch:
            for record in watch.round():
                if name == "stopped" and record.stem == "mic003":
                    watch.stop()
            if name == "whole":
                go_on(watch)
            finish(watch)
        if name == "stopped":
            assert 3 <= len(read_records(tmp_path / "stopped")) <= 5  # in hand is one more for each device
            assert not read_summary(tmp_path / "stopped").finished
            assert (tmp_path / "stopped" / "report.html").is_file()
            with watching(tmp_path / "m", tmp_path / "stopped", resume=True, reference=3) as watch:
                go_on(watch)
                finish(watch)
    told = [[dataclasses.replace(one, seconds=0.0) for one in read_records(tmp_path / n)] for n in ("stopped", "whole")]
    assert told[0] == told[1]
    references = [[line["reference"] for line in lines(tmp_path / n, "reference")] for n in ("stopped", "whole")]
    assert references[0] == references[1]


def test_a_stop_before_the_reference_is_complete_freezes_none_of_what_has_not_been_mapped(tmp_path):
    make_tasks(tmp_path / "m", 6)
    make_old(tmp_path / "m")
    with watching(tmp_path / "m", tmp_path / "o", reference=6, batch=2) as watch:
        list(watch.round())
        watch.stop()
        assert finish(watch) == []
    assert len(lines(tmp_path / "o", "mapped")) == 2
    with watching(tmp_path / "m", tmp_path / "o", reference=6, resume=True) as watch:
        assert len(go_on(watch)) == 6
    assert lines(tmp_path / "o", "reference")[0]["reference"]["micrographs"] == [1, 2, 3, 4, 5, 6]


def test_ids_are_those_of_arrival_whatever_the_names_and_sessions(tmp_path):
    (tmp_path / "m").mkdir()
    with watching(tmp_path / "m", tmp_path / "o", reference=9) as watch:
        for name in ("z", "a", "m"):
            write_micrograph(tmp_path / "m" / f"{name}.mrc")
            go_on(watch, lambda name=name: name in watch.arrived)
    write_micrograph(tmp_path / "m" / "b.mrc")
    with watching(tmp_path / "m", tmp_path / "o", reference=9, resume=True) as watch:
        go_on(watch)
        finish(watch)
    assert [one.stem for one in read_records(tmp_path / "o")] == ["z", "a", "m", "b"]


def test_a_copy_that_stalls_is_tried_again_and_one_that_never_ends_fails_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(watch_module, "_AGAIN", 0.05)
    make_tasks(tmp_path / "m", 2)
    data = (tmp_path / "m" / "mic001.mrc").read_bytes()
    for stem in ("stalled", "broken"):
        (tmp_path / "m" / f"{stem}.mrc").write_bytes(data[:5000])
    with watching(tmp_path / "m", tmp_path / "o", patience=0.9) as watch:
        rounds(watch, lambda: len(watch.arrived) == 4 and watch.run.backlog)
        time.sleep(0.2)
        (tmp_path / "m" / "stalled.mrc").write_bytes(data)
        rounds(watch, lambda: watch.done == 4)
        assert {one.stem: one.status for one in read_records(tmp_path / "o")} == {
            "mic001": "accepted",
            "mic002": "accepted",
            "stalled": "accepted",
            "broken": "failed",
        }
        (tmp_path / "m" / "broken.mrc").write_bytes(data)
        rounds(watch, lambda: {one.status for one in read_records(tmp_path / "o")} == {"accepted"})
    assert {one.status for one in read_records(tmp_path / "o")} == {"accepted"}


def test_a_second_file_of_one_name_is_left_out_and_said_once_a_session(tmp_path, caplog):
    make_tasks(tmp_path / "m", 1)
    with watching(tmp_path / "m", tmp_path / "o", reference=0) as watch:
        go_on(watch)
        for text in ("x", "xy"):
            (tmp_path / "m" / "mic001.tif").write_text(text)
            assert go_on(watch) == []
    assert caplog.text.count("mic001.tif: left out") == 1
    with watching(tmp_path / "m", tmp_path / "o", reference=0, resume=True) as watch:
        assert go_on(watch) == []
    (one,) = read_records(tmp_path / "o")
    assert one.status == "accepted"


def rounds(watch, until):
    """Go round until something is so, however long nothing comes."""
    end = time.monotonic() + 10
    while not until() and time.monotonic() < end:
        list(watch.round())
        time.sleep(0.01)


@pytest.mark.parametrize("late", [True, False])
def test_a_second_file_of_one_name_is_used_if_the_first_cannot_be_read(tmp_path, late, monkeypatch):
    monkeypatch.setattr(watch_module, "_AGAIN", 0.05)
    make_tasks(tmp_path / "m", 1)
    whole, broken = tmp_path / "whole.mrcs", tmp_path / "m" / "mic001.mrc"
    shutil.copy(broken, whole)
    broken.write_bytes(b"no micrograph")
    with watching(tmp_path / "m", tmp_path / "o", reference=0, patience=0.2) as watch:
        rounds(watch, lambda: watch.done if late else watch.arrived)
        shutil.copy(whole, tmp_path / "m" / "mic001.mrcs")
        go_on(watch)
        finish(watch)
    (one,) = read_records(tmp_path / "o")
    assert (one.id, one.status, os.path.basename(one.path)) == (1, "accepted", "mic001.mrcs")
    with watching(tmp_path / "m", tmp_path / "o", reference=0, resume=True) as watch:
        assert go_on(watch) == []


@pytest.mark.parametrize("first", ["coordinates", "micrographs"])
def test_coordinates_come_before_or_after_and_in_portions(tmp_path, first):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    tasks = make_tasks(tmp_path / "elsewhere", 2)
    with watching(tmp_path / "elsewhere" if first == "micrographs" else tmp_path / "m", output, picks) as watch:
        if first == "micrographs":
            assert sorted(go_on(watch)) == ["mic001", "mic002"]
        (picks / "mic001.box").write_text(BOXES.splitlines()[0])
        assert go_on(watch) == (["mic001"] if first == "micrographs" else [])
        if first == "coordinates":
            (tmp_path / "elsewhere").rename(tmp_path / "m")
            assert sorted(go_on(watch)) == ["mic001", "mic002"]
        (picks / "mic001.box").write_text(BOXES)
        (picks / "mic009.box").write_text(BOXES)
        assert go_on(watch) == ["mic001"]
        assert len(lines(output, "mapped")) == 2  # late ones are scored on the stored map
        finish(watch)
    found = stars(output)
    assert [found[key][:2] for key in sorted(found)] == [
        ("rejected", "support"),
        ("kept", "good"),
        *[("rejected", "no_micrograph")] * 2,
    ]
    assert [len(one.scores) for one in read_records(output)] == [2, 0]
    assert read_summary(output).unmatched_picks == 2
    assert len(tasks) == 2


def test_a_session_that_resumes_does_nothing_again_and_files_are_the_same(tmp_path):
    picks, output = tmp_path / "picks", tmp_path / "o"
    make_tasks(tmp_path / "m", 3)
    with watching(tmp_path / "m", output, picks) as watch:
        picks.mkdir()
        for name in ("mic003", "mic001"):  # numbered as they come
            (picks / f"{name}.box").write_text(BOXES)
            go_on(watch)
        finish(watch)
    before, journal = stars(output), (output / "journal.jsonl").read_text()
    (tmp_path / "m" / "mic001.mrc").unlink()  # it was moved to an archive
    with watching(tmp_path / "m", output, picks, resume=True) as watch:
        assert go_on(watch) == []
        finish(watch)
        assert stars(output) == before
        assert (output / "journal.jsonl").read_text() == journal
        (picks / "mic001.box").write_text(BOXES + "100 100 16 16\n")
        assert go_on(watch) == ["mic001"]  # on its stored map
    assert len(read_records(output)[0].scores) == 3


def test_one_that_came_and_was_gone_before_its_turn_fails(tmp_path):
    make_tasks(tmp_path / "m", 3)
    make_old(tmp_path / "m")
    with watching(tmp_path / "m", tmp_path / "o", batch=1, reference=1) as watch:
        assert len(list(watch.round())) == 1
    (tmp_path / "m" / "mic003.mrc").unlink()
    with watching(tmp_path / "m", tmp_path / "o", resume=True, reference=1) as watch:
        go_on(watch)
        finish(watch)
    assert {one.stem: one.status for one in read_records(tmp_path / "o")} == {
        "mic001": "accepted",
        "mic002": "accepted",
        "mic003": "failed",
    }


def test_a_coordinate_file_that_stays_broken_is_said_once_and_read_when_it_is_mended(tmp_path, caplog):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 2)
    (picks / "mic001.box").write_text("24 12 16\n")
    (picks / "mic002.box").write_text(BOXES)
    with watching(tmp_path / "m", output, picks, patience=0.2) as watch:
        go_on(watch)
        go_on(watch)
        assert sum("mic001.box: line 1" in record.message for record in caplog.records) == 1
        assert [len(one.scores) for one in read_records(output)] == [0, 2]
        (picks / "mic001.box").write_text(BOXES)
        assert go_on(watch) == ["mic001"]
        finish(watch)
    assert len(stars(output)) == 4


def test_files_of_another_kind_are_left_out_and_columns_that_differ_are_joined(tmp_path, caplog):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 2)
    (picks / "mic001.box").write_text(BOXES)
    (picks / "log.txt").write_text("all went well\n")
    (picks / "mic002.box").write_text("24 12 16 16 0.5\n")  # with a score
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
        finish(watch)
    assert caplog.text.count("log.txt: left out") == 1
    table = read_picks(output / "coordinates" / "rejected.star").table
    assert [str(value) for value in table["rlnAutopickFigureOfMerit"]] == ["nan", "0.5"]


def test_coordinates_that_never_come_are_said(tmp_path, caplog):
    make_tasks(tmp_path / "m", 1)
    with watching(tmp_path / "m", tmp_path / "o", tmp_path / "picks.star") as watch:
        go_on(watch)
        assert finish(watch) == ["mic001"]
    assert "picks.star: no coordinates came" in caplog.text
    assert stars(tmp_path / "o") == {}


def test_a_size_that_is_missing_stops_a_watch_at_its_start_only(tmp_path, caplog):
    def check(path, picks):
        raise SettingsError(path, "no size", "give it")

    (tmp_path / "picks.box").write_text(BOXES)
    os.utime(tmp_path / "picks.box", (1e9, 1e9))
    with pytest.raises(SettingsError), watching(tmp_path, tmp_path / "o", tmp_path / "picks.box", check=check):
        pass
    (tmp_path / "picks.box").unlink()
    with watching(tmp_path, tmp_path / "p", tmp_path / "picks.box", check=check) as watch:
        (tmp_path / "picks.box").write_text(BOXES)
        go_on(watch)
        assert "picks.box: no size" in caplog.text


def test_a_run_that_was_not_watched_can_be_watched_on(tmp_path):
    """The ids of its micrographs, and of coordinates that all are of one file, are the same."""
    folder, output = tmp_path / "m", tmp_path / "o"
    tasks = make_tasks(folder, 4)
    with ScreeningRun(output, ScreenConfig(reference=2, box_size=24.0), [executor()]) as run:
        for task in tasks:
            task.picks.clear()
        list(run.process(tasks[1:]))
    shutil.copy(folder / "mic001.mrc", folder / "mic009.mrc")
    with watching(folder, output, resume=True) as watch:
        assert go_on(watch) == ["mic001", "mic009"]
    assert [one.id for one in read_records(output)] == [2, 3, 4, 5, 6]


def star_text(*places):
    return "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n" + "".join(f"{x} {y}\n" for x, y in places)


STAR = star_text((32, 20), (170, 40))


@pytest.mark.parametrize(
    "first", ["log.txt", "a_list.csv", "empty.txt", "empty.star", "micrographs.star", "broken.cbox"]
)
@pytest.mark.parametrize("name, text", [("mic001.star", STAR), ("mic001.csv", "x,y\n32,20\n170,40\n")])
def test_only_a_file_that_holds_coordinates_decides_the_format(tmp_path, first, name, text):
    """Today a log that comes first leaves out every file of coordinates."""
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 2)
    job = "data_job\n_rlnJobTypeLabel relion.autopick\n"
    (picks / first).write_text(
        {"log.txt": "all went well\n", "a_list.csv": "1,2\n", "micrographs.star": job}.get(first, "")
    )
    if first == "broken.cbox":
        (picks / first).write_text("all went well\n")
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
        (picks / name).write_text(text)
        go_on(watch)
        go_on(watch, seconds=1.0)
        finish(watch)
    assert [len(one.scores) for one in read_records(output)] == [2, 0]
    summary = read_summary(output)
    assert (summary.input_picks, summary.kept + summary.rejected, summary.adds_up) == (2, 2, True)
    if not first.startswith("empty"):
        unread = first == "broken.cbox" or (first == "a_list.csv" and name.endswith(".csv"))
        assert [os.path.basename(path) for path in summary.files_not_read] == ([first] if unread else [])
        assert [os.path.basename(path) for path in summary.files_of_other_format] == ([] if unread else [first])


def test_another_format_displaces_csv_and_txt_and_a_resume_does_not_go_back(tmp_path, caplog):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 2)
    (picks / "mic001.csv").write_text("x,y\n32,20\n")
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
        assert [len(one.scores) for one in read_records(output)] == [1, 0]
        (picks / "mic002.star").write_text(STAR)
        assert sorted(go_on(watch)) == ["mic001", "mic002"]
        (picks / "mic003.csv").write_text("x,y\n32,20\n")
        go_on(watch)
        finish(watch)
    assert [len(one.scores) for one in read_records(output)] == [0, 2]
    assert "mic001.csv: left out" in caplog.text
    first = read_summary(output)
    assert (first.input_picks, first.picks, first.adds_up, first.files_read) == (2, 2, True, 1)
    assert [os.path.basename(path) for path in first.files_of_other_format] == ["mic001.csv", "mic003.csv"]
    with watching(tmp_path / "m", output, picks, resume=True) as watch:
        assert go_on(watch) == []
        finish(watch)
    assert balance(read_summary(output)) == balance(first)


def balance(summary):
    names = ("kept", "rejected", "input_picks", "left_out", "files_read", "files_not_read", "files_of_other_format")
    return {name: getattr(summary, name) for name in names}, summary.adds_up


def test_a_resume_keeps_the_format_only_if_a_file_of_it_can_still_be_read(tmp_path):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 1)
    (picks / "mic001.star").write_text(STAR)
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
    (picks / "a.box").write_text(BOXES)
    with watching(tmp_path / "m", output, picks, resume=True) as watch:
        assert go_on(watch) == []
        finish(watch)
    assert [os.path.basename(path) for path in read_summary(output).files_not_read] == ["a.box"]
    (picks / "mic001.star").write_text("")
    (picks / "a.box").rename(picks / "mic001.box")
    with watching(tmp_path / "m", output, picks, resume=True) as watch:
        go_on(watch)
        finish(watch)
    assert read_summary(output).files_not_read == []
    assert [pick.goodness for pick in read_records(output)[0].scores] != []


def test_every_coordinate_of_the_files_is_accounted_for_also_after_a_break(tmp_path, caplog):
    picks, outputs = tmp_path / "picks", [tmp_path / "whole", tmp_path / "resumed"]
    make_tasks(tmp_path / "m", 3)
    for output in outputs:
        shutil.rmtree(picks, ignore_errors=True)
        picks.mkdir()
        with watching(tmp_path / "m", output, picks) as watch:
            (picks / "mic001.box").write_text(BOXES + "24 x 16 16\n")
            (picks / "mic009.box").write_text(BOXES)
            go_on(watch)
            if output == outputs[0]:
                finish_files(picks)
                go_on(watch)
                finish(watch)
            else:  # what a kill leaves: nothing is finished
                assert not read_summary(output).finished
        if output == outputs[1]:
            finish_files(picks)
            for _ in range(2):
                with watching(tmp_path / "m", output, picks, resume=True) as watch:
                    go_on(watch)
                    finish(watch)
    told = [read_summary(output) for output in outputs]
    assert balance(told[0]) == balance(told[1])
    assert told[0].left_out == {"unreadable_row": 1, "unmatched": 2}
    assert (told[0].input_picks, told[0].kept + told[0].rejected, told[0].adds_up) == (7, 4, True)
    assert [os.path.basename(path) for path in told[0].files_not_read] == ["mic003.box"]
    assert "mic001.box: 1 unreadable row is left out (line 3: y is 'x', not a number)" in caplog.text


def finish_files(picks):
    (picks / "mic002.box").write_text(BOXES)
    (picks / "mic003.box").write_text("no box\n")


def test_a_listed_file_that_comes_later_is_read_and_one_that_never_comes_is_named(tmp_path):
    picks, output = tmp_path / "picks", tmp_path / "o"
    (picks / "parts").mkdir(parents=True)
    make_tasks(tmp_path / "m", 3)
    head = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    names = ("mic001", "mic002", "mic003")
    (picks / "autopick.star").write_text(head + "".join(f"{name}.mrc {picks}/parts/{name}.star\n" for name in names))
    (picks / "parts" / "mic001.star").write_text(STAR)
    with watching(tmp_path / "m", output, picks, patience=0.5) as watch:
        go_on(watch, lambda: any(one.scores for one in read_records(output)))
        (picks / "parts" / "mic002.star").write_text(STAR)
        go_on(watch)
        finish(watch)
    assert [len(one.scores) for one in read_records(output)] == [2, 2, 0]
    summary = read_summary(output)
    assert (summary.input_picks, summary.files_read, summary.adds_up) == (4, 2, True)
    assert summary.files_not_read == [str(picks / "parts" / "mic003.star")]


def test_coordinates_of_a_file_that_was_removed_are_not_used_any_more(tmp_path, caplog):
    """Neither if it goes while the watch runs, nor if it goes between two sessions."""
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 3)
    for name in ("mic001", "mic002", "mic003"):
        (picks / f"{name}.box").write_text(BOXES)
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
        (picks / "mic001.box").unlink()
        go_on(watch, until=lambda: "mic001.box: is gone; its 2 coordinates are no longer used" in caplog.text)
        finish(watch)
    assert {name for name, *_ in stars(output)} == {"mic002.mrc", "mic003.mrc"}
    assert read_summary(output).adds_up
    (picks / "mic002.box").unlink()
    with watching(tmp_path / "m", output, picks, resume=True) as watch:
        go_on(watch)
        finish(watch)
    assert {name for name, *_ in stars(output)} == {"mic003.mrc"}
    assert read_summary(output).adds_up and read_summary(output).input_picks == 2


def test_a_coordinate_file_that_is_renamed_counts_once(tmp_path):
    picks, output = tmp_path / "picks", tmp_path / "o"
    picks.mkdir()
    make_tasks(tmp_path / "m", 2)
    for name in ("mic001", "mic002"):
        (picks / f"{name}.box").write_text(BOXES)
    with watching(tmp_path / "m", output, picks) as watch:
        go_on(watch)
        (picks / "mic001.box").rename(picks / "mic001_autopick.box")
        known = watch._picks.picks.knows
        go_on(watch, until=lambda: known("mic001_autopick.box") and not known("mic001.box"))
        go_on(watch)
        finish(watch)
    assert len(stars(output)) == 4  # which finds each place once
    assert (read_summary(output).input_picks, read_summary(output).adds_up) == (4, True)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_file_that_its_writer_finishes_after_a_pause_is_screened_again(tmp_path, resumed):
    """The writer allocates the whole file, and pauses for longer than the settle time."""
    make_tasks(tmp_path / "m", 3)
    path = tmp_path / "m" / "mic002.mrc"
    whole = path.read_bytes()
    path.write_bytes(whole[:20000] + bytes(len(whole) - 20000))
    make_old(tmp_path / "m")
    with watching(tmp_path / "m", tmp_path / "o") as watch:
        assert sorted(go_on(watch, lambda: watch.done == 3)) == ["mic001", "mic002", "mic003"]
        if not resumed:
            path.write_bytes(whole)
            assert go_on(watch, lambda: len(lines(tmp_path / "o", "screened")) == 4) == ["mic002"]
            os.utime(path, (2e9, 2e9))
        assert go_on(watch) + finish(watch) == []
    if resumed:
        path.write_bytes(whole)
        with watching(tmp_path / "m", tmp_path / "o", resume=True) as watch:
            assert go_on(watch) == ["mic002"]
            finish(watch)
    records = read_records(tmp_path / "o")
    assert ["file_changed" in one.flags for one in records] == [False, True, False]
    assert read_summary(tmp_path / "o").micrographs == 3


@pytest.mark.parametrize("name", [b"bad\xff.mrc", b"two\nlines.mrc", b"a 'b' \"c\", d;e.mrc", "ß\u2028å.mrc".encode()])
def test_no_name_of_a_file_is_committed_that_an_output_cannot_hold(tmp_path, name):
    """Micrograph, coordinates and output folder have the name; the watch, a resume and a resume without it end well."""
    made, path = tmp_path / "m", os.fsencode(tmp_path / "m") + b"/" + name
    make_tasks(made, 2)
    os.rename(made / "mic002.mrc", path)
    make_old(made)
    (tmp_path / "c").mkdir()
    for stem in (b"mic001", name[: -len(b".mrc")]):
        with open(os.fsencode(tmp_path / "c") + b"/" + stem + b".box", "w") as stream:
            stream.write(BOXES)
    make_old(tmp_path / "c")
    output = tmp_path / os.fsdecode(b"out " + name)
    for resume in (False, True, True):
        with watching(made, output, tmp_path / "c", resume=resume) as watch:
            go_on(watch, lambda: watch.done == 2)
            finish(watch)
        with open(output / "journal.jsonl", "rb") as stream:
            assert sum(b'"kind":"screened"' in line for line in stream) == 2
        summary = read_summary(output)
        assert (summary.accepted, summary.picks, summary.kept, summary.adds_up) == (2, 4, 2, True)
        if resume:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
