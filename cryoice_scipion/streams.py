# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Scipion's sets while other protocols still write them. Imports no torch.

New rows are read by id, straight from the set's sqlite file, so that the cost depends on the number of new rows only.
pyworkflow would make an object for every row, which takes a minute for two million coordinates. Each look is one short
transaction, because sqlite makes the writer of a set wait for its readers.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from array import array
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from pyworkflow.object import Set

from cryoice_scipion.convert import MicrographRow, micrograph_row
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.streaming.stable_file import FileState, file_state, seconds_since_modified
from cryoice_scipion.databases import in_parts, opened, table_prefix
from cryoice_scipion.producers import Producer

_BUSY_TIMEOUT = 60.0  # s that a look waits for the writer of a set, before it is left to the next look
_WARN_AT = (3, 30, 300)  # failures in a row after which a warning is logged
_CLOCK_RESOLUTION = 3.0  # s within which two changes of a file may have the same modification time
_CLOSED = str(Set.STREAM_CLOSED)  # as it is in the file

Row = Tuple[Any, ...]
_States = List[Optional[FileState]]
logger = logging.getLogger(__name__)
Coordinates = array  # ids and positions in px: id, x, y, id, x, y …


class SetReader:
    """Read the new rows of a set at each look.

    ``closed`` says whether the set was closed *before* the last look read its rows, so that none is missing.
    """

    labels: Sequence[str] = ()

    def __init__(self, pointer: Any) -> None:
        """Take a pointer to a set without reading it."""
        self.producer, self.closed = Producer(pointer), False
        self.seen = False  # whether a look has succeeded
        self._failures, self._last_states = 0, None  # type: int, Optional[_States]
        output = pointer.get()
        self._path, self._prefix = Path(output.getFileName()), table_prefix(output)
        self._last = 0  # the largest id so far

    def _look(self, take: Callable[[_Table], None]) -> bool:
        """Read new rows with ``take``, in one transaction; return False if the file is busy, to be read later.

        Raises
        ------
        CryoIceError
            If the file is damaged.
        """
        ended = self.producer.ended  # asked before the rows are read, so that none is missed
        states = _settled_states(self._path)
        if states is not None and states == self._last_states:
            self.closed = self.closed or ended
            return True
        try:
            with self._table() as table:
                closed = ended if table is None else ended or table.closed
                if table is not None:
                    take(table)
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                raise _damaged(self._path, error) from None
            self._failures += 1
            if self._failures in _WARN_AT:
                logger.warning("%s: cannot be read now (%s); close other programs that use it", self._path, error)
            return False
        except sqlite3.DatabaseError as error:
            raise _damaged(self._path, error) from None
        self.closed, self.seen, self._failures, self._last_states = closed, True, 0, states
        return True

    @contextlib.contextmanager
    def _table(self) -> Iterator[Optional[_Table]]:
        """Open the set's table for one transaction; None if the set never had an item."""
        if not self._path.is_file():
            yield None
            return
        with opened(self._path, _BUSY_TIMEOUT) as connection:
            connection.execute("BEGIN")
            if _has_table(connection, f"{self._prefix}Objects"):
                yield _Table(connection, self._prefix, self.labels)
            else:
                yield None


class _Table:
    """Read the items of a set in one transaction; rows hold the id and the attributes in ``labels``."""

    def __init__(self, connection: sqlite3.Connection, prefix: str, labels: Sequence[str]) -> None:
        self._connection, self._name = connection, f"{prefix}Objects"
        found = dict(connection.execute(f"SELECT label_property, column_name FROM {prefix}Classes"))
        missing = [label for label in labels if label not in found]
        if missing:
            raise CryoIceError("input set", f"its items lack the attribute {missing[0]}", "choose another set")
        self._columns = [found[label] for label in labels]

    @property
    def closed(self) -> bool:
        """Return whether the set's file says that it is closed."""
        row = self._connection.execute("SELECT value FROM Properties WHERE key = '_streamState'").fetchone()
        return bool(row) and str(row[0]) == _CLOSED

    def __len__(self) -> int:
        return int(self._connection.execute(f"SELECT COUNT(*) FROM {self._name}").fetchone()[0])

    def above(self, key: int) -> Iterator[Row]:
        """Yield the rows with larger ids."""
        return self._rows("id > ?", [key])

    def every(self) -> Iterator[Row]:
        """Yield all rows."""
        return self._rows("1", [])

    def where_last(self, values: Sequence[int]) -> Iterator[Row]:
        """Yield the rows whose last attribute is one of these values; 0 stands for no value."""
        for part in in_parts(values):
            nothing = f" OR {self._columns[-1]} IS NULL" if 0 in part else ""
            yield from self._rows(f"{self._columns[-1]} IN ({','.join('?' * len(part))}){nothing}", part)

    def count_by_last(self) -> Dict[int, int]:
        """Return the number of rows for each value of the last attribute; 0 stands for no value."""
        column, counts = self._columns[-1], {}  # type: str, Dict[int, int]
        for value, number in self._connection.execute(f"SELECT {column}, COUNT(*) FROM {self._name} GROUP BY {column}"):
            counts[value or 0] = counts.get(value or 0, 0) + number
        return counts

    def _rows(self, where: str, values: Sequence[int]) -> Iterator[Row]:
        text = f"SELECT id, {', '.join(self._columns)} FROM {self._name} WHERE {where} ORDER BY id"
        return self._connection.execute(text, values)


class MicrographReader(SetReader):
    """Read a growing set of micrographs."""

    labels = ("_index", "_filename", "_micName")

    def __init__(self, pointer: Any, stems: Optional[Dict[str, int]] = None) -> None:
        """Take a pointer to a set, and the micrograph ids of an earlier session by stem."""
        super().__init__(pointer)
        self.rows: Dict[int, MicrographRow] = {}
        self._stems = dict(stems or {})
        self._earlier = {key: stem for stem, key in self._stems.items()}
        self._total = 0

    def look(self) -> List[MicrographRow]:
        """Return the micrographs that came since the last look."""
        fresh: List[MicrographRow] = []

        def take(table: _Table) -> None:
            rows, total = list(table.above(self._last)), len(table)
            if self._total + len(rows) != total:  # some new rows have smaller ids than earlier ones
                rows = [row for row in table.every() if row[0] not in self.rows]
            fresh.extend(self._add(*row) for row in rows)
            self._total = total

        self._look(take)
        return fresh

    def _add(self, key: int, index: int, path: str, name: str) -> MicrographRow:
        row = micrograph_row(key, index or 0, path, name, self._stems, self._earlier.get(key, ""))
        self.rows[key], self._last = row, max(self._last, key)
        return row


class CoordinateReader(SetReader):
    """Read a growing set of coordinates by micrograph; only number and hash of each micrograph's are kept in memory.

    Coordinates that move under their ids are found when the set is closed, and whenever it changes after that.
    """

    labels = ("_x", "_y", "_micId")

    def __init__(self, pointer: Any) -> None:
        """Take a pointer to a set."""
        super().__init__(pointer)
        self._counts: Dict[int, int] = {}
        self._hashes: Dict[int, int] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """Return the number of coordinates at the last look."""
        return self._total

    def look(self) -> Dict[int, Coordinates]:
        """Return all coordinates, by micrograph id, of micrographs whose coordinates changed since the last look."""
        found: Dict[int, Coordinates] = {}

        def take(table: _Table) -> None:
            last, fresh = self._last, 0
            for row in table.above(last):
                _append(found, row)
                last, fresh = row[0], fresh + 1
            again = {micrograph for micrograph in found if micrograph in self._counts}
            total = len(table)
            if self._total + fresh != total:  # some new rows have smaller ids than earlier ones
                counts = table.count_by_last()
                known = {
                    key: self._counts.get(key, 0) + len(found.get(key, ())) // 3 for key in {*counts, *self._counts}
                }
                again |= {key for key, number in known.items() if number != counts.get(key, 0)}
            found.update((key, array("q")) for key in again)
            found.update(_by_micrograph(table.where_last(sorted(again))))
            if table.closed and self._total:
                for key, coordinates in _by_micrograph(table.every()).items():
                    if self._hashes.get(key) != hash(coordinates.tobytes()):
                        found[key] = coordinates
            self._counts.update((key, len(coordinates) // 3) for key, coordinates in found.items())
            self._hashes.update((key, hash(coordinates.tobytes())) for key, coordinates in found.items())
            self._last, self._total = last, total

        return found if self._look(take) else {}

    def read(self, micrographs: Iterable[int]) -> Dict[int, Coordinates]:
        """Return all coordinates of these micrographs."""
        with self._table() as table:
            return {} if table is None else _by_micrograph(table.where_last(sorted(micrographs)))


def ids_in(path: str, among: Optional[Sequence[int]] = None) -> array:
    """Return the ids of the items in a set's file: all, or those in ``among``.

    Raises
    ------
    sqlite3.DatabaseError
        When the file is damaged.
    """
    ids = array("q")
    if not Path(path).is_file():
        return ids
    with opened(Path(path), _BUSY_TIMEOUT) as connection:
        if not _has_table(connection, "Objects"):
            return ids
        if among is None:
            ids.extend(key for (key,) in connection.execute("SELECT id FROM Objects"))
        for part in in_parts(among or ()):
            query = f"SELECT id FROM Objects WHERE id IN ({','.join('?' * len(part))})"
            ids.extend(key for (key,) in connection.execute(query, part))
    return ids


def coordinates_in(output: Any) -> Coordinates:
    """Return the coordinates in a set, ordered by id; see :func:`ids_in`."""
    found, path, prefix = array("q"), Path(output.getFileName()), table_prefix(output)
    if path.is_file():
        with opened(path, _BUSY_TIMEOUT) as connection:
            if _has_table(connection, f"{prefix}Objects"):
                for key, x, y in _Table(connection, prefix, ("_x", "_y")).every():
                    found.extend((key, int(round(x)), int(round(y))))
    return found


def _by_micrograph(rows: Iterable[Row]) -> Dict[int, Coordinates]:
    found: Dict[int, Coordinates] = {}
    for row in rows:
        _append(found, row)
    return found


def _append(found: Dict[int, Coordinates], row: Tuple[Any, ...]) -> None:
    key, x, y, micrograph = row
    found.setdefault(micrograph or 0, array("q")).extend((key, int(round(x)), int(round(y))))


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return (
        connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
        is not None
    )


def _settled_states(path: Path) -> Optional[_States]:
    """Return the states of a set's file and its write-ahead log.

    Equal states mean that the set has not changed. None: a file was modified so recently that a further change may
    leave its state the same.
    """
    states = [file_state(path), file_state(f"{path}-wal")]
    if any(seconds_since_modified(state) < _CLOCK_RESOLUTION for state in states if state is not None):
        return None
    return states


def _damaged(path: Path, error: Exception) -> CryoIceError:
    return CryoIceError(path, f"cannot be read ({error})", "run the protocol that created it again")
