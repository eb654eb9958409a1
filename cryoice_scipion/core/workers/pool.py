# SPDX-License-Identifier: GPL-3.0-or-later
"""Run jobs on several executors, one for each device and each in its own thread.

The threads live as long as the pool, because the system ends a worker together with the thread that started it.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from typing import Callable, Generic, Iterable, Iterator, List, Optional, Sequence, Set, TypeVar, Union

from cryoice_scipion.constants import THREAD_PREFIX
from cryoice_scipion.core.errors import CryoIceError, WorkerError, one_line
from cryoice_scipion.core.images.reading_ahead import read_ahead
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.workers.interface import Executor, WorkerDied, is_device_lost, unexpected

Answer = TypeVar("Answer")
_MOST_DEATHS = 6  # micrographs in a row that end a worker each, before the device is given up
_CLOSE_TIMEOUT = 30.0  # s that closing waits for the micrographs in progress


@dataclasses.dataclass
class Job(Generic[Answer]):
    """Hold a micrograph and the work to do on it."""

    task: MicrographTask
    work: Callable[[Executor], Answer]
    reads: bool = False  # whether the work begins by reading the micrograph


@dataclasses.dataclass
class Failure:
    """Say in one line why a micrograph failed."""

    reason: str
    died: str = ""  # how the worker ended; empty: it did not


@dataclasses.dataclass
class Done(Generic[Answer]):
    """Hold a job with its answer, or with the error that stops the run."""

    job: Job[Answer]
    answer: Union[Answer, Failure, None]
    fatal: Optional[Exception] = None


class ExecutorPool:
    """Run jobs on executors; a failed job is an answer, not an exception."""

    def __init__(self, executors: Sequence[Executor], log: logging.Logger) -> None:
        """Start one thread for each executor."""
        self._log = log
        self._todo: queue.Queue[Optional[tuple[Job, queue.Queue[Done]]]] = queue.Queue()  # type: ignore[type-arg]
        self._lock = threading.Lock()
        self._alive = len(executors)
        self._same_machine = all(getattr(executor, "same_machine", True) for executor in executors)
        self._broken: Optional[Exception] = None
        self._threads: List[threading.Thread] = []
        for executor in executors:
            thread = threading.Thread(
                target=self._serve, args=(executor,), name=f"{THREAD_PREFIX}{executor.device}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def run(self, jobs: Iterable[Job[Answer]]) -> Iterator[Done[Answer]]:
        """Yield each job with its answer, in the order in which the jobs finish.

        Jobs are taken from the iterable as executors become free. One more for each executor is queued, so that none
        is idle while the caller handles an answer, and so that its file can already be read.

        Raises
        ------
        FolderError
            When the run's folder cannot be written.
        WorkerError
            When no working executor is left.
        """
        done: queue.Queue[Done[Answer]] = queue.Queue()
        waiting, jobs, pending = True, iter(jobs), 0
        try:
            while True:
                while waiting and pending < 2 * len(self._threads):
                    job = next(jobs, None)
                    if job is None:
                        waiting = False
                        break
                    self._put(job, done)
                    if job.reads and self._same_machine and pending >= len(self._threads):
                        read_ahead(job.task.path)
                    pending += 1
                if not pending:
                    return
                finished = done.get()
                pending -= 1
                if finished.fatal is not None:
                    raise finished.fatal
                yield finished
        finally:
            self._forget()

    def close(self) -> None:
        """Let each thread finish its current job and close its executor."""
        self._forget()
        for _ in self._threads:
            self._todo.put(None)
        end = time.monotonic() + _CLOSE_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _put(self, job: Job[Answer], done: queue.Queue[Done[Answer]]) -> None:
        with self._lock:
            if self._alive:
                self._todo.put((job, done))
                return
        done.put(Done(job, None, self._broken or WorkerError("worker", "none is left")))

    def _forget(self) -> None:
        """Drop the jobs that no thread has begun."""
        while True:
            try:
                self._todo.get_nowait()
            except queue.Empty:
                return

    def _serve(self, executor: Executor) -> None:
        """Do jobs until the pool closes or this executor stops working."""
        deaths: Set[int] = set()  # ids of the latest micrographs, if each ended a worker
        try:
            while True:
                item = self._todo.get()
                if item is None:
                    return
                job, done = item
                try:
                    if len(deaths) >= _MOST_DEATHS:  # the device is at fault: spare the other micrographs
                        reason = f"its workers died of {len(deaths)} micrographs in a row"
                        raise WorkerError(executor.device, reason, "read the log, then continue the run")
                    answer = self._attempt(executor, job)
                    deaths = {*deaths, job.task.id} if isinstance(answer, Failure) and answer.died else set()
                    done.put(Done(job, answer))
                except FolderError as error:
                    done.put(Done(job, None, error))
                except WorkerError as error:
                    self._log.error("%s: no more micrographs go to this device: %s", executor.device, error)
                    self._retire(job, done, error)
                    return
        finally:
            executor.close()

    def _attempt(self, executor: Executor, job: Job[Answer]) -> Union[Answer, Failure]:
        """Do a job.

        Raises
        ------
        FolderError, WorkerError
            When not the micrograph is at fault, but the folder or the device.
        """
        try:
            return job.work(executor)
        except WorkerDied as error:
            how = f"{error.reason}; {error.remedy}"
            return Failure(f"{job.task.path}: the worker died of it ({error.reason}); {error.remedy}", how)
        except (FolderError, WorkerError):
            raise
        except CryoIceError as error:
            return Failure(_named(job.task.path, str(error)))
        except Exception as error:  # one bad micrograph must not end a long run
            self._log.debug("unexpected", exc_info=True)
            if is_device_lost(error):  # every further micrograph would fail
                reason = f"the GPU failed ({one_line(error)})"
                raise WorkerError(executor.device, reason, "check the GPU, then continue the run") from error
            return Failure(str(unexpected(job.task.path, error)))

    def _retire(self, job: Job[Answer], done: queue.Queue[Done[Answer]], error: Exception) -> None:
        """Give the job to the remaining executors; if there are none, end the run."""
        with self._lock:
            self._alive -= 1
            if self._alive:
                self._todo.put((job, done))
                return
            self._broken = error
        done.put(Done(job, None, error))


def _named(path: str, text: str) -> str:
    """Return an error in one line that names the micrograph."""
    return one_line(text if path.rpartition("@")[2] in text else f"{path}: {text}")
