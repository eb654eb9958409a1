# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is unchanged since its size or modification time was last seen to change."""

import os
import time

import pytest

from cryoice_scipion.core.streaming.stable_file import StableFile


def test_the_time_begins_anew_with_each_change_also_when_the_file_appears_or_goes(tmp_path):
    path = tmp_path / "a.mrc"
    file = StableFile(path)
    time.sleep(0.2)
    assert file.state is None and file.unchanged_seconds() >= 0.2
    for change in (lambda: path.write_text("x"), lambda: os.utime(path, (1e9, 1e9)), path.unlink):
        change()
        assert file.unchanged_seconds() == 0
        time.sleep(0.1)
        assert 0.1 <= file.unchanged_seconds() < 10
    assert file.state is None


@pytest.mark.parametrize(("age", "expected"), [(3600, 3600), (-3600, 0)])
def test_the_modification_time_counts_on_request_at_the_first_look_only(tmp_path, age, expected):
    path = tmp_path / "a.mrc"
    path.write_text("x")
    os.utime(path, (time.time() - age,) * 2)
    assert StableFile(path).unchanged_seconds() < 10
    file = StableFile(path, use_modification_time=True)
    assert file.unchanged_seconds() == pytest.approx(expected, abs=10)
    os.utime(path, (1e9, 1e9))  # a copy with the time of the original
    assert file.unchanged_seconds() == 0
