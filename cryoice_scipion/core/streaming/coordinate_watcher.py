# SPDX-License-Identifier: GPL-3.0-or-later
"""Read coordinate files that appear and change during a run: once they stop changing, and again if reading fails."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Callable, Dict, Mapping, Sequence, Set

from cryoice_scipion.core.errors import CryoIceError, NoCoordinatesError, SettingsError, counted, one_line
from cryoice_scipion.core.formats.coordinates import unknown_format
from cryoice_scipion.core.formats.folders import may_hold_coordinates, refuse_output
from cryoice_scipion.core.formats.repeated_files import not_among
from cryoice_scipion.core.formats.table import is_coordinate_file, is_unspecific, suffix_of
from cryoice_scipion.core.images.reading import file_of
from cryoice_scipion.core.images.stems import plain_path
from cryoice_scipion.core.records import PickCounts
from cryoice_scipion.core.streaming.closing_lines import log_all
from cryoice_scipion.core.streaming.coordinate_file import (
    NOT_READ,
    OTHER,
    READ,
    CoordinateFile,
    ListedFiles,
    holds_coordinates,
)
from cryoice_scipion.core.streaming.file_retry import RETRY_SECONDS, RetryPolicy
from cryoice_scipion.core.streaming.folder_watcher import FolderWatcher
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

_LONGEST_SHARE = 0.1  # of the time that may go into reading one file, however often it changes


class CoordinateWatcher:
    """Read one file, or the files of one format in one folder, into :class:`StreamingCoordinates` as they come.

    The first file that is read and holds a coordinate decides the format; until then all files are tried. ``.csv`` and
    ``.txt`` are replaced by any other format that comes later. A file that another one lists is read only through it,
    and of a RELION job only its file of coordinates.
    """

    def __init__(
        self,
        path: Path,
        picks: StreamingCoordinates,
        log: logging.Logger,
        settle: float = SETTLE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        prefix: str = "",
    ) -> None:
        """Begin to watch.

        Parameters
        ----------
        path : pathlib.Path
            A file or folder. If it does not exist yet, its extension decides which of the two it is.
        settle : float
            Seconds without a change after which a file is read.
        retry_seconds : float
            How long an unreadable file is retried before a warning; it may be incomplete.
        prefix : str
            Distinguishes the names of these files from those of another watcher of the same coordinates.

        Raises
        ------
        CoordinatesError
            If it is a file of an unknown format, or an output folder of cryoice.
        """
        single_file = path.is_file() or (not path.exists() and is_coordinate_file(path.name))
        if single_file and not is_coordinate_file(path.name):
            raise unknown_format(path)
        if path.is_dir():
            refuse_output(path)
        self.path, self.picks, self._log, self._retry_seconds = path, picks, log, retry_seconds
        self._prefix = prefix
        wanted = is_coordinate_file if single_file else may_hold_coordinates
        self.files = FolderWatcher(path, wanted, settle, single_file, report_changing=True, subfolders=True)
        # Without modification times: a file that lists others may be old, and those that it lists still to come.
        self._retry_policy = RetryPolicy(retry_seconds, use_modification_time=False)
        self._format = ""  # the extension that counts; empty: not decided yet
        self._formats_left_out: Set[str] = set()  # that were logged
        self._is_closed = False
        self._files: Dict[Path, CoordinateFile] = {}
        self.lists = ListedFiles(self.files.folder, self._files)

    def begin(self, numbers: Mapping[str, int], number_of: Callable[[str], int]) -> None:
        """Continue earlier sessions of the run, with the numbers that they gave to coordinate files.

        The format of an earlier session counts if one of its files can still be read. ``.csv`` and ``.txt`` do not
        count, because any other format replaces them.
        """
        self.picks.number_of = number_of
        own = [name[len(self._prefix) :] for name in numbers if name.startswith(self._prefix)]
        for name in own if self.path.is_dir() else ():
            path = file_of(str(self.path / name))
            if path.parent != self.path and self.files.in_subfolders is None and path.is_file():
                self.files.in_subfolders = True
            if not self._format and not is_unspecific(suffix_of(path)) and holds_coordinates(path):
                self._format = suffix_of(path)

    @property
    def quiet_seconds(self) -> float:
        """Return for how long looks have found no new or changed file."""
        return self.files.quiet_seconds

    @property
    def is_pending(self) -> bool:
        """Return whether some files are still to be read."""
        return self.files.has_changing_files or any(file.due is not None for file in self._files.values())

    def poll(self, first: bool = False) -> Set[str]:
        """Read new and changed files; return the stems of the micrographs whose coordinates have changed.

        Parameters
        ----------
        first : bool
            Whether coordinates without a needed setting are an error: at the start of a run, when the user is there.
            Later they are a warning.

        Raises
        ------
        SettingsError
            With ``first`` only.
        """
        now, touched = time.monotonic(), set()  # type: float, Set[str]
        new, gone = self.files.poll(), self.files.gone()
        for path in sorted(new, key=lambda path: (is_unspecific(suffix_of(path)), path)):
            file = self._files.setdefault(path, CoordinateFile(os.path.realpath(path)))
            file.due = max(now, file.earliest)
            self._retry_policy.forget(path)
        for path in gone:
            touched |= self._drop(path)
        if new or gone:
            self.lists.look_again(now)
        for path in [path for path, file in self._files.items() if file.due is not None and file.due <= now]:
            self.lists.read_again(path, self._files[path].due or now)
            if self.lists.has(path):
                touched |= self._leave_to_other(path)
            elif self._is_wanted(path):
                touched |= self._read(path, first)
            else:
                self._leave_out(path)
        self._log_row_warnings(now)
        for warning in self.picks.warnings:
            self._log.warning(warning)
        self.picks.warnings.clear()
        return touched

    def _drop(self, path: Path) -> Set[str]:
        """Forget a file that was removed or renamed; return the micrographs that lose coordinates by this."""
        self.lists.read_again(path, time.monotonic())
        self._files.pop(path, None)
        self.lists.forget(path)
        name = self._name_of(path)
        if not self.picks.knows(name):
            return set()
        lost = counted(len(self.picks.used_of(name)), "coordinate is", "coordinates are")
        self._log.warning("%s: is gone; its %s no longer used", path, lost)
        return self.picks.remove(name)

    def counts(self) -> PickCounts:
        """Return the number of coordinates, of those left out, and the files that could not be read."""
        return counts_of([self])

    def add_unused(self, counts: PickCounts) -> None:
        """Add the files that were not used to the counts."""
        is_decided = self._format or any(
            file.result == READ and not is_unspecific(suffix_of(path)) for path, file in self._files.items()
        )
        for path, file in self._files.items():
            if file.result == OTHER or (file.result == NOT_READ and is_decided and self._is_unspecific_beside(path)):
                counts.other.append(str(path))
            elif file.result == NOT_READ and (file.due is None or self._is_closed):
                counts.not_read[str(path)] = file.error

    def close(self) -> None:
        """Stop watching; log the warnings that are still held back, and about all coordinates."""
        self.stop()
        log_all(self.picks, self._log)

    def stop(self) -> None:
        """Stop watching; log the warnings about files that are still held back."""
        self.files.close()
        self._is_closed = True
        for file in self._files.values():
            if file.result == NOT_READ and file.due is not None:
                self._log.warning(file.error)
        self._log_row_warnings(float("inf"))
        if not self._files:
            self._log.warning(self.files.problem or f"{self.path}: no coordinates came")

    def release(self) -> None:
        """Stop watching, without a log."""
        self.files.close()

    def _name_of(self, path: Path) -> str:
        """Return the name under which a file's coordinates are stored."""
        return self._prefix + plain_path(str(path.relative_to(self.files.folder)))

    def _is_wanted(self, path: Path) -> bool:
        """Return whether a file is of the format that counts, or may still decide or replace it."""
        name = suffix_of(path)
        return not self._format or name == self._format or (is_unspecific(self._format) and not is_unspecific(name))

    def _is_unspecific_beside(self, path: Path) -> bool:
        """Return whether a file has an unspecific extension and the coordinates are read from another format."""
        return is_unspecific(suffix_of(path)) and suffix_of(path) != self._format

    def _leave_out(self, path: Path) -> None:
        """Leave out a file because the coordinates are read from another format; log this once for each format."""
        file, name = self._files[path], suffix_of(path)
        file.due, file.result, file.warn_at = None, OTHER, None
        self._retry_policy.forget(path)
        reason = f"the coordinates are read from {self._format} files"
        if not is_unspecific(name) and holds_coordinates(path):
            file.result = NOT_READ
            file.error = f"{path}: is left out, since {reason}; use one format"
        if name not in self._formats_left_out:
            self._formats_left_out.add(name)
            self._log.warning("%s: left out, like all %s files, since %s", path, name, reason)

    def _leave_to_other(self, path: Path) -> Set[str]:
        """Leave a file to another that has its coordinates; return the micrographs whose coordinates have changed."""
        self._files[path].leave_to_other()
        self._retry_policy.forget(path)
        return self.picks.remove(self._name_of(path)) if self.picks.knows(self._name_of(path)) else set()

    def _decide_format(self, path: Path) -> Set[str]:
        """Read only files of this file's format from now on; return the micrographs that lose coordinates by this."""
        name, before, touched = suffix_of(path), self._format, set()  # type: str, str, Set[str]
        self._format = name
        if name == before:
            return touched
        for other, file in self._files.items():
            if suffix_of(other) == name or self.lists.has(other):
                continue
            if file.result == NOT_READ and not is_unspecific(suffix_of(other)):
                continue
            if file.result == READ and self.picks.knows(self._name_of(other)):
                touched |= self.picks.remove(self._name_of(other))
            self._leave_out(other)
        return touched

    def _read(self, path: Path, first: bool) -> Set[str]:
        """Read a file; return the micrographs whose coordinates have changed."""
        file, started, touched = self._files[path], time.monotonic(), set()  # type: CoordinateFile, float, Set[str]
        try:
            touched = self.picks.read(path, self._name_of(path))
        except SettingsError as error:
            if first:
                raise
            self._log.warning(str(error))
            file.due, file.result, file.error = None, NOT_READ, str(error)
            return touched
        except Exception as error:  # an incomplete file can make a reader fail in any way
            reason = str(error) if isinstance(error, CryoIceError) else f"{path}: {type(error).__name__}: {error}"
            file.result = OTHER if isinstance(error, NoCoordinatesError) else NOT_READ
            file.error = one_line(reason)
            file.due = self._retry_policy.next_attempt(path, path)
            if file.due is None:
                self._log.warning("%s; it is read again when it changes", file.error)
            return touched
        ended = time.monotonic()
        file.error, file.result = "", READ
        file.earliest = ended + (ended - started) / _LONGEST_SHARE
        file.due = None
        table = self.picks.table_of(self._name_of(path))
        for listed in self.lists.note(path, table, started):
            touched |= self._leave_to_other(listed)
        if table.not_read:  # files that this one lists, which may still be being written
            file.due = self._retry_policy.next_attempt(path, path)
        if file.due is None:
            self._retry_policy.forget(path)
        if table.warnings != file.row_warnings:  # the last row may be incomplete
            file.row_warnings = table.warnings
            file.warn_at = ended + self._retry_seconds if table.warnings else None
        if len(table):
            touched |= self._decide_format(path)
        return touched

    def _log_row_warnings(self, now: float) -> None:
        """Log the warnings that are due."""
        for path, file in self._files.items():
            if file.warn_at is not None and file.warn_at <= now:
                file.warn_at = None
                for line in self.picks.used_of(self._name_of(path)).warnings:
                    self._log.warning(line)


def counts_of(watchers: Sequence[CoordinateWatcher]) -> PickCounts:
    """Return the counts of watchers of the same coordinates; a file that one of them reads is no unread file."""
    counts, read = watchers[0].picks.counts(), set().union(*(watcher.lists.real_paths() for watcher in watchers))
    for watcher in watchers:
        watcher.add_unused(counts)
    counts.not_read = {path: counts.not_read[path] for path in not_among(read, counts.not_read)}
    counts.other = not_among(read, counts.other)
    return counts
