# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a run's folder belongs to the folder, not to its name. Links in the folder are not written through."""

import errno
import fcntl
import json
import os
import re
import shutil
import sys

import pytest
from faults import FailingDisk

from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.run_folder import FolderError, RunFolder
from cryoice_scipion.core.screening.quarantine import Quarantine
from cryoice_scipion.core.workers.client import WorkerClient


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "out")
    folder.make()
    folder.lock()
    yield folder
    folder.unlock()


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_folder_that_is_not_the_locked_one_any_more_stops_the_run(run, what):
    run.check_lock()
    shutil.rmtree(run.path)
    other = RunFolder(run.path)
    if what == "replaced":
        other.make()
        other.lock()  # another run has it now
    with pytest.raises(FolderError, match="was removed or replaced while this run worked in it"):
        run.check_lock()
    other.unlock()


def test_a_disk_that_cannot_lock_files_is_not_taken_for_another_run(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    folder = RunFolder(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(FolderError, match=r"the disk cannot lock files \(Function not implemented\); choose a folder"):
        folder.lock()


def test_a_lock_that_a_full_disk_refuses_is_reported_and_released(tmp_path):
    folder = RunFolder(tmp_path)
    with FailingDisk(tmp_path, first=2), pytest.raises(FolderError, match=r"cannot be written \(No space left"):
        folder.lock()
    folder.lock()
    folder.unlock()


def start_worker(folder):
    WorkerClient(sys.executable, "default", "cpu", folder / "worker.log", [sys.executable, "-c", ""]).start()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (".lock", lambda folder: RunFolder(folder).lock()),
        ("journal.jsonl", lambda folder: Journal(folder / "journal.jsonl", json.loads).append("a")),
        (".computing", lambda folder: Quarantine(folder, resume=True, retry=False)),
        ("worker.log", start_worker),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_place_of_a_file_is_not_followed(tmp_path, name, write, there):
    if there:
        (tmp_path / "precious").write_text("data")
    folder = RunFolder(tmp_path / "out")
    folder.make()
    (folder.path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(FolderError, match=rf"{re.escape(name)}.*cannot be written"):
        write(folder.path)
    assert not there or (tmp_path / "precious").read_text() == "data"
    assert (tmp_path / "precious").exists() == there
