# SPDX-License-Identifier: GPL-3.0-or-later
"""Define what a run requires of an executor, which computes in this process or in a worker. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import WorkerError
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference


class WorkerDied(WorkerError):  # noqa: N818 (an event, and the name users of the class read)
    """The worker ended during its work; a new one can take over."""


class Executor(Protocol):
    """Map and score micrographs, one at a time."""

    model: ModelConfig
    fingerprint: str  # of the model; equal fingerprints give equal maps
    device: str

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Read a micrograph, map it, and store its class map and grey picture in the folder.

        Parameters
        ----------
        contrast : str
            "dark", "bright" or "auto". With "auto" particles are dark until the session baseline decides.

        Raises
        ------
        CryoIceError
            When the micrograph cannot be used.
        FolderError
            When the folder cannot be written: the run has to stop.
        WorkerDied
            When the worker process ended.
        """
        ...

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Score a micrograph and its coordinates on the stored map; call it again for further coordinates."""
        ...

    def close(self) -> None:
        """Free the device."""
        ...
