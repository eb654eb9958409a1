# SPDX-License-Identifier: GPL-3.0-or-later
"""RELION .star: coordinates of one micrograph or many, old or 3.1, or a list of coordinate files of any version."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import pandas as pd

from cryoice_scipion.constants import UNREADABLE
from cryoice_scipion.core.errors import CoordinatesError, counted, plural
from cryoice_scipion.core.formats.joining import Picks, join, read_each
from cryoice_scipion.core.formats.optics import GROUP, group_pixel_sizes
from cryoice_scipion.core.formats.pick_tables import (
    BOX_SIZE,
    DIAMETER,
    MICROGRAPH,
    MICROGRAPH_PIXEL_SIZE,
    PIXEL_SIZE,
    SCORE,
    X,
    Y,
    empty_table,
    micrograph_of,
    nothing_in,
    read_blocks,
    readable_picks,
)
from cryoice_scipion.core.formats.relion_jobs import files_of_suffix, suffix_of_picks
from cryoice_scipion.core.formats.repeated_files import files_of
from cryoice_scipion.core.formats.rows import Rows
from cryoice_scipion.core.formats.star import Block, read_star
from cryoice_scipion.core.formats.text_files import read_text
from cryoice_scipion.core.images.naming import resolve_beside

_BLOCK = re.compile(r"^[ \t]*data_[^\s/]*[ \t]*$", re.MULTILINE)
_COORDINATE_FILES = "rlnMicrographCoordinates"  # RELION's list of coordinate files, one a micrograph


def read(path: Path) -> Picks:
    """Read RELION .star: old or 3.1, one micrograph or many, or a list of coordinate files of any version."""
    return _read(path)


def _read(path: Path, listing: Optional[Path] = None) -> Picks:
    """Read a file, which another one may list; then it is not a list itself: lists that name each other have no end."""
    suffix = suffix_of_picks(path)
    if suffix is not None and not _BLOCK.search(read_text(path)):
        _refuse_list(path, listing)
        return _from_suffix(path, suffix)
    blocks = read_star(path, lenient=True)
    if not blocks:
        return nothing_in(path)
    has_coordinates = any({X, Y} <= set(block.columns) for block in blocks)
    for block in blocks if not has_coordinates else ():
        if {MICROGRAPH, _COORDINATE_FILES} <= set(block.columns):
            _refuse_list(path, listing)
            return _from_list(path, block.rows)
    optics = next((block for block in blocks if block.name == "optics" and X not in block.columns), None)
    groups = {} if optics is None else group_pixel_sizes(optics).to_dict()
    sizes = {str(group): float(size) for group, size in groups.items()}
    picks = read_blocks(blocks, (X, Y), lambda block: _convert(block, sizes))
    return picks._replace(optics=None if optics is None else optics.table)


def _refuse_list(path: Path, listing: Optional[Path]) -> None:
    if listing is not None:
        raise CoordinatesError(listing, f"lists {path.name}, which is a list itself", "give the coordinate files")


def _convert(block: Block, pixel_sizes: Dict[str, float]) -> Picks:
    rows, columns = block.rows, dict(block.rows.columns)
    if MICROGRAPH_PIXEL_SIZE in columns:
        columns[PIXEL_SIZE] = rows.numbers(MICROGRAPH_PIXEL_SIZE, optional=True)
    elif GROUP in columns and pixel_sizes:
        groups = map(str, np.asarray(columns[GROUP], dtype=object))
        columns[PIXEL_SIZE] = np.array([pixel_sizes.get(group, np.nan) for group in groups], dtype=np.float64)
    columns[X], columns[Y] = rows.numbers(X), rows.numbers(Y)
    for name in {DIAMETER, BOX_SIZE, SCORE} & set(columns):
        columns[name] = rows.numbers(name, optional=True)
    if MICROGRAPH not in columns:
        names = np.full(len(rows.lines), micrograph_of(rows.path), dtype=object)
        columns[MICROGRAPH] = pd.Series(names, dtype=object)
    return readable_picks(pd.DataFrame(columns, copy=False), rows, lenient=True)


def _from_list(path: Path, rows: Rows) -> Picks:
    """Read the coordinate files that RELION 3.1 and later list, one a micrograph."""
    files: List[Tuple[Path, Callable[[Path], Picks]]] = []
    for micrograph, name in zip(*(rows.table[column].astype(str) for column in (MICROGRAPH, _COORDINATE_FILES))):
        files.append((Path(resolve_beside(name, path)), _reader_of(path, name, micrograph)))
    picks = _join_listed(path, files)
    left_out, lost = Counter(picks.left_out), len(rows.unreadable)
    if lost:
        left_out[UNREADABLE] += lost
    return picks._replace(left_out=dict(left_out), warnings=[*rows.warnings(), *picks.warnings])


def _from_suffix(path: Path, suffix: str) -> Picks:
    """Read the coordinate files of RELION 3: one a micrograph, beside a file with the name of their suffix."""
    found, missing = files_of_suffix(path, suffix)
    picks = _join_listed(path, [(file, _reader_of(path, file.name, micrograph)) for file, micrograph in found])
    files = f"{counted(len(found), 'file')} *{suffix}.star {plural(len(found), 'is', 'are')} read"
    note = f"{path}: {files}; {counted(missing, 'micrograph')} of the list {plural(missing, 'has', 'have')} none"
    return picks._replace(notes=[note, *picks.notes])


def _join_listed(path: Path, files: List[Tuple[Path, Callable[[Path], Picks]]]) -> Picks:
    """Read the files of a list and join them; a file that cannot be read or holds no coordinates is named."""
    read = read_each(files)
    read.refuse_if_nothing(path)
    return join(read._replace(not_read={**read.not_read, **read.other}, other={}), empty_table())


def _reader_of(listing: Path, name: str, micrograph: str) -> Callable[[Path], Picks]:
    """Return the function that reads a listed file as the coordinates of this micrograph."""
    from cryoice_scipion.core.formats.table import format_of  # the table imports this module

    def read_as(file: Path) -> Picks:
        known = format_of(file)
        if known is None:
            raise CoordinatesError(listing, f"lists {name}, which is not a coordinate file", "correct the list")
        picks = _read(file, listing) if ".star" in known.suffixes else known.read(file)
        own = files_of(file, picks)
        files = [one._replace(read_for=micrograph, is_listed=True) for one in own.files]
        table = picks.table.assign(**{MICROGRAPH: micrograph})
        return picks._replace(table=table, row_files=own._replace(files=files))

    return read_as
