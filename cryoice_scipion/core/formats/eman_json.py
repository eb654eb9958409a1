# SPDX-License-Identifier: GPL-3.0-or-later
"""EMAN2 .json: the boxes of one micrograph in its ``info/NAME_info.json``, as centres."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np
import pandas as pd

from cryoice_scipion.constants import LARGEST_POSITION
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError
from cryoice_scipion.core.formats.pick_tables import SCORE, X, Y, empty_table, readable_picks, with_micrograph
from cryoice_scipion.core.formats.picks import Picks
from cryoice_scipion.core.formats.rows import Rows
from cryoice_scipion.core.formats.text_files import read_text

_BOXES = "boxes"
_REFERENCES = ("refbad", "refbg", "bad")  # types of boxes that mark contamination and background, no particles


def read(path: Path) -> Picks:
    """Read EMAN2 .json: entries ``[x, y, type]`` or ``[x, y, type, score]`` of "boxes"; x and y are centres.

    Boxes that the user marked as bad or as background are left out and counted.

    Raises
    ------
    NoCoordinatesError
        When the file has no list "boxes".
    CoordinatesError
        When it is not JSON, or no box can be read.
    """
    text = read_text(path)
    if not text.strip():
        return Picks(empty_table())
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"is not a JSON file ({' '.join(str(error).split())})"
        raise CoordinatesError(path, reason, "correct the file") from None
    if not isinstance(content, dict) or not isinstance(content.get(_BOXES), list):
        raise NoCoordinatesError(path, 'has no list "boxes"', "give EMAN2's info/NAME_info.json")
    boxes: List[Any] = content[_BOXES]
    if not boxes:
        return Picks(empty_table())
    found = [_values(box) for box in boxes]
    bad = {row: why for row, (_, why) in enumerate(found) if why}
    names = [values[2] for values, _ in found]
    rows = Rows({}, path, np.arange(1, len(boxes) + 1), bad=bad, unit="box")
    table = pd.DataFrame({X: [values[0] for values, _ in found], Y: [values[1] for values, _ in found]})
    scores = np.array([values[3] for values, _ in found], dtype=float)
    if np.isfinite(scores).any():
        table[SCORE] = scores
    enabled = np.array([not any(word in name for word in _REFERENCES) for name in names], dtype=bool)
    return readable_picks(with_micrograph(table, path), rows, enabled)


def _values(box: Any) -> Tuple[Tuple[float, float, str, float], str]:
    """Return x, y, type and score of an entry, and why it cannot be read; empty if it can."""
    nothing = math.nan, math.nan, "", math.nan
    if not isinstance(box, list) or len(box) < 2:
        return nothing, "it is not [x, y, type]"
    numbers = [_number(value) for value in box[:2]]
    if numbers[0] is None or numbers[1] is None:
        return nothing, "its position is not two numbers"
    if max(abs(numbers[0]), abs(numbers[1])) > LARGEST_POSITION:
        return nothing, "its position is beyond any micrograph"
    if len(box) > 2 and not isinstance(box[2], str):
        return nothing, "its third value is not a type, such as manual"
    name = box[2].lower() if len(box) > 2 else ""
    score = _number(box[3]) if len(box) > 3 else None
    return (numbers[0], numbers[1], name, math.nan if score is None else score), ""


def _number(value: Any) -> Optional[float]:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
