# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dask scheduler and workers as processes of their own, which are killed, frozen and started again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, List

PRELOAD = Path(__file__).resolve().parents[1] / "tests" / "cluster_worker.py"  # the stand-in detector
WORKERS = 3
LIMIT = 20.0  # s for a micrograph, as with --item-timeout
#: Faults of a worker that is stopped: how often, and for how many seconds.
FREEZES = {"worker frozen for a second": (1, 1.0), "slow worker": (10, 0.2), "worker frozen too long": (1, LIMIT + 2.0)}
_SHORT = ("worker killed", "worker frozen for a second", "slow worker")
_RESTARTS = ("scheduler started again", "scheduler and workers started again")
#: In this order, so that a worker is often frozen too long before the scheduler is gone.
FAULTS = tuple(fault for last in _RESTARTS for fault in ("worker frozen too long", *3 * _SHORT, last))

Process = subprocess.Popen  # of the scheduler, or of a worker without a nanny


class DaskProcesses:
    """A scheduler at one address, and its workers, as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the logs; the stand-in detector also reads it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address, self._folder = f"tcp://127.0.0.1:{self._port}", folder
        self._log: IO[bytes] = open(folder / "dask.txt", "ab")  # noqa: SIM115 (closed with the processes)
        self._all: List[Process] = []
        self._workers: List[Process] = []
        self._frozen: List[Process] = []
        self._lock = threading.Lock()

    def __enter__(self) -> DaskProcesses:
        """Start the scheduler and the workers."""
        self._start_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all processes."""
        with self._lock:
            for one in self._all:
                one.kill()
                one.wait()
            self._all, self._workers = [], []
        self._log.close()

    def disturb(self, fault: str, chance: random.Random) -> None:
        """Let a fault happen."""
        worker = chance.choice([one for one in self._running() if one not in self._frozen] or self._workers)
        if fault in FREEZES:
            threading.Thread(target=self._freeze, args=(worker, *FREEZES[fault]), daemon=True).start()
        elif fault == "worker killed":
            worker.kill()
            self.add_worker()
        else:
            self._scheduler.kill()
            self._scheduler.wait()
            if fault == _RESTARTS[1]:  # otherwise the workers notice it, and end by themselves
                for one in self._workers:
                    one.kill()
            time.sleep(chance.uniform(0.0, 3.0))
            self._start_all()

    def add_worker(self) -> None:
        """Start another worker, for one that the run uses no more."""
        with self._lock:
            self._workers.append(self._start_worker())

    def _freeze(self, worker: Process, number: int, seconds: float) -> None:
        """Stop a worker repeatedly; end it if its work was given up meanwhile."""
        if seconds > LIMIT:
            self._frozen = [worker]  # the other faults spare it, so that it stays so for long enough
        for _ in range(number):
            worker.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        if seconds > LIMIT:
            time.sleep(1.0)  # it goes on with a micrograph that another worker may have at the same time
            worker.kill()
            worker.wait()
            if len(self._running()) < WORKERS:
                self.add_worker()

    def _running(self) -> List[Process]:
        return [one for one in self._workers if one.poll() is None]

    def _start_all(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        with self._lock:
            self._scheduler = self._start("scheduler", *options)
            self._workers = [self._start_worker() for _ in range(WORKERS)]

    def _start_worker(self) -> Process:
        options = ["--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--preload", str(PRELOAD)]
        return self._start("worker", self.address, *options, "--local-directory", str(self._folder))

    def _start(self, *words: str) -> Process:
        environment = {**os.environ, "CRYOICE_TEST_FOLDER": str(self._folder)}
        command = [sys.executable, "-m", "dask", *words]
        started = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environment)
        self._all = [one for one in self._all if one.poll() is None] + [started]
        return started
