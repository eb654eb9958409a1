# SPDX-License-Identifier: GPL-3.0-or-later
"""A name that is too long for the output folder fails its micrograph, and no other."""

import errno
import os

import pytest
from standin import executor, make_tasks

from cryoice_scipion.constants import ACCEPTED, FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.screening.run import ScreeningRun


@pytest.fixture
def short_names(monkeypatch):
    """Let names have at most 143 bytes, as encrypted folders do."""

    def limited(function):
        def call(path, *more, **options):
            if len(os.fsencode(os.path.basename(path))) > 143:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
            return function(path, *more, **options)

        return call

    monkeypatch.setattr(os, "lstat", limited(os.lstat))
    monkeypatch.setattr(os, "open", limited(os.open))


def screen(tmp_path, length):
    """Screen two micrographs, one of which has a name of this many bytes."""
    make_tasks(tmp_path / "m", 2)
    (tmp_path / "m" / "mic001.mrc").rename(tmp_path / "m" / f"{'n' * (length - 4)}.mrc")
    tasks = expand_micrographs([str(tmp_path / "m")])
    with ScreeningRun(tmp_path / "o", ScreenConfig(reference=0), [executor()]) as run:
        return {record.path[-10:]: record for record in run.process(tasks)}


def test_a_name_that_is_too_long_for_the_folder_is_the_micrographs_own_failure(tmp_path, short_names):
    found = screen(tmp_path, 140)
    long, short = found["nnnnnn.mrc"], found["mic002.mrc"]
    assert short.status != FAILED
    assert long.status == FAILED and "are too long for the folder" in long.reason and "a shorter name" in long.reason
    assert "free" not in long.reason


def test_the_longest_name_of_a_file_system_is_screened(tmp_path):
    assert {record.status for record in screen(tmp_path, 248).values()} <= {ACCEPTED, "discarded"}
