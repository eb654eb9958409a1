# SPDX-License-Identifier: GPL-3.0-or-later
"""A watched folder that holds a list of coordinate files and the listed files."""

import contextlib
import logging
import time

import pytest

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

SETTLE = 0.05
STAR = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n24 12\n162 32\n"
LIST = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
JOB = "data_job\n_rlnJobType 4\n"
NAMES = ("m1_pick.star", "m2_pick.star")


@contextlib.contextmanager
def watching(folder, patience=0.3):
    """Yield a function that polls a folder until nothing changes, and returns the watcher."""
    picks = StreamingCoordinates(lambda path, table: None)
    watcher = CoordinateWatcher(folder, picks, logging.getLogger("watch"), SETTLE, patience)
    for name in ("m1", "m2", "m3"):
        picks.add_micrograph(name, f"{name}.mrc")

    def rest():
        watcher.poll()
        end, busy = time.monotonic() + 10, time.monotonic()
        while time.monotonic() < end and watcher.files.looked <= busy + 2 * SETTLE:
            watcher.poll()
            busy = time.monotonic() if watcher.is_pending else busy
            time.sleep(0.01)
        return watcher

    try:
        yield rest
    finally:
        watcher.release()


def listing(folder, *names):
    return LIST + "".join(f"MotionCorr/job002/{name[:2]}.mrc {folder / name}\n" for name in names)


def numbers(watcher):
    return [len(watcher.picks.of(name)) for name in ("m1", "m2", "m3")]


@pytest.mark.parametrize("job", [False, True])
@pytest.mark.parametrize("first", ["list", "files", "both"])
def test_files_that_a_list_names_are_read_once_whichever_comes_first(tmp_path, first, job, caplog):
    files = dict.fromkeys(NAMES, STAR)
    lists = {"autopick.star": listing(tmp_path, *NAMES)}
    if job:
        (tmp_path / "job.star").write_text(JOB)
    order = {"list": [lists, files], "files": [files, lists], "both": [{**files, **lists}]}[first]
    with watching(tmp_path, patience=5) as rest:
        for texts in order:
            for name, text in texts.items():
                (tmp_path / name).write_text(text)
            if texts is not lists or first != "list":  # else the list is tried again until they come
                rest()
        watcher = rest()
        assert numbers(watcher) == [2, 2, 0]
        counts, batch = watcher.counts(), read_picks(tmp_path).counts()
        assert (counts.rows, counts.files, counts.other) == (4, 2, []) == (batch.rows, batch.files, batch.other)
        assert not watcher.picks.shared() and not counts.not_read
        (tmp_path / NAMES[0]).write_text(STAR + "50 60\n")  # a change counts through the list
        assert numbers(rest()) == [3, 2, 0]
        (tmp_path / "autopick.star").write_text(listing(tmp_path, NAMES[1]))
        own = [] if job else [3]  # the other one counts on its own, unless it belongs to a job
        assert numbers(rest()) == [*(own or [0]), 2, 0] and watcher.counts().files == 1 + len(own)
        assert read_picks(tmp_path).counts() == watcher.counts()
    assert "left out" not in caplog.text or first == "list"


def test_without_their_list_files_are_read_again_and_one_that_is_gone_is_named(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text(STAR)
    lists = tmp_path / "autopick.star"
    lists.write_text(listing(tmp_path, *NAMES))
    with watching(tmp_path) as rest:
        assert numbers(rest()) == [2, 2, 0]
        (tmp_path / NAMES[0]).unlink()
        watcher = rest()
        assert numbers(watcher) == [0, 2, 0] and list(watcher.counts().not_read) == [str(tmp_path / NAMES[0])]
        (tmp_path / NAMES[0]).write_text(STAR)  # it is there again after the list was given up
        watcher = rest()
        assert numbers(watcher) == [2, 2, 0] and (watcher.counts().files, watcher.counts().not_read) == (2, {})
        lists.unlink()
        assert numbers(rest()) == [2, 2, 0] and watcher.counts().files == 2


def test_listed_files_of_another_format_are_read_through_their_list(tmp_path, caplog):
    for name in ("m1.box", "m2.box"):
        (tmp_path / name).write_text("24 12 16 16\n162 32 16 16\n")
    (tmp_path / "autopick.star").write_text(listing(tmp_path, "m1.box", "m2.box"))
    with watching(tmp_path) as rest:
        watcher = rest()
        counts = watcher.counts()
    assert numbers(watcher) == [2, 2, 0] and not counts.not_read and not counts.other and not caplog.text


def test_of_a_job_only_its_file_of_coordinates_is_read(tmp_path, caplog):
    rows = "data_particles\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\nm1.mrc 1 2\n"
    (tmp_path / "job.star").write_text(JOB)
    for number in (0, 1):
        (tmp_path / f"run_it00{number}_data.star").write_text(rows + "m2.mrc 3 4\n" * number)
    with watching(tmp_path) as rest:
        assert numbers(rest()) == [1, 1, 0]
        (tmp_path / "run_it002_data.star").write_text(rows)
        watcher = rest()
        assert numbers(watcher) == [1, 0, 0] and watcher.counts() == read_picks(tmp_path).counts()
        (tmp_path / "run_it002_data.star").unlink()
        assert numbers(rest()) == [1, 1, 0] and watcher.counts() == read_picks(tmp_path).counts()
    assert caplog.text.count("\n") == 1 and "is gone" in caplog.text
