# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch several files or folders of coordinates, each of its own format, as one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Callable, Mapping, Sequence, Set

from cryoice_scipion.core.records import PickCounts
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher, counts_of
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates


class CoordinateSources:
    """Read the files of several sources into one :class:`StreamingCoordinates`; see :class:`CoordinateWatcher`."""

    def __init__(
        self,
        paths: Sequence[Path],
        picks: StreamingCoordinates,
        log: logging.Logger,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Begin to watch.

        Parameters
        ----------
        paths : sequence of pathlib.Path
            Files or folders, at least one. Their order must stay the same when a run is continued.
        settle : float
            Seconds without a change after which a file is read.

        Raises
        ------
        CoordinatesError
            If one of them is a file of an unknown format.
        """
        self.picks = picks
        self._watchers = [
            CoordinateWatcher(path, picks, log, settle, prefix=f"{number}:" if number else "")
            for number, path in enumerate(paths)
        ]
        for watcher in self._watchers:  # a file may change in one folder, and its list may be in another one
            watcher.lists.others = [other.lists for other in self._watchers if other is not watcher]

    def begin(self, numbers: Mapping[str, int], number_of: Callable[[str], int]) -> None:
        """Continue earlier sessions of the run, with the numbers that they gave to coordinate files."""
        for watcher in self._watchers:
            watcher.begin(numbers, number_of)

    @property
    def quiet_seconds(self) -> float:
        """Return for how long looks have found no new or changed file."""
        return min(watcher.quiet_seconds for watcher in self._watchers)

    @property
    def is_pending(self) -> bool:
        """Return whether some files are still to be read."""
        return any(watcher.is_pending for watcher in self._watchers)

    def poll(self, first: bool = False) -> Set[str]:
        """Read new and changed files; return the stems of the micrographs whose coordinates have changed."""
        return set().union(*(watcher.poll(first) for watcher in self._watchers))

    def counts(self) -> PickCounts:
        """Return the number of coordinates, of those left out, and the files that could not be read."""
        return counts_of(self._watchers)

    def close(self) -> None:
        """Stop watching; log the warnings that are still held back, and about all coordinates."""
        for watcher in self._watchers[1:]:
            watcher.stop()
        self._watchers[0].close()

    def release(self) -> None:
        """Stop watching, without a log."""
        for watcher in self._watchers:
            watcher.release()
