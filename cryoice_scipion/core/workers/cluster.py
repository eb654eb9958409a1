# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute on other machines: executors that send their work to the workers of a Dask scheduler. Imports no torch.

Each request names the Dask worker that does it, and ends with ``WorkerDied`` if that is lost. Later workers replace it.
A request that is lost with the scheduler is sent again once a scheduler is back, because the worker is not at fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import threading
import time
from typing import Any, Dict, List, NamedTuple, Set

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, resolve_model
from cryoice_scipion.core.errors import WorkerError, counted, one_line
from cryoice_scipion.core.workers.client import ANSWER_LIMIT
from cryoice_scipion.core.workers.interface import WorkerDied
from cryoice_scipion.core.workers.requests import RemoteExecutor
from cryoice_scipion.core.workers.schedulers import Connection, connect
from cryoice_scipion.core.workers.shared_paths import anywhere, with_absolute_paths, with_given_paths

_TASKS = "cryoice_scipion.core.workers.cluster_task"  # imports torch, so this module must not import it
_POLL = 1.0  # s between two looks at the workers
_FETCH = 10.0  # s to get an answer that is ready: meanwhile its worker may be lost, which Dask does not report
_PATIENCE = 20.0  # s for a new file to be visible on another machine
_NONE_LIMIT = 300.0  # s without any worker or without the scheduler, before the run ends
_REFUSED_LIMIT = 60.0  # s in which all workers that are there cannot serve the run, before it ends


class SchedulerLost(Exception):  # noqa: N818 (an event, like WorkerDied)
    """The connection to the scheduler ended during a request."""


class Slot(NamedTuple):
    """One device of a Dask worker. It does one request at a time."""

    worker: str  # address
    device: str
    client: Any  # the connection to the worker's scheduler


def call(name: str, *arguments: Any) -> Any:
    """Call a function of ``cluster_task`` in a Dask worker."""
    return getattr(importlib.import_module(_TASKS), name)(*arguments)


def cluster_executors(
    scheduler: str,
    config: ScreenConfig,
    device: str,
    log: logging.Logger,
    python: str = "",
    seconds: float = ANSWER_LIMIT,
) -> List[ClusterExecutor]:
    """Connect to a scheduler and return an executor for each device of its workers.

    Parameters
    ----------
    scheduler : str
        See :func:`connect`.
    device : str
        The device of each worker; "cuda:0,1" means two devices of each.
    python : str
        The interpreter of workers that Slurm starts. Empty: the one that dask-jobqueue is configured for.
    seconds : float
        A worker that does not answer by then is used no more.

    Raises
    ------
    SettingsError, WorkerError
        When the scheduler cannot be reached, or has no workers.
    ModelError
        When the model folder is missing or damaged.
    """
    model = resolve_model(config.model)
    settings, mark = load_config(model), fingerprint(model)
    devices = [f"cuda:{number}" for number in device[5:].split(",")] if device.startswith("cuda:") else [device]
    connection = connect(scheduler, log, python)
    setup = {"model": anywhere(config.model), "expected_fingerprint": mark, "version": VERSION, "patience": _PATIENCE}
    number = connection.workers * len(devices)
    cluster = Cluster(connection, devices, setup, log, number)
    cluster.answer_limit = seconds
    log.info("%s: workers: %d; %s at a time", connection.name, connection.workers, counted(number, "micrograph"))
    executors = [ClusterExecutor(cluster) for _ in range(number)]
    for executor in executors:
        executor.model, executor.fingerprint, executor.device = settings, mark, connection.name
    return executors


class ClusterExecutor(RemoteExecutor):
    """Send the work to any free worker of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """Take the cluster, which other executors share."""
        self._cluster, self.same_machine = cluster, False

    def send(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Send one request and return the answer; see ``RemoteExecutor.send``."""
        return self._cluster.send(request)

    def close(self) -> None:
        """Leave the cluster; the last executor that leaves ends the connection."""
        self._cluster.leave()


class Cluster:
    """The workers of a scheduler, and which of their devices are free."""

    def __init__(
        self, connection: Connection, devices: List[str], setup: Dict[str, Any], log: logging.Logger, executors: int
    ) -> None:
        """Watch the workers.

        Parameters
        ----------
        devices : list of str
            The devices of each worker.
        setup : dict
            Arguments of ``cluster_task.work``, without device and threads.
        executors : int
            Number of executors that share the cluster.
        """
        self._connection, self._log = connection, log
        self._devices, self._setup, self._left = devices, setup, executors
        self._threads: Dict[str, int] = {}  # of each live worker, by address
        self._free: List[Slot] = []
        self._refused: Dict[str, str] = {}  # the reasons of workers that cannot serve this run, by address
        self._lost = ""  # why there is no connection to the scheduler
        self._served = time.monotonic()  # when there was a worker last
        self.answer_limit = ANSWER_LIMIT  # s
        self._changed = threading.Condition()
        self._look()
        threading.Thread(target=self._watch, name="cryoice-cluster", daemon=True).start()

    def send(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Send a request to a free worker and return its answer.

        Raises
        ------
        WorkerDied
            When the worker was lost, or did not answer in time.
        WorkerError
            When the scheduler does not come back, or no worker is left that can serve the run.
        """
        sent = with_absolute_paths(request)
        while True:
            slot = self._take()
            try:
                answer = self._do(slot, sent)
            except SchedulerLost:
                continue
            finally:
                self._give_back(slot)
            if "refused" not in answer:
                return with_given_paths(answer, sent, request)
            self._refuse(slot.worker, answer["refused"])

    def leave(self) -> None:
        """Note that an executor is closed; close the connection after the last one."""
        with self._changed:
            self._left -= 1
            if self._left:
                return
        self._connection.close()

    def _do(self, slot: Slot, request: Dict[str, Any]) -> Dict[str, Any]:
        """Let a worker answer a request.

        Raises
        ------
        SchedulerLost, WorkerDied
            When there is no answer.
        """
        setup = {**self._setup, "device": slot.device, "threads": self._threads.get(slot.worker, 1)}
        done = threading.Event()
        try:
            future = slot.client.submit(
                call, "work", setup, request, workers=[slot.worker], allow_other_workers=False, pure=False
            )
            future.add_done_callback(lambda _: done.set())
        except Exception as error:  # the client is closed
            raise self._lose_scheduler(slot.client, error) from None
        end = time.monotonic() + self.answer_limit
        while True:
            if done.wait(_POLL):
                with contextlib.suppress(asyncio.TimeoutError):
                    return self._answer_of(future, slot)
            if self._lost or slot.client is not self._connection.client:
                raise SchedulerLost
            if slot.worker not in self._threads:
                future.release()
                raise WorkerDied("worker", f"on {slot.worker} was lost", "read the log of the Dask worker")
            if time.monotonic() >= end:
                future.release()
                self._refuse(slot.worker, f"did not answer within {self.answer_limit:.0f} s")
                raise WorkerDied("worker", f"on {slot.worker} did not answer", "read the log of the Dask worker")

    def _answer_of(self, future: Any, slot: Slot) -> Dict[str, Any]:
        """Return the answer of a request that is done; raise asyncio.TimeoutError if it cannot be fetched."""
        try:
            if future.status in ("finished", "pending"):  # it is pending again if the worker was lost with the answer
                answer: Dict[str, Any] = future.result(timeout=_FETCH)
                return answer
            if future.status != "error":
                raise self._lose_scheduler(slot.client, f"the request is {future.status}")
            error = future.exception()
        except (SchedulerLost, asyncio.TimeoutError):
            raise
        except Exception as lost:  # the connection ended after the work did
            raise self._lose_scheduler(slot.client, lost) from None
        if type(error).__name__ == "KilledWorker":  # it was lost repeatedly and came back with the same address
            raise WorkerDied("worker", f"on {slot.worker} was lost", "read the log of the Dask worker")
        reason = f"cannot start ({type(error).__name__}: {error}); install version {VERSION} of this package there"
        return {"refused": one_line(reason)}

    def _take(self) -> Slot:
        """Return a free device; wait for one if needed."""
        with self._changed:
            while True:
                if self._free:
                    return self._free.pop(0)
                limit = _REFUSED_LIMIT if self._threads else _NONE_LIMIT
                if self._threads.keys() <= self._refused.keys() and time.monotonic() - self._served >= limit:
                    self._give_up()
                self._changed.wait(_POLL)

    def _give_up(self) -> None:
        """Raise WorkerError, unless Slurm still has to start workers."""
        if self._threads:
            worker = next(iter(self._threads))
            raise WorkerError(worker, self._refused[worker], "correct this on all nodes, then continue the run")
        if self._lost:
            reason = f"{self._lost} and has not come back within {_NONE_LIMIT:.0f} s"
            raise WorkerError(self._connection.name, reason, "start the scheduler and workers, then continue the run")
        if not self._connection.starts_workers:
            reason = f"has had no worker for {_NONE_LIMIT:.0f} s"
            raise WorkerError(self._connection.name, reason, "start workers, then continue the run")

    def _give_back(self, slot: Slot) -> None:
        with self._changed:
            is_known = slot.worker in self._threads and slot.client is self._connection.client
            if is_known and slot.worker not in self._refused:
                self._free.append(slot)
                self._changed.notify()

    def _refuse(self, worker: str, reason: str) -> None:
        """Use a worker no more in this run."""
        with self._changed:
            known, self._refused[worker] = worker in self._refused, reason
            self._free = [slot for slot in self._free if slot.worker != worker]
            self._changed.notify_all()
        if not known:
            self._log.error("%s: no more micrographs go to this worker: %s", worker, reason)

    def _watch(self) -> None:
        """Keep the list of workers up to date until the run ends; connect again when the scheduler is lost."""
        while self._left:
            time.sleep(_POLL)
            try:
                if self._lost:
                    self._connection = self._connection.renewed()
                    self._lost = ""
                    self._log.warning("%s: the scheduler is back", self._connection.name)
                self._look()
            except Exception as error:
                if self._left:
                    self._lose_scheduler(self._connection.client, error)

    def _look(self) -> None:
        client = self._connection.client
        found: Dict[str, int] = dict(client.nthreads())
        with self._changed:
            if self._lost:
                return
            new: Set[str] = found.keys() - self._threads.keys()
            self._threads = found
            self._free = [slot for slot in self._free if slot.worker in found]
            for worker in sorted(new - self._refused.keys()):
                self._free += [Slot(worker, device, client) for device in self._devices]
            if found.keys() - self._refused.keys():
                self._served = time.monotonic()
            self._changed.notify_all()

    def _lose_scheduler(self, client: Any, why: object) -> SchedulerLost:
        """Forget the workers of a client that does not reach its scheduler, and return the error."""
        with self._changed:
            if not self._lost and client is self._connection.client:
                self._lost = one_line(f"the connection to the scheduler is lost ({why})")
                self._threads, self._free = {}, []
                self._log.warning("%s: %s; waiting %.0f s for it", self._connection.name, self._lost, _NONE_LIMIT)
                self._changed.notify_all()
        return SchedulerLost()
