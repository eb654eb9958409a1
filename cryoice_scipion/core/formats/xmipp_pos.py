# SPDX-License-Identifier: GPL-3.0-or-later
"""Xmipp .pos: centres of manual and automatic picks; the user may have disabled some."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    MICROGRAPH,
    SCORE,
    X,
    Y,
    nothing_in,
    read_blocks,
    readable_picks,
    with_micrograph,
)
from cryoice_scipion.core.formats.star import Block, read_star

_COLUMNS = ("xcoor", "ycoor")
_NAMES = ("micrograph", "micrographName", "micrograph_name", "_micrograph")  # columns with the name of the micrograph
#: Blocks of one micrograph that Xmipp writes. Other blocks, if there are several, are named after their micrographs.
_OWN_BLOCK = re.compile(r"|particles.*|header|noname|.*family", re.IGNORECASE)


def read(path: Path) -> Picks:
    """Read Xmipp .pos: centres of all blocks; picks that the user disabled are left out and counted.

    A file may hold several micrographs: in a column ``_micrograph``, or as blocks named after the micrographs.
    """
    blocks = read_star(path, lenient=True)
    if not blocks:
        return nothing_in(path)
    named = {
        block.name for block in blocks if set(_COLUMNS) <= set(block.table) and not _OWN_BLOCK.fullmatch(block.name)
    }
    return read_blocks(blocks, _COLUMNS, lambda block: _convert(block, len(named) > 1 and block.name in named))


def _convert(block: Block, is_micrograph: bool) -> Picks:
    rows = block.rows
    table = pd.DataFrame({X: rows.numbers("xcoor"), Y: rows.numbers("ycoor")})
    column = next((name for name in _NAMES if name in rows.table), None)
    if column is not None:
        table[MICROGRAPH] = rows.table[column].astype(str)
    elif is_micrograph:
        table[MICROGRAPH] = pd.Series(block.name, index=table.index, dtype=object)
    if "cost" in rows.table:
        table[SCORE] = rows.numbers("cost", optional=True)
    enabled = rows.numbers("enabled") > 0 if "enabled" in rows.table else np.ones(len(table), dtype=bool)
    return readable_picks(with_micrograph(table, rows.path), rows, enabled, lenient=True)
