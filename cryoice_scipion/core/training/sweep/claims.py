# SPDX-License-Identifier: GPL-3.0-or-later
"""Share a list of tasks between processes: a task whose process died is taken by another one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.training.sweep.journal import FolderLock
from cryoice_scipion.core.training.sweep.locks import Worker


class Tasks:
    """Tasks by name; the result of each is a JSON file."""

    def __init__(self, folder: Path, lock: FolderLock, worker: Worker) -> None:
        """Set the folder of the results."""
        self._folder, self._lock, self._worker = folder, lock, worker
        folder.mkdir(parents=True, exist_ok=True)

    def claim(self, names: Sequence[str]) -> Optional[str]:
        """Return the first task that is neither finished nor run by another living process, or None."""
        with self._lock():
            for name in names:
                claim = self._folder / f"{name}.claim"
                if self.result(name) is None and not self._is_running(claim):
                    with replacing(claim) as temporary:
                        temporary.write_text(self._worker.name, encoding="utf-8")
                    return name
        return None

    def finish(self, name: str, result: Dict[str, Any]) -> None:
        """Record the result of a task."""
        with self._lock(), replacing(self._folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    def result(self, name: str) -> Optional[Dict[str, Any]]:
        """Return the result of a task, or None if it is not finished."""
        with contextlib.suppress(FileNotFoundError):
            found: Dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            return found
        return None

    def missing(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the tasks that are not finished."""
        return (name for name in names if self.result(name) is None)

    def _is_running(self, claim: Path) -> bool:
        try:
            name = claim.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return name != self._worker.name and self._worker.sees(name)
