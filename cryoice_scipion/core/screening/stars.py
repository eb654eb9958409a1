# SPDX-License-Identifier: GPL-3.0-or-later
"""Write kept.star and rejected.star: the columns of the input, plus goodness and class; and files for RELION."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import NO_MICROGRAPH
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, ROWS_OF_A_PART, PickSource, write_star
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH_PIXEL_SIZE, PIXEL_SIZE, empty_table
from cryoice_scipion.core.images.naming import micrograph_key, stem_of
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import KEPT, REJECTED, writing
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.relion_stars import RelionStars

_OPEN, _KEPT, _REJECTED = 0, 1, 2
_SCORE = np.dtype([("state", "u1"), ("cls", "u1"), ("micrograph", "i4"), ("goodness", "f8")])
_UNSCORED = np.array((_OPEN, 0, 0, np.nan), dtype=_SCORE)
_Scores = npt.NDArray[np.void]
_Rows = npt.NDArray[np.int64]


class Verdicts(NamedTuple):
    """All coordinates, and which of them are kept and which have no score yet; the others are rejected."""

    table: pd.DataFrame
    kept: npt.NDArray[np.bool_]
    pending: npt.NDArray[np.bool_]


class StarFiles:
    """Collects the score of each coordinate by its id; the coordinates themselves may arrive later."""

    STORED = {  # attributes for a checkpoint
        "_parts": checkpoint.ARRAYS,
        "_classes": Dict[str, int],
        "_micrographs": Dict[str, int],
    }

    def __init__(self, folder: Path, picks: PickSource, config: ScreenConfig) -> None:
        """Take the folder of the run, the source of the coordinates and the settings."""
        self.folder, self.picks = folder, picks
        self.relion = RelionStars(folder, config)
        self._parts: Dict[int, _Scores] = {}
        self._classes: Dict[str, int] = {}
        self._micrographs: Dict[str, int] = {}

    def add(self, record: MicrographRecord) -> None:
        """Store the scores of a micrograph's coordinates; a later record replaces an earlier one."""
        micrograph = self._micrographs.setdefault(record.path, len(self._micrographs))
        self.relion.add(micrograph, record)
        found = record.scores
        values = np.empty(len(found), dtype=_SCORE)
        values["state"] = np.where(np.array([score.kept for score in found], dtype=bool), _KEPT, _REJECTED)
        values["cls"] = [self._class(score.cls) for score in found]
        values["micrograph"] = micrograph
        values["goodness"] = np.array([score.goodness for score in found], dtype=np.float64)  # None becomes NaN
        for part, rows, own in _by_part(record):
            scores = _grown(self._parts.get(part), max(int(rows.max()) + 1, len(found)))
            scores[rows] = values[own]
            self._parts[part] = scores

    def remove(self, record: MicrographRecord) -> None:
        """Remove the scores of a record that was added and is now replaced: the micrograph may lose coordinates."""
        micrograph = self._micrographs[record.path]
        for part, rows, _ in _by_part(record):
            scores = self._parts[part]
            scores[rows[scores["micrograph"][rows] == micrograph]] = _UNSCORED  # others now belong to other micrographs

    def write(self) -> Verdicts:
        """Write all files, each atomically, and return what they were made from."""
        table, scores = self._all()
        classes = np.array([*self._classes, ""], dtype=object)
        for path, state in ((KEPT, _KEPT), (REJECTED, _REJECTED)):
            rows = np.flatnonzero(scores["state"] == state)
            chosen = with_pixel_size(table.iloc[rows], self.picks.optics)
            chosen["cryoiceGoodness"] = np.round(scores["goodness"][rows], 9)  # all digits of float32
            chosen["cryoiceClass"] = classes[scores["cls"][rows]]
            with writing(self.folder):
                write_star(self.folder / path, chosen, self.picks.optics)
        kept = np.flatnonzero(scores["state"] == _KEPT)
        self.relion.write(table, kept, scores["micrograph"][kept].astype(np.int64))
        return Verdicts(table, scores["state"] == _KEPT, scores["state"] == _OPEN)

    def _class(self, name: str) -> int:
        return self._classes.setdefault(name, len(self._classes))

    def _all(self) -> Tuple[pd.DataFrame, _Scores]:
        """Return all coordinates, each with its score."""
        parts = list(self.picks.parts()) or [(0, empty_table())]
        filled = [part for part in parts if len(part[1])] or parts[:1]
        table = pd.concat([part for _, part in filled], ignore_index=True)
        scores = np.concatenate([self._scores_of(first, len(part)) for first, part in filled])
        self._refuse_those_of_others(table, scores)
        ids = np.concatenate([np.arange(first, first + len(part)) for first, part in filled])
        lost = np.isin(ids, np.asarray(self.picks.lost(), dtype=np.int64)) & (scores["state"] == _OPEN)
        scores["state"][lost], scores["cls"][lost], scores["goodness"][lost] = (
            _REJECTED,
            self._class(NO_MICROGRAPH),
            np.nan,
        )
        return table, scores

    def _scores_of(self, first: int, number: int) -> _Scores:
        return _grown(self._parts.get(first // ROWS_OF_A_PART), number)[:number].copy()

    def _refuse_those_of_others(self, table: pd.DataFrame, scores: _Scores) -> None:
        """Drop scores whose row belonged to another micrograph in an earlier table; name micrographs by their path."""
        codes, names = pd.factorize(table[MICROGRAPH].astype(object), use_na_sentinel=False)
        paths: List[str] = list(self._micrographs)
        keys: Dict[str, int] = {}
        of_name = np.array([keys.setdefault(micrograph_key(str(name)), len(keys)) for name in names], dtype=np.int64)
        of_path = np.array([keys.setdefault(micrograph_key(path), len(keys)) for path in paths], dtype=np.int64)
        screened = np.flatnonzero(scores["state"] != _OPEN)
        if not len(screened):
            return
        other = of_name[codes[screened]] != of_path[scores["micrograph"][screened]]
        scores["state"][screened[other]] = _OPEN
        # Formats that contain only the name of the coordinate file get the path of the micrograph.
        bare = np.array([stem_of(Path(str(name)).name) == Path(str(name)).name for name in names], dtype=bool)
        named = screened[~other & bare[codes[screened]]]
        values: npt.NDArray[Any] = table[MICROGRAPH].to_numpy(dtype=object, copy=True)
        values[named] = np.array(paths, dtype=object)[scores["micrograph"][named]]
        table[MICROGRAPH] = values


def with_pixel_size(table: pd.DataFrame, optics: Optional[pd.DataFrame]) -> pd.DataFrame:
    """Return coordinates for a file, with their pixel size in RELION's column unless input or optics have it."""
    if PIXEL_SIZE not in table or optics is not None or MICROGRAPH_PIXEL_SIZE in table:
        return table.drop(columns=PIXEL_SIZE, errors="ignore")
    return table.rename(columns={PIXEL_SIZE: MICROGRAPH_PIXEL_SIZE})


def _by_part(record: MicrographRecord) -> Iterator[Tuple[int, _Rows, npt.NDArray[np.bool_]]]:
    """Yield each part with coordinates of a micrograph, their rows in it, and which of the scores are theirs."""
    parts, rows = np.divmod(np.array([score.id for score in record.scores], dtype=np.int64), ROWS_OF_A_PART)
    for part in np.unique(parts).tolist():
        yield part, rows[parts == part], parts == part


def _grown(scores: Optional[_Scores], number: int) -> _Scores:
    """Return scores for at least ``number`` rows; new rows are not scored yet."""
    have = 0 if scores is None else len(scores)
    if scores is not None and number <= have:
        return scores
    grown = np.full(max(number, 2 * have), _UNSCORED)
    if scores is not None:
        grown[:have] = scores
    return grown
