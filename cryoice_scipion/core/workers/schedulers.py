# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect to a Dask scheduler, or start workers with Slurm. Dask is an optional dependency and imported here only."""

from __future__ import annotations

import importlib
import logging
import re
import time
from pathlib import Path
from typing import Any, List, NamedTuple

from cryoice_scipion.constants import CRYOICE_SCHEDULER, DISTRIBUTION
from cryoice_scipion.core.errors import CryoIceError, SettingsError, WorkerError, one_line

CONNECT_LIMIT = 10.0  # s
WORKERS_LIMIT = 60.0  # s for the first worker of a scheduler to join
_POLL = 0.1  # s
SETTLE = 2.0  # s without a further worker, before the workers are counted
_SLURM = re.compile(r"slurm:([1-9]\d*)")
_ADDRESS = re.compile(r"([a-z]+://.+|[^/]+:\d+)")
_NAMES = "an address (tcp://host:8786), a scheduler file, or slurm:N"


class Connection(NamedTuple):
    """A connection to a scheduler."""

    name: str  # as the user gave it
    client: Any
    cluster: Any  # the workers that were started for this run; None: those of the scheduler are used
    workers: int  # number of workers that are there, or will come

    @property
    def starts_workers(self) -> bool:
        """Return whether workers may come at any time, because Slurm starts them."""
        return self.cluster is not None

    def renewed(self) -> Connection:
        """Return a new connection to the same scheduler, or to one that has taken its place.

        Raises
        ------
        SettingsError, WorkerError
            When there is none.
        """
        while self.client.status == "connecting":  # it tries to connect again for CONNECT_LIMIT, then closes itself
            time.sleep(_POLL)
        self.client.close()
        return self._replace(client=_client(self.name, self.cluster))

    def close(self) -> None:
        """Disconnect, and end the workers that were started for this run."""
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()


def connect(scheduler: str, log: logging.Logger, python: str = "") -> Connection:
    """Connect to a scheduler, and wait until it has a worker.

    Parameters
    ----------
    scheduler : str
        An address, a scheduler file, or ``slurm:N`` to start N workers with Slurm.
    python : str
        The interpreter of workers that Slurm starts. Empty: the one that dask-jobqueue is configured for.

    Raises
    ------
    SettingsError
        When the scheduler is not named correctly, or Dask is not installed.
    WorkerError
        When the scheduler cannot be reached, or no worker joins.
    """
    slurm = _SLURM.fullmatch(scheduler)
    cluster = _start_slurm(int(slurm.group(1)), python) if slurm else None
    client = _client(scheduler, cluster)
    if cluster is not None:
        log.info("waiting for the first of %s workers; squeue shows their jobs", scheduler)
    number = _count_workers(client, scheduler, float("inf") if cluster is not None else WORKERS_LIMIT)
    return Connection(scheduler, client, cluster, int(slurm.group(1)) if slurm else number)


def check_scheduler(scheduler: str) -> List[str]:
    """Return the problems of a scheduler, one line each; starts nothing."""
    try:
        if _SLURM.fullmatch(scheduler):
            _package("dask_jobqueue")
        else:
            _client(scheduler, None).close()
    except CryoIceError as error:
        return [str(error)]
    return []


def _client(scheduler: str, cluster: Any) -> Any:
    """Return a client of the scheduler."""
    distributed = _package("distributed")
    options = {"address": cluster if cluster is not None else scheduler}
    if cluster is None and (scheduler.startswith("slurm:") or not _ADDRESS.fullmatch(scheduler)):
        if not Path(scheduler).is_file():
            reason = "is neither an address nor an existing scheduler file"
            raise SettingsError(scheduler, reason, f"give {_NAMES} (--cluster, {CRYOICE_SCHEDULER})")
        options = {"scheduler_file": scheduler}
    try:
        return distributed.Client(timeout=CONNECT_LIMIT, set_as_default=False, **options)
    except Exception as error:  # other versions of Dask fail in other ways
        reason = one_line(f"the scheduler cannot be reached within {CONNECT_LIMIT:.0f} s ({error})")
        remedy = "check its address and that it runs, with the same version of the package distributed as here"
        raise WorkerError(scheduler, reason, remedy) from None


def _count_workers(client: Any, scheduler: str, limit: float) -> int:
    """Return the number of workers once none has joined for a while."""
    end, number, since = time.monotonic() + limit, 0, time.monotonic()
    while not number or time.monotonic() - since < SETTLE:
        found = len(client.nthreads())
        if found != number:
            number, since = found, time.monotonic()
        if not number and time.monotonic() >= end:
            client.close()
            raise WorkerError(scheduler, f"has no worker after {limit:.0f} s", "start workers (dask worker)")
        time.sleep(_POLL)
    return number


def _start_slurm(number: int, python: str) -> Any:
    """Let Slurm start workers, with the options of dask-jobqueue's configuration."""
    jobqueue = _package("dask_jobqueue")
    try:
        cluster = jobqueue.SLURMCluster(**({"python": python} if python else {}))
        cluster.scale(number)
    except Exception as error:  # wrong options; sbatch is missing or refuses
        reason = one_line(f"workers cannot be started ({error})")
        remedy = "set cores, memory, walltime and queue under jobqueue.slurm in ~/.config/dask/jobqueue.yaml"
        raise WorkerError(f"slurm:{number}", reason, remedy) from None
    return cluster


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.replace("_", "-")
        remedy = f"install the extra 'cluster': python -m pip install '{DISTRIBUTION}[cluster]'"
        raise SettingsError("--cluster", f"needs the package {package}", remedy) from None
