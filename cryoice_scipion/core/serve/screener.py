# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen single micrographs in a worker process, one at a time. A worker that dies is replaced."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference
from cryoice_scipion.core.workers.client import WorkerClient
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.pool import ExecutorPool, Failure, Job

_LOG = logging.getLogger("cryoice.serve")
_ATTEMPTS = 2  # a worker may also die of another program that takes the memory
_ALONE = Reference(0.0, 0.0, "dark")  # a single micrograph has no session


class Screener:
    """Hold the worker of one device."""

    def __init__(
        self, model: str, device: str, log_path: Path, make: Callable[..., WorkerClient] = WorkerClient
    ) -> None:
        """Check the model; the worker starts in :meth:`warm_up`, or with the first micrograph.

        Raises
        ------
        ModelError
            When the model folder is missing or damaged.
        """
        self._make: Callable[[], WorkerClient] = lambda: make(sys.executable, model, device, log_path)
        self.model = self._make().model
        self._pool: Optional[ExecutorPool] = None
        self._lock = threading.Lock()  # one job at a time on the device
        self._pool_lock = threading.Lock()
        self._is_closed = False
        self._busy = ""  # the other job

    def warm_up(self) -> None:
        """Start the worker in the background, so that the first micrograph does not wait for it."""

        def start(executor: Executor) -> None:
            if isinstance(executor, WorkerClient):
                executor.start()

        def work() -> None:
            try:
                self._do(MicrographTask(0, "worker", "worker"), start)
            except CryoIceError as error:  # the first micrograph reports it again
                if not self._is_closed:
                    _LOG.error("%s", error)

        threading.Thread(target=work, daemon=True).start()

    def screen(self, task: MicrographTask, config: ScreenConfig, folder: Path) -> Tuple[MapResult, MicrographRecord]:
        """Map and score one micrograph, and write its files into a run folder.

        Raises
        ------
        CryoIceError
            When the micrograph cannot be screened, or the worker cannot be started.
        """

        def work(executor: Executor) -> Tuple[MapResult, MicrographRecord]:
            mapped = executor.map(task, config, "dark" if config.contrast == "auto" else config.contrast, folder)
            return mapped, executor.score(task, mapped, _ALONE, config, folder)

        found: Tuple[MapResult, MicrographRecord] = self._do(task, work)
        return found

    @contextlib.contextmanager
    def reserved(self, what: str) -> Iterator[None]:
        """Keep the device for another job; micrographs are refused meanwhile, with ``what`` as the reason."""
        with self._lock:
            self._busy = what
            try:
                yield
            finally:
                self._busy = ""

    def close(self) -> None:
        """End the worker; later micrographs are refused."""
        with self._pool_lock:
            self._is_closed, pool = True, self._pool
        if pool is not None:
            pool.close()

    def _do(self, task: MicrographTask, work: Callable[[Executor], Any]) -> Any:
        if self._busy:
            raise CryoIceError("Device", f"{self._busy} is using it", "try again when it has ended")
        with self._lock:
            pool = self._open()
            try:
                for _ in range(_ATTEMPTS):
                    answer = next(pool.run([Job(task, work)])).answer
                    if not (isinstance(answer, Failure) and answer.died):
                        break
            except CryoIceError:
                self._pool = None  # a new worker is tried with the next micrograph
                pool.close()
                raise
        if isinstance(answer, Failure):
            what, _, reason = answer.reason.partition(": ")
            raise CryoIceError(what, reason) if reason else CryoIceError(task.path, what)
        return answer

    def _open(self) -> ExecutorPool:
        """Return the pool of the worker, which is made with the first micrograph.

        Raises
        ------
        CryoIceError
            When the server ends.
        """
        with self._pool_lock:
            if self._is_closed:
                raise CryoIceError("Server", "is ending")
            if self._pool is None:
                self._pool = ExecutorPool([self._make()], _LOG)
            return self._pool
