# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal file of a sweep, as Optuna reads it, and the lock that all workers share. Needs Optuna."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

_GRACE = 15  # s without use after which a lock is taken over, because its process was probably killed


class FolderLock:
    """A lock of a folder for all processes that see it, also over NFS."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; the lock has a file of its own there."""
        self._path = (folder / "claims").resolve()  # the lock is a link to it, which must not lead nowhere
        self._path.touch()
        self._lock = JournalFileSymlinkLock(str(self._path), grace_period=_GRACE)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock."""
        with _held(self._lock):
            os.utime(self._path)  # else those that wait long take a lock that changes hands for a forgotten one
            yield


class _Journal(JournalFileBackend):  # type: ignore[misc,unused-ignore]  # Optuna may be missing
    """Optuna's journal, which also survives a process that is killed while it writes a line."""

    def __init__(self, path: Path) -> None:
        self._where = str(path.resolve())
        self._own_lock = JournalFileSymlinkLock(self._where, grace_period=_GRACE)
        super().__init__(self._where, self._own_lock)

    def append_logs(self, logs: List[Dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with _held(self._own_lock), open(self._where, "r+b") as stream:
            stream.seek(_end_of_lines(stream))
            stream.truncate()
            stream.write(lines.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())


def open_journal(path: Path) -> JournalStorage:
    """Return the journal file as a storage of Optuna; it is made if it does not exist."""
    return JournalStorage(_Journal(path))


@contextlib.contextmanager
def _held(lock: JournalFileSymlinkLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # another process took it over while this one was suspended
            lock.release()


def _end_of_lines(stream: Any) -> int:
    """Return the position after the last complete line of a file."""
    end: int = stream.seek(0, os.SEEK_END)
    block = 4096
    position = end
    while position > 0:
        start = max(0, position - block)
        stream.seek(start)
        found = stream.read(position - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        position = start
    return 0
