# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that appear in a folder while other programs write there: each is told of when it has come to rest.

The folder is polled: the system's own notices (inotify) do not tell what other machines write into a network folder.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from cryoice_scipion.core.streaming.file_retry import SETTLE

_INTERVAL = 1.0  # s between two looks at the folder, at most
_RESTLESS = 15  # settle times after which a file that never comes to rest is told of, if so wished

_State = Tuple[int, int]


class _Candidate(NamedTuple):
    """A file that has not come to rest yet. Times are monotonic, since another machine's clock may differ."""

    state: Optional[_State]
    since: float  # that it is like this
    first: float  # that it was seen


class FolderWatcher:
    """The files of one folder, or one single file, that are new or changed and have come to rest."""

    def __init__(
        self,
        path: Path,
        wanted: Callable[[str], bool],
        settle: float = SETTLE,
        alone: bool = False,
        restless: bool = False,
    ) -> None:
        """Begin with what is there; what is not there yet is waited for.

        Parameters
        ----------
        path : pathlib.Path
            The folder; with ``alone``, the single file to look at.
        wanted : callable
            Tells by its name whether a file counts. Hidden ones never do.
        settle : float
            Seconds without a change after which a file has come to rest.
        restless : bool
            Whether a file that is written to all the time is told of now and then.
        """
        self.interval = min(_INTERVAL, settle / 2)
        self.changed = time.monotonic()  # when something was seen last
        self.problem = ""  # what keeps us from looking, in one line
        self._path, self._wanted, self._settle = path, wanted, settle
        self._longest = _RESTLESS * settle if restless else float("inf")
        self._alone = path.name if alone else None
        self.folder = path.parent if alone else path
        self._candidates: Dict[str, _Candidate] = {}
        self._arrived: Dict[str, _State] = {}
        self._news: Deque[str] = deque()  # names, from the observer's thread
        self._lost = False
        self._observer: Optional[BaseObserver] = None
        self._looked = 0.0

    @property
    def is_restless(self) -> bool:
        """Return whether there are files that have not come to rest."""
        return bool(self._candidates or self._news)

    @property
    def is_there(self) -> bool:
        """Return whether the folder is there and looked at."""
        return self._observer is not None

    def poll(self) -> List[Path]:
        """Return the files that came to rest since the last call; a file that changes later comes again.

        The cost depends on what is new, not on what has come before.
        """
        if self._lost or (self._observer is not None and not self._observer.is_alive()):
            self.close()
        if self._observer is None:
            self._open()
        while self._news:
            self._notice(self._news.popleft())
        if self._candidates and time.monotonic() - self._looked >= self.interval / 2:
            self._looked = time.monotonic()
            return [self.folder / name for name in sorted(self._candidates) if self._is_at_rest(name)]
        return []

    def close(self) -> None:
        """Stop looking."""
        observer, self._observer, self._lost = self._observer, None, False
        if observer is not None:
            observer.stop()
            observer.join()

    def _open(self) -> None:
        """Start to look when the folder is there; what lies in it and did not change for long has come to rest."""
        observer = PollingObserver(timeout=self.interval)
        try:
            if not self.folder.is_dir():
                return
            observer.schedule(_Handler(self._hear, self._lose), str(self.folder), recursive=False)
            observer.start()  # takes its first picture here, so that nothing falls between it and the listing
            for name in os.listdir(self.folder):
                self._notice(name, old=True)
        except OSError as error:  # gone again, or we may not look
            observer.stop()
            if not isinstance(error, FileNotFoundError):
                self.problem = f"{self.folder}: cannot be looked into ({error.strerror}); it is tried again and again"
            return
        self.problem = ""
        self._observer = observer

    def _hear(self, name: str) -> None:
        if self._counts(name):
            self.changed = time.monotonic()
            self._news.append(name)

    def _lose(self) -> None:
        self._lost = True

    def _counts(self, name: str) -> bool:
        return not name.startswith(".") and self._wanted(name) and self._alone in (None, name)

    def _notice(self, name: str, old: bool = False) -> None:
        if not self._counts(name) or name in self._candidates:
            return
        state, now = self._state(name), time.monotonic()
        if state is None or state == self._arrived.get(name):
            return
        age = max(0.0, time.time() - state[1] / 1e9) if old else 0.0
        self._candidates[name] = _Candidate(state, now - age, now)
        self.changed = now

    def _is_at_rest(self, name: str) -> bool:
        """Return whether a file has come to rest; if so, or when it is gone, it is no candidate any more."""
        candidate, state, now = self._candidates[name], self._state(name), time.monotonic()
        if state is None:
            del self._candidates[name]
            return False
        if state != candidate.state:
            self.changed = now
            candidate = self._candidates[name] = _Candidate(state, now, candidate.first)
        if now - candidate.since < self._settle and now - candidate.first < self._longest:
            return False
        del self._candidates[name]
        self._arrived[name] = state
        return True

    def _state(self, name: str) -> Optional[_State]:
        try:
            status = os.stat(self.folder / name)
        except OSError:
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class _Handler(FileSystemEventHandler):
    """Hands on the names of files that something happened to."""

    def __init__(self, hear: Callable[[str], None], lose: Callable[[], None]) -> None:
        self._hear, self._lose = hear, lose

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take one event; a file that is renamed counts by its new name."""
        if isinstance(event, DirDeletedEvent):  # the folder's own; one of a folder in it does no harm
            self._lose()
        elif not event.is_directory:
            self._hear(os.path.basename(os.fsdecode(event.dest_path or event.src_path)))
