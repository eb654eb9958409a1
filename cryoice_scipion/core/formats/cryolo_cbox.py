# SPDX-License-Identifier: GPL-3.0-or-later
"""crYOLO .cbox: corners and sizes of boxes, with the confidence."""

from __future__ import annotations

from pathlib import Path

from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    SCORE,
    centres_of_boxes,
    needed_block,
    nothing_in,
    readable_picks,
    with_micrograph,
    with_unused_blocks,
)
from cryoice_scipion.core.formats.star import read_star


def read(path: Path) -> Picks:
    """Read crYOLO .cbox: corners and box sizes, with the confidence."""
    blocks = read_star(path, lenient=True)
    if not blocks:
        return nothing_in(path)
    columns = ("CoordinateX", "CoordinateY", "Width", "Height")
    block = needed_block(path, blocks, columns)
    rows = block.rows
    table = centres_of_boxes(rows, *columns)
    if "Confidence" in rows.table and rows.table["Confidence"].ne("<NA>").any():
        table[SCORE] = rows.numbers("Confidence", optional=True)
    for name in rows.table.columns:
        empty = rows.table[name].isna().all() or rows.table[name].eq("<NA>").all()
        if name not in (*columns, "Confidence") and not empty:
            table[f"cryolo{name}"] = rows.table[name]
    return with_unused_blocks(readable_picks(with_micrograph(table, path), rows), blocks, block, columns)
