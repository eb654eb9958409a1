# SPDX-License-Identifier: GPL-3.0-or-later
"""EMAN .box: one box a line, with corner x and y, width, height, and often a score."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence, Tuple

import numpy as np

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    SCORE,
    centres_of_boxes,
    empty_table,
    readable_picks,
    with_micrograph,
)
from cryoice_scipion.core.formats.rows import read_rows
from cryoice_scipion.core.formats.text_files import read_text, without_comments
from cryoice_scipion.core.images.atomic import replacing

_HELIX_MARKS = (-1.0, -2.0)  # EMAN's helix boxer: start and end of a filament, not particles
_EMAN1_MARK = -3.0  # EMAN 1 writes it as the fifth column of every box; it is no score


def write(path: Path, boxes: Sequence[Tuple[float, float, float, Optional[float]]]) -> None:
    """Write EMAN .box.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced as a whole.
    boxes : sequence of (x, y, size, score)
        Centre and side in px; a score of None is not written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for x, y, size, score in boxes:
            side = max(2, 2 * round(size / 2))
            values = [x - side / 2, y - side / 2, side, side, *([] if score is None else [score])]
            stream.write("\t".join(f"{value:.10g}" for value in values) + "\n")


def read(path: Path) -> Picks:
    """Read EMAN .box: corner x and y, width, height, and often a score."""
    rows = read_rows(path, without_comments(read_text(path)), ["x", "y", "width", "height", "score"], 1, needed=4)
    if not len(rows.table) and not rows.lost:
        return Picks(empty_table())
    table = centres_of_boxes(rows, "x", "y", "width", "height")
    if rows.has("score"):
        values = rows.numbers("score", optional=True)
        if len(values) and np.isin(values, _HELIX_MARKS).all():
            reason = "holds filaments: the last column marks starts (-1) and ends (-2), it is no score"
            raise CoordinatesError(path, reason, "cut the filaments into boxes with the program that picked them")
        if not np.all((values == _EMAN1_MARK) | np.isnan(values)):
            table[SCORE] = values
    return readable_picks(with_micrograph(table, path), rows)
