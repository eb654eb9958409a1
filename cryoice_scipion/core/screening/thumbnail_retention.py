# SPDX-License-Identifier: GPL-3.0-or-later
"""Which micrographs of a run keep their thumbnail: at most so many, spread over the whole run, however long it gets."""

from __future__ import annotations

import contextlib
import heapq
from pathlib import Path
from typing import List, Optional, Set, Tuple

from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import RunFolder, writing
from cryoice_scipion.core.screening.state import RunState

NO_LIMIT = -1
WORST = 12  # of the thumbnails at most are for the largest bad areas
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio


class _First:
    """Those that rank first among all that were offered."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._heap: List[Tuple[float, int]] = []
        self._keys: Set[int] = set()

    def __contains__(self, key: int) -> bool:
        return key in self._keys

    def offer(self, rank: float, key: int) -> Optional[int]:
        """Take a key in and return the one for which there is no room any more, if there is one."""
        self._keys.add(key)
        heapq.heappush(self._heap, (-rank, key))
        if len(self._heap) <= self._room:
            return None
        _, last = heapq.heappop(self._heap)
        self._keys.discard(last)
        return last


class ThumbnailRetention:
    """Decides, tells the journal, and removes files.

    The choice depends on the micrographs' ids and bad areas alone, not on when they come: those with the most bad area,
    and of the others those whose id times the golden ratio has the smallest fraction. Of consecutive ids these lie as
    evenly as can be (three-distance theorem), so that nobody has to know how long the run will be. The grey pictures
    that thumbnails are drawn on stay: viewers show them, and they are small.
    """

    def __init__(self, folder: Path, most: int, state: RunState) -> None:
        """Take up what the journal says.

        Parameters
        ----------
        folder : pathlib.Path
            Of the run.
        most : int
            Thumbnails at most; -1: no limit.
        """
        self._place, self._most, self._state = RunFolder(folder), most, state
        self.reload()

    def reload(self) -> None:
        """Begin anew with what the journal says; remove what is too much, and files that a killed run left."""
        worst = min(WORST, self._most // 2)
        self._worst, self._spread = _First(worst), _First(self._most - worst)
        if self._most == NO_LIMIT:
            return
        self.remove([key for one, area in sorted(self._state.pictured.items()) for key in self._add(one, area)])
        for stem, key in self._state.ids.items():
            if key in self._state.digests and key not in self._state.pictured:
                self._unlink(stem)

    def admit(self, record: MicrographRecord) -> List[int]:
        """Take a micrograph before it is in the journal; return who has to go for it. Itself: its record says so."""
        if self._most == NO_LIMIT or not record.thumbnail:
            return []
        lost = self._add(record.id, record.bad_area or 0.0)
        if record.id in lost:
            record.thumbnail = ""
        return lost

    def remove(self, lost: List[int]) -> None:
        """Remove thumbnails, first from the records, when that for which they go is in the journal."""
        recorded = [key for key in lost if key in self._state.pictured]
        if recorded:
            self._state.drop_thumbnails(recorded)
        for key in lost:
            self._unlink(self._state.stem(key))

    def _add(self, key: int, bad_area: float) -> List[int]:
        if key in self._worst or key in self._spread:
            return []
        less = self._worst.offer(-bad_area, key)
        last = None if less is None else self._spread.offer(less * _GOLDEN % 2**64, less)
        return [] if last is None else [last]

    def _unlink(self, stem: str) -> None:
        with writing(self._place.path), contextlib.suppress(FileNotFoundError):
            (self._place.path / self._place.thumbnail(stem)).unlink()
