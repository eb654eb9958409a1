# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview before a run decides contrast and baseline as the run does."""

import contextlib
import dataclasses
import time
from types import SimpleNamespace

import pytest
from simple_grader import CLASSES
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.viewers import model_preview
from cryoice_scipion.viewers.model_preview import BASELINE, FAILED, MAPPED, Preview


class Input:
    """The part of a screening's input that the preview reads."""

    def __init__(self, tasks):
        self._tasks = {task.id: task for task in tasks}
        self.micrographs = SimpleNamespace(rows=self._tasks)

    def look(self):
        pass

    def peek(self, key):
        return self._tasks[key]


def shifted_executor():
    """Return an executor whose model expects lower log-odds than these micrographs have."""
    found = executor()
    found.model = found.model.model_copy(update={"baseline_logit": -5.0, "offset_limit": 3.0})
    return found


@contextlib.contextmanager
def previewing(monkeypatch, tasks, config, worker=None):
    monkeypatch.setattr(model_preview, "WorkerClient", lambda *_: worker or shifted_executor())
    with contextlib.closing(Preview(Input(tasks), config, "python", "cpu")) as preview:
        yield preview


def wait_for(preview, condition, seconds=30.0):
    """Return the news up to the first one that meets a condition."""
    news, end = [], time.monotonic() + seconds
    while not (news and condition(*news[-1])):
        news.append(preview.news.get(timeout=max(0.1, end - time.monotonic())))
    return news


def is_complete(kind, value):
    return kind == BASELINE and len(value[0].micrographs) == value[1]


def reference_of_run(folder, tasks, config):
    with ScreeningRun(folder, config, [shifted_executor()]) as run:
        list(run.process(tasks))
        return run.reference


@pytest.mark.parametrize("number", [3, 7])
@pytest.mark.parametrize("bright", [False, True])
def test_the_preview_has_the_contrast_and_offset_of_the_run(tmp_path, monkeypatch, number, bright):
    tasks = make_tasks(tmp_path / "m", 8, bright=bright)
    config = ScreenConfig(reference=number, contrast="auto", box_size=24.0)
    with previewing(monkeypatch, tasks, config) as preview:
        preview.ask(8)  # beyond the reference
        news = wait_for(preview, is_complete)
        shown = [value[1] for kind, value in news if kind == MAPPED][-1]
    expected = reference_of_run(tmp_path / "o", tasks, config)
    assert expected.contrast == ("bright" if bright else "dark")
    assert expected.logit_offset > 0.5
    assert news[-1][1] == (dataclasses.replace(expected, one_class=None), number)  # no grades
    assert shown.inverted == bright


def test_the_preview_of_a_model_with_grades_ends_with_the_session_of_the_run(tmp_path, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 6)
    config = ScreenConfig(reference=5, box_size=24.0)
    with previewing(monkeypatch, tasks, config, executor(classes=CLASSES)) as preview:
        news = wait_for(preview, is_complete)
    with ScreeningRun(tmp_path / "o", config, [executor(classes=CLASSES)]) as run:
        list(run.process(tasks))
        assert news[-1][1][0] == run.reference and run.reference.one_class is not None


def test_the_shown_micrograph_is_mapped_again_when_the_contrast_turns_out_bright(tmp_path, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 5, bright=True)
    config = ScreenConfig(reference=5, contrast="auto", box_size=24.0)
    with previewing(monkeypatch, tasks, config) as preview:
        preview.ask(1)
        news = wait_for(preview, is_complete)
        inverted = [value[1].inverted for kind, value in news if kind == MAPPED]
        assert inverted == [False, True]
        preview.ask(4)  # one that is mapped already is sent at once
        (kind, (task, result)), *_ = wait_for(preview, lambda kind, value: kind == MAPPED)
    assert (kind, task.id, result.inverted) == (MAPPED, 4, True)


def test_a_broken_micrograph_is_replaced_by_the_next_one_as_in_the_run(tmp_path, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 5, bright=True)
    config = ScreenConfig(reference=4, contrast="auto", box_size=24.0)
    broken = executor()
    whole = broken.map

    def fail_on_2(task, *more):
        if task.id == 2:
            raise ImageError(task.path, "is broken")
        return whole(task, *more)

    broken.map = fail_on_2
    with previewing(monkeypatch, tasks, config, broken) as preview:
        preview.ask(2)
        news = wait_for(preview, is_complete)
    assert news[-1][1][0].micrographs == [1, 3, 4, 5]
    assert sum(kind == FAILED for kind, _ in news) == 1
