# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute on other machines: executors that send their work to the workers of a Dask scheduler. Imports no torch.

Each request names the Dask worker that does it, and ends with ``WorkerDied`` if that is lost. Later workers replace it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, resolve_model
from cryoice_scipion.core.errors import WorkerError, counted, one_line
from cryoice_scipion.core.images.stems import FRAME
from cryoice_scipion.core.workers.client import ANSWER_LIMIT
from cryoice_scipion.core.workers.interface import WorkerDied
from cryoice_scipion.core.workers.requests import RemoteExecutor
from cryoice_scipion.core.workers.schedulers import Connection, connect

_TASKS = "cryoice_scipion.core.workers.cluster_task"  # imports torch, so this module must not import it
_POLL = 1.0  # s between two looks at the workers
_FETCH = 10.0  # s to get an answer that is ready: meanwhile its worker may be lost, which Dask does not report
_PATIENCE = 20.0  # s for a new file to be visible on another machine
_NONE_LIMIT = 300.0  # s without any worker, before the run ends


class Slot(NamedTuple):
    """One device of a Dask worker. It does one request at a time."""

    worker: str  # address
    device: str


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
    setup = {"model": _elsewhere(config.model), "expected_fingerprint": mark, "version": VERSION, "patience": _PATIENCE}
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
        self._connection, self._client, self._log = connection, connection.client, log
        self._devices, self._setup, self._left = devices, setup, executors
        self._threads: Dict[str, int] = {}  # of each live worker, by address
        self._free: List[Slot] = []
        self._refused: Dict[str, str] = {}  # the reasons of workers that cannot serve this run, by address
        self._lost: Optional[WorkerError] = None  # the scheduler
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
            When the scheduler is lost, or no worker is left that can serve the run.
        """
        sent = _with_absolute_paths(request)
        while True:
            slot = self._take()
            try:
                answer = self._do(slot, sent)
            finally:
                self._give_back(slot)
            if "refused" not in answer:
                return _with_given_paths(answer, sent, request)
            self._refuse(slot.worker, answer["refused"])

    def leave(self) -> None:
        """Note that an executor is closed; close the connection after the last one."""
        with self._changed:
            self._left -= 1
            if self._left:
                return
        self._connection.close()

    def _do(self, slot: Slot, request: Dict[str, Any]) -> Dict[str, Any]:
        """Let a worker answer a request."""
        setup = {**self._setup, "device": slot.device, "threads": self._threads.get(slot.worker, 1)}
        done = threading.Event()
        try:
            future = self._client.submit(
                call, "work", setup, request, workers=[slot.worker], allow_other_workers=False, pure=False
            )
            future.add_done_callback(lambda _: done.set())
        except Exception as error:  # the client is closed
            raise self._scheduler_lost(error) from None
        end = time.monotonic() + self.answer_limit
        while True:
            if done.wait(_POLL):
                with contextlib.suppress(asyncio.TimeoutError):
                    return self._answer_of(future, slot)
            if self._lost:
                raise self._lost
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
                raise self._scheduler_lost(future.status)
            error = future.exception()
        except (WorkerError, asyncio.TimeoutError):
            raise
        except Exception as lost:  # the connection ended after the work did
            raise self._scheduler_lost(lost) from None
        if type(error).__name__ == "KilledWorker":  # it was lost repeatedly and came back with the same address
            raise WorkerDied("worker", f"on {slot.worker} was lost", "read the log of the Dask worker")
        reason = f"cannot start ({type(error).__name__}: {error}); install version {VERSION} of this package there"
        return {"refused": one_line(reason)}

    def _take(self) -> Slot:
        """Return a free device; wait for one if needed."""
        began = time.monotonic()
        with self._changed:
            while True:
                if self._lost:
                    raise self._lost
                if self._free:
                    return self._free.pop(0)
                useful = self._threads.keys() - self._refused.keys()
                if not useful and self._threads:
                    worker, reason = next(iter(self._refused.items()))
                    raise WorkerError(worker, reason, "correct this on all nodes, then continue the run")
                if useful:
                    began = time.monotonic()
                elif not self._connection.starts_workers and time.monotonic() - began >= _NONE_LIMIT:
                    reason = f"has had no worker for {_NONE_LIMIT:.0f} s"
                    raise WorkerError(self._connection.name, reason, "start workers, then continue the run")
                self._changed.wait(_POLL)

    def _give_back(self, slot: Slot) -> None:
        with self._changed:
            if slot.worker in self._threads and slot.worker not in self._refused:
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
        """Keep the list of workers up to date until the connection ends."""
        while self._left and not self._lost:
            time.sleep(_POLL)
            try:
                self._look()
            except Exception as error:
                self._scheduler_lost(error)

    def _look(self) -> None:
        found: Dict[str, int] = dict(self._client.nthreads())
        with self._changed:
            new: Set[str] = found.keys() - self._threads.keys()
            self._threads = found
            self._free = [slot for slot in self._free if slot.worker in found]
            for worker in sorted(new - self._refused.keys()):
                self._free += [Slot(worker, device) for device in self._devices]
            self._changed.notify_all()

    def _scheduler_lost(self, why: object) -> WorkerError:
        """Note that the scheduler does not answer, and return the error."""
        reason = one_line(f"the connection to the scheduler is lost ({why})")
        error = WorkerError(self._connection.name, reason, "start the scheduler again, then continue the run")
        with self._changed:
            self._lost = self._lost or error
            self._changed.notify_all()
        return self._lost


def _elsewhere(model: str) -> str:
    """Return a model as another machine finds it: the absolute path of its folder, or the name of a shipped one."""
    return os.path.join(os.getcwd(), model) if model and Path(model).is_dir() else model


def _with_absolute_paths(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return a request that can be done in any folder; ``file`` is the micrograph's file if this machine has it."""
    path: str = request["task"]["path"]
    frame = None if os.path.exists(path) else FRAME.match(path)
    file = os.path.join(os.getcwd(), frame.group(2) if frame else path)
    return {
        **request,
        "task": {**request["task"], "path": f"{frame.group(1)}@{file}" if frame else file},
        "folder": os.path.join(os.getcwd(), request["folder"]),
        "config": {**request["config"], "grader": _elsewhere(request["config"]["grader"])},
        "file": file if os.path.exists(file) else "",
    }


def _with_given_paths(answer: Dict[str, Any], sent: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Return an answer with the paths as the request had them, so that it is the answer of this machine."""
    if "error" in answer:
        parts = [part.replace(sent["task"]["path"], request["task"]["path"]) for part in answer["parts"]]
        return {**answer, "parts": [part.replace(sent["folder"], request["folder"]) for part in parts]}
    result: Dict[str, Any] = answer["result"]
    record = result.get("record", result)  # of a micrograph that was scored, or the result of its mapping
    if "path" in record:
        record["path"] = request["task"]["path"]
    return answer
