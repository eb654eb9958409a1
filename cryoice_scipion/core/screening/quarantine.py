# SPDX-License-Identifier: GPL-3.0-or-later
"""Set aside the micrographs that end the process that computes them, so that none of them stops a run for ever.

- While a micrograph is computed, its name is in the file ``.computing``. A run that is killed leaves the name there. So
  does a run that ends because the GPU failed.
- ``quarantine.json`` counts how often the process of a micrograph ended. Such a micrograph is a suspect.
- Suspects are tried again after all others, alone. At the third end they fail, and stay failed until the user asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Set

from cryoice_scipion.core.errors import without_breaks
from cryoice_scipion.core.images.atomic import open_no_link, replacing
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.results.run_folder import writing
from cryoice_scipion.core.workers.interface import is_device_lost

QUARANTINE = "quarantine.json"
COMPUTING = ".computing"
MOST = 3  # ends: one in company of other micrographs, two alone
_REMEDY = "to try it again, use --resume --retry-quarantined, or remove {path} and continue"


class Quarantine:
    """Counts how often the process of each micrograph of a run ended."""

    def __init__(self, folder: Path, resume: bool, retry: bool) -> None:
        """Count the micrographs that were being computed when the earlier session was killed.

        Parameters
        ----------
        resume : bool
            Whether the run continues; a new one forgets all counts.
        retry : bool
            Whether to forget the counts of earlier sessions.

        Raises
        ------
        FolderError
            When the counts cannot be written.
        """
        self._folder, self._lock = folder, threading.Lock()
        self._computing: Set[str] = set()
        left = _interrupted(folder) if resume else []
        self._ends = {} if retry or not resume else _counts(folder)
        for stem in left:
            self._ends[stem] = self._ends.get(stem, 0) + 1
        self._save()
        with writing(folder):
            self._descriptor: Optional[int] = open_no_link(folder / COMPUTING, os.O_WRONLY | os.O_TRUNC)

    def ends(self, stem: str) -> int:
        """Return how often the process of a micrograph ended; 0: it is no suspect."""
        return self._ends.get(stem, 0)

    def holds(self, stem: str) -> bool:
        """Return whether a micrograph is not tried again."""
        return self.ends(stem) >= MOST

    def blame(self, stem: str) -> None:
        """Count that the process of a micrograph ended."""
        self._ends[stem] = self.ends(stem) + 1
        self._save()

    def forget(self, stem: str) -> None:
        """Delete the count of a micrograph that has been computed, or whose file is new."""
        if self._ends.pop(stem, 0):
            self._save()

    def reason(self, path: str, how: str = "") -> str:
        """Return why a micrograph that is not tried again has failed, in one line; ``how`` its process ended."""
        text = f"{path}: its process ended {MOST} times while it was computed" + (f" ({how})" if how else "")
        return without_breaks(f"{text}; {_REMEDY.format(path=self._folder / QUARANTINE)}")

    @contextlib.contextmanager
    def computing(self, stem: str) -> Iterator[None]:
        """Note that a micrograph is being computed. Called in the threads of the executors.

        The note stays if the GPU fails, unless another one computes the micrograph.
        """
        self._note(self._computing.add, stem)
        is_lost = False
        try:
            yield
        except Exception as error:
            is_lost = is_device_lost(error)
            raise
        finally:
            if not is_lost:
                self._note(self._computing.discard, stem)

    def close(self) -> None:
        """Remove the note, unless it names a micrograph that hangs or on which the GPU failed, which is a suspect."""
        with self._lock, contextlib.suppress(OSError):
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            if not self._computing:
                (self._folder / COMPUTING).unlink()

    def _note(self, change: Callable[[str], None], stem: str) -> None:
        """Change the note, without waiting for the disk: what a process has written outlasts its end."""
        with self._lock:
            change(stem)
            if self._descriptor is None:
                return
            text = json.dumps(sorted(self._computing)).encode()
            with contextlib.suppress(OSError):  # a full disk is reported by the files of the micrograph
                os.pwrite(self._descriptor, text, 0)
                os.ftruncate(self._descriptor, len(text))

    def _save(self) -> None:
        path = self._folder / QUARANTINE
        with writing(self._folder):
            if self._ends:
                with replacing(path) as temporary:
                    temporary.write_text(json.dumps(self._ends, indent=1) + "\n", encoding="utf-8")
            elif path.exists():
                path.unlink()


def has_suspects(folder: Path) -> bool:
    """Return whether the process of a micrograph ended in an earlier session of a run."""
    return bool(_interrupted(folder) or _counts(folder))


def _interrupted(folder: Path) -> List[str]:
    """Return the micrographs that were being computed when the run was killed; none if the note is damaged."""
    with contextlib.suppress(OSError, ValueError):
        return [stem for stem in read_json(folder / COMPUTING, list) if isinstance(stem, str)]
    return []


def _counts(folder: Path) -> Dict[str, int]:
    """Return the counts of earlier sessions; none if their file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        found = read_json(folder / QUARANTINE)
        return {stem: count for stem, count in found.items() if isinstance(count, int)}
    return {}
