# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that appear and change while a run lasts: read when they have come to rest, again when they fail."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Set

from cryoice_scipion.core.errors import CryoIceError, NoCoordinatesError, SettingsError
from cryoice_scipion.core.formats.coordinates import read_picks, unknown_format
from cryoice_scipion.core.formats.table import is_coordinate_file, is_unspecific
from cryoice_scipion.core.records import PickCounts
from cryoice_scipion.core.results.balance import names_in_short
from cryoice_scipion.core.streaming.file_retry import SETTLE, STREAMING
from cryoice_scipion.core.streaming.folder_watcher import FolderWatcher
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

_AGAIN = 5.0  # s after which a file that could not be read is tried again
_SHARE = 0.1  # of the time at most that goes into one file, however often it changes


_READ, _NOT_READ, _OTHER = "read", "not read", "other"


@dataclasses.dataclass
class _File:
    due: Optional[float] = None  # when it is to be read
    earliest: float = 0.0
    failing: Optional[float] = None  # since when
    fate: str = ""  # what came of the last attempt
    error: str = ""
    complaints: List[str] = dataclasses.field(default_factory=list)  # on rows of it that cannot be read
    complain: Optional[float] = None  # when these are to be said, unless the file changes before


class CoordinateWatcher:
    """Reads one file, or those of one format in one folder, into :class:`StreamingCoordinates` as they come.

    A file decides the format when it was read and holds a coordinate. Until then all files are tried. ``.csv`` and
    ``.txt`` give way to any other format that comes later.
    """

    def __init__(
        self,
        path: Path,
        picks: StreamingCoordinates,
        log: logging.Logger,
        settle: float = SETTLE,
        patience: float = STREAMING,
    ) -> None:
        """Begin to look.

        Parameters
        ----------
        path : pathlib.Path
            A file or folder; what is not there yet is taken for a file if it is named like one.
        settle : float
            Seconds without a change after which a file is read.
        patience : float
            Seconds after which a file that cannot be read is complained of; it may still be being written.

        Raises
        ------
        CoordinatesError
            When it is a file of a kind that is not known.
        """
        alone = path.is_file() or (not path.exists() and is_coordinate_file(path.name))
        if alone and not is_coordinate_file(path.name):
            raise unknown_format(path)
        self.path, self.picks, self._log, self._patience = path, picks, log, patience
        self.files = FolderWatcher(path, is_coordinate_file, settle, alone, restless=True)
        self._kind = ""  # the extension that counts; empty: not decided yet
        self._told: Set[str] = set()  # formats that were already reported as left out
        self._closed = False
        self._files: Dict[Path, _File] = {}

    def begin(self, numbers: Mapping[str, int], number_of: Callable[[str], int]) -> None:
        """Take the files that earlier sessions knew, and whom to ask for the number of a file.

        The format of an earlier session counts if one of its files can still be read. ``.csv`` and ``.txt`` do not
        count: they give way to any other format.
        """
        self.picks.number_of = number_of
        for name in numbers if self.path.is_dir() else ():
            path = self.path / name
            if not self._kind and not is_unspecific(_kind(path)) and _holds_coordinates(path):
                self._kind = _kind(path)

    @property
    def is_pending(self) -> bool:
        """Return whether there are files that are still to be read."""
        return self.files.is_restless or any(file.due is not None for file in self._files.values())

    def poll(self, first: bool = False) -> Set[str]:
        """Read what has come, and return the micrographs, by stem, whose coordinates are others now.

        Parameters
        ----------
        first : bool
            Whether a file that lacks what the settings must say is an error: at the start, when a user looks on.

        Raises
        ------
        SettingsError
            Then only.
        """
        now, touched = time.monotonic(), set()  # type: float, Set[str]
        for path in sorted(self.files.poll(), key=lambda path: (is_unspecific(_kind(path)), path)):
            file = self._files.setdefault(path, _File())
            file.due, file.failing = max(now, file.earliest), None
        for path in [path for path, file in self._files.items() if file.due is not None and file.due <= now]:
            if self._is_wanted(path):
                touched |= self._read(path, first)
            else:
                self._leave_out(path)
        self._say_complaints(now)
        for warning in self.picks.warnings:
            self._log.warning(warning)
        self.picks.warnings.clear()
        return touched

    def counts(self) -> PickCounts:
        """Return how many coordinates there are, which are left out, and the files that could not be read."""
        counts = self.picks.counts()
        decided = self._kind or any(
            f.fate == _READ and not is_unspecific(_kind(path)) for path, f in self._files.items()
        )
        for path, file in self._files.items():
            if file.fate == _OTHER or (file.fate == _NOT_READ and decided and self._is_unspecific_beside(path)):
                counts.other.append(str(path))
            elif file.fate == _NOT_READ and (file.due is None or self._closed):
                counts.not_read[str(path)] = file.error
        return counts

    def close(self) -> None:
        """Stop looking; complain of what could not be read and was not complained of."""
        self.files.close()
        self._closed = True
        for file in self._files.values():
            if file.fate == _NOT_READ and file.due is not None:
                self._log.warning(file.error)
        self._say_complaints(float("inf"))
        names = self.picks.unmatched_names()
        if names:
            shown = names_in_short(names)
            self._log.warning("coordinates of %d micrographs that did not come are left out: %s", len(names), shown)
        if not self._files:
            self._log.warning(self.files.problem or f"{self.path}: no coordinates came")

    def _is_wanted(self, path: Path) -> bool:
        """Return whether a file is of the format that counts, or may still decide or displace it."""
        kind = _kind(path)
        return not self._kind or kind == self._kind or (is_unspecific(self._kind) and not is_unspecific(kind))

    def _is_unspecific_beside(self, path: Path) -> bool:
        return is_unspecific(_kind(path)) and _kind(path) != self._kind

    def _leave_out(self, path: Path) -> None:
        """Note that a file is of another format than the others."""
        file, kind = self._files[path], _kind(path)
        file.due, file.failing, file.fate, file.complain = None, None, _OTHER, None
        if not is_unspecific(kind) and _holds_coordinates(path):
            file.fate = _NOT_READ
            file.error = f"{path}: is left out, since the coordinates are read from {self._kind} files; use one format"
        if kind not in self._told:
            self._told.add(kind)
            reason = f"the coordinates are read from {self._kind} files"
            self._log.warning("%s: left out, like all %s files, since %s", path, kind, reason)

    def _decide(self, path: Path) -> Set[str]:
        """Let a file that holds coordinates decide the format; return whose coordinates are dropped by that."""
        kind, before, touched = _kind(path), self._kind, set()  # type: str, str, Set[str]
        self._kind = kind
        if kind == before:
            return touched
        for other, file in self._files.items():
            if _kind(other) == kind or (file.fate == _NOT_READ and not is_unspecific(_kind(other))):
                continue
            if file.fate == _READ and self.picks.knows(other.name):
                touched |= self.picks.remove(other.name)
            self._leave_out(other)
        return touched

    def _read(self, path: Path, first: bool) -> Set[str]:
        file, started = self._files[path], time.monotonic()
        touched: Set[str] = set()
        try:
            touched = self.picks.read(path)
        except SettingsError as error:
            if first:
                raise
            self._log.warning(str(error))
            file.due, file.fate, file.error = None, _NOT_READ, str(error)
            return touched
        except Exception as error:  # half a file can break a reader in any way
            reason = str(error) if isinstance(error, CryoIceError) else f"{path}: {type(error).__name__}: {error}"
            self._fail(file, " ".join(reason.split()), isinstance(error, NoCoordinatesError))
            return touched
        ended = time.monotonic()
        file.error, file.fate = "", _READ
        file.earliest = ended + (ended - started) / _SHARE
        file.due = self._next_try(file) if self.picks.not_read_by(path.name) else None
        file.failing = None if file.due is None else file.failing
        complaints = self.picks.complaints_on(path.name)
        if complaints != file.complaints:  # a row that is half written is whole soon
            file.complaints, file.complain = complaints, ended + self._patience if complaints else None
        if self.picks.rows_in(path.name):
            touched |= self._decide(path)
        return touched

    def _fail(self, file: _File, reason: str, is_other: bool) -> None:
        """Try a file again soon; when it stays as it is, say so, and wait for a change."""
        file.error, file.fate = reason, _OTHER if is_other else _NOT_READ
        file.due = self._next_try(file)
        if file.due is None:
            self._log.warning("%s; it is read again when it changes", reason)

    def _next_try(self, file: _File) -> Optional[float]:
        """Return when a file that cannot be read completely is tried again; None: only when it changes."""
        now = time.monotonic()
        file.failing = now if file.failing is None else file.failing
        return None if now - file.failing >= self._patience else now + min(_AGAIN, self._patience / 3)

    def _say_complaints(self, now: float) -> None:
        for file in self._files.values():
            if file.complain is not None and file.complain <= now:
                file.complain = None
                for line in file.complaints:
                    self._log.warning(line)


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _holds_coordinates(path: Path) -> bool:
    try:
        return path.is_file() and len(read_picks(path)) > 0
    except Exception:  # half a file can break a reader in any way
        return False
