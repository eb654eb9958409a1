# SPDX-License-Identifier: GPL-3.0-or-later
"""Share code between coordinate formats: column names, centres of boxes, and counts of rows that are left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import DISABLED, UNREADABLE
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError, counted
from cryoice_scipion.core.formats.picks import Picks
from cryoice_scipion.core.formats.rows import Rows, row_error
from cryoice_scipion.core.formats.star import Block
from cryoice_scipion.core.formats.text_files import read_text, without_comments
from cryoice_scipion.core.images.stems import stem_of

X, Y, MICROGRAPH = "rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName"
SCORE = "rlnAutopickFigureOfMerit"
DIAMETER, BOX_SIZE = "cryoiceDiameter", "cryoiceBoxSize"  # px of the micrograph: of the particle; of its box
PIXEL_SIZE = "cryoicePixelSize"  # Å/px of the coordinates, where the file has it; not written to outputs
MICROGRAPH_PIXEL_SIZE = "rlnMicrographPixelSize"  # the same in files of RELION


def empty_table() -> pd.DataFrame:
    """Return a table without picks."""
    return pd.DataFrame({X: np.empty(0), Y: np.empty(0), MICROGRAPH: np.empty(0, dtype=object)})


def micrograph_of(path: Path) -> str:
    """Return the name of the micrograph that a coordinate file is named after."""
    return stem_of(path.name[: -len(path.suffix)] if path.suffix else path.name)


def readable_picks(
    table: pd.DataFrame, rows: Rows, enabled: Optional[npt.NDArray[np.bool_]] = None, lenient: bool = False
) -> Picks:
    """Return the rows of a table that can be read and that the picker has not disabled; count the others.

    Parameters
    ----------
    enabled : numpy.ndarray of bool, shape (rows,), optional
        False where the picker has disabled a pick.
    lenient : bool
        Whether a table without a single readable row is no error.

    Raises
    ------
    CoordinatesError
        When there are rows and none of them can be read, unless ``lenient``.
    """
    wanted, warnings = rows.readable(lenient), rows.warnings()
    left_out = {UNREADABLE: len(rows.unreadable)} if warnings else {}
    disabled = int((wanted & ~enabled).sum()) if enabled is not None else 0
    if enabled is not None and disabled:
        wanted = wanted & enabled
        left_out[DISABLED] = disabled
        warnings.append(f"{rows.path}: {counted(disabled, 'pick is', 'picks are')} disabled and left out")
    table = table if wanted.all() else table[wanted].reset_index(drop=True)
    return Picks(table, None, left_out, warnings)


def read_blocks(blocks: Sequence[Block], columns: Sequence[str], convert: Callable[[Block], Picks]) -> Picks:
    """Return the coordinates of every block that has these columns.

    Parameters
    ----------
    blocks : sequence of Block
        All tables of one STAR file, at least one.
    columns : sequence of str
        The columns that a block of coordinates has.
    convert : callable
        Makes the coordinates of one block, leniently.

    Raises
    ------
    CoordinatesError
        When no block has the columns, or no row of any of them can be read.
    """
    fitting = [block for block in blocks if set(columns) <= set(block.columns)]
    if not fitting:
        raise _missing_columns(blocks, columns)
    parts = [convert(block) for block in fitting]
    unreadable = [row for block in fitting for row in block.rows.unreadable]
    if unreadable and not any(len(part.table) or part.left_out.get(DISABLED) for part in parts):
        raise row_error(fitting[0].rows.path, *unreadable[0])
    tables = [part.table for part in parts if len(part.table)] or [parts[0].table]
    left_out: Dict[str, int] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    table = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    return Picks(table, None, dict(left_out), [line for part in parts for line in part.warnings])


def centres_of_boxes(rows: Rows, x: str, y: str, width: str, height: str) -> pd.DataFrame:
    """Return centres and sizes of boxes; a size of 0 means that it is not known."""
    wide, high = rows.numbers(width), rows.numbers(height)
    columns = {X: rows.numbers(x) + wide / 2, Y: rows.numbers(y) + high / 2}
    size = (wide + high) / 2
    if (size > 0).any():
        columns[BOX_SIZE] = np.where(size > 0, size, np.nan)
    return pd.DataFrame(columns)


def with_micrograph(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Name the micrograph of a table after its file, if the table does not name it."""
    if MICROGRAPH not in table:
        table[MICROGRAPH] = pd.Series(micrograph_of(path), index=table.index, dtype=object)
    return table


def nothing_in(path: Path) -> Picks:
    """Return no picks for a STAR file without tables.

    Raises
    ------
    CoordinatesError
        When the file has content: it is not a STAR file.
    """
    if without_comments(read_text(path)).strip():
        raise CoordinatesError(path, "is not a STAR file: it has no data_ block", "check the file and its extension")
    return Picks(empty_table())


def _missing_columns(blocks: Sequence[Block], columns: Sequence[str]) -> CoordinatesError:
    """Return the error of a STAR file without coordinates; it names the largest block and the columns it lacks."""
    largest = max(blocks, key=lambda block: len(block.rows.lines))
    path, there = largest.rows.path, set(largest.columns)
    missing = ", ".join(f"_{name}" for name in columns if name not in there)
    names = ", ".join(f"_{name}" for name in largest.columns) or "none"
    reason = f"has no column {missing}; block data_{largest.name} has {names}"
    is_other = path.suffix.lower() == ".star" and not any(set(columns) & set(block.columns) for block in blocks)
    return (NoCoordinatesError if is_other else CoordinatesError)(path, reason, "give a file of coordinates")
