# SPDX-License-Identifier: GPL-3.0-or-later
"""Text tables with columns x and y: CryoPPP .csv, Topaz .txt and others; without a header line, x and y come first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Optional, Sequence

import pandas as pd

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import (
    BOX_SIZE,
    DIAMETER,
    MICROGRAPH,
    SCORE,
    X,
    Y,
    empty_table,
    readable_picks,
    with_micrograph,
)
from cryoice_scipion.core.formats.rows import BLANKS, Rows, read_rows
from cryoice_scipion.core.formats.text_files import read_text

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ALIASES = {
    X: ("xcoordinate", "xcoord", "x", "coordinatex", "rlncoordinatex", "centerx", "xcenter"),
    Y: ("ycoordinate", "ycoord", "y", "coordinatey", "rlncoordinatey", "centery", "ycenter"),
    DIAMETER: ("diameter", "cryoicediameter"),
    BOX_SIZE: ("boxsize", "cryoiceboxsize"),
    SCORE: ("score", "confidence", "probability", "rlnautopickfigureofmerit"),
    MICROGRAPH: ("micrographsfilename", "micrograph", "micrographname", "imagename", "filename", "rlnmicrographname"),
}


def read(path: Path) -> Picks:
    """Read a table with columns x and y: CryoPPP .csv, Topaz .txt and others; without a header, x and y come first."""
    text = read_text(path)
    if not text.strip():
        return Picks(empty_table())
    lead = len(text) - len(text.lstrip("\n"))
    header, _, body = text[lead:].partition("\n")
    separator = next((mark for mark in (",", ";", "\t") if mark in header), BLANKS)
    names = [name.strip().strip('"') for name in re.split(separator, header.strip())]
    if separator in (BLANKS, "\t") and len(names) > 1 and all(_NUMBER.fullmatch(name) for name in names):
        names = ["x", "y", *(f"column{number}" for number in range(3, len(names) + 1))]
        lead, body = lead - 1, text
    found = {standard: _find(names, aliases) for standard, aliases in _ALIASES.items()}
    if found[X] is None or found[Y] is None:
        reason = f"line {lead + 1}: no columns for x and y; there are: {', '.join(names)}"
        raise CoordinatesError(path, reason, "the first line must name them, e.g. X-Coordinate and Y-Coordinate")
    if len(set(names)) < len(names):
        raise CoordinatesError(path, f"line {lead + 1}: two columns have one name", "rename one of them")
    verbatim = [name for name in (found[MICROGRAPH],) if name is not None]
    rows = read_rows(path, body, names, lead + 2, separator, verbatim=verbatim)
    return readable_picks(with_micrograph(_standard(rows, found), path), rows)


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
