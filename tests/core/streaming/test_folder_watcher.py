# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a folder are reported once they stop changing, each once."""

import contextlib
import os
import shutil
import threading
import time

import pytest

from cryoice_scipion.core.streaming import folder_watcher
from cryoice_scipion.core.streaming.folder_watcher import FolderWatcher

SETTLE = 0.1


@contextlib.contextmanager
def looking(path, **options):
    with contextlib.closing(FolderWatcher(path, lambda name: name.endswith(".mrc"), SETTLE, **options)) as files:
        yield files


def gather(files, number, seconds=5.0):
    """Return the names of the next files, and of what comes while we make sure that there are no more."""
    found, end = [], time.monotonic() + seconds
    while len(found) < number and time.monotonic() < end:
        found += [path.name for path in files.poll()]
        time.sleep(0.01)
    end = time.monotonic() + 3 * SETTLE
    while time.monotonic() < end:
        found += [path.name for path in files.poll()]
        time.sleep(0.01)
    return found


def test_what_is_there_comes_at_once_if_it_is_old_and_by_name(tmp_path):
    for name in ("b.mrc", "a.mrc", ".hidden.mrc", "notes.txt"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1e9, 1e9))
    (tmp_path / "folder.mrc").mkdir()
    with looking(tmp_path) as files:
        assert [path.name for path in files.poll()] == ["a.mrc", "b.mrc"]
        assert gather(files, 0) == []


def test_a_file_that_is_being_written_comes_when_it_is_whole(tmp_path):
    with looking(tmp_path) as files:
        assert files.poll() == []
        end = time.monotonic() + 4 * SETTLE
        with open(tmp_path / "a.mrc", "w") as stream:
            while time.monotonic() < end:
                stream.write("x")
                stream.flush()
                assert files.poll() == []
                time.sleep(SETTLE / 4)
        assert gather(files, 1) == ["a.mrc"]
        assert not files.has_changing_files


def test_a_file_that_is_renamed_comes_by_its_new_name_only(tmp_path):
    with looking(tmp_path) as files:
        files.poll()
        for name in ("a.mrc.part", ".a.mrc.Xy12"):  # as some programs copy
            (tmp_path / name).write_text(name)
        assert gather(files, 0) == []
        (tmp_path / "a.mrc.part").rename(tmp_path / "a.mrc")
        (tmp_path / ".a.mrc.Xy12").rename(tmp_path / "b.mrc")
        assert gather(files, 2) == ["a.mrc", "b.mrc"]


def test_a_file_that_changes_later_comes_again_and_one_that_is_touched_by_nobody_does_not(tmp_path):
    for name in ("a.mrc", "b.mrc"):
        (tmp_path / name).write_text("x")
    with looking(tmp_path) as files:
        assert gather(files, 2) == ["a.mrc", "b.mrc"]
        (tmp_path / "a.mrc").write_text("longer")
        assert gather(files, 1) == ["a.mrc"]


@pytest.mark.parametrize("report_changing", [False, True])
def test_a_file_that_keeps_changing_is_reported_only_on_request(tmp_path, report_changing):
    with looking(tmp_path, report_changing=report_changing) as files:
        files.poll()
        found, end = [], time.monotonic() + 18 * SETTLE
        with open(tmp_path / "a.mrc", "w") as stream:
            while time.monotonic() < end:
                stream.write("x")
                stream.flush()
                found += files.poll()
                time.sleep(SETTLE / 5)
    assert bool(found) == report_changing


def test_a_folder_is_waited_for_and_may_go_and_come_back(tmp_path):
    """As a network folder does; what came before does not come again."""
    folder = tmp_path / "m"
    with looking(folder) as files:
        assert gather(files, 0) == []
        folder.mkdir()
        (folder / "a.mrc").write_text("x")
        assert gather(files, 1) == ["a.mrc"]
        folder.rename(tmp_path / "away")
        assert gather(files, 0) == []
        (tmp_path / "away" / "b.mrc").write_text("x")
        (tmp_path / "away").rename(folder)
        assert gather(files, 1) == ["b.mrc"]
        (folder / "c.mrc").write_text("x")
        assert gather(files, 1) == ["c.mrc"]


def test_a_single_file_is_watched_without_its_neighbours(tmp_path):
    with looking(tmp_path / "a.mrc", single_file=True) as files:
        (tmp_path / "b.mrc").write_text("x")
        assert gather(files, 0) == []
        (tmp_path / "a.mrc").write_text("x")
        assert gather(files, 1) == ["a.mrc"]


def test_a_link_whose_target_comes_later_comes_then(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.mrc").symlink_to(tmp_path / "target")
    with looking(tmp_path / "m") as files:
        assert gather(files, 0) == []
        (tmp_path / "target").write_text("x")
        assert gather(files, 1) == ["a.mrc"]


def test_how_long_nothing_new_was_seen_is_known(tmp_path):
    with looking(tmp_path) as files:
        files.poll()
        shutil.copy(__file__, tmp_path / "notes.txt")
        assert gather(files, 0) == []
        before = files.quiet_seconds
        assert before > 0.1
        (tmp_path / "a.mrc").write_text("x")
        while not files.has_changing_files:
            files.poll()
        assert files.quiet_seconds < before


def test_time_in_which_nobody_looked_is_not_quiet(tmp_path, monkeypatch):
    """As when the process was stopped (SIGSTOP), or the disk does not answer."""
    answers = threading.Event()

    class StuckListing(folder_watcher.TreeListing):
        looks = 0

        def __call__(self, folder):
            StuckListing.looks += 1
            if StuckListing.looks == 3:
                answers.wait(5)
            return super().__call__(folder)

    monkeypatch.setattr(folder_watcher, "TreeListing", StuckListing)
    with looking(tmp_path) as files:
        files.poll()
        while StuckListing.looks < 3:
            time.sleep(0.01)
        time.sleep(0.5)
        assert files.poll() == [] and files.quiet_seconds < 0.3
        (tmp_path / "a.mrc").write_text("x")
        answers.set()
        assert gather(files, 1) == ["a.mrc"]


def test_a_folder_that_cannot_be_looked_into_is_said_and_tried_again(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.mrc").write_text("x")
    with looking(tmp_path) as files:
        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", refuse)
            assert files.poll() == []
        assert "cannot be read (Permission denied)" in files.problem
        assert gather(files, 1) == ["a.mrc"]
        assert files.problem == ""


@pytest.mark.parametrize("first", ["here", "in a subfolder"])
def test_the_first_file_decides_whether_subfolders_are_watched(tmp_path, first):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("")
    (tmp_path / "run" / "mask.mrc").write_text("x")
    (tmp_path / "round").symlink_to(tmp_path)
    with looking(tmp_path, subfolders=True) as files:
        assert gather(files, 0) == []
        names = ["a.mrc", "sub/b.mrc"] if first == "here" else ["sub/b.mrc", "a.mrc"]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("x")
            assert gather(files, 1 if name == names[0] else 0) == ([os.path.basename(name)] if name == names[0] else [])
        assert files.in_subfolders == (first != "here")
        (tmp_path / "sub" / "deep").mkdir()
        (tmp_path / "sub" / "deep" / "c.mrc").write_text("x")
        (tmp_path / "d.mrc").write_text("x")
        assert gather(files, 1) == (["d.mrc"] if first == "here" else ["c.mrc"])


def test_files_that_do_not_count_are_not_looked_at(tmp_path, monkeypatch):
    for number in range(300):
        (tmp_path / f"frames_{number}.tif").touch()
    looked = []
    original = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: looked.append(str(path)) or original(path, **more))
    with looking(tmp_path) as files:
        files.poll()
        (tmp_path / "new.mrc").write_text("x")
        assert gather(files, 1) == ["new.mrc"]
    assert looked and not [path for path in looked if path.endswith(".tif")]


def test_a_folder_that_takes_long_to_look_at_is_looked_at_less_often(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_watcher, "_LONGEST_INTERVAL", 0.4)
    monkeypatch.setattr(folder_watcher, "_INTERVAL", 0.1)
    calls = []

    class SlowListing(folder_watcher.TreeListing):
        def __call__(self, folder):
            calls.append(time.monotonic())
            time.sleep(0.05)  # a twentieth of a second: a look in a second, if 0.4 s were not the most
            return super().__call__(folder)

    monkeypatch.setattr(folder_watcher, "TreeListing", SlowListing)
    with looking(tmp_path) as files:
        files.poll()
        time.sleep(1.5)
    pauses = [later - earlier for earlier, later in zip(calls[1:], calls[2:])]
    assert pauses and min(pauses) > 0.4


def test_files_that_are_gone_are_told_unless_all_are(tmp_path):
    for name in ("a.mrc", "b.mrc", "c.mrc"):
        (tmp_path / name).write_text("x")
    with looking(tmp_path) as files:
        gather(files, 3)
        os.rename(tmp_path / "a.mrc", tmp_path / "d.mrc")
        assert gather(files, 1) == ["d.mrc"]
        assert files.gone() == [tmp_path / "a.mrc"] and files.gone() == []
        for path in tmp_path.iterdir():
            path.unlink()
        gather(files, 0)
        assert files.gone() == []  # as when a network disk is away
