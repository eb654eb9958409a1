# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinate formats, one function each: a file in, a table of centres in px out. Nothing is flipped."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import DISABLED, UNREADABLE, UNUSED_BLOCK
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError
from cryoice_scipion.core.formats.joining import Picks, join, read_each
from cryoice_scipion.core.formats.rows import BLANKS, Rows, read_rows
from cryoice_scipion.core.formats.star import Block, read_star, read_text
from cryoice_scipion.core.images.naming import resolve_beside, stem_of

X, Y, MICROGRAPH = "rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName"
SCORE = "rlnAutopickFigureOfMerit"
DIAMETER, BOX_SIZE = "cryoiceDiameter", "cryoiceBoxSize"  # px of the micrograph: of the particle; of its box
_COORDINATE_FILES = "rlnMicrographCoordinates"  # RELION's list of coordinate files, one a micrograph
_EMAN1_MARK = -3.0  # EMAN 1 writes it as the fifth column of every box; it is no score
_ALIASES = {
    X: ("xcoordinate", "xcoord", "x", "coordinatex", "rlncoordinatex", "centerx", "xcenter"),
    Y: ("ycoordinate", "ycoord", "y", "coordinatey", "rlncoordinatey", "centery", "ycenter"),
    DIAMETER: ("diameter", "cryoicediameter"),
    BOX_SIZE: ("boxsize", "cryoiceboxsize"),
    SCORE: ("score", "confidence", "probability", "rlnautopickfigureofmerit"),
    MICROGRAPH: ("micrographsfilename", "micrograph", "micrographname", "imagename", "filename", "rlnmicrographname"),
}


def empty_table() -> pd.DataFrame:
    """Return a table without picks."""
    return pd.DataFrame({X: np.empty(0), Y: np.empty(0), MICROGRAPH: np.empty(0, dtype=object)})


def read_relion(path: Path) -> Picks:
    """Read RELION .star: old or 3.1, one micrograph or many, or its list of coordinate files."""
    blocks = read_star(path, lenient=True)
    if not blocks:
        return _nothing_in(path)
    listed = _block_with(blocks, (MICROGRAPH, _COORDINATE_FILES))
    if listed is not None and _block_with(blocks, (X, Y)) is None:
        return _from_list(path, listed.rows)
    block = _needed(path, blocks, (X, Y))
    table = block.table.copy()
    table[X], table[Y] = block.rows.numbers(X), block.rows.numbers(Y)
    if MICROGRAPH not in table:
        table[MICROGRAPH] = stem_of(path.name)
    for size in {DIAMETER, BOX_SIZE} & set(table):
        table[size] = block.rows.numbers(size, optional=True)
    optics = next((other.table for other in blocks if other.name == "optics" and other is not block), None)
    return _with_unused(_picks(table, block.rows, optics), blocks, block, (X, Y))


def read_box(path: Path) -> Picks:
    """Read EMAN .box: corner x and y, width, height, and often a score."""
    rows = read_rows(path, _without_comments(read_text(path)), ["x", "y", "width", "height", "score"], 1, needed=4)
    if not len(rows.table) and not rows.lost:
        return Picks(empty_table())
    table = _from_corners(rows, "x", "y", "width", "height")
    if rows.has("score"):
        values = rows.numbers("score", optional=True)
        if not np.all((values == _EMAN1_MARK) | np.isnan(values)):
            table[SCORE] = values
    return _picks(_named(table, path), rows)


def read_cbox(path: Path) -> Picks:
    """Read crYOLO .cbox: corners and box sizes, with the confidence."""
    blocks = read_star(path, lenient=True)
    if not blocks:
        return _nothing_in(path)
    columns = ("CoordinateX", "CoordinateY", "Width", "Height")
    block = _needed(path, blocks, columns)
    rows = block.rows
    table = _from_corners(rows, *columns)
    if "Confidence" in rows.table and rows.table["Confidence"].ne("<NA>").any():
        table[SCORE] = rows.numbers("Confidence", optional=True)
    for name in rows.table.columns:
        empty = rows.table[name].isna().all() or rows.table[name].eq("<NA>").all()
        if name not in (*columns, "Confidence") and not empty:
            table[f"cryolo{name}"] = rows.table[name]
    return _with_unused(_picks(_named(table, path), rows), blocks, block, columns)


def read_pos(path: Path) -> Picks:
    """Read Xmipp .pos: centres; picks that the user disabled are left out and counted."""
    blocks = read_star(path, lenient=True)
    if not blocks:
        return _nothing_in(path)
    block = _needed(path, blocks, ("xcoor", "ycoor"))
    rows = block.rows
    table = pd.DataFrame({X: rows.numbers("xcoor"), Y: rows.numbers("ycoor")})
    if "cost" in rows.table:
        table[SCORE] = rows.numbers("cost", optional=True)
    enabled = rows.numbers("enabled") > 0 if "enabled" in rows.table else np.ones(len(table), dtype=bool)
    return _with_unused(_picks(_named(table, path), rows, enabled=enabled), blocks, block, ("xcoor", "ycoor"))


def read_columns(path: Path) -> Picks:
    """Read a table with a header: CryoPPP .csv, Topaz .txt, and others with columns x and y."""
    text = read_text(path)
    if not text.strip():
        return Picks(empty_table())
    lead = len(text) - len(text.lstrip("\n"))
    header, _, body = text[lead:].partition("\n")
    separator = next((mark for mark in (",", ";", "\t") if mark in header), BLANKS)
    names = [name.strip().strip('"') for name in re.split(separator, header.strip())]
    found = {standard: _find(names, aliases) for standard, aliases in _ALIASES.items()}
    if found[X] is None or found[Y] is None:
        reason = f"line {lead + 1}: no columns for x and y; there are: {', '.join(names)}"
        raise CoordinatesError(path, reason, "the first line must name them, e.g. X-Coordinate and Y-Coordinate")
    if len(set(names)) < len(names):
        raise CoordinatesError(path, f"line {lead + 1}: two columns have one name", "rename one of them")
    rows = read_rows(path, body, names, lead + 2, separator)
    return _picks(_named(_standard(rows, found), path), rows)


READERS: Dict[str, Callable[[Path], Picks]] = {
    ".star": read_relion,
    ".box": read_box,
    ".cbox": read_cbox,
    ".pos": read_pos,
    ".csv": read_columns,
    ".txt": read_columns,
}


def _find(names: Sequence[str], aliases: Sequence[str]) -> Optional[str]:
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[alias] for alias in aliases if alias in plain), None)


def _standard(rows: Rows, found: Dict[str, Optional[str]]) -> pd.DataFrame:
    """Return a table with RELION's names; other columns keep theirs, made fit for a STAR label."""
    table = pd.DataFrame(index=rows.table.index)
    for standard, name in found.items():
        if name is not None:
            text, optional = rows.table[name].astype(str), standard == SCORE
            table[standard] = text if standard == MICROGRAPH else rows.numbers(name, optional)
    for name in rows.table.columns:
        label = "input" + re.sub(r"\W", "", name)
        if name not in found.values() and label not in table:
            table[label] = rows.table[name]
    return table


def _picks(
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


def _from_corners(rows: Rows, x: str, y: str, width: str, height: str) -> pd.DataFrame:
    """Return centres and sizes of boxes; a size of 0 means that it is not known."""
    wide, high = rows.numbers(width), rows.numbers(height)
    table = pd.DataFrame({X: rows.numbers(x) + wide / 2, Y: rows.numbers(y) + high / 2})
    size = (wide + high) / 2
    if (size > 0).any():
        table[BOX_SIZE] = np.where(size > 0, size, np.nan)
    return table


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if MICROGRAPH not in table:
        table[MICROGRAPH] = pd.Series(stem_of(path.name), index=table.index, dtype=object)
    return table


def _without_comments(text: str) -> str:
    return re.sub(r"^[ \t]*#[^\n]*", "", text, flags=re.MULTILINE) if "#" in text else text


def _nothing_in(path: Path) -> Picks:
    if _without_comments(read_text(path)).strip():
        raise CoordinatesError(path, "is not a STAR file: it has no data_ block", "check the file and its extension")
    return Picks(empty_table())


def _block_with(blocks: Sequence[Block], columns: Sequence[str]) -> Optional[Block]:
    fitting = [block for block in blocks if set(columns) <= set(block.table.columns)]
    return next((block for block in fitting if block.name == "particles"), fitting[0] if fitting else None)


def _with_unused(picks: Picks, blocks: Sequence[Block], used: Block, columns: Sequence[str]) -> Picks:
    """Count the coordinates in the blocks of a file that are not read."""
    others = [block for block in blocks if block is not used and set(columns) <= set(block.table.columns)]
    number = sum(len(block.table) + len(block.rows.lost) for block in others)
    if not number:
        return picks
    names = ", ".join(f"data_{block.name}" for block in others)
    warning = f"{used.rows.path}: only block data_{used.name} is read; {number} coordinates in {names} are left out"
    left_out = {**picks.left_out, UNUSED_BLOCK: number}
    return picks._replace(left_out=left_out, warnings=[*picks.warnings, warning])


def _needed(path: Path, blocks: Sequence[Block], columns: Sequence[str]) -> Block:
    block = _block_with(blocks, columns)
    if block is not None:
        return block
    largest = max(blocks, key=lambda other: len(other.table))
    there = set(largest.table.columns)
    missing = ", ".join(f"_{name}" for name in columns if name not in there)
    names = ", ".join(f"_{name}" for name in largest.table.columns) or "none"
    reason = f"has no column {missing}; block data_{largest.name} has {names}"
    is_other = path.suffix.lower() == ".star" and not any(set(columns) & set(block.table) for block in blocks)
    raise (NoCoordinatesError if is_other else CoordinatesError)(path, reason, "give a file of coordinates")


def _from_list(path: Path, rows: Rows) -> Picks:
    """Read the coordinate files that RELION 3.1 and later list, one a micrograph."""
    files: List[Tuple[Path, Callable[[Path], Picks]]] = []
    table = rows.table
    for micrograph, name in zip(table[MICROGRAPH].astype(str), table[_COORDINATE_FILES].astype(str)):
        files.append((Path(resolve_beside(name, path)), _reader_of(path, name, micrograph)))
    read = read_each(files)
    read.refuse_if_nothing(path)
    picks = join(read._replace(not_read={**read.not_read, **read.other}, other={}), empty_table())
    left_out, lost = Counter(picks.left_out), len(rows.unreadable)
    if lost:
        left_out[UNREADABLE] += lost
    return picks._replace(left_out=dict(left_out), warnings=[*rows.warnings(), *picks.warnings])


def _reader_of(listing: Path, name: str, micrograph: str) -> Callable[[Path], Picks]:
    """Return what reads a file that a list names, as the coordinates of this micrograph."""

    def read(file: Path) -> Picks:
        reader = READERS.get(file.suffix.lower())
        if reader is None or file.resolve() == listing.resolve():
            raise CoordinatesError(listing, f"lists {name}, which is no coordinate file", "correct the list")
        picks = reader(file)
        return picks._replace(table=picks.table.assign(**{MICROGRAPH: micrograph}))

    return read
