# SPDX-License-Identifier: GPL-3.0-or-later
"""What the import of picks is given, as it arrives: micrographs, files of coordinates, and which picks are new."""

from __future__ import annotations

import logging
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Dict, List, Set, Tuple

from cryoice_scipion import convert
from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.formats.coordinates import PickTable
from cryoice_scipion.core.records import Pick, PickCounts
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates
from cryoice_scipion.streams import Coordinates, MicrographReader

logger = logging.getLogger(__name__)

Position = Tuple[int, int]  # px


class PicksInput:
    """Picks that another program writes while micrographs come: in any order, any time, in any number of portions."""

    def __init__(self, micrographs: MicrographReader, path: Path, box: int) -> None:
        """Begin to look.

        Parameters
        ----------
        path : pathlib.Path
            A file or folder; it need not be there yet.
        box : int
            The particles' size, px; 0: as the first file says that has picks.
        """
        self.box, self._is_given = box, box > 0
        self._micrographs = micrographs
        self._picks = StreamingCoordinates(self._check)
        self._files = CoordinateWatcher(path, self._picks, logger)
        numbers: Dict[str, int] = {}
        self._files.begin(numbers, lambda name: numbers.setdefault(name, len(numbers)))
        self._rows: Dict[str, MicrographRow] = {}  # by stem
        self._came = time.monotonic()

    def look(self) -> Dict[int, Tuple[MicrographRow, List[Pick]]]:
        """Return all picks of each micrograph whose picks have changed since the last look, by its id.

        Raises
        ------
        SettingsError
            When there are picks, and the particles' size is not known.
        """
        touched: Set[str] = set()
        for row in self._micrographs.look():
            self._rows[row.stem], self._came = row, time.monotonic()
            touched |= self._picks.add_micrograph(row.stem)
        touched |= self._files.poll(first=True)
        rows = (self._rows[stem] for stem in sorted(touched))
        return {row.id: (row, self._picks.of(row.stem)) for row in rows}

    def is_over(self, timeout: float) -> bool:
        """Return whether no micrograph can come, and nothing else came for so many seconds."""
        if not self._micrographs.closed or self._files.is_pending:
            return False
        return time.monotonic() - max(self._came, self._files.files.changed) >= timeout

    @property
    def incomplete(self) -> str:
        """Return the protocol of the micrographs if it ended before its time, so that they may not be all there are."""
        return self._micrographs.producer.label if self._micrographs.producer.failed else ""

    def counts(self) -> PickCounts:
        """Return how many picks the files hold, which are left out, and the files that could not be read."""
        return self._files.counts()

    def unmatched_names(self) -> List[str]:
        """Return the names in the files that are those of no micrograph."""
        return self._picks.unmatched_names()

    def close(self) -> None:
        """Stop looking, and complain of files that could not be read."""
        self._files.close()

    def _check(self, path: Path, picks: PickTable) -> None:
        size = convert.typical_box_size(picks.table)
        if size and size != self.box and self.box and not self._is_given:
            logger.warning("%s: box size %d px, but the output has the %d px of the first file", path, size, self.box)
        self.box = self.box or size
        if len(picks) and not self.box:
            raise SettingsError(path, "does not say the particles' size", "give the box size")


class ImportedPicks:
    """The picks that are in the output already: each goes in once, however often its file is read.

    They are told apart by position, since a resumed run knows of its earlier life only what is in the output.
    """

    def __init__(self, coordinates: Dict[int, Coordinates]) -> None:
        """Take what an earlier session handed on, by micrograph."""
        self.last = 0  # the largest id
        self._places: Dict[int, array] = {}  # by micrograph: x, y, x, y …; px
        for micrograph, found in coordinates.items():
            self.last = max(self.last, max(found[::3]))
            self._places[micrograph] = array("i", [v for pair in zip(found[1::3], found[2::3]) for v in pair])

    def take(self, micrograph: int, picks: List[Pick]) -> Tuple[List[Position], int]:
        """Return the positions of the picks that are new, and how many are in the output that are none any more."""
        known = self._places.setdefault(micrograph, array("i"))
        left, fresh = Counter(zip(known[::2], known[1::2])), []  # type: Counter[Position], List[Position]
        for pick in picks:
            position = int(round(pick.x)), int(round(pick.y))
            if left[position]:
                left[position] -= 1
            else:
                fresh.append(position)
        known.extend(value for position in fresh for value in position)
        return fresh, sum(left.values())
