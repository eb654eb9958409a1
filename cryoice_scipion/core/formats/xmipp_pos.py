# SPDX-License-Identifier: GPL-3.0-or-later
"""Xmipp .pos: centres of manual and automatic picks; the user may have disabled some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    SCORE,
    X,
    Y,
    nothing_in,
    read_blocks,
    readable_picks,
    with_micrograph,
)
from cryoice_scipion.core.formats.star import Block, read_star


def read(path: Path) -> Picks:
    """Read Xmipp .pos: centres of all blocks; picks that the user disabled are left out and counted."""
    blocks = read_star(path, lenient=True)
    return read_blocks(blocks, ("xcoor", "ycoor"), _convert) if blocks else nothing_in(path)


def _convert(block: Block) -> Picks:
    rows = block.rows
    table = pd.DataFrame({X: rows.numbers("xcoor"), Y: rows.numbers("ycoor")})
    if "cost" in rows.table:
        table[SCORE] = rows.numbers("cost", optional=True)
    enabled = rows.numbers("enabled") > 0 if "enabled" in rows.table else np.ones(len(table), dtype=bool)
    return readable_picks(with_micrograph(table, rows.path), rows, enabled, lenient=True)
