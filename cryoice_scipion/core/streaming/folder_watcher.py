# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the files of a folder once they stop changing, while other programs write there.

The folder is polled, because the system's notifications (inotify) miss what other machines write into a network folder.
"""

from __future__ import annotations

import functools
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Optional, Set

from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingEmitter

from cryoice_scipion.core.images.trees import TreeListing, files_in
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS, FileState, StableFile, file_state

_INTERVAL = 1.0  # s between two looks at the folder, at most
_LARGEST_SHARE, _LONGEST_INTERVAL = 0.05, 30.0  # of the time that looking may take; s
_LONGEST_WAIT = 15  # settle times after which a file that keeps changing is reported, if `report_changing`


class FolderWatcher:
    """Report the new and changed files of one folder, or one single file, once they stop changing.

    With ``subfolders``, the first file decides: if it lies in a subfolder, only files in subfolders are reported, else
    only those in the folder itself. Hidden subfolders and outputs of screenings are not searched.
    """

    def __init__(
        self,
        path: Path,
        is_wanted: Callable[[str], bool],
        settle: float = SETTLE_SECONDS,
        single_file: bool = False,
        report_changing: bool = False,
        subfolders: bool = False,
    ) -> None:
        """Prepare to watch; the first :meth:`poll` opens the folder, which may come into being later.

        Parameters
        ----------
        path : pathlib.Path
            The folder; with ``single_file``, the file to watch.
        is_wanted : callable
            Returns whether a file counts, by its name. Hidden files never do.
        settle : float
            Seconds without a change after which a file is reported.
        report_changing : bool
            Whether a file that never stops changing is reported too, every 15 ``settle``.
        subfolders : bool
            Whether files in subfolders are reported, as long as the folder itself has none.
        """
        self.interval = min(_INTERVAL, settle / 2)
        self._changed = time.monotonic()  # when a new or changed file was last seen
        self.looked = self._changed  # when the last look began whose findings are all known (monotonic clock)
        self.problem = ""  # why the folder cannot be read, in one line
        self._is_wanted, self._settle = is_wanted, settle
        self._longest = _LONGEST_WAIT * settle if report_changing else float("inf")
        self._single_name = path.name if single_file else None
        self.folder = path.parent if single_file else path
        #: Whether files in subfolders are reported; None: the first file decides.
        self.in_subfolders: Optional[bool] = None if subfolders and not single_file else False
        self._changing: Dict[str, StableFile] = {}  # by relative path; files that are not reported yet
        self._reported: Dict[str, FileState] = {}
        self._missing: Set[str] = set()  # reported files that are not there any more
        self._events: Deque[str] = deque()  # relative paths, from the observer's thread
        self._is_lost = False
        self._observer: Optional[BaseObserver] = None
        self._last_check = 0.0

    @property
    def has_changing_files(self) -> bool:
        """Return whether there are files that may still be being written."""
        return bool(self._changing or self._events)

    @property
    def quiet_seconds(self) -> float:
        """Return for how long looks have found no new or changed file; time in which nobody looked does not count."""
        return max(0.0, self.looked - self._changed)

    @property
    def is_there(self) -> bool:
        """Return whether the folder exists and is watched."""
        return self._observer is not None

    def poll(self) -> List[Path]:
        """Return the files that stopped changing since the last call; a file that changes later is reported again.

        The cost depends on the number of new and changed files only.
        """
        if self._is_lost or (self._observer is not None and not self._observer.is_alive()):
            self.close()
        if self._observer is None:
            self.looked = time.monotonic()
            self._open()
        while self._events:
            self._notice(self._events.popleft())
        if self._changing and time.monotonic() - self._last_check >= self.interval / 2:
            self._last_check = time.monotonic()
            return [self.folder / name for name in sorted(self._changing) if self._is_complete(name)]
        return []

    def gone(self) -> List[Path]:
        """Return the reported files that were removed or renamed since the last call.

        If no reported file is left, none is returned: the disk may be away.
        """
        missing = [name for name in self._missing if file_state(self.folder / name) is None]
        if len(missing) == len(self._reported):
            return []
        for name in missing:
            del self._reported[name]
        self._missing.clear()
        return [self.folder / name for name in sorted(missing)]

    def close(self) -> None:
        """Stop watching."""
        observer, self._observer, self._is_lost = self._observer, None, False
        if observer is not None:
            observer.stop()
            observer.join()

    def _open(self) -> None:
        """Start to watch if the folder exists; files in it that are old enough are complete at once."""
        observer: Optional[BaseObserver] = None
        try:
            if not self.folder.is_dir():
                return
            if self.in_subfolders is None and any(map(self._counts, os.listdir(self.folder))):
                self.in_subfolders = False
            deep = self.in_subfolders is not False
            wanted = self._is_wanted if self._single_name is None else self._single_name.__eq__
            listing = TreeListing(self.folder, wanted)
            emitter = functools.partial(_ThriftyEmitter, listdir=listing, on_look=self._on_look)
            observer = BaseObserver(emitter, timeout=self.interval)  # type: ignore[arg-type]
            observer.schedule(_Handler(self._on_event, self._on_folder_deleted), str(self.folder), recursive=deep)
            observer.start()  # before the listing, so that no file is missed between the two
            for name in os.listdir(self.folder):
                self._notice(name, use_modification_time=True)
            for path in files_in(self.folder, self._is_wanted, recursive=True).files if deep else ():
                self._notice(os.path.relpath(path, self.folder), use_modification_time=True)
        except OSError as error:  # deleted meanwhile, or no permission
            if observer is not None:
                observer.stop()
            if not isinstance(error, FileNotFoundError):
                self.problem = f"{self.folder}: cannot be read ({error.strerror}); it is tried again until it can"
            return
        self.problem = ""
        self._observer = observer

    def _on_event(self, path: str) -> None:
        name = os.path.relpath(path, self.folder)
        if self._counts(name):
            self._changed = time.monotonic()
            self._events.append(name)

    def _on_look(self, began: float) -> None:
        self.looked = began

    def _on_folder_deleted(self) -> None:
        self._is_lost = True

    def _counts(self, name: str) -> bool:
        base = os.path.basename(name)
        if base.startswith(".") or not self._is_wanted(base) or self._single_name not in (None, name):
            return False
        return self.in_subfolders in (None, base != name)

    def _notice(self, name: str, use_modification_time: bool = False) -> None:
        """Begin to observe a file, unless it is as it was when it was reported."""
        if not self._counts(name) or name in self._changing:
            return
        file = StableFile(self.folder / name, use_modification_time)
        if file.state is None and name in self._reported:
            self._missing.add(name)
        if file.state is not None and file.state != self._reported.get(name):
            self._decide(os.path.dirname(name) != "")
            self._changing[name] = file
            self._changed = file.first_seen

    def _decide(self, in_subfolders: bool) -> None:
        """Report only files in subfolders from now on, or only those in the folder itself."""
        if self.in_subfolders is None:
            self.in_subfolders = in_subfolders
            self._is_lost = not in_subfolders  # the observer of the tree is replaced by one of the folder alone

    def _is_complete(self, name: str) -> bool:
        """Return whether a file is to be reported now; a reported or deleted file is no longer observed."""
        file = self._changing[name]
        unchanged = file.unchanged_seconds()
        if file.state is None:
            del self._changing[name]
            return False
        self._changed = max(self._changed, file.unchanged_since)
        if unchanged < self._settle and time.monotonic() - file.first_seen < self._longest:
            return False
        del self._changing[name]
        self._reported[name] = file.state
        return True


class _ThriftyEmitter(PollingEmitter):
    """Look less often into a folder that takes long to look at, and tell when each look began."""

    def __init__(self, *args: Any, on_look: Callable[[float], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._on_look, self._began, self._pause = on_look, time.monotonic(), 0.0

    def queue_events(self, timeout: float) -> None:
        """Look once, after ``timeout`` seconds or more."""
        wait = max(timeout, self._pause)
        start = time.monotonic()
        super().queue_events(wait)
        self._on_look(self._began)  # of the look before: what it found has reached the handler meanwhile
        self._began = start + wait
        seconds = min((time.monotonic() - self._began) / _LARGEST_SHARE, _LONGEST_INTERVAL)
        self._pause = seconds if seconds > _INTERVAL else 0.0


class _Handler(FileSystemEventHandler):
    """Pass on the paths of files that were created, changed or renamed."""

    def __init__(self, on_file: Callable[[str], None], on_folder_deleted: Callable[[], None]) -> None:
        self._on_file, self._on_folder_deleted = on_file, on_folder_deleted

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Handle one event; of a renamed file, both names."""
        if isinstance(event, DirDeletedEvent):  # usually the watched folder; a subfolder only causes a new listing
            self._on_folder_deleted()
        elif not event.is_directory:
            for path in {event.src_path, event.dest_path or event.src_path}:
                self._on_file(os.fsdecode(path))
