# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the folder of a run, also while the run goes on: for viewers, protocols and reports.

A run may have millions of coordinates, so their goodness is kept in arrays.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, KEEP_ALL
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.maps.scoring import is_kept, smallest_kept
from cryoice_scipion.core.records import MicrographRecord, Summary, from_json
from cryoice_scipion.core.results.journal_lines import Screened, Thinned, read_run
from cryoice_scipion.core.results.run_folder import JOURNAL, SUMMARY

_HEAD = 512  # bytes at the start of a journal that identify the run: the first line holds its start time

Numbers = NDArray[np.int64]
Goodness = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Records:
    """Hold a run at one moment. Micrographs are in the order in which they were first screened."""

    micrographs: List[MicrographRecord]  # without their scores and regions
    ids: Numbers  # (coordinates,): of the first micrograph, then of the next
    goodness: Goodness  # (coordinates,); NaN: could not be scored
    failed: NDArray[np.bool_]  # (coordinates,): came late and could not be scored; no threshold keeps them
    starts: Numbers  # (micrographs + 1,): where each micrograph's coordinates begin
    open: NDArray[np.bool_]  # (coordinates,): not failed, and the micrograph is accepted; no others are kept
    ordered: Goodness  # of the open coordinates that could be scored, ascending

    @property
    def picks(self) -> Numbers:
        """Return the number of coordinates of each micrograph."""
        return np.diff(self.starts)

    @property
    def on_accepted(self) -> NDArray[np.bool_]:
        """Return which coordinates are on accepted micrographs."""
        return np.repeat(np.array([one.status == ACCEPTED for one in self.micrographs], dtype=bool), self.picks)

    def kept(self, threshold: float) -> NDArray[np.bool_]:
        """Return which coordinates a threshold keeps: on accepted micrographs, with at least that goodness."""
        return is_kept(self.goodness, threshold) & self.open

    def kept_number(self, threshold: float) -> int:
        """Return how many coordinates a threshold keeps, without the array of :meth:`kept`."""
        if threshold == KEEP_ALL:
            return int(self.open.sum())
        return len(self.ordered) - int(np.searchsorted(self.ordered, smallest_kept(threshold), side="left"))

    def kept_counts(self, threshold: float) -> Numbers:
        """Return how many coordinates of each micrograph a threshold keeps."""
        total = np.concatenate([[0], np.cumsum(self.kept(threshold), dtype=np.int64)])
        counts: Numbers = np.diff(total[self.starts])
        return counts

    def changed(self, verdicts: Mapping[int, bool], enough: Optional[NDArray[np.bool_]] = None) -> Records:
        """Return the records with a user's decisions.

        Parameters
        ----------
        verdicts : mapping
            Whether a micrograph is accepted, by its id. Failed micrographs stay as they are.
        enough : numpy.ndarray, (coordinates,), bool, optional
            Coordinates that may be kept at all, for example because of the picker's score.
        """
        micrographs = [_decided(record, verdicts.get(record.id)) for record in self.micrographs]
        decided = dataclasses.replace(self, micrographs=micrographs)
        open_ones = decided.on_accepted & ~self.failed
        open_ones = open_ones if enough is None else open_ones & enough
        ordered = np.sort(self.goodness[open_ones & ~np.isnan(self.goodness)])
        return dataclasses.replace(decided, open=open_ones, ordered=ordered)

    def of(self, index: int) -> slice:
        """Return where the coordinates of a micrograph are, by its index in ``micrographs``."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


class JournalStart(NamedTuple):
    """Identifies a journal: it is another one if the run was started anew, or if the journal was repaired."""

    head: bytes = b""
    inode: int = 0

    @classmethod
    def of(cls, path: Path) -> JournalStart:
        """Return that of a file."""
        with open(path, "rb") as stream:
            return cls(stream.read(_HEAD), os.fstat(stream.fileno()).st_ino)

    def continues(self, earlier: JournalStart) -> bool:
        """Return whether an earlier look saw the same journal, which may have grown since."""
        return self.inode == earlier.inode and self.head.startswith(earlier.head)


class RunReader:
    """Read a journal that may still grow."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of a run without reading it."""
        self.path = Path(folder) / JOURNAL
        self._forget()
        self._state: Optional[Tuple[int, ...]] = ()  # of the file at the last look; None: there was no file

    def look(self) -> Optional[Records]:
        """Return the run as it is now; None if nothing has changed since the last call.

        Raises
        ------
        CryoIceError
            When the journal is damaged, or cannot be read.
        """
        try:
            state = self._state_now()
            if state == self._state:
                return None
            if state is None:
                self._forget()
            else:
                self._read()
        except OSError as error:
            raise CryoIceError(self.path, f"cannot be read ({error.strerror})", "give read permission") from None
        self._state = state
        return self._records()

    def _state_now(self) -> Optional[Tuple[int, ...]]:
        """Return size, time and inode of the journal; unlike ``file_state``, fail if it is not accessible."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino

    def _forget(self) -> None:
        self._by_id: Dict[int, MicrographRecord] = {}
        self._scores: Dict[int, Tuple[Numbers, Goodness, NDArray[np.bool_]]] = {}
        self._end, self._start = 0, JournalStart()

    def _read(self) -> None:
        """Read the lines that are new."""
        start = JournalStart.of(self.path)
        if not start.continues(self._start):
            self._forget()
        self._start = start
        self._end = _read_lines(self.path, self._end, self._by_id, self._take)

    def _take(self, record: MicrographRecord) -> None:
        scores, record.scores, record.regions = record.scores, [], []  # of a long run they would take much memory
        self._by_id[record.id] = record
        self._scores[record.id] = (
            np.array([score.id for score in scores], dtype=np.int64),
            np.array([score.goodness for score in scores], dtype=np.float64),  # None becomes NaN
            np.array([score.cls == FAILED for score in scores], dtype=bool),
        )

    def _records(self) -> Records:
        micrographs = list(self._by_id.values())
        scores = [self._scores[record.id] for record in micrographs]
        numbers = np.array([len(one[0]) for one in scores], dtype=np.int64)
        return Records(
            micrographs=micrographs,
            ids=np.concatenate([one[0] for one in scores] or [np.zeros(0, dtype=np.int64)]),
            goodness=np.concatenate([one[1] for one in scores] or [np.zeros(0)]),
            failed=np.concatenate([one[2] for one in scores] or [np.zeros(0, dtype=bool)]),
            starts=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(numbers)]),
            open=np.zeros(0, dtype=bool),
            ordered=np.zeros(0),
        ).changed({})


def _decided(record: MicrographRecord, accepted: Optional[bool]) -> MicrographRecord:
    """Return a record with a user's decision; None: there is none."""
    if accepted is None or record.status == FAILED:
        return record
    word = ACCEPTED if accepted else DISCARDED
    return dataclasses.replace(record, status=word, reason=f"{word} by hand")


def read_records(folder: Path) -> List[MicrographRecord]:
    """Return the latest record of each micrograph, sorted by id; none if there is no journal yet.

    An incomplete last line, which is being written or was cut off by a crash, is left out.
    """
    found: Dict[int, MicrographRecord] = {}

    def take(record: MicrographRecord) -> None:
        found[record.id] = record

    path = Path(folder) / JOURNAL
    if path.is_file():
        _read_lines(path, 0, found, take)
    return [found[key] for key in sorted(found)]


def _read_lines(
    path: Path, start: int, records: Dict[int, MicrographRecord], take: Callable[[MicrographRecord], None]
) -> int:
    """Pass each record of a journal to ``take``, and clear the paths of removed thumbnails.

    Parameters
    ----------
    start : int
        The byte at which to begin.
    records : mapping
        The records that ``take`` stores, by id.

    Returns
    -------
    int
        The byte after the last complete line. An incomplete last line is left for the next call.

    Raises
    ------
    CryoIceError
        When a line is damaged.
    """
    end = start
    for end, line in read_run(path, start):  # noqa: B007 (returned)
        if isinstance(line, Screened):
            take(line.record)
        elif isinstance(line, Thinned):
            _drop_thumbnails(records, line.ids)
    return end


def read_summary(folder: Path) -> Optional[Summary]:
    """Return the state of a run as summary.json has it; None when there is none yet."""
    try:
        return from_json(Summary, read_json(Path(folder) / SUMMARY))
    except (OSError, ValueError):
        return None


def _drop_thumbnails(records: Dict[int, MicrographRecord], ids: Iterable[int]) -> None:
    """Clear the thumbnail's path in the records whose thumbnails were removed."""
    for key in records.keys() & ids:
        records[key] = dataclasses.replace(records[key], thumbnail="")
