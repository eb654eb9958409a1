# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of reading coordinate files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np
import numpy.typing as npt
import pandas as pd


class RowFiles(NamedTuple):
    """The file that each row of a table of coordinates comes from."""

    names: List[str]
    numbers: npt.NDArray[np.int32]  # position in ``names``; rows of the table after these come from no file

    def real_paths(self) -> Set[str]:
        """Return the real paths of the files; of a list, they are read only through it."""
        return {os.path.realpath(name) for name in self.names}


class Picks(NamedTuple):
    """The coordinates of one or several files, and counts and messages about everything that is left out."""

    table: pd.DataFrame
    optics: Optional[pd.DataFrame] = None
    left_out: Mapping[str, int] = {}  # rows, by reason
    warnings: Sequence[str] = ()
    files: int = 1  # number of files that were read
    not_read: Mapping[str, str] = {}  # path -> error, of files that cannot be read
    other: Sequence[str] = ()  # paths of files that hold no coordinates, or another format
    notes: Sequence[str] = ()  # lines about the choice of files, which are no warnings
    sources: Sequence[Path] = ()  # files whose rows can be written back in their own format: those of cryoSPARC
    row_files: Optional[RowFiles] = None  # None: all rows are of one file
