# SPDX-License-Identifier: GPL-3.0-or-later
"""Streaming input of the import of picks: micrographs and coordinate files as they arrive."""

from __future__ import annotations

import logging
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Dict, List, Set, Tuple

from cryoice_scipion import picks_from_files
from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.formats.coordinates import PickTable
from cryoice_scipion.core.records import PickCounts
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates
from cryoice_scipion.picks_from_files import ImportedPick, PicksFromFiles
from cryoice_scipion.streams import Coordinates, MicrographReader

logger = logging.getLogger(__name__)

Position = Tuple[int, int]  # px


class PicksInput:
    """Picks that another program writes, in any order, while micrographs arrive."""

    def __init__(self, micrographs: MicrographReader, path: Path, box: int, settings: PicksFromFiles) -> None:
        """Start watching.

        Parameters
        ----------
        path : pathlib.Path
            A file or folder; it does not have to exist yet.
        box : int
            The box size in px; 0: from the first file that contains picks.
        settings : PicksFromFiles
            Selects and converts the picks.
        """
        self.box, self._is_given, self._settings = box, box > 0, settings
        self._micrographs = micrographs
        self._picks = StreamingCoordinates(self._check)
        self._files = CoordinateWatcher(path, self._picks, logger)
        numbers: Dict[str, int] = {}
        self._files.begin(numbers, lambda name: numbers.setdefault(name, len(numbers)))
        self._rows: Dict[str, MicrographRow] = {}  # by stem
        self._came = time.monotonic()

    def look(self) -> Dict[int, Tuple[MicrographRow, List[ImportedPick]]]:
        """Return all picks of each micrograph whose picks have changed since the last call, by micrograph id.

        Raises
        ------
        SettingsError
            If there are picks but no box size.
        """
        touched: Set[str] = set()
        for row in self._micrographs.look():
            self._rows[row.stem], self._came = row, time.monotonic()
            first, *others = picks_from_files.names_of(row)
            touched |= self._picks.add_micrograph(row.stem, first, others)
        touched |= self._files.poll(first=True)
        rows = (self._rows[stem] for stem in sorted(touched))
        return {row.id: (row, self._on(row)) for row in rows}

    def _on(self, row: MicrographRow) -> List[ImportedPick]:
        return [pick for table in self._picks.tables_of(row.stem) for pick in self._settings.convert(table, row)]

    def is_over(self, timeout: float) -> bool:
        """Return whether the micrographs are complete and nothing else has arrived for ``timeout`` seconds."""
        if not self._micrographs.closed or self._files.is_pending:
            return False
        return min(time.monotonic() - self._came, self._files.quiet_seconds) >= timeout

    @property
    def incomplete(self) -> str:
        """Return the name of the micrographs' protocol if it failed or was stopped; empty otherwise."""
        return self._micrographs.producer.label if self._micrographs.producer.failed else ""

    def counts(self) -> PickCounts:
        """Return the number of picks in the files, those left out, and the files that could not be read."""
        return self._files.counts()

    def unmatched_names(self) -> List[str]:
        """Return the names in the coordinate files that match no micrograph."""
        return self._picks.unmatched_names()

    def close(self) -> None:
        """Stop watching, and log the files that could not be read."""
        self._files.close()

    def _check(self, path: Path, picks: PickTable) -> None:
        self._settings.select(picks)
        size = self._settings.box_size(picks.table)
        if size and size != self.box and self.box and not self._is_given:
            logger.warning("%s: box size is %d px; the %d px of the first file are used", path, size, self.box)
        self.box = self.box or size
        if len(picks) and not self.box:
            raise SettingsError(path, "does not contain the box size", "set 'Box size' in the form")


class ImportedPicks:
    """The picks that are already in the output. Each pick is added once, however often its file is read.

    Picks are identified by position, because a resumed run knows only what is in the output.
    """

    def __init__(self, coordinates: Dict[int, Coordinates]) -> None:
        """Take the coordinates in the output of an earlier session, by micrograph."""
        self.last = 0  # the largest id
        self._positions: Dict[int, array] = {}  # by micrograph: x, y, x, y …; px
        for micrograph, found in coordinates.items():
            self.last = max(self.last, max(found[::3]))
            self._positions[micrograph] = array("i", [v for pair in zip(found[1::3], found[2::3]) for v in pair])

    def take(self, micrograph: int, picks: List[ImportedPick]) -> Tuple[List[ImportedPick], int]:
        """Return the new picks, and how many positions in the output are no longer picks."""
        known = self._positions.setdefault(micrograph, array("i"))
        left, fresh = Counter(zip(known[::2], known[1::2])), []  # type: Counter[Position], List[ImportedPick]
        for pick in picks:
            if left[pick.x, pick.y]:
                left[pick.x, pick.y] -= 1
            else:
                fresh.append(pick)
        known.extend(value for pick in fresh for value in (pick.x, pick.y))
        return fresh, sum(left.values())
