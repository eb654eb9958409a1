# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the state of each coordinate file of a watched folder, and which of them others list."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.folders import job_outputs
from cryoice_scipion.core.formats.table import is_unspecific, suffix_of

READ, NOT_READ, OTHER = "read", "not read", "other"


@dataclasses.dataclass
class CoordinateFile:
    """The state of one file."""

    real_path: str
    due: Optional[float] = None  # when to read it (monotonic clock); None: when it changes
    earliest: float = 0.0  # not before this
    result: str = ""  # of the last attempt; empty: none, or it is left to another file
    error: str = ""
    row_warnings: List[str] = dataclasses.field(default_factory=list)  # one for each unreadable row
    warn_at: Optional[float] = None  # when these are logged, unless the file changes before

    def read_at(self, when: float) -> None:
        """Read it at this time, or as soon as it may be read after it; an earlier time that is set already stays."""
        when = max(when, self.earliest)
        self.due = when if self.due is None else min(when, self.due)

    def leave_to_other(self) -> None:
        """Read it no longer, because another file has its coordinates."""
        self.due, self.result, self.error, self.row_warnings, self.warn_at = None, "", "", [], None


@dataclasses.dataclass
class _List:
    read: Set[str]  # real paths of the files that were read through it
    not_read: Set[str]  # and of those that could not be read
    started: float  # when it was read (monotonic clock)


class ListedFiles:
    """Know the files that others list, and those beside the file of coordinates of a RELION job.

    A listed file is read only through its list. Of a job, only its file of coordinates is read.
    """

    def __init__(self, top: Path, files: Mapping[Path, CoordinateFile]) -> None:
        """Take the folder, and its files; more may be added to them later."""
        self._top, self._files = top, files
        self._lists: Dict[Path, _List] = {}
        self.others: Sequence[ListedFiles] = ()  # of other folders of the same run
        self._output_above: Callable[[Path], Optional[Path]] = lambda folder: None

    def look_again(self, now: float) -> None:
        """Find out again which files are the coordinates of jobs, after files have come or gone."""
        with contextlib.suppress(CoordinatesError):  # several sets of coordinates
            self._output_above = job_outputs(self._top)
        self._read_alone(now)

    def has(self, path: Path) -> bool:
        """Return whether the coordinates of a file are read from another one."""
        output = self._output_of(path)
        if output is not None and output != path and output in self._files and self._files[output].result == READ:
            return True
        return bool(self._lists) and any(self._files[path].real_path in one.read for one in self._lists.values())

    def note(self, path: Path, picks: PickTable, started: float) -> List[Path]:
        """Note what a file that was read lists now; return the files of the folder that are left to it.

        Files that it does not list any more are due to be read on their own.

        Parameters
        ----------
        started : float
            When reading began (monotonic clock).
        """
        before, listed = self._lists.pop(path, None), set()  # type: Optional[_List], Set[str]
        if picks.row_files is not None and not is_unspecific(suffix_of(path)):  # a .csg file gives way to .cs files
            listed = picks.row_files.real_paths()
            self._lists[path] = _List(listed, {os.path.realpath(name) for name in picks.not_read}, started)
        elif before is None and self._output_of(path) != path:
            return []
        self._read_alone(started)
        return [
            other
            for other, file in self._files.items()
            if other != path and (file.real_path in listed or self._output_of(other) == path)
        ]

    def forget(self, path: Path) -> None:
        """Forget a file that is gone; :meth:`look_again` lets those that were left to it be read on their own."""
        self._lists.pop(path, None)

    def read_again(self, path: Path, changed: float) -> None:
        """Let the lists of a file that has changed be read again, unless they have been since then."""
        for one in (self, *self.others):
            one._read_lists_again(self._files[path].real_path, changed)

    def real_paths(self) -> Set[str]:
        """Return the real paths of the files that are read, also through lists."""
        alone = {file.real_path for file in self._files.values() if file.result == READ}
        return alone.union(*(one.read for one in self._lists.values()))

    def _read_lists_again(self, real_path: str, changed: float) -> None:
        for name, one in self._lists.items():
            if one.started < changed and real_path in one.read | one.not_read and name in self._files:
                self._files[name].read_at(changed)

    def _read_alone(self, now: float) -> None:
        for path, file in self._files.items():
            if file.result == "" and file.due is None and not self.has(path):
                file.read_at(now)

    def _output_of(self, path: Path) -> Optional[Path]:
        try:
            return self._output_above(path.parent)
        except CoordinatesError:
            return None


def holds_coordinates(path: Path) -> bool:
    """Return whether a file can be read and holds coordinates."""
    try:
        return path.is_file() and len(read_picks(path)) > 0
    except Exception:  # an incomplete file can make a reader fail in any way
        return False
