# SPDX-License-Identifier: GPL-3.0-or-later
"""Read coordinates from files of any format, match them to micrographs, and write them as RELION .star.

A coordinate is a particle's centre in px of its micrograph, in MRC order: row 0 is y = 0.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Iterable, Iterator, List, Mapping, Optional, Protocol, Sequence, Set, Tuple, Union

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import AMBIGUOUS, LARGEST_POSITION, UNMATCHED
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.folders import read_folder
from cryoice_scipion.core.formats.joining import Picks, join, join_optics, read_each, read_safely
from cryoice_scipion.core.formats.pick_tables import (
    BOX_SIZE,
    DIAMETER,
    MICROGRAPH,
    PIXEL_SIZE,
    SCORE,
    X,
    Y,
    empty_table,
)
from cryoice_scipion.core.formats.picks import RowFiles
from cryoice_scipion.core.formats.star import VERSION_COMMENT, write_blocks
from cryoice_scipion.core.formats.table import format_of, suffixes_in_words
from cryoice_scipion.core.records import Pick, PickCounts

__all__ = [
    "BOX_SIZE", "DIAMETER", "MICROGRAPH", "ROWS_OF_A_PART", "SCORE", "X", "Y", "PickSource", "PickTable",
    "join_optics", "picks_of_rows", "read_picks", "sizes_of", "write_star",
]  # fmt: skip

PathLike = Union[str, Path]
ROWS_OF_A_PART = 10_000_000  # coordinates in a part; the id of the first one is a multiple of this


class PickSource(Protocol):
    """Source of the coordinates of a run: a table, or files that arrive during the run."""

    @property
    def optics(self) -> Optional[pd.DataFrame]:
        """Return RELION's optics block."""
        ...

    def parts(self) -> Iterator[Tuple[int, pd.DataFrame]]:
        """Yield tables of at most ``ROWS_OF_A_PART`` rows, each with the id of its first coordinate."""
        ...

    def lost(self) -> Sequence[int]:
        """Return the ids of coordinates that belong to no micrograph of the run."""
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
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)  # rows of the files that are not in the table
    warnings: List[str] = dataclasses.field(default_factory=list)
    unmatched: List[int] = dataclasses.field(default_factory=list)  # rows that belong to no micrograph
    ambiguous: Set[int] = dataclasses.field(default_factory=set)  # those of them whose name matches several
    files: int = 1  # number of files that were read
    not_read: Mapping[str, str] = dataclasses.field(default_factory=dict)  # path -> error, of files that cannot be read
    other: Sequence[str] = ()  # paths of files in the same folder without coordinates, or of another format
    sources: Sequence[Path] = ()  # files whose rows can be written back in their own format: those of cryoSPARC
    notes: List[str] = dataclasses.field(default_factory=list)  # lines about the choice of files, which are no warnings
    row_files: Optional[RowFiles] = None  # None: all rows are of one file

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return len(self.table)

    @property
    def dropped(self) -> int:
        """Return how many rows of the files are not in the table."""
        return sum(self.left_out.values())

    def counts(self, unmatched: int = 0, ambiguous: int = 0) -> PickCounts:
        """Return the number of coordinates, and of those left out, by reason.

        Parameters
        ----------
        unmatched : int
            Rows of the table whose micrograph is not in the run.
        ambiguous : int
            Rows of the table whose micrograph name fits several micrographs.
        """
        more = {UNMATCHED: unmatched, AMBIGUOUS: ambiguous}
        left_out = {**self.left_out, **{reason: number for reason, number in more.items() if number}}
        rows = len(self) + self.dropped
        return PickCounts(rows, left_out, self.files, dict(self.not_read), list(self.other))

    def parts(self) -> Iterator[Tuple[int, pd.DataFrame]]:
        """Yield the table in parts; see :class:`PickSource`."""
        for first in range(0, max(1, len(self)), ROWS_OF_A_PART):
            yield first, self.table.iloc[first : first + ROWS_OF_A_PART]

    def lost(self) -> Sequence[int]:
        """Return the ids of coordinates that belong to no micrograph of the run."""
        return self.unmatched


def read_picks(source: Union[PathLike, Sequence[PathLike]]) -> PickTable:
    """Read a file of coordinates, or a folder with files of one format, or several of them, each of its own format.

    An empty file holds no picks. A coordinate's id is its row in the joined table.

    Corners become centres, box sizes become cryoiceBoxSize, scores become rlnAutopickFigureOfMerit. Rows and files
    that cannot be read are left out, counted and named in the warnings.

    Raises
    ------
    CoordinatesError
        When the path is missing, the format is unknown, a folder has several formats, or nothing can be read.
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    for path in paths:
        if not path.exists():
            raise CoordinatesError(path, "there is no such file or folder", "check the path")
    if len(paths) == 1:
        picks = _read_one(paths[0])
    else:
        read = read_each((path, _read_one) for path in paths)
        read = read._replace(not_read={**read.not_read, **read.other}, other={})  # each was asked for by name
        read.refuse_if_nothing(paths[0])
        picks = join(read, empty_table())
    return PickTable(
        picks.table, ", ".join(map(str, paths)), picks.optics, picks.left_out, list(picks.warnings), files=picks.files,
        not_read=picks.not_read, other=picks.other, sources=picks.sources, notes=list(picks.notes),
        row_files=picks.row_files,
    )  # fmt: skip


def _read_one(path: Path) -> Picks:
    if path.is_dir():
        return read_folder(path)
    known = format_of(path)
    if known is None:
        raise unknown_format(path)
    return read_safely(path, known.read)


def sizes_of(table: pd.DataFrame) -> Tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the particle diameter and the box size of each row in px; NaN where the table does not say."""
    return positive_numbers(table, DIAMETER), positive_numbers(table, BOX_SIZE)


def positive_numbers(table: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Return a column; NaN where there is no such column, or the number is not positive or beyond any micrograph."""
    values = table[column].to_numpy(dtype=float) if column in table else np.full(len(table), np.nan)
    return np.where((values > 0) & (values <= LARGEST_POSITION), values, np.nan)


def picks_of_rows(table: pd.DataFrame, rows: npt.ArrayLike, first_id: int = 0) -> List[Pick]:
    """Return rows of a table as coordinates; their ids are the rows plus ``first_id``."""
    numbers = np.asarray(rows, dtype=np.int64)
    known = [column for column in (X, Y, DIAMETER, BOX_SIZE, PIXEL_SIZE) if column in table]
    part = table[known].iloc[numbers]  # the table may be much larger
    sizes = (*sizes_of(part), positive_numbers(part, PIXEL_SIZE))
    at = (part[X].to_numpy(float).tolist(), part[Y].to_numpy(float).tolist())
    return list(map(Pick, (numbers + first_id).tolist(), *at, *map(_or_none, sizes)))


def _or_none(values: npt.NDArray[np.float64]) -> Iterable[Optional[float]]:
    """Return numbers, with None in the place of NaN."""
    unknown = np.isnan(values)
    if unknown.all():
        return itertools.repeat(None)
    found = values.astype(object)
    found[unknown] = None
    return found.tolist()  # type: ignore[no-any-return]


def write_star(path: Union[str, Path], table: pd.DataFrame, optics: Optional[pd.DataFrame] = None) -> None:
    """Write coordinates as RELION .star, with all columns of the table.

    Parameters
    ----------
    path : str or Path
        The file; replaced as a whole.
    table : DataFrame
        Columns named without underscore.
    optics : DataFrame, optional
        If given, the file has the form of RELION 3.1 (data_optics, data_particles), otherwise the older form.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    if optics is None:
        write_blocks(path, [("", table)])
    else:
        write_blocks(path, [("optics", optics), ("particles", table)], VERSION_COMMENT)


def unknown_format(path: Path) -> CoordinatesError:
    """Return the error for a file of an unknown coordinate format."""
    if path.suffix.lower() in (".gz", ".bz2", ".zip"):
        return CoordinatesError(path, f"is compressed ({path.suffix})", f"unpack it to {suffixes_in_words()}")
    extension = path.suffix or "no extension"
    return CoordinatesError(path, f"coordinates of an unknown format ({extension})", f"give {suffixes_in_words()}")
