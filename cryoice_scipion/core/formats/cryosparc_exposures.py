# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which micrographs a cryoSPARC file of exposures names."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.cryosparc_dataset import Table, numbers, texts
from cryoice_scipion.core.formats.cryosparc_group import read_group_table

_PATH, _PIXEL_SIZE = "micrograph_blob/path", "micrograph_blob/psize_A"


def read_exposures(path: Path) -> List[Tuple[str, Optional[float]]]:
    """Return the micrograph of each exposure in a .cs or .csg file, with its pixel size in Å/px if known.

    Raises
    ------
    CryoIceError
        When the file cannot be read or names no micrographs.
    """
    table = read_group_table(path).table
    has_sizes = _PIXEL_SIZE in (table.dtype.names or ())
    sizes = numbers(path, table, _PIXEL_SIZE) if has_sizes else np.zeros(len(table))
    known = [float(size) if np.isfinite(size) and size > 0 else None for size in sizes]
    return list(zip(micrographs_of(path, table), known))


def micrographs_of(path: Path, table: Table) -> List[str]:
    """Return the micrograph of each row; ``path`` is named in the error.

    Raises
    ------
    CryoIceError
        When the table names no micrographs.
    """
    if _PATH not in (table.dtype.names or ()):
        reason = f"names no micrographs (no column {_PATH})"
        raise CryoIceError(path, reason, "give the exposures of motion correction or of Import Micrographs")
    return texts(path, table, _PATH)
