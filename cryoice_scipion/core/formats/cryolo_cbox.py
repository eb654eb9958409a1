# SPDX-License-Identifier: GPL-3.0-or-later
"""crYOLO .cbox: corners and sizes of boxes, with the confidence; a STAR file, or before crYOLO 1.8 plain columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    SCORE,
    centres_of_boxes,
    empty_table,
    read_blocks,
    readable_picks,
    with_micrograph,
)
from cryoice_scipion.core.formats.rows import MISSING, Rows, read_rows
from cryoice_scipion.core.formats.star import Block, read_star
from cryoice_scipion.core.formats.text_files import read_text, without_comments

_COLUMNS = ("CoordinateX", "CoordinateY", "Width", "Height")
_CONFIDENCE = "Confidence"
#: Columns of the files that crYOLO before 1.8 wrote (its function read_cbox_boxfile_old).
_OLD_COLUMNS = (*_COLUMNS, _CONFIDENCE, "EstWidth", "EstHeight")


def read(path: Path) -> Picks:
    """Read crYOLO .cbox: boxes with the confidence. Filament vertices are no picks."""
    blocks = read_star(path, lenient=True)
    if blocks:
        return read_blocks(blocks, _COLUMNS, _convert)
    rows = read_rows(path, without_comments(read_text(path)), _OLD_COLUMNS, 1, needed=len(_COLUMNS))
    if not len(rows.table) and not rows.lost:
        return Picks(empty_table())
    return readable_picks(_table_of(rows), rows)


def _convert(block: Block) -> Picks:
    return readable_picks(_table_of(block.rows), block.rows, lenient=True)


def _table_of(rows: Rows) -> pd.DataFrame:
    table = centres_of_boxes(rows, *_COLUMNS)
    for name in rows.table.columns:
        known = rows.numbers(name, optional=True) if name == _CONFIDENCE else rows.table[name]
        empty = pd.isna(known).all() or rows.table[name].isin(MISSING).all()
        if name not in _COLUMNS and not empty:
            table[SCORE if name == _CONFIDENCE else f"cryolo{name}"] = known
    return with_micrograph(table, rows.path)
