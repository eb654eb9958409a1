# SPDX-License-Identifier: GPL-3.0-or-later
"""Share code between coordinate formats: column names, centres of boxes, and counts of rows that are left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import DISABLED, UNREADABLE, UNUSED_BLOCK
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError
from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.rows import Rows
from cryoice_scipion.core.formats.star import Block
from cryoice_scipion.core.formats.text_files import read_text
from cryoice_scipion.core.images.naming import stem_of

X, Y, MICROGRAPH = "rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName"
SCORE = "rlnAutopickFigureOfMerit"
DIAMETER, BOX_SIZE = "cryoiceDiameter", "cryoiceBoxSize"  # px of the micrograph: of the particle; of its box


def empty_table() -> pd.DataFrame:
    """Return a table without picks."""
    return pd.DataFrame({X: np.empty(0), Y: np.empty(0), MICROGRAPH: np.empty(0, dtype=object)})


def micrograph_of(path: Path) -> str:
    """Return the name of the micrograph that a coordinate file is named after."""
    return stem_of(path.name[: -len(path.suffix)] if path.suffix else path.name)


def readable_picks(
    table: pd.DataFrame,
    rows: Rows,
    optics: Optional[pd.DataFrame] = None,
    enabled: Optional[npt.NDArray[np.bool_]] = None,
) -> Picks:
    """Return the rows of a table that can be read and that the picker has not disabled; count the others."""
    wanted, warnings = rows.readable(), rows.warnings()
    left_out = {UNREADABLE: len(rows.unreadable)} if warnings else {}
    disabled = int((wanted & ~enabled).sum()) if enabled is not None else 0
    if enabled is not None and disabled:
        wanted = wanted & enabled
        left_out[DISABLED] = disabled
        warnings.append(f"{rows.path}: {disabled} picks are disabled and left out")
    table = table if wanted.all() else table[wanted].reset_index(drop=True)
    return Picks(table, optics, left_out, warnings)


def centres_of_boxes(rows: Rows, x: str, y: str, width: str, height: str) -> pd.DataFrame:
    """Return centres and sizes of boxes; a size of 0 means that it is not known."""
    wide, high = rows.numbers(width), rows.numbers(height)
    table = pd.DataFrame({X: rows.numbers(x) + wide / 2, Y: rows.numbers(y) + high / 2})
    size = (wide + high) / 2
    if (size > 0).any():
        table[BOX_SIZE] = np.where(size > 0, size, np.nan)
    return table


def with_micrograph(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Name the micrograph of a table after its file, if the table does not name it."""
    if MICROGRAPH not in table:
        table[MICROGRAPH] = pd.Series(micrograph_of(path), index=table.index, dtype=object)
    return table


def without_comments(text: str) -> str:
    """Return a text with its comment lines blank."""
    return re.sub(r"^[ \t]*#[^\n]*", "", text, flags=re.MULTILINE) if "#" in text else text


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


def block_with(blocks: Sequence[Block], columns: Sequence[str]) -> Optional[Block]:
    """Return the block that has these columns: data_particles, else the first; None if there is none."""
    fitting = [block for block in blocks if set(columns) <= set(block.table.columns)]
    return next((block for block in fitting if block.name == "particles"), fitting[0] if fitting else None)


def with_unused_blocks(picks: Picks, blocks: Sequence[Block], used: Block, columns: Sequence[str]) -> Picks:
    """Count the coordinates in the blocks of a file that are not read."""
    others = [block for block in blocks if block is not used and set(columns) <= set(block.table.columns)]
    number = sum(len(block.table) + len(block.rows.lost) for block in others)
    if not number:
        return picks
    names = ", ".join(f"data_{block.name}" for block in others)
    warning = f"{used.rows.path}: only block data_{used.name} is read; {number} coordinates in {names} are left out"
    left_out = {**picks.left_out, UNUSED_BLOCK: number}
    return picks._replace(left_out=left_out, warnings=[*picks.warnings, warning])


def needed_block(path: Path, blocks: Sequence[Block], columns: Sequence[str]) -> Block:
    """Return the block that has these columns.

    Raises
    ------
    CoordinatesError
        When there is none; the error names the missing columns and those of the largest block.
    NoCoordinatesError
        When a .star file has none of the columns: it is a STAR file of another kind.
    """
    block = block_with(blocks, columns)
    if block is not None:
        return block
    largest = max(blocks, key=lambda other: len(other.table))
    there = set(largest.table.columns)
    missing = ", ".join(f"_{name}" for name in columns if name not in there)
    names = ", ".join(f"_{name}" for name in largest.table.columns) or "none"
    reason = f"has no column {missing}; block data_{largest.name} has {names}"
    is_other = path.suffix.lower() == ".star" and not any(set(columns) & set(block.table) for block in blocks)
    raise (NoCoordinatesError if is_other else CoordinatesError)(path, reason, "give a file of coordinates")
