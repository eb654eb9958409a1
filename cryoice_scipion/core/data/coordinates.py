# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates: read from what pickers write, matched to micrographs, written as RELION .star.

A coordinate is a particle's centre in px of its micrograph, in MRC order: row 0 is y = 0.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Protocol, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.data.formats import (
    BOX_SIZE,
    DIAMETER,
    MICROGRAPH,
    READERS,
    SCORE,
    Picks,
    X,
    Y,
    join,
    join_optics,
)
from cryoice_scipion.core.data.star import VERSION_COMMENT, write_blocks
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.images.naming import match_names
from cryoice_scipion.core.records import MicrographTask, Pick

__all__ = [
    "BOX_SIZE", "DIAMETER", "MICROGRAPH", "ROWS_OF_A_PART", "SCORE", "X", "Y", "PickSource", "PickTable",
    "is_coordinate_file", "join_optics", "make_pick", "picks_by_micrograph", "read_picks", "sizes_of", "write_star",
]  # fmt: skip

ROWS_OF_A_PART = 10_000_000  # coordinates of one part: its first one's id is a multiple of this

_KNOWN = "give .star, .box, .cbox, .pos, .csv or .txt"
_PLAIN = (".csv", ".txt")  # also logs and lists: they count only where nothing else is


class PickSource(Protocol):
    """Where the coordinates of a run come from: a table, or files that grow."""

    @property
    def optics(self) -> Optional[pd.DataFrame]:
        """Return RELION's optics block."""
        ...

    def parts(self) -> Iterator[Tuple[int, pd.DataFrame]]:
        """Yield tables of at most ``ROWS_OF_A_PART`` rows, each with the id of its first one; the others follow."""
        ...

    def lost(self) -> Sequence[int]:
        """Return the ids of coordinates that no micrograph will ever judge."""
        ...


@dataclasses.dataclass
class PickTable:
    """Coordinates of any number of micrographs, one row each. A coordinate's id is its row."""

    #: rlnCoordinateX, rlnCoordinateY (px, float), rlnMicrographName (as in the file, else the file's stem),
    #: where known cryoiceDiameter (px, the particle's), cryoiceBoxSize (px) and rlnAutopickFigureOfMerit, and the
    #: input's own columns.
    table: pd.DataFrame
    source: str
    optics: Optional[pd.DataFrame] = None  # RELION's optics block, passed through
    dropped: int = 0  # rows left out, each with a warning
    warnings: List[str] = dataclasses.field(default_factory=list)
    unmatched: List[int] = dataclasses.field(default_factory=list)  # rows of micrographs that are not there

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return len(self.table)

    def parts(self) -> Iterator[Tuple[int, pd.DataFrame]]:
        """Yield the table in parts; see :class:`PickSource`."""
        for first in range(0, max(1, len(self)), ROWS_OF_A_PART):
            yield first, self.table.iloc[first : first + ROWS_OF_A_PART]

    def lost(self) -> Sequence[int]:
        """Return the ids of coordinates that no micrograph will ever judge."""
        return self.unmatched


def read_picks(path: Union[str, Path]) -> PickTable:
    """Read a file of coordinates, or a folder with files of one kind; an empty file holds no picks.

    Corners become centres, box sizes become cryoiceBoxSize, scores become rlnAutopickFigureOfMerit.

    Raises
    ------
    CoordinatesError
        When the path is missing, of unknown kind, mixed, or a file is damaged (the line is named).
    """
    path = Path(path)
    if path.is_dir():
        picks = _read_folder(path)
    elif not path.exists():
        raise CoordinatesError(path, "there is no such file or folder", "check the path")
    else:
        picks = _read_file(path)
    return PickTable(picks.table, str(path), picks.optics, picks.dropped, list(picks.warnings))


def sizes_of(table: pd.DataFrame) -> Tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the particle diameter and the box size of each row in px; NaN where the table does not say."""
    unknown = np.full(len(table), np.nan)
    diameter, box = (table[name].to_numpy(dtype=float) if name in table else unknown for name in (DIAMETER, BOX_SIZE))
    return np.where(diameter > 0, diameter, np.nan), np.where(box > 0, box, np.nan)


def make_pick(key: int, x: float, y: float, diameter: float, box_size: float) -> Pick:
    """Return a coordinate; a size that is NaN is not known."""
    return Pick(key, x, y, None if np.isnan(diameter) else diameter, None if np.isnan(box_size) else box_size)


def is_coordinate_file(name: str) -> bool:
    """Return whether a file holds coordinates, by its extension."""
    return Path(name).suffix.lower() in READERS


def write_star(path: Union[str, Path], table: pd.DataFrame, optics: Optional[pd.DataFrame] = None) -> None:
    """Write coordinates as RELION .star, with all columns of the table.

    Parameters
    ----------
    path : str or Path
        The file; replaced as a whole.
    table : DataFrame
        Columns named without underscore.
    optics : DataFrame, optional
        With it the file is of RELION 3.1's form (data_optics, data_particles), else of the old one.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    if optics is None:
        write_blocks(path, [("", table)])
    else:
        write_blocks(path, [("optics", optics), ("particles", table)], VERSION_COMMENT)


def picks_by_micrograph(
    table: pd.DataFrame, tasks: Sequence[MicrographTask]
) -> Tuple[Dict[int, List[int]], Dict[str, int]]:
    """Return which rows belong to which micrograph, and what belongs to none.

    Returns
    -------
    rows : dict
        For each task's id the positions of its rows, in order; an empty list where there are none.
    unmatched : dict
        For each name that fits no micrograph the number of its rows.

    Raises
    ------
    CryoIceError
        When a name fits several micrographs.
    """
    rows: Dict[int, List[int]] = {task.id: [] for task in tasks}
    unmatched: Dict[str, int] = {}
    codes, names = pd.factorize(table[MICROGRAPH].astype(object), use_na_sentinel=False)
    matches = match_names([str(name) for name in names], [task.path for task in tasks])
    ids = {task.path: task.id for task in tasks}
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    shared = Counter(match for match in matches.values() if match is not None)
    for code, positions in enumerate(np.split(order, ends[:-1]) if len(names) else []):
        match = matches[str(names[code])]
        if match is None:
            unmatched[str(names[code])] = len(positions)
            continue
        rows[ids[match]] += positions.tolist()
        if shared[match] > 1:  # two names of one micrograph
            rows[ids[match]].sort()
    return rows, unmatched


def _read_file(path: Path) -> Picks:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CoordinatesError(path, f"coordinates of an unknown kind ({path.suffix or 'no extension'})", _KNOWN)
    return reader(path)


def _read_folder(folder: Path) -> Picks:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    kinds = Counter(file.suffix.lower() for file in files if file.suffix.lower() in READERS)
    for plain in _PLAIN:
        if len(kinds) > 1:
            kinds.pop(plain, None)
    if not kinds:
        raise CoordinatesError(folder, "there are no coordinate files in this folder", _KNOWN)
    if len(kinds) > 1:
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        reason = f"holds coordinates of several kinds ({counts})"
        raise CoordinatesError(folder, reason, "give a folder of one kind, or a file")
    kind = next(iter(kinds))
    return join([READERS[kind](file) for file in files if file.suffix.lower() == kind], folder)
