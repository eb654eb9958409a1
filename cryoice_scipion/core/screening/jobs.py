# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs that a run gives to its executors: map a micrograph, or score it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Callable, Optional, Tuple, TypeVar

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.identity import identify
from cryoice_scipion.core.maps import session_baseline
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference
from cryoice_scipion.core.screening.quarantine import Quarantine
from cryoice_scipion.core.screening.state import RunState
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.pool import Job
from cryoice_scipion.core.workers.requests import RemoteExecutor

Answer = TypeVar("Answer")
#: The map result, if the micrograph had to be mapped (again), and the record.
Scored = Tuple[Optional[MapResult], MicrographRecord]


class JobMaker:
    """Makes the jobs of one run."""

    def __init__(self, folder: Path, config: ScreenConfig, state: RunState, quarantine: Quarantine) -> None:
        """Take the folder and settings of the run, its state, which has the stored maps, and its quarantine."""
        self._folder, self._config, self._state, self._quarantine = folder, config, state, quarantine

    def map(self, task: MicrographTask, contrast: str) -> Job[MapResult]:
        """Return the job that maps a micrograph.

        Parameters
        ----------
        contrast : str
            "dark", "bright" or "auto".
        """
        return self._noted(task, lambda executor: self._map(executor, task, contrast), reads=True)

    def score(self, task: MicrographTask, reference: Reference) -> Job[Scored]:
        """Return the job that scores a micrograph.

        The job maps the micrograph first if there is no stored map, or if the stored map cannot be read or has another
        contrast than the reference.
        """
        stored = self._state.mapped.get(task.id)
        if stored is not None and not session_baseline.has_contrast(stored, reference.contrast):
            stored = None

        def work(executor: Executor) -> Scored:
            if stored is not None:
                with contextlib.suppress(ImageError):
                    return None, executor.score(task, stored, reference, self._config, self._folder)
            if isinstance(executor, RemoteExecutor):
                identity = identify(task.path)
                found = executor.screen(task, reference, self._config, self._folder)
                found[0].input = identity
                return found
            result = self._map(executor, task, reference.contrast)
            return result, executor.score(task, result, reference, self._config, self._folder)

        return self._noted(task, work, reads=stored is None)

    def _noted(self, task: MicrographTask, work: Callable[[Executor], Answer], reads: bool) -> Job[Answer]:
        """Return a job during which the quarantine notes that its micrograph is computed."""

        def noted(executor: Executor) -> Answer:
            with self._quarantine.computing(task.stem):
                return work(executor)

        return Job(task, noted, reads)

    def _map(self, executor: Executor, task: MicrographTask, contrast: str) -> MapResult:
        identity = identify(task.path)  # before it is read: a file that changes while it is read counts as changed
        result = executor.map(task, self._config, contrast, self._folder)
        result.input = identity
        return result
