# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a run's folder belongs to the folder, not to its name."""

import shutil

import pytest

from cryoice_scipion.core.results.run_folder import FolderError, RunFolder


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


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("data")
    folder = RunFolder(tmp_path / "out")
    folder.make()
    (folder.path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(FolderError, match=r"\.lock.*cannot be written"):
        folder.lock()
    assert (tmp_path / "precious").read_text() == "data"
