# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of reading coordinate files."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np
import numpy.typing as npt
import pandas as pd


class ReadFile(NamedTuple):
    """One file that was read, without its coordinates."""

    name: str
    real_path: str
    read_for: str  # the micrograph of its first coordinate, or the .csg file that names it
    is_listed: bool = False  # whether it was read because another file names it
    left_out: Mapping[str, int] = {}  # its rows that are not in the table, by reason
    warnings: Sequence[str] = ()


class RowFiles(NamedTuple):
    """The file that each row of a table of coordinates comes from."""

    files: List[ReadFile]
    numbers: npt.NDArray[np.int32]  # position in ``files``; rows of the table after these come from no file

    @property
    def names(self) -> List[str]:
        """Return the names of the files."""
        return [file.name for file in self.files]

    def real_paths(self) -> Set[str]:
        """Return the real paths of the files; of a list, they are read only through it."""
        return {file.real_path for file in self.files}

    def without_rows(self, left_out: npt.NDArray[np.bool_], reason: str) -> RowFiles:
        """Return the files of the other rows; count the rows that are left out under this reason."""
        lost = np.bincount(self.numbers[left_out], minlength=len(self.files)).tolist()
        files = [
            file._replace(left_out={**file.left_out, reason: file.left_out.get(reason, 0) + number}) if number else file
            for file, number in zip(self.files, lost)
        ]
        return RowFiles(files, self.numbers[~left_out])


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
