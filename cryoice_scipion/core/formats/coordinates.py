# SPDX-License-Identifier: GPL-3.0-or-later
"""Read coordinates from files of any format, match them to micrographs, and write them as RELION .star.

A coordinate is a particle's centre in px of its micrograph, in MRC order: row 0 is y = 0.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Protocol, Sequence, Set, Tuple, Union

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.joining import FilesRead, Picks, join, join_optics, read_each
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
from cryoice_scipion.core.formats.star import VERSION_COMMENT, write_blocks
from cryoice_scipion.core.formats.table import (
    format_of,
    is_coordinate_file,
    is_unspecific,
    suffix_of,
    suffixes_in_words,
)
from cryoice_scipion.core.records import Pick, PickCounts

__all__ = [
    "BOX_SIZE", "DIAMETER", "MICROGRAPH", "ROWS_OF_A_PART", "SCORE", "X", "Y", "PickSource", "PickTable",
    "join_optics", "picks_of_rows", "read_picks", "sizes_of", "write_star",
]  # fmt: skip

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


def read_picks(path: Union[str, Path]) -> PickTable:
    """Read a file of coordinates, or a folder with files of one format; an empty file holds no picks.

    Corners become centres, box sizes become cryoiceBoxSize, scores become rlnAutopickFigureOfMerit. Rows and files
    that cannot be read are left out, counted and named in the warnings.

    Raises
    ------
    CoordinatesError
        When the path is missing, the format is unknown, a folder has several formats, or nothing can be read.
    """
    path = Path(path)
    if path.is_dir():
        picks = _read_folder(path)
    elif not path.exists():
        raise CoordinatesError(path, "there is no such file or folder", "check the path")
    else:
        picks = _read_file(path)
    return PickTable(
        picks.table, str(path), picks.optics, picks.left_out, list(picks.warnings),
        files=picks.files, not_read=picks.not_read, other=picks.other, sources=picks.sources,
    )  # fmt: skip


def sizes_of(table: pd.DataFrame) -> Tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the particle diameter and the box size of each row in px; NaN where the table does not say."""
    return positive_numbers(table, DIAMETER), positive_numbers(table, BOX_SIZE)


def positive_numbers(table: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Return a column; NaN where there is no such column or the number is not positive."""
    values = table[column].to_numpy(dtype=float) if column in table else np.full(len(table), np.nan)
    return np.where(values > 0, values, np.nan)


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
    extension = path.suffix or "no extension"
    return CoordinatesError(path, f"coordinates of an unknown format ({extension})", f"give {suffixes_in_words()}")


def _read_file(path: Path) -> Picks:
    known = format_of(path)
    if known is None:
        raise unknown_format(path)
    return known.read(path)


def _read_folder(folder: Path) -> Picks:
    """Read the files of a folder in one format, which is that of the readable files with coordinates."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_coordinate_file(file.name))
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise CoordinatesError(folder, "there are no coordinate files in this folder", f"give {suffixes_in_words()}")
    unspecific = [file for file in files if is_unspecific(suffix_of(file))]
    read = _read_all(file for file in files if not is_unspecific(suffix_of(file)))
    formats, other = _formats_in(read), {str(file): "" for file in unspecific}
    if not formats and unspecific:
        tried = _read_all(unspecific)
        formats = _formats_in(tried)
        if formats or not read.parts:
            read, other = read.and_also(tried), {}
    if len(formats) > 1:
        counts = ", ".join(f"{number} {suffix}" for suffix, number in sorted(formats.items()))
        reason = f"holds coordinates of several formats ({counts})"
        raise CoordinatesError(folder, reason, "give a folder of one format, or a file")
    read.refuse_if_nothing(folder)
    return join(_only(next(iter(formats), ""), read, other), empty_table())


def _read_all(files: Iterable[Path]) -> FilesRead:
    return read_each((file, known.read) for file, known in ((file, format_of(file)) for file in files) if known)


def _formats_in(read: FilesRead) -> Dict[str, int]:
    """Return the formats that hold coordinates, and in how many files."""
    return Counter(suffix_of(path) for path, part in read.parts if len(part.table))


def _only(suffix: str, read: FilesRead, other: Mapping[str, str]) -> FilesRead:
    """Return the files of one format; unreadable files with an unspecific suffix count as no coordinate files."""
    other = {**read.other, **other}
    if not suffix:
        return read._replace(other=dict(other))
    parts = [(path, part) for path, part in read.parts if suffix_of(path) == suffix]
    other.update((str(path), "") for path, _ in read.parts if suffix_of(path) != suffix)
    not_read = dict(read.not_read)
    for name in [name for name in not_read if is_unspecific(suffix_of(Path(name))) and suffix_of(Path(name)) != suffix]:
        other[name] = not_read.pop(name)
    return FilesRead(parts, not_read, dict(other))
