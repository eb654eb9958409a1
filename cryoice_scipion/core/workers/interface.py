# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run asks of whoever does the computing, in this process or in a worker. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import WorkerError
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference


class WorkerDied(WorkerError):  # noqa: N818 (an event, and the name users of the class read)
    """The worker ended in the middle of its work; a fresh one can take over."""


class Executor(Protocol):
    """Maps and scores micrographs, one at a time."""

    model: ModelConfig
    fingerprint: str  # of the model: the same one gives the same maps
    device: str

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Read a micrograph once, map it, and store class map and grey picture in the folder.

        Parameters
        ----------
        contrast : str
            "dark", "bright", or "auto": dark, until the reference votes for bright.

        Raises
        ------
        CryoIceError
            When the micrograph cannot be used.
        FolderError
            When the folder cannot be written: the run has to stop.
        WorkerDied
            When the computing process ended.
        """
        ...

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Score a micrograph and its coordinates from the stored map; can be repeated with more coordinates."""
        ...

    def close(self) -> None:
        """Free the device."""
        ...
