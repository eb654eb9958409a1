# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs that end the process that computes them: tried again last and alone, then failed, also across resumes."""

import json
import os
import signal
import time

import pytest
import standin
from standin import executor, make_tasks
from test_run import results

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import WorkerError
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.quarantine import COMPUTING, QUARANTINE, Quarantine, has_suspects
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers.interface import WorkerDied, unexpected
from cryoice_scipion.core.workers.local_executor import LocalExecutor
from cryoice_scipion.core.workers.worker import limit_memory

CONFIG = ScreenConfig(reference=2, outlier=False)


class Deadly(LocalExecutor):
    """Notes each micrograph that it maps, and does ``end`` at one of them."""

    def __init__(self, deadly, end):
        super().__init__(standin.VarianceDetector(), "variance-1", "cpu")
        self.deadly, self.end, self.mapped = deadly, end, []

    def map(self, task, *rest):
        self.mapped.append(task.stem)
        if task.stem == self.deadly:
            self.end()
        return super().map(task, *rest)


def screen(folder, tasks, executors=None, **options):
    with ScreeningRun(folder, CONFIG, executors or [executor()], RunOptions(**options)) as run:
        return {record.id: record for record in run.process(tasks)}


def in_a_child(work):
    """Do something in a child process, and return the signal that ended it."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("deadly", ["mic001", "mic004"])
def test_a_micrograph_that_kills_its_run_again_and_again_is_tried_last_and_fails(tmp_path, deadly):
    tasks, folder = make_tasks(tmp_path / "m", 5), tmp_path / "o"
    for number in range(3):
        options = {"resume": bool(number)}
        assert in_a_child(lambda now=options: screen(folder, tasks, [Deadly(deadly, kill)], **now)) == signal.SIGKILL
        assert json.loads((folder / COMPUTING).read_text()) == [deadly]
        assert has_suspects(folder)
        if number:
            assert json.loads((folder / QUARANTINE).read_text()) == {deadly: number}
    mapped = {json.loads(line).get("stem") for line in (folder / "journal.jsonl").read_text().splitlines()} - {None}
    if deadly == "mic001":  # the reference needs its map or its failure, but others are mapped first
        assert mapped >= {"mic002", "mic003"}
    else:
        assert mapped == {task.stem for task in tasks} - {deadly}
    spared = Deadly(deadly, kill)
    found = screen(folder, tasks, [spared], resume=True, retry_failed=True)
    assert deadly not in spared.mapped
    failed = next(record for record in found.values() if record.stem == deadly)
    assert "its process ended 3 times while it was computed; to try it again, use --resume --retry-q" in failed.reason
    assert sorted(one.status for one in read_records(folder)) == ["accepted"] * 4 + ["failed"]
    screen(folder, tasks, [spared], resume=True, retry_failed=True)
    assert deadly not in spared.mapped  # nor is it tried with the failed ones
    screen(folder, tasks, resume=True, retry_failed=True, retry_quarantined=True)
    assert not (folder / QUARANTINE).exists()
    assert {one.status for one in read_records(folder)} == {"accepted"}


def test_kills_of_innocent_micrographs_change_no_result(tmp_path):
    tasks = make_tasks(tmp_path / "m", 5)
    for number, stem in enumerate(["mic001", "mic002", "mic005"]):
        deadly, options = [Deadly(stem, kill)], {"resume": bool(number)}
        ended_by = in_a_child(lambda one=deadly, now=options: screen(tmp_path / "o", tasks, one, **now))
        assert ended_by == signal.SIGKILL
    screen(tmp_path / "o", tasks, resume=True)
    screen(tmp_path / "whole", tasks)
    assert results(tmp_path / "o") == results(tmp_path / "whole")
    assert not has_suspects(tmp_path / "o")
    assert not (tmp_path / "o" / COMPUTING).exists()


def test_a_micrograph_that_hangs_at_the_end_of_a_run_is_a_suspect(tmp_path):
    one = Quarantine(tmp_path, resume=False, retry=False)
    with one.computing("slow"):
        one.close()
        assert has_suspects(tmp_path)
    again = Quarantine(tmp_path, resume=True, retry=False)
    assert again.ends("slow") == 1
    again.forget("slow")
    again.close()
    assert not has_suspects(tmp_path)


@pytest.mark.parametrize("text", ["", "[", "3", '{"a": "b"}', '{"a": {}}', "[3]", "\xff"])
def test_damaged_notes_and_counts_are_as_none(tmp_path, text):
    for name in (QUARANTINE, COMPUTING):
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert not has_suspects(tmp_path)
    Quarantine(tmp_path, resume=True, retry=False).close()


def test_the_note_costs_less_than_a_millisecond(tmp_path):
    one, started = Quarantine(tmp_path, resume=False, retry=False), time.process_time()
    for number in range(200):
        with one.computing(f"micrograph_{number}"):
            pass
    assert (time.process_time() - started) / 200 < 1e-3


def test_a_suspect_whose_worker_dies_is_computed_alone(tmp_path):
    busy, seen = set(), []

    class Watched(Deadly):
        def map(self, task, *rest):
            busy.add(task.stem)
            try:
                if task.stem == "mic003":
                    seen.append(set(busy))
                return super().map(task, *rest)
            finally:
                busy.discard(task.stem)

    def die():
        if len(seen) < 3:
            raise WorkerDied("worker", "was ended by signal 9", "see the log")

    tasks = make_tasks(tmp_path / "m", 8)
    found = screen(tmp_path / "o", tasks, [Watched("mic003", die) for _ in range(3)])
    assert {one.status for one in found.values()} == {"accepted"}
    assert seen[1:] == [{"mic003"}] * 2
    assert not has_suspects(tmp_path / "o")


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate"), RuntimeError("CUDA out of memory. Tried"), OSError("not enough memory")],
)
def test_missing_memory_is_said_as_such(tmp_path, error):
    def short():
        raise error

    found = screen(tmp_path / "o", make_tasks(tmp_path / "m", 3), [Deadly("mic002", short)])
    assert [found[i].status for i in (1, 2, 3)] == ["accepted", "failed", "accepted"]
    assert "needs more memory than there is" in found[2].reason


def test_the_memory_of_a_worker_is_limited(tmp_path):
    def allocate():
        limit_memory(0.5)
        try:
            bytearray(2_000_000_000)
        except MemoryError as error:
            (tmp_path / "said").write_text(str(unexpected("a.mrc", error)))

    assert in_a_child(allocate) == 0
    assert "a.mrc: needs more memory than there is" in (tmp_path / "said").read_text()


def vanish():
    raise RuntimeError("CUDA error: device-side assert triggered")


def test_a_micrograph_on_which_the_gpu_fails_again_and_again_is_tried_last_and_fails(tmp_path):
    tasks, folder = make_tasks(tmp_path / "m", 4), tmp_path / "o"
    for number in range(3):
        deadly = Deadly("mic003", vanish)
        with pytest.raises(WorkerError, match="the GPU failed"):
            screen(folder, tasks, [deadly], resume=bool(number))
        assert json.loads((folder / COMPUTING).read_text()) == ["mic003"]
    found = screen(folder, tasks, [deadly], resume=True)
    assert [(one.id, one.status) for one in found.values()] == [(3, "failed")]
    assert len(read_records(folder)) == 4


def test_a_gpu_that_vanishes_ends_the_run_and_fails_no_micrograph(tmp_path):
    tasks = make_tasks(tmp_path / "m", 5)
    both = screen(tmp_path / "two", tasks, [Deadly("mic003", vanish), executor()])
    assert {one.status for one in both.values()} == {"accepted"}  # the other GPU goes on
    assert not has_suspects(tmp_path / "two")
    with pytest.raises(WorkerError, match="the GPU failed .CUDA error"):
        screen(tmp_path / "one", tasks, [Deadly("mic003", vanish)])
    screen(tmp_path / "one", tasks, resume=True)
    assert {one.status for one in read_records(tmp_path / "one")} == {"accepted"}
