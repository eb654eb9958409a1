# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave out coordinates to which the picker gave a low score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import LOW_SCORE
from cryoice_scipion.core.formats.coordinates import SCORE, PickTable

UNKNOWN = -999.0  # RELION writes this number where there is no score


def scores_of(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the picker's score of each row; NaN where it is not known."""
    values = table[SCORE].to_numpy(dtype=float) if SCORE in table else np.full(len(table), np.nan)
    return np.where(values == UNKNOWN, np.nan, values)


def drop_below(picks: PickTable, minimum: float) -> None:
    """Leave out the coordinates whose score is below a minimum, and count them.

    Coordinates without a score stay, because most of them were picked by hand.
    """
    low = scores_of(picks.table) < minimum  # False for NaN
    if low.any():
        picks.table = picks.table[~low].reset_index(drop=True)
        if picks.row_files is not None:
            picks.row_files = picks.row_files.without_rows(low, LOW_SCORE)
        picks.left_out = {**picks.left_out, LOW_SCORE: picks.left_out.get(LOW_SCORE, 0) + int(low.sum())}
