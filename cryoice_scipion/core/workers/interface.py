# SPDX-License-Identifier: GPL-3.0-or-later
"""Define what a run requires of an executor, which computes in this process or in a worker. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, WorkerError, one_line
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference

#: Words of the errors of torch, numpy and the system.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")
_MORE_MEMORY = "free memory, raise the memory limit if there is one, or bin the micrograph; then continue the run"


class WorkerDied(WorkerError):  # noqa: N818 (an event, and the name users of the class read)
    """The worker ended during its work; a new one can take over."""


def is_device_lost(error: Exception) -> bool:
    """Return whether the GPU has failed, so that all later work of this process fails or is unreliable."""
    return isinstance(error, RuntimeError) and "CUDA" in str(error) and not _is_out_of_memory(error)


def unexpected(path: str, error: Exception) -> CryoIceError:
    """Return the error of a micrograph for an error of a library; missing memory gets its own words."""
    text = one_line(f"{type(error).__name__}: {error}")
    if _is_out_of_memory(error):
        return CryoIceError(path, f"needs more memory than there is ({text})", _MORE_MEMORY)
    return CryoIceError(path, f"unexpected {text}")


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory is short, of the machine or of the GPU."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


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
