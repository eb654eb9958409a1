# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that appear and change while a run lasts: read when they have come to rest, again when they fail."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Set

from cryoice_scipion.core.data.coordinates import is_coordinate_file
from cryoice_scipion.core.data.growing import GrowingPicks
from cryoice_scipion.core.errors import CoordinatesError, CryoIceError, SettingsError
from cryoice_scipion.core.screening.arriving import ArrivingFiles
from cryoice_scipion.core.screening.patience import SETTLE, STREAMING

_PLAIN = (".csv", ".txt")  # also logs and lists: where there is another kind, they are not taken for the first one
_AGAIN = 5.0  # s after which a file that could not be read is tried again
_SHARE = 0.1  # of the time at most that goes into one file, however often it changes


@dataclasses.dataclass
class _File:
    due: Optional[float] = None  # when it is to be read
    earliest: float = 0.0
    failing: Optional[float] = None  # since when
    error: str = ""


class LatePicks:
    """Reads one file, or those of one kind in one folder, into :class:`GrowingPicks` as they come."""

    def __init__(
        self,
        path: Path,
        picks: GrowingPicks,
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
            raise CoordinatesError(
                path, "coordinates of an unknown kind", "give .star, .box, .cbox, .pos, .csv or .txt"
            )
        self.path, self.picks, self._log, self._patience = path, picks, log, patience
        self.files = ArrivingFiles(path, is_coordinate_file, settle, alone, restless=True)
        self._kind = ""  # the extension that counts
        self._left_out: Set[str] = set()
        self._files: Dict[Path, _File] = {}

    def begin(self, numbers: Mapping[str, int], number_of: Callable[[str], int]) -> None:
        """Take the files that earlier sessions knew, and whom to ask for the number of a file."""
        self.picks.number_of = number_of
        self._kind = next((Path(name).suffix.lower() for name in numbers), "") if self.path.is_dir() else ""

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
        for path in sorted(self.files.poll(), key=lambda path: (path.suffix.lower() in _PLAIN, path)):
            if self._is_of_our_kind(path):
                file = self._files.setdefault(path, _File())
                file.due, file.failing = max(now, file.earliest), None
        for path in [path for path, file in self._files.items() if file.due is not None and file.due <= now]:
            touched |= self._read(path, first)
        for warning in self.picks.warnings:
            self._log.warning(warning)
        self.picks.warnings.clear()
        return touched

    def close(self) -> None:
        """Stop looking; complain of what could not be read and was not complained of."""
        self.files.close()
        for file in self._files.values():
            if file.due is not None and file.error:
                self._log.warning(file.error)
        if not self._files:
            self._log.warning(self.files.problem or f"{self.path}: no coordinates came")

    def _is_of_our_kind(self, path: Path) -> bool:
        kind = path.suffix.lower()
        self._kind = self._kind or kind
        if kind != self._kind and kind not in self._left_out:
            self._left_out.add(kind)
            self._log.warning("%s: left out, like all %s files, since %s ones came first", path, kind, self._kind)
        return kind == self._kind

    def _read(self, path: Path, first: bool) -> Set[str]:
        file, started = self._files[path], time.monotonic()
        touched: Set[str] = set()
        try:
            touched = self.picks.read(path)
        except SettingsError as error:
            if first:
                raise
            self._log.warning(str(error))
        except Exception as error:  # half a file can break a reader in any way
            reason = str(error) if isinstance(error, CryoIceError) else f"{path}: {type(error).__name__}: {error}"
            self._fail(file, " ".join(reason.split()))
            return touched
        ended = time.monotonic()
        file.due, file.failing, file.error = None, None, ""
        file.earliest = ended + (ended - started) / _SHARE
        return touched

    def _fail(self, file: _File, reason: str) -> None:
        """Try a file again soon; when it stays as it is, say so, and wait for a change."""
        now = time.monotonic()
        file.failing, file.error = (now if file.failing is None else file.failing), reason
        file.due = now + min(_AGAIN, self._patience / 3)
        if now - file.failing >= self._patience:
            file.due = None
            self._log.warning("%s; it is read again when it changes", reason)
