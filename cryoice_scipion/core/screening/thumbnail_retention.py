# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which micrographs keep their thumbnail: a limited number, spread over the whole run."""

from __future__ import annotations

import contextlib
import heapq
from pathlib import Path
from typing import List, Optional, Set, Tuple

from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import RunFolder, writing
from cryoice_scipion.core.screening.state import RunState

NO_LIMIT = -1
WORST = 12  # thumbnails reserved for the largest bad areas
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio


class _First:
    """The keys with the lowest ranks among all that were offered; their number is limited."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._heap: List[Tuple[float, int]] = []
        self._keys: Set[int] = set()

    def __contains__(self, key: int) -> bool:
        return key in self._keys

    def offer(self, rank: float, key: int) -> Optional[int]:
        """Add a key; return the key that is dropped for it, if any."""
        self._keys.add(key)
        heapq.heappush(self._heap, (-rank, key))
        if len(self._heap) <= self._room:
            return None
        _, last = heapq.heappop(self._heap)
        self._keys.discard(last)
        return last


class ThumbnailRetention:
    """Chooses the thumbnails to keep, records the choice in the journal, and removes files.

    The choice depends only on ids and bad areas, not on the order in which micrographs arrive. It keeps

    - the micrographs with the most bad area, and
    - of the others, those whose id times the golden ratio has the smallest fractional part. Among consecutive ids,
      these are spread as evenly as possible (three-distance theorem), whatever the length of the run.

    The grey images under the thumbnails are kept: viewers show them, and they are small.
    """

    def __init__(self, folder: Path, most: int, state: RunState) -> None:
        """Load the state from the journal.

        Parameters
        ----------
        folder : pathlib.Path
            Folder of the run.
        most : int
            Largest number of thumbnails; -1: no limit.
        """
        self._files, self._most, self._state = RunFolder(folder), most, state
        self.reload()

    def reload(self) -> None:
        """Reload the state from the journal; remove excess thumbnails and files that a killed run left."""
        worst = min(WORST, self._most // 2)
        self._worst, self._spread = _First(worst), _First(self._most - worst)
        if self._most == NO_LIMIT:
            return
        self.remove([key for one, area in sorted(self._state.pictured.items()) for key in self._add(one, area)])
        for stem in [path.stem for path in self._files.path.glob(self._files.thumbnail("*"))]:
            key = self._state.ids.get(stem)
            if key in self._state.digests and key not in self._state.pictured:
                self._unlink(stem)

    def admit(self, record: MicrographRecord) -> List[int]:
        """Add a micrograph before its record is written; return the micrographs that lose their thumbnail.

        If the new micrograph itself is one of them, its record is changed accordingly.
        """
        if self._most == NO_LIMIT or not record.thumbnail:
            return []
        lost = self._add(record.id, record.bad_area or 0.0)
        if record.id in lost:
            record.thumbnail = ""
        return lost

    def remove(self, lost: List[int]) -> None:
        """Remove thumbnails from the records and then from the disk, after the new record is in the journal."""
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
        with writing(self._files.path), contextlib.suppress(FileNotFoundError):
            (self._files.path / self._files.thumbnail(stem)).unlink()
