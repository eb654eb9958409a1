# SPDX-License-Identifier: GPL-3.0-or-later
"""The outputs of the screening and of the filter, written while other protocols read them.

Each set is a database of its own, so two sets never change at the same moment. The sets are therefore made from the
journal, and sets that a killed run left incomplete are repaired when the next run starts. Items keep their input ids.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from array import array
from typing import AbstractSet, Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from pwem.objects import Coordinate, Micrograph
from pyworkflow.object import Set

from cryoice_scipion import convert, set_writing
from cryoice_scipion.constants import ACCEPTED, FAILED, FILE_CHANGED, NO_MICROGRAPH
from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.streams import coordinates_in, ids_in

COORDINATES = "outputCoordinates"
REJECTED = "outputCoordinatesRejected"
MICROGRAPHS = "outputMicrographs"
DISCARDED = "outputMicrographsDiscarded"
NAMES = (COORDINATES, REJECTED, MICROGRAPHS, DISCARDED)  # of the screening
PENDING = "outputCoordinatesPending"  # of the filter: on micrographs that have no map yet

_AT_ONCE = 20000  # coordinates that are written in one transaction
logger = logging.getLogger(__name__)


class ScreenOutputs:
    """Writes each coordinate to the kept or rejected set, and each micrograph to the accepted or discarded set.

    The filter has a set of pending coordinates instead of the sets of micrographs.
    """

    def __init__(
        self,
        protocol: Any,
        folder: str,
        sources: Dict[str, Any],
        make: Dict[str, Callable[[], Any]],
        transform: convert.CoordinateTransform,
    ) -> None:
        """Store the protocol that owns the outputs, without writing anything.

        Parameters
        ----------
        folder : str
            The run folder relative to the project; paths in records are relative to it.
        sources : dict
            For each output, the pointer to the input set of its items.
        make : dict
            For each output, a function that creates it without items.
        transform : CoordinateTransform
            Transforms input coordinates to output coordinates.
        """
        self._protocol, self._folder, self._transform = protocol, folder, transform
        self._sources, self._make = sources, make
        self._shape: Optional[Sequence[int]] = None  # rows, columns of a micrograph that was read

    def reconcile(self, recorded: Callable[[], Iterator[MicrographRecord]]) -> None:
        """Make the outputs of an earlier session agree with the journal, and open them again.

        Failed items, and coordinates rejected for lack of a micrograph, are removed, because they are tried again.
        """
        present = {name: np.array(self._present(name), dtype=np.int64) for name in NAMES}
        expected, changed = self._expected(recorded())
        for name in filter(self._has, NAMES):
            self._remove(name, np.setdiff1d(present[name], expected[name]).tolist())
        missing = {name: set(np.setdiff1d(expected[name], present[name]).tolist()) for name in NAMES}
        moved, outdated = self._moved(), self._outdated(changed)
        if moved or outdated or any(missing.values()):
            logger.info("The outputs lack items that are in the journal, or have old ones; writing them again")
        if moved or changed or any(missing.values()):
            coordinates = missing[COORDINATES] | missing[REJECTED] | moved
            micrographs = missing[MICROGRAPHS] | missing[DISCARDED] | changed.keys()
            batch: List[MicrographRecord] = []
            for record in recorded():
                lost = record.id in micrographs or any(score.id in coordinates for score in record.scores)
                if lost and record.status != FAILED:
                    batch.append(record)
                if sum(len(one.scores) for one in batch) >= _AT_ONCE:
                    self.append(batch, outdated)
                    batch = []
            self.append(batch, outdated)

    def _expected(self, records: Iterable[MicrographRecord]) -> Tuple[Dict[str, Any], Dict[int, Dict[str, Any]]]:
        """Return the ids that each output should have, and the results of the micrographs whose file changed."""
        ids = {name: array("q") for name in NAMES}
        changed = {}
        for record in records:
            if FILE_CHANGED in record.flags:
                changed[record.id] = convert.attributes_of(record, self._folder)
            if record.status != FAILED:
                ids[MICROGRAPHS if _is_kept(record) else DISCARDED].append(record.id)
                for score in record.scores:
                    if score.cls != FAILED:
                        ids[COORDINATES if score.kept else REJECTED].append(score.id)
        return {name: np.array(found, dtype=np.int64) for name, found in ids.items()}, changed

    def _moved(self) -> AbstractSet[int]:
        """Return the ids of the coordinates that have another position in the input than in an output."""
        moved: Any = set()
        with self._protocol._writing(COORDINATES):
            given = _rows_of(self._sources[COORDINATES].get())
            for name in filter(self._has, (COORDINATES, REJECTED)):
                there = _rows_of(self._get(name))
                ids, mine, theirs = np.intersect1d(there[:, 0], given[:, 0], return_indices=True)
                differs = there[mine, 1:] != np.rint(given[theirs, 1:] * self._transform.scale)
                moved.update(ids[differs.any(axis=1)].tolist())
        return moved

    def _outdated(self, changed: Dict[int, Dict[str, Any]]) -> AbstractSet[int]:
        """Return the ids of the micrographs that have other results in an output than these."""
        found = set()
        for name in filter(self._has, (MICROGRAPHS, DISCARDED) if changed else ()):
            with self._protocol._writing(name):
                output = self._get(name)
                for item in convert.items_by_id(output, ids_in(output.getFileName(), sorted(changed))):
                    wanted = changed[item.getObjId()]
                    if any(item.getAttributeValue(attribute) != value for attribute, value in wanted.items()):
                        found.add(item.getObjId())
        return found

    def append(self, records: Sequence[MicrographRecord], outdated: Optional[AbstractSet[int]] = None) -> None:
        """Add micrographs and coordinates.

        Existing coordinates are replaced if their position or verdict differs, existing micrographs if their file does.
        Readers see either all or none of the items that one call adds to a set.

        Parameters
        ----------
        outdated : set of int, optional
            Ids of the existing micrographs to replace. None: those whose file changed.
        """
        self._shape = self._shape or next((record.shape for record in records if record.shape), None)
        if outdated is None:
            outdated = {record.id for record in records if FILE_CHANGED in record.flags}
        self._remove_micrographs([record.id for record in records if record.id in outdated])
        if MICROGRAPHS in self._make:
            self._put((MICROGRAPHS, DISCARDED), {record.id: record for record in records})
        self._put_scores([score for record in records for score in record.scores])

    def _remove_micrographs(self, keys: Sequence[int]) -> None:
        for name in filter(self._has, (MICROGRAPHS, DISCARDED) if keys else ()):
            self._remove(name, ids_in(self._get(name).getFileName(), keys))

    def _remove_outdated(self, wanted: Dict[int, PickScore], names: Sequence[str]) -> None:
        """Remove coordinates that have another position or verdict by now, so that they are added again."""
        for name in filter(self._has, names):
            output, outdated = self._get(name), []
            with self._protocol._writing(name):
                keys = ids_in(output.getFileName(), sorted(wanted))
                there = {item.getObjId(): _values(item) for item in convert.items_by_id(output, keys)}
                for item in convert.items_by_id(self._sources[name].get(), sorted(there)):
                    key = item.getObjId()
                    self._mark(item, wanted[key])
                    if _values(item) != there[key] or wanted[key].kept != (name == COORDINATES):
                        outdated.append(key)
            if outdated:
                self._remove(name, outdated)

    def remove_deleted(self, recorded: Callable[[], Iterator[MicrographRecord]], number: int) -> None:
        """Remove the coordinates that no record has any more, because they were deleted in the input.

        Parameters
        ----------
        recorded : callable
            Yields all records; called only if the outputs have too many coordinates.
        number : int
            The number of coordinates in all records.
        """
        names = [name for name in (COORDINATES, REJECTED) if self._has(name)]
        if sum(self._get(name).getSize() for name in names) <= number:
            return
        known = np.array([score.id for record in recorded() for score in record.scores], dtype=np.int64)
        for name in names:
            self._remove(name, np.setdiff1d(self._present(name), known).tolist())

    def append_pending(self, scores: Sequence[PickScore]) -> None:
        """Add coordinates that have no verdict yet."""
        self._put_scores(scores, (PENDING,))

    def clear(self) -> None:
        """Remove all items of existing outputs."""
        for name in filter(self._has, self._make):
            self._remove(name, self._present(name))

    def finish(self, unmatched: Sequence[int]) -> None:
        """Reject the coordinates whose micrographs never arrived, and close all outputs."""
        self._put_scores([PickScore(key, None, NO_MICROGRAPH, False) for key in unmatched])
        for name in self._make:
            with self._protocol._writing(name):
                output = getattr(self._protocol, name) if self._has(name) else self._make[name]()
                if not self._has(name):
                    set_writing.give_columns(output, self._template(name))
                set_writing.give_dimensions(output, self._shape)
                self._update(name, output, Set.STREAM_CLOSED)

    def _put_scores(self, scores: Sequence[PickScore], names: Sequence[str] = (COORDINATES, REJECTED)) -> None:
        for start in range(0, len(scores), _AT_ONCE):
            wanted = {score.id: score for score in scores[start : start + _AT_ONCE]}
            self._remove_outdated(wanted, names)
            self._put(names, wanted)

    def _put(self, names: Sequence[str], wanted: Dict[int, Any]) -> None:
        """Add input items, by id: the kept ones to the first output, others to the last; create missing outputs."""
        opened: Dict[str, Any] = {}
        with self._protocol._writing(names[0]):
            item, keys = None, sorted(wanted)
            there = {key for name in names if self._has(name) for key in ids_in(self._get(name).getFileName(), keys)}
            keys = [key for key in keys if key not in there]
            for item in convert.items_by_id(self._sources[names[0]].get(), keys):
                fate = wanted[item.getObjId()]
                self._mark(item, fate)
                name = names[0] if _is_kept(fate) else names[-1]
                if name not in opened:
                    opened[name] = self._open(name, item)
                set_writing.append_unread(opened[name], item, self._shape)
            for name in names:
                if item is not None and name not in opened and not self._has(name):
                    opened[name] = self._make[name]()
                    set_writing.give_columns(opened[name], item)
            for name, output in opened.items():
                self._update(name, output, Set.STREAM_OPEN)

    def _mark(self, item: Any, fate: Any) -> None:
        if isinstance(fate, MicrographRecord):
            convert.mark_micrograph(item, fate, self._folder)
        else:
            self._transform.apply(item)
            convert.mark_coordinate(item, fate)

    def _template(self, name: str) -> Any:
        """Return an example item with the columns of an output."""
        first = self._sources[name].get().getFirstItem()
        if name in (MICROGRAPHS, DISCARDED):
            item = first or Micrograph()
            convert.mark_micrograph(item, MicrographRecord(0, "", "", ACCEPTED), self._folder)
        else:
            item = first or Coordinate(x=0, y=0)
            convert.mark_coordinate(item, PickScore(0, None, "", False))
        return item

    def _has(self, name: str) -> bool:
        return bool(self._protocol.hasAttribute(name))

    def _get(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def _open(self, name: str, item: Any) -> Any:
        if self._has(name) and set_writing.enable_append(self._get(name), item):
            return self._get(name)
        return self._make[name]()

    def _update(self, name: str, output: Any, state: int) -> None:
        is_new = not self._has(name)
        self._protocol._updateOutputSet(name, output, state)
        if is_new:
            self._protocol._defineSourceRelation(self._sources[name], output)

    def _present(self, name: str) -> array:
        """Return the ids in an output; delete a damaged file, so that it is created again."""
        if not self._has(name):
            return array("q")
        path = self._get(name).getFileName()
        try:
            with self._protocol._writing(name):
                return ids_in(path)
        except sqlite3.DatabaseError as error:
            logger.warning("%s: damaged (%s); rebuilding it from the journal", path, error)
            os.unlink(path)
            return array("q")

    def _remove(self, name: str, keys: Iterable[int]) -> None:
        with self._protocol._writing(name):
            output = self._get(name)
            set_writing.remove_ids(output, keys)
            self._update(name, output, Set.STREAM_OPEN)


def _is_kept(fate: Any) -> bool:
    return fate.status == ACCEPTED if isinstance(fate, MicrographRecord) else fate.kept


def _values(item: Any) -> Tuple[Any, ...]:
    """Return position and verdict of a coordinate of an output."""
    verdict = item.getAttributeValue("_cryoiceGoodness"), item.getAttributeValue("_cryoiceClass")
    return (item.getX(), item.getY(), item.getMicId(), *verdict)


def _rows_of(coordinates: Any) -> Any:
    """Return id, x and y of each coordinate of a set, ordered by id, as an array with a row for each."""
    return np.array(coordinates_in(coordinates), dtype=np.int64).reshape(-1, 3)
