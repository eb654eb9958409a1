# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the state of each coordinate file of a watched folder, and which of them others list."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Set

from cryoice_scipion.core.formats.coordinates import PickTable, read_picks

READ, NOT_READ, OTHER = "read", "not read", "other"


@dataclasses.dataclass
class CoordinateFile:
    """The state of one file."""

    real_path: str
    due: Optional[float] = None  # when to read it (monotonic clock); None: when it changes
    earliest: float = 0.0  # not before this
    result: str = ""  # of the last attempt; empty: none, or a list reads it
    error: str = ""
    row_warnings: List[str] = dataclasses.field(default_factory=list)  # one for each unreadable row
    warn_at: Optional[float] = None  # when these are logged, unless the file changes before

    def read_at(self, when: float) -> None:
        """Read it at this time, or as soon as it may be read after it; an earlier time that is set already stays."""
        when = max(when, self.earliest)
        self.due = when if self.due is None else min(when, self.due)

    def leave_to_list(self) -> None:
        """Read it no longer, because a list does."""
        self.due, self.result, self.error, self.row_warnings, self.warn_at = None, "", "", [], None


@dataclasses.dataclass
class _List:
    read: Set[str]  # real paths of the files that were read through it
    not_read: Set[str]  # and of those that could not be read
    started: float  # when it was read (monotonic clock)


class ListedFiles:
    """Know the files that others list; such a file is read only through its list."""

    def __init__(self, files: Mapping[Path, CoordinateFile]) -> None:
        """Take the files of the folder; more may be added to them later."""
        self._files = files
        self._lists: Dict[Path, _List] = {}

    def has(self, path: Path) -> bool:
        """Return whether a file is read through a list."""
        return bool(self._lists) and any(self._files[path].real_path in one.read for one in self._lists.values())

    def note(self, path: Path, picks: PickTable, started: float) -> List[Path]:
        """Note what a file lists now; return the files of the folder that it lists.

        Files that it does not list any more are due to be read on their own.

        Parameters
        ----------
        started : float
            When reading began (monotonic clock).
        """
        if picks.row_files is None:
            self.forget(path, started)
            return []
        before = self._lists.get(path)
        one = _List(picks.row_files.real_paths(), {os.path.realpath(name) for name in picks.not_read}, started)
        self._lists[path] = one
        if before is not None:
            self._read_alone(before.read - one.read, started)
        return [other for other, file in self._files.items() if file.real_path in one.read and other != path]

    def forget(self, path: Path, now: float) -> None:
        """Forget a list, if the file is one; the files that it lists are due to be read on their own."""
        if path in self._lists:
            self._read_alone(self._lists.pop(path).read, now)

    def read_again(self, path: Path, changed: float) -> None:
        """Let the lists of a file that has changed be read again, unless they have been since then."""
        real_path = self._files[path].real_path if self._lists else ""
        for name, one in self._lists.items():
            if one.started < changed and real_path in one.read | one.not_read and name in self._files:
                self._files[name].read_at(changed)

    def _read_alone(self, real_paths: Set[str], now: float) -> None:
        for path, file in self._files.items() if real_paths else ():
            if file.real_path in real_paths and not self.has(path):
                file.read_at(now)


def holds_coordinates(path: Path) -> bool:
    """Return whether a file can be read and holds coordinates."""
    try:
        return path.is_file() and len(read_picks(path)) > 0
    except Exception:  # an incomplete file can make a reader fail in any way
        return False
