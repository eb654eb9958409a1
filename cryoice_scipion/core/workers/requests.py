# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the work of an executor in another process into requests, and answers into results or errors. No torch."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, Dict, Tuple, Type

from cryoice_scipion.core import errors
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference, from_json, to_json
from cryoice_scipion.core.results.run_folder import FolderError


class RemoteExecutor(abc.ABC):
    """Compute in another process. Requests and answers hold only JSON values; see ``worker.reply``."""

    model: ModelConfig
    fingerprint: str
    device: str
    same_machine = True  # as this process: both have one cache of files

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Map one micrograph; see ``Executor.map``."""
        without_picks = MicrographTask(task.id, task.path, task.stem, task.pixel_size)
        return from_json(MapResult, self._ask("map", without_picks, config, folder, contrast=contrast))

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Score one micrograph; see ``Executor.score``."""
        answer = self._ask("score", task, config, folder, map=to_json(result), reference=to_json(reference))
        return from_json(MicrographRecord, answer)

    def screen(
        self, task: MicrographTask, reference: Reference, config: ScreenConfig, folder: Path
    ) -> Tuple[MapResult, MicrographRecord]:
        """Map and score one micrograph with one request."""
        answer = self._ask("screen", task, config, folder, reference=to_json(reference))
        return from_json(MapResult, answer["map"]), from_json(MicrographRecord, answer["record"])

    @abc.abstractmethod
    def send(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Send one request and return the answer.

        Raises
        ------
        WorkerDied
            When the worker ended or did not answer in time.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Free the device."""

    def _ask(self, verb: str, task: MicrographTask, config: ScreenConfig, folder: Path, **more: Any) -> Dict[str, Any]:
        """Return the result of one request.

        Raises
        ------
        CryoIceError
            The worker's error, in its own class.
        """
        request = {"verb": verb, "task": to_json(task), "config": config.model_dump(), "folder": str(folder), **more}
        answer = self.send(request)
        if "error" in answer:
            raise _error_class(answer["kind"])(*answer["parts"])
        result: Dict[str, Any] = answer["result"]
        return result


def _error_class(name: str) -> Type[CryoIceError]:
    """Return the error class of a name; CryoIceError if it is unknown."""
    found = FolderError if name == FolderError.__name__ else getattr(errors, name, CryoIceError)
    return found if isinstance(found, type) and issubclass(found, CryoIceError) else CryoIceError
