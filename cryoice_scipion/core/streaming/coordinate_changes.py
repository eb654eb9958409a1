# SPDX-License-Identifier: GPL-3.0-or-later
"""Group coordinates by the name of their micrograph, and find the names whose coordinates have changed."""

from __future__ import annotations

from typing import Dict, Optional, Set

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.formats.coordinates import BOX_SIZE, DIAMETER, MICROGRAPH, X, Y
from cryoice_scipion.core.formats.pick_tables import PIXEL_SIZE

_Rows = npt.NDArray[np.int64]


def rows_by_name(table: pd.DataFrame) -> Dict[str, _Rows]:
    """Return the rows of each micrograph name."""
    codes, names = pd.factorize(table[MICROGRAPH].astype(str))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    return {str(name): rows for name, rows in zip(names, np.split(order, ends[:-1]))} if len(names) else {}


def names_that_differ(old: Optional[pd.DataFrame], new: pd.DataFrame) -> Set[str]:
    """Return the names of micrographs with a new, deleted or changed row."""
    if old is None:
        return set(new[MICROGRAPH].astype(str).unique())
    both = min(len(old), len(new))
    differs = np.zeros(both, dtype=bool)
    for column in (X, Y, DIAMETER, BOX_SIZE, PIXEL_SIZE):
        before, now = (_numbers(table, column)[:both] for table in (old, new))
        differs |= (before != now) & ~(np.isnan(before) & np.isnan(now))
    names = [table[MICROGRAPH].astype(str).to_numpy() for table in (old, new)]
    differs |= names[0][:both] != names[1][:both]
    found = [part for which in names for part in (which[:both][differs], which[both:])]
    return {str(name) for name in np.unique(np.concatenate(found))} if found else set()


def _numbers(table: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = (
        table[column].to_numpy(dtype=float) if column in table else np.full(len(table), np.nan)
    )
    return values
