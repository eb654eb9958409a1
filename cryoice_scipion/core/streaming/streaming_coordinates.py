# SPDX-License-Identifier: GPL-3.0-or-later
"""Match coordinates to micrographs while both still arrive: files may come late, grow or be rewritten."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple
from typing import Counter as CounterType

import numpy as np
import pandas as pd

from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED
from cryoice_scipion.core.errors import CoordinatesError, CryoIceError
from cryoice_scipion.core.formats.coordinates import (
    ROWS_OF_A_PART,
    PickTable,
    join_optics,
    picks_of_rows,
    read_picks,
)
from cryoice_scipion.core.images.naming import NameIndex, contradicting_names, micrograph_key
from cryoice_scipion.core.records import Pick, PickCounts
from cryoice_scipion.core.streaming.distinct_files import DistinctFiles
from cryoice_scipion.core.streaming.row_changes import Rows, names_that_differ, rows_by_name


@dataclasses.dataclass
class _Source:
    """Hold what is used of one file as it was last read."""

    name: str
    picks: PickTable
    rows: Dict[str, Rows]  # by the micrograph name in the file


class StreamingCoordinates:
    """Collect the coordinates of any number of files, each of which may come late, grow or be rewritten.

    A file that several sources have is used once; see :class:`DistinctFiles`. The id of a coordinate is its row in its
    file plus ``ROWS_OF_A_PART`` times the file's number. Each update costs time in proportion to what is new.
    """

    def __init__(self, check: Callable[[Path, PickTable], None]) -> None:
        """Start without files and micrographs.

        Parameters
        ----------
        check : callable
            Raises a CoordinatesError for a table that cannot be used.
        """
        order: Dict[str, int] = {}  # default file numbers, by file name
        self.closed = False  # whether no further micrograph will come
        self.warnings: List[str] = []  # for the user; whoever logs them clears the list
        #: Returns the permanent number of a file by its name; by default, files are numbered as they come.
        self.number_of: Callable[[str], int] = lambda name: order.setdefault(name, len(order))
        self._check = check
        self._sources: Dict[int, _Source] = {}  # by file number
        self.distinct = DistinctFiles()
        self._numbers: Dict[str, int] = {}  # of the files that were read, by file name
        self._left_out: CounterType[str] = Counter()  # rows that are in no table, by reason
        self._files: Dict[str, Set[int]] = {}  # numbers of the files that mention a micrograph name
        self._match: Dict[str, Optional[str]] = {}  # the micrograph that a name belongs to
        self._names: Dict[str, Set[str]] = defaultdict(set)  # by micrograph
        self._unmatched: Set[str] = set()  # names without a micrograph
        self._by_key: Dict[str, List[str]] = defaultdict(list)  # names by micrograph_key
        self._micrographs = NameIndex()
        self._paths: Dict[str, str] = {}  # of micrographs, by stem
        self._stems: Dict[str, str] = {}  # of micrographs, by each of their names in the index
        self._ambiguous: Set[str] = set()  # names that fit several micrographs
        self._reported: Set[str] = set()  # ambiguous names that the user was warned of
        self._optics: Optional[pd.DataFrame] = None

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return sum(len(source.picks) for source in self._sources.values())

    @property
    def optics(self) -> Optional[pd.DataFrame]:
        """Return the optics blocks of all files as one."""
        return self._optics

    def parts(self) -> Iterator[Tuple[int, pd.DataFrame]]:
        """Yield the id of each file's first coordinate and its table, sorted by file name."""
        for number, source in sorted(self._sources.items(), key=lambda item: item[1].name):
            yield number * ROWS_OF_A_PART, source.picks.table

    def count_unmatched(self) -> int:
        """Return the number of coordinates whose micrograph has not come."""
        return sum(len(rows) for name in self._unmatched for rows in self._rows_of(name))

    def unmatched_names(self) -> List[str]:
        """Return the names of micrographs that have coordinates and have not come."""
        return sorted(name for name in self._unmatched - self._ambiguous if self._files[name])

    def counts(self) -> PickCounts:
        """Return the number of coordinates, and of those without a micrograph by reason."""
        ambiguous = sum(len(rows) for name in self._ambiguous for rows in self._rows_of(name))
        more = {UNMATCHED: self.count_unmatched() - ambiguous, AMBIGUOUS: ambiguous}
        left_out = {reason: number for reason, number in {**self._left_out, **more}.items() if number}
        tables = [source.picks for source in self._sources.values()]
        unread = {path: error for table in tables for path, error in table.not_read.items()}
        rows = len(self) + sum(self._left_out.values())
        return PickCounts(rows, left_out, sum(table.files for table in tables), unread)

    def shared(self) -> Dict[str, List[str]]:
        """Return the micrographs whose coordinates are in several files, and the paths of these files."""
        files = {
            stem: {number for name in names for number in self._files[name]} for stem, names in self._names.items()
        }
        return {
            stem: [self._sources[number].picks.source for number in sorted(numbers)]
            for stem, numbers in files.items()
            if len(numbers) > 1
        }

    def lost(self) -> Sequence[int]:
        """Return the ids of coordinates that belong to no micrograph; none while micrographs can still arrive."""
        if not self.closed:
            return []
        return [int(key) for name in self._unmatched for key in self._ids_of(name)]

    def add_micrograph(self, stem: str, path: str = "", other_names: Sequence[str] = ()) -> Set[str]:
        """Add a micrograph that has come; return the micrographs whose coordinates have changed.

        The stem identifies it here. Names in coordinate files are matched with its path and its other names.
        """
        self._paths[stem] = path or stem
        touched: Set[str] = set()
        for name in (self._paths[stem], *other_names):
            self._micrographs.add(name)
            self._stems[name] = stem
            touched |= self._match_again(self._by_key.get(micrograph_key(name), []))
        return touched

    def read(self, path: Path, name: str = "") -> Set[str]:
        """Read a new or changed file; return the micrographs whose coordinates have changed.

        Parameters
        ----------
        name : str
            A name of the file that no other file has. Default: its file name.

        Raises
        ------
        CoordinatesError
            If it cannot be used, perhaps because it is incomplete. Its earlier coordinates stay.
        """
        name = name or path.name
        picks = read_picks(path)
        if len(picks) > ROWS_OF_A_PART:
            raise CoordinatesError(path, f"has more than {ROWS_OF_A_PART} coordinates", "give several files")
        picks.optics = picks.optics if len(picks) else None  # a file without coordinates decides nothing
        optics = self._optics_with(self._numbers.get(name), picks.optics, path)
        self._check(path, picks)  # last, because it may apply the file's values to all files
        number = self._numbers.setdefault(name, self.number_of(name))
        self._optics = optics
        return self._use(number, name, picks)

    def remove(self, name: str) -> Set[str]:
        """Drop a file's coordinates; return the micrographs whose coordinates have changed."""
        number = self._numbers[name]
        table = PickTable(self._sources[number].picks.table.iloc[:0], name)
        self._optics = self._optics_with(number, None, Path(name))
        touched = self._replace(number, _Source(name, table, {}))
        del self._sources[number], self._numbers[name]
        return touched | self._use(number, name, None)

    def knows(self, name: str) -> bool:
        """Return whether a file was read."""
        return name in self._numbers

    def table_of(self, name: str) -> PickTable:
        """Return a file as it was last read."""
        return self.distinct.given(self._numbers[name])

    def used_of(self, name: str) -> PickTable:
        """Return what is used of a file that was read."""
        return self._sources[self._numbers[name]].picks

    def _use(self, number: int, name: str, picks: Optional[PickTable]) -> Set[str]:
        """Use a file as it was last read, None if it is gone; return the micrographs whose coordinates have changed."""
        touched: Set[str] = set()
        for key, used in self.distinct.replace(number, picks).items():
            own = name if key == number else self._sources[key].name
            touched |= self._replace(key, _Source(own, used, rows_by_name(used.table)))
        return touched

    def _replace(self, number: int, source: _Source) -> Set[str]:
        """Replace a file's content; return the micrographs whose coordinates have changed."""
        old, picks = self._sources.get(number), source.picks
        changed = names_that_differ(old.picks.table if old else None, picks.table)
        self._left_out.update(picks.left_out)
        if old is not None:
            self._left_out.subtract(old.picks.left_out)
        self._sources[number] = source
        new = [name for name in changed if name not in self._files]
        for name in changed:
            files = self._files.setdefault(name, set())
            files.discard(number)
            files |= {number} if name in source.rows else set()
        for name in new:
            self._by_key[micrograph_key(name)].append(name)
        micrographs = self._match_again({other for name in new for other in self._by_key[micrograph_key(name)]})
        return micrographs | {match for match in (self._match[name] for name in changed) if match is not None}

    def of(self, micrograph: str) -> List[Pick]:
        """Return all coordinates of a micrograph, given by its stem, sorted by id."""
        found: List[Pick] = []
        for number, rows in self._rows_on(micrograph):
            found += picks_of_rows(self._sources[number].picks.table, rows, number * ROWS_OF_A_PART)
        return found

    def tables_of(self, micrograph: str) -> List[pd.DataFrame]:
        """Return the rows of a micrograph, given by its stem: one table for each file that has some."""
        return [self._sources[number].picks.table.iloc[rows] for number, rows in self._rows_on(micrograph)]

    def _rows_on(self, micrograph: str) -> Iterator[Tuple[int, Rows]]:
        """Yield the number of each file with coordinates on a micrograph, and their rows in it."""
        for number in sorted({number for name in self._names.get(micrograph, ()) for number in self._files[name]}):
            source = self._sources[number]
            names = [name for name in self._names[micrograph] if name in source.rows]
            yield number, np.sort(np.concatenate([source.rows[name] for name in names]))

    def _match_again(self, names: Iterable[str]) -> Set[str]:
        """Find the micrographs of these names; return the micrographs that gain or lose coordinates by this."""
        changed: Set[str] = set()
        for name in names:
            before, now = self._match.get(name), self._find(name)
            self._match[name] = now
            if now is None:
                self._unmatched.add(name)
            if before == now:
                continue
            if before is not None:
                self._names[before].discard(name)
                changed.add(before)
            if now is not None:
                self._unmatched.discard(name)
                self._names[now].add(name)
                changed.add(now)
        return changed

    def _find(self, name: str) -> Optional[str]:
        """Return the micrograph that a name belongs to; None if there is none or several."""
        self._ambiguous.discard(name)
        try:
            found = self._micrograph_with(name)
        except CryoIceError as error:
            self._leave_out(name, str(error))
            return None
        if found is None:
            return None
        others, doubtful = contradicting_names(self._names_like(name, found), self._paths[found])
        if name in doubtful:
            self._leave_out(name, f"{name}: several names like it match {self._paths[found]} equally well")
        return None if name in others or name in doubtful else found

    def _names_like(self, name: str, micrograph: str) -> List[str]:
        """Return the names that match the same micrograph as this one, without regard to their folders."""
        names = self._by_key[micrograph_key(name)]
        return [other for other in names if other == name or self._matches(other, micrograph)] if len(names) > 1 else []

    def _matches(self, name: str, micrograph: str) -> bool:
        try:
            return self._micrograph_with(name) == micrograph
        except CryoIceError:
            return False

    def _micrograph_with(self, name: str) -> Optional[str]:
        found = self._micrographs.find(name)
        return None if found is None else self._stems[found]

    def _leave_out(self, name: str, reason: str) -> None:
        """Note an ambiguous name, and warn of it once."""
        self._ambiguous.add(name)
        if name not in self._reported:
            self._reported.add(name)
            self.warnings.append(f"{reason}; its coordinates are left out")

    def _rows_of(self, name: str) -> Iterator[Rows]:
        return (self._sources[number].rows[name] for number in self._files[name])

    def _ids_of(self, name: str) -> Iterator[int]:
        for number in self._files[name]:
            yield from (self._sources[number].rows[name] + number * ROWS_OF_A_PART).tolist()

    def _optics_with(self, number: Optional[int], new: Optional[pd.DataFrame], path: Path) -> Optional[pd.DataFrame]:
        """Return the joined optics of all files after one file's optics have changed."""
        source = None if number is None else self._sources.get(number)
        old = source.picks.optics if source else None
        if new is None and old is None or new is not None and old is not None and new.equals(old):
            return self._optics
        known = [self._optics]
        if old is not None:
            known = [source.picks.optics for key, source in self._sources.items() if key != number]
        return join_optics([optics for optics in (*known, new) if optics is not None], path)
