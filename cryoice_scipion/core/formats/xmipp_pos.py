# SPDX-License-Identifier: GPL-3.0-or-later
"""Xmipp .pos: centres of picks, of which the user may have disabled some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    SCORE,
    X,
    Y,
    needed_block,
    nothing_in,
    readable_picks,
    with_micrograph,
    with_unused_blocks,
)
from cryoice_scipion.core.formats.star import read_star


def read(path: Path) -> Picks:
    """Read Xmipp .pos: centres; picks that the user disabled are left out and counted."""
    blocks = read_star(path, lenient=True)
    if not blocks:
        return nothing_in(path)
    block = needed_block(path, blocks, ("xcoor", "ycoor"))
    rows = block.rows
    table = pd.DataFrame({X: rows.numbers("xcoor"), Y: rows.numbers("ycoor")})
    if "cost" in rows.table:
        table[SCORE] = rows.numbers("cost", optional=True)
    enabled = rows.numbers("enabled") > 0 if "enabled" in rows.table else np.ones(len(table), dtype=bool)
    return with_unused_blocks(
        readable_picks(with_micrograph(table, path), rows, enabled=enabled), blocks, block, ("xcoor", "ycoor")
    )
