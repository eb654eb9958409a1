# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the pixel sizes in RELION's optics tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH_PIXEL_SIZE
from cryoice_scipion.core.formats.star import Block
from cryoice_scipion.core.images.grid import is_same_pixel_size

GROUP = "rlnOpticsGroup"


def group_pixel_sizes(optics: Block) -> pd.Series:
    """Return the pixel size of the micrographs of each optics group in Å/px, NaN if unknown; the groups are the index.

    It is empty if the table has no groups or no pixel sizes of micrographs.

    Raises
    ------
    CoordinatesError
        When the table gives one group two pixel sizes.
    """
    table = optics.table
    if not {GROUP, MICROGRAPH_PIXEL_SIZE} <= set(table):
        return pd.Series(dtype=np.float64)
    sizes = pd.to_numeric(table.set_index(GROUP)[MICROGRAPH_PIXEL_SIZE], errors="coerce")
    sizes = sizes.where(sizes > 0)
    for group, known in sizes.dropna().groupby(level=0):
        others = known[~is_same_pixel_size(known, known.iloc[0])]
        if len(others):
            reason = f"gives optics group {group} {known.iloc[0]:g} Å/px and {others.iloc[0]:g} Å/px"
            raise CoordinatesError(optics.rows.path, reason, "correct the optics table")
    return sizes.groupby(level=0, sort=False).first()
