# SPDX-License-Identifier: GPL-3.0-or-later
"""Several executors, one a device, each in a thread that takes the next job when it is free.

The threads live as long as the pool, because a worker asks the system to end it with the thread that started it.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
from typing import Callable, Generic, Iterable, Iterator, List, Optional, Sequence, TypeVar, Union

from cryoice_scipion.core.errors import CryoIceError, WorkerError
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.run_folder import FolderError
from cryoice_scipion.core.workers.interface import Executor, WorkerDied

Answer = TypeVar("Answer")
_DEATHS = 3  # micrographs in a row, two workers each, after which a device is taken for broken
_PATIENCE = 30.0  # s that closing waits for a micrograph in work


@dataclasses.dataclass
class Job(Generic[Answer]):
    """What is to be done with one micrograph."""

    task: MicrographTask
    work: Callable[[Executor], Answer]


@dataclasses.dataclass
class Failure:
    """Why a micrograph failed, in one line."""

    reason: str
    died: bool = False  # whether workers died of it


@dataclasses.dataclass
class Done(Generic[Answer]):
    """A job with its answer, or with the error that stops the run."""

    job: Job[Answer]
    answer: Union[Answer, Failure, None]
    fatal: Optional[Exception] = None


class ExecutorPool:
    """Runs jobs on executors; a failing job is an answer, not an exception."""

    def __init__(self, executors: Sequence[Executor], log: logging.Logger) -> None:
        """Start one thread an executor."""
        self._log = log
        self._todo: queue.Queue[Optional[tuple[Job, queue.Queue[Done]]]] = queue.Queue()  # type: ignore[type-arg]
        self._lock = threading.Lock()
        self._alive = len(executors)
        self._broken: Optional[Exception] = None
        self._closing = False
        self._threads: List[threading.Thread] = []
        for executor in executors:
            thread = threading.Thread(
                target=self._serve, args=(executor,), name=f"cryoice-{executor.device}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def run(self, jobs: Iterable[Job[Answer]]) -> Iterator[Done[Answer]]:
        """Yield each job with its answer, in the order in which they are finished.

        Jobs are taken from the iterable as executors become free, one more for each so that none waits for us.

        Raises
        ------
        FolderError
            When the run's folder cannot be written.
        WorkerError
            When no executor is left that works.
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
        """Let the threads finish what they have in hand, close their executors, and end."""
        self._closing = True
        self._forget()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _put(self, job: Job[Answer], done: queue.Queue[Done[Answer]]) -> None:
        with self._lock:
            if self._alive:
                self._todo.put((job, done))
                return
        done.put(Done(job, None, self._broken or WorkerError("worker", "none is left")))

    def _forget(self) -> None:
        """Drop the jobs that nobody has begun."""
        while True:
            try:
                self._todo.get_nowait()
            except queue.Empty:
                return

    def _serve(self, executor: Executor) -> None:
        """Do jobs until the pool closes, or until this executor's worker cannot be started any more."""
        deaths = 0
        try:
            while True:
                item = self._todo.get()
                if item is None:
                    return
                job, done = item
                try:
                    if deaths >= _DEATHS:  # it is not the micrographs: spare the others
                        reason = f"its workers died of {deaths} micrographs in a row"
                        raise WorkerError(executor.device, reason, "look into the log, then go on")
                    answer = self._attempt(executor, job)
                    deaths = deaths + 1 if isinstance(answer, Failure) and answer.died else 0
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
        """Do a job; when the worker dies of it, once more with a fresh one."""
        try:
            try:
                return job.work(executor)
            except WorkerDied as error:
                if self._closing:
                    raise
                self._log.warning("%s: %s; once more with a fresh worker", job.task.path, error)
                return job.work(executor)
        except WorkerDied as error:
            return Failure(f"{job.task.path}: two workers died of it ({error.reason}); {error.remedy}", died=True)
        except (FolderError, WorkerError):
            raise
        except CryoIceError as error:
            return Failure(_named(job.task.path, str(error)))
        except Exception as error:  # one bad micrograph must not end a run of three days
            self._log.debug("unexpected", exc_info=True)
            return Failure(_one_line(f"{job.task.path}: unexpected {type(error).__name__}: {error}"))

    def _retire(self, job: Job[Answer], done: queue.Queue[Done[Answer]], error: Exception) -> None:
        """Hand the job to the executors that are left; without any, the run ends."""
        with self._lock:
            self._alive -= 1
            if self._alive:
                self._todo.put((job, done))
                return
            self._broken = error
        done.put(Done(job, None, error))


def _named(path: str, text: str) -> str:
    """Return an error in one line that names the micrograph, also where its raiser did not know it."""
    return _one_line(text if path.rpartition("@")[2] in text else f"{path}: {text}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
