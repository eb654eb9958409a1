# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are still being written are waited for; broken ones are not."""

import os
import time

import numpy as np
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.streaming.file_retry import RetryPolicy


def until_screened(run, limit=30.0):
    """Go on as a stream does until nothing waits; return the records."""
    end, found = time.monotonic() + limit, []
    while run.backlog:
        assert time.monotonic() < end
        found += run.process([], closed=True)
        time.sleep(0.05)
    return found


def cut(task, age=0.0):
    """Leave half of a file, as if it was written ``age`` seconds ago; return the whole."""
    with open(task.path, "rb") as stream:
        whole = stream.read()
    with open(task.path, "wb") as stream:
        stream.write(whole[: len(whole) // 2])
    os.utime(task.path, (time.time() - age,) * 2)
    return whole


def test_a_file_that_is_completed_is_screened_like_the_others(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    whole = cut(tasks[1])
    with ScreeningRun(tmp_path / "o", ScreenConfig(reference=3), [executor()], RunOptions(retry_seconds=20)) as run:
        assert list(run.process(tasks)) == []  # the reference waits for it
        with open(tasks[1].path, "wb") as stream:
            stream.write(whole)
        assert {one.id: one.status for one in until_screened(run)} == {task.id: "accepted" for task in tasks}


def test_a_file_that_stays_broken_is_failed_with_its_reason_and_the_rest_goes_on(tmp_path):
    tasks = make_tasks(tmp_path / "m", 4)
    cut(tasks[3])
    with ScreeningRun(tmp_path / "o", ScreenConfig(reference=3), [executor()], RunOptions(retry_seconds=1)) as run:
        assert sorted(one.id for one in run.process(tasks)) == [1, 2, 3]
        assert run.backlog == 1
        (failed,) = until_screened(run)
    assert (failed.id, failed.status) == (4, "failed")
    assert "mic004" in failed.reason
    assert [score.kept for score in failed.scores] == [False] * 6


def test_an_old_broken_file_is_tried_twice_and_without_retries_once(tmp_path):
    tasks = make_tasks(tmp_path / "m", 3)
    cut(tasks[2], 3600)
    with ScreeningRun(tmp_path / "none", ScreenConfig(reference=0), [executor()]) as run:
        assert sorted(one.status for one in run.process(tasks)) == ["accepted", "accepted", "failed"]
    started = time.monotonic()
    with ScreeningRun(tmp_path / "some", ScreenConfig(reference=0), [executor()], RunOptions(retry_seconds=60)) as run:
        assert sorted(one.status for one in run.process(tasks)) == ["accepted", "accepted"]
        assert [one.status for one in until_screened(run)] == ["failed"]
    assert time.monotonic() - started < 30  # not a minute


def test_a_missing_file_is_given_time_to_appear(tmp_path):
    policy = RetryPolicy(0.5)
    path = str(tmp_path / "late.mrc")
    assert policy.again(1, path)
    assert not policy.is_due(1)
    time.sleep(0.6)
    assert policy.is_due(1)
    np.zeros(3).tofile(path)
    assert policy.again(1, path)  # it has come meanwhile: it gets its own time
    time.sleep(0.6)
    assert not policy.again(1, path)
    assert policy.is_due(1)
