# SPDX-License-Identifier: GPL-3.0-or-later
"""Streaming input of the screening protocol: micrographs and the coordinates that belong to them."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from array import array
from typing import Callable, Dict, List, Optional, Set

from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED
from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.naming import NameIndex
from cryoice_scipion.core.records import MicrographTask, Pick, PickCounts
from cryoice_scipion.streams import CoordinateReader, Coordinates, MicrographReader

logger = logging.getLogger(__name__)


class ScreenInput:
    """Micrographs and coordinates that arrive in any order.

    A micrograph waits for screening when it is new, and again when it gets more coordinates.
    """

    def __init__(
        self,
        micrographs: MicrographReader,
        coordinates: CoordinateReader,
        sampling: float,
        scale: float,
        box_size: float,
        pairing: Optional[Pairing] = None,
    ) -> None:
        """Store the input streams without reading them.

        Parameters
        ----------
        sampling : float
            Pixel size of the micrographs, Å/px.
        scale : float
            Pixels of these micrographs per pixel of the coordinates.
        box_size : float
            Box size in px of the micrographs.
        pairing : Pairing, optional
            Maps picked micrographs to screened ones; None: they are the same.
        """
        self.micrographs, self._coordinates = micrographs, coordinates
        self._sampling, self._scale, self._box_size, self._pairing = sampling, scale, box_size, pairing
        self._due: Dict[int, Coordinates] = {}
        self._unmatched: Dict[int, Coordinates] = {}  # by the coordinates' own micrograph, until that one comes

    @property
    def closed(self) -> bool:
        """Return whether the input is complete."""
        return self.micrographs.closed and self._coordinates.closed and (not self._pairing or self._pairing.closed)

    @property
    def seen(self) -> bool:
        """Return whether each input set could be read at least once; before that, coordinates may seem missing."""
        readers = [self.micrographs, self._coordinates, *([self._pairing.picked] if self._pairing else [])]
        return all(reader.seen for reader in readers)

    @property
    def waiting(self) -> int:
        """Return the number of micrographs that wait for screening."""
        return len(self._due)

    @property
    def incomplete(self) -> List[str]:
        """Return the protocols that failed or were stopped, so that their outputs may be incomplete."""
        producers = [self.micrographs.producer, self._coordinates.producer]
        return sorted({producer.label for producer in producers if producer.failed})

    def look(self) -> None:
        """Read new items. Micrographs come first, because coordinates refer to them."""
        fresh = self.micrographs.look()
        for row in fresh:
            self._due.setdefault(row.id, array("q"))
        own = self._coordinates.look()
        if self._pairing is not None:
            self._pairing.look(fresh)
        self._unmatched.update(own)
        with contextlib.suppress(sqlite3.OperationalError):  # busy: read again at the next call
            for key in [key for key in self._unmatched if self._target(key) is not None]:
                self._give(key)

    def take(self, number: int, done: Callable[[MicrographTask], bool]) -> List[MicrographTask]:
        """Return at most ``number`` waiting micrographs, ordered by id, without those already done."""
        tasks: List[MicrographTask] = []
        for key in sorted(self._due):
            if len(tasks) == number:
                break
            task = self._task(key, self._due.pop(key))
            if not done(task):
                tasks.append(task)
        return tasks

    def peek(self, key: int) -> MicrographTask:
        """Return a waiting micrograph by its id, and leave it waiting."""
        return self._task(key, self._due[key])

    def counts(self) -> PickCounts:
        """Return the number of coordinates in the input, and those without a micrograph by reason."""
        doubtful = self._pairing.doubtful if self._pairing is not None else set()
        ambiguous = sum(len(found) // 3 for key, found in self._unmatched.items() if key in doubtful)
        left_out = {UNMATCHED: len(self.unmatched()) - ambiguous, AMBIGUOUS: ambiguous}
        return PickCounts(self._coordinates.total, {why: number for why, number in left_out.items() if number})

    def unmatched(self) -> List[int]:
        """Return the ids of the coordinates whose micrograph has not arrived."""
        return [key for coordinates in self._unmatched.values() for key in coordinates[::3]]

    def _target(self, own: int) -> Optional[int]:
        """Return the id of the screened micrograph for a picked one; None if it has not arrived."""
        target = own if self._pairing is None else self._pairing.ids.get(own)
        return target if target in self.micrographs.rows else None

    def _give(self, own: int) -> None:
        """Queue a micrograph together with its coordinates."""
        coordinates = self._unmatched[own]
        if self._pairing is not None:  # several picked micrographs may be paired with one
            for other in self._pairing.others(own):
                coordinates = coordinates + self._coordinates.read([other]).get(other, array("q"))
        self._due[self._target(own)] = coordinates
        del self._unmatched[own]

    def _task(self, key: int, coordinates: Coordinates) -> MicrographTask:
        row, scale = self.micrographs.rows[key], self._scale
        triples = sorted(zip(coordinates[::3], coordinates[1::3], coordinates[2::3]))
        picks = [Pick(number, x * scale, y * scale, None, self._box_size) for number, x, y in triples]
        return MicrographTask(row.id, row.path, row.stem, self._sampling, picks)


class Pairing:
    """Pairs picked micrographs with the 'other' micrographs of the same field of view, while both still arrive.

    Micrographs are paired by name. Of several others with one name, as in joined sets, the one with the same file
    counts. Micrographs are paired by id only if both sets are complete and no name matches. Sets that share some names
    may have been renumbered, and ids would then pair the wrong micrographs.
    """

    def __init__(self, picked: MicrographReader, others: MicrographReader) -> None:
        """Store both streams; the caller reads ``others``."""
        self.ids: Dict[int, int] = {}  # picked micrograph -> other micrograph
        self.picked, self._others = picked, others
        self._names, self._numbers = NameIndex(), {}  # type: NameIndex, Dict[str, List[int]]
        self._unpaired: Dict[int, str] = {}  # picked micrographs without a partner, by name
        self.complaints: List[str] = []  # one line per picked micrograph that matches several
        self.doubtful: Set[int] = set()  # picked micrographs that match several
        self._partners: Dict[int, Set[int]] = {}

    @property
    def closed(self) -> bool:
        """Return whether all picked micrographs are known."""
        return self.picked.closed

    def look(self, fresh: List[MicrographRow]) -> None:
        """Pair new micrographs; ``fresh`` are the newly arrived other ones."""
        for row in fresh:
            if row.name not in self._numbers:
                self._names.add(row.name)
            self._numbers.setdefault(row.name, []).append(row.id)
        picked = {row.id: row.name for row in self.picked.look()}
        self._unpaired.update(picked)
        for key, name in list((self._unpaired if fresh else picked).items()):
            found = self._find(key, name)
            if found is not None:
                self._pair(key, found)
        if self._others.closed and self.closed and not self.ids:
            for key in [key for key in self._unpaired if key in self._others.rows and key not in self.doubtful]:
                self._pair(key, key)

    def others(self, own: int) -> Set[int]:
        """Return the other picked micrographs that are paired with the same one."""
        return self._partners.get(self.ids[own], set()) - {own}

    def _find(self, key: int, name: str) -> Optional[int]:
        self.doubtful.discard(key)
        try:
            found = self._names.find(name)
            return None if found is None else self._one_of(self._numbers[found], key)
        except CryoIceError as error:
            self.doubtful.add(key)
            if str(error) not in self.complaints:
                logger.warning("%s; until then its coordinates are rejected", error)
                self.complaints.append(str(error))
            return None

    def _one_of(self, numbers: List[int], key: int) -> int:
        """Return the other micrograph of one name; of several, as in joined sets, the one with the same file."""
        if len(numbers) == 1:
            return numbers[0]
        name, paths = self.picked.rows[key].name, {number: self._others.rows[number].path for number in numbers}
        same = [number for number, path in paths.items() if path == self.picked.rows[key].path]
        if len(same) != 1:
            reason = f"fits several micrographs: {', '.join(list(paths.values())[:3])}"
            raise CryoIceError(name, reason, "rename them or leave one out")
        return same[0]

    def _pair(self, own: int, other: int) -> None:
        del self._unpaired[own]
        self.ids[own] = other
        self._partners.setdefault(other, set()).add(own)
