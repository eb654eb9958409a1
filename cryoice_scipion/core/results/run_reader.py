# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the folder of a run without touching it, also while the run goes on: for viewers, protocols and reports.

A run has millions of coordinates, so their goodness is kept in arrays; nothing is computed but what a threshold keeps.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from cryoice_scipion.constants import ACCEPTED, KEEP_ALL
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.maps.scoring import is_kept, smallest_kept
from cryoice_scipion.core.records import MicrographRecord, Summary, from_json
from cryoice_scipion.core.results.run_folder import JOURNAL, SUMMARY

_HEAD = 512  # bytes, by which another run's journal is told: the first line says when it began

_LINE = TypeAdapter(Dict[str, Any])  # reads JSON in two thirds of the time that json takes

Numbers = NDArray[np.int64]
Goodness = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Records:
    """A run at one moment. Micrographs are in the order in which they were first screened."""

    micrographs: List[MicrographRecord]  # without their scores
    ids: Numbers  # (coordinates,): those of the first micrograph first
    goodness: Goodness  # (coordinates,); NaN: could not be scored
    starts: Numbers  # (micrographs + 1,): where each micrograph's coordinates begin
    open: NDArray[np.bool_]  # (coordinates,): False where the micrograph is discarded, so that none is kept
    ordered: Goodness  # of those that are open and could be scored, ascending

    @property
    def picks(self) -> Numbers:
        """Return the number of coordinates of each micrograph."""
        return np.diff(self.starts)

    def kept(self, threshold: float) -> NDArray[np.bool_]:
        """Return which coordinates a threshold keeps: those of accepted micrographs with at least that goodness."""
        return is_kept(self.goodness, threshold) & self.open

    def kept_number(self, threshold: float) -> int:
        """Return how many coordinates a threshold keeps in all; the same as counting :meth:`kept`, but at once."""
        if threshold == KEEP_ALL:
            return int(self.open.sum())
        return len(self.ordered) - int(np.searchsorted(self.ordered, smallest_kept(threshold), side="left"))

    def kept_counts(self, threshold: float) -> Numbers:
        """Return how many coordinates of each micrograph a threshold keeps."""
        total = np.concatenate([[0], np.cumsum(self.kept(threshold), dtype=np.int64)])
        counts: Numbers = np.diff(total[self.starts])
        return counts

    def of(self, index: int) -> slice:
        """Return where the coordinates of a micrograph are, by its index in ``micrographs``."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


class RunReader:
    """Reads a journal that may still grow."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of a run; nothing is read yet."""
        self.path = Path(folder) / JOURNAL
        self._forget()
        self._stamp: Optional[Tuple[int, ...]] = ()  # None: there is no file

    def look(self) -> Optional[Records]:
        """Return the run as it is now; None when nothing has changed since the last look.

        Raises
        ------
        CryoIceError
            When the journal is damaged, or cannot be read.
        """
        try:
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return None
            if stamp is None:
                self._forget()
            else:
                self._read()
        except OSError as error:
            raise CryoIceError(self.path, f"cannot be read ({error.strerror})", "give read permission") from None
        self._stamp = stamp
        return self._records()

    def _stamp_now(self) -> Optional[Tuple[int, ...]]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_size, status.st_mtime_ns

    def _forget(self) -> None:
        self._by_id: Dict[int, MicrographRecord] = {}
        self._scores: Dict[int, Tuple[Numbers, Goodness]] = {}
        self._end, self._head = 0, b""

    def _read(self) -> None:
        """Take the lines that are new; a last one that is still being written is left for the next look."""
        with open(self.path, "rb") as stream:
            head = stream.read(_HEAD)
            if not head.startswith(self._head):
                self._forget()  # the run was started anew
            self._head = head
            stream.seek(self._end)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                try:
                    value = _LINE.validate_json(line)
                    if value["kind"] == "screened":
                        self._take(value["record"])
                    elif value["kind"] == "thinned":
                        _drop_thumbnails(self._by_id, value["ids"])
                except (ValueError, KeyError, TypeError):
                    remedy = "restore the file, or run the screening anew"
                    raise CryoIceError(self.path, f"the line at byte {self._end} is damaged", remedy) from None
                self._end += len(line)

    def _take(self, told: Dict[str, Any]) -> None:
        scores = told.pop("scores")
        record = from_json(MicrographRecord, told)
        self._by_id[record.id] = record
        self._scores[record.id] = (
            np.array([score["id"] for score in scores], dtype=np.int64),
            np.array([score["goodness"] for score in scores], dtype=np.float64),  # None becomes NaN
        )

    def _records(self) -> Records:
        micrographs = list(self._by_id.values())
        scores = [self._scores[record.id] for record in micrographs]
        numbers = np.array([len(ids) for ids, _ in scores], dtype=np.int64)
        accepted = np.array([record.status == ACCEPTED for record in micrographs], dtype=bool)
        open_ones = np.repeat(accepted, numbers)
        goodness = np.concatenate([goodness for _, goodness in scores] or [np.zeros(0)])
        return Records(
            micrographs=micrographs,
            ids=np.concatenate([ids for ids, _ in scores] or [np.zeros(0, dtype=np.int64)]),
            goodness=goodness,
            starts=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(numbers)]),
            open=open_ones,
            ordered=np.sort(goodness[open_ones & ~np.isnan(goodness)]),
        )


def read_records(folder: Path) -> List[MicrographRecord]:
    """Return what the journal says of each micrograph last, by id; nothing when there is no journal yet.

    A last line that is still being written, or that a crash tore, is left out.
    """
    found: Dict[int, MicrographRecord] = {}
    path = Path(folder) / JOURNAL
    if not path.is_file():
        return []
    with open(path, "rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            value = json.loads(line)
            if value["kind"] == "screened":
                record = from_json(MicrographRecord, value["record"])
                found[record.id] = record
            elif value["kind"] == "thinned":
                _drop_thumbnails(found, value["ids"])
    return [found[key] for key in sorted(found)]


def read_summary(folder: Path) -> Optional[Summary]:
    """Return the state of a run as summary.json has it; None when there is none yet."""
    try:
        return from_json(Summary, json.loads((Path(folder) / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _drop_thumbnails(records: Dict[int, MicrographRecord], ids: Iterable[int]) -> None:
    """Take the path of the thumbnail out of records whose thumbnails were removed."""
    for key in ids:
        records[key] = dataclasses.replace(records[key], thumbnail="")
