# SPDX-License-Identifier: GPL-3.0-or-later
"""cryoSPARC .cs and .csg: particles with their position on the micrograph. Nothing in a file is executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional, Sequence

import numpy as np
import pandas as pd

from cryoice_scipion.constants import LARGEST_POSITION, UNREADABLE
from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError, counted, plural
from cryoice_scipion.core.formats.cryosparc_dataset import UID, numbers, texts
from cryoice_scipion.core.formats.cryosparc_group import read_group, read_group_table
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH, PIXEL_SIZE, SCORE, X, Y
from cryoice_scipion.core.formats.picks import Picks, ReadFile, RowFiles

_PATH, _SHAPE = "location/micrograph_path", "location/micrograph_shape"
_AT = ("location/center_x_frac", "location/center_y_frac")
_PIXEL_SIZE, _SCORE = "location/micrograph_psize_A", "pick_stats/ncc_score"
UID_COLUMN = "cryosparcUid"  # of the table of coordinates; text, because 64 bits do not fit a float
_REMEDY = "give the particles of a picking job"


def read(path: Path) -> Picks:
    """Read particles of cryoSPARC: centres, micrographs, their pixel size, the picker's score and the uid.

    Raises
    ------
    CoordinatesError
        When the file cannot be read, or holds anything but numbers and text.
    NoCoordinatesError
        When it holds no positions on micrographs, such as a file of exposures.
    """
    source = read_group_table(path)
    columns = source.table
    missing = [name for name in (_PATH, _SHAPE, *_AT) if name not in (columns.dtype.names or ())]
    if missing:
        reason = f"has no positions on micrographs (no column {missing[0]})"
        remedy = _REMEDY if path.suffix.lower() == ".csg" else f"{_REMEDY}, or the .csg file of the job"
        raise NoCoordinatesError(path, reason, remedy)
    shape = numbers(path, columns, _SHAPE, 2)
    x, y = (numbers(path, columns, name) for name in _AT)
    table = pd.DataFrame({X: x * shape[:, 1], Y: y * shape[:, 0], MICROGRAPH: texts(path, columns, _PATH)})
    for name, column in ((PIXEL_SIZE, _PIXEL_SIZE), (SCORE, _SCORE)):
        if column in (columns.dtype.names or ()):
            table[name] = numbers(path, columns, column)
    has_uid = UID in (columns.dtype.names or ())
    if has_uid:
        table[UID_COLUMN] = list(map(str, columns[UID].tolist()))
    on_micrograph = (table[X].abs() <= LARGEST_POSITION) & (table[Y].abs() <= LARGEST_POSITION)  # not if NaN
    placed = on_micrograph & (shape > 0).all(axis=1) & table[MICROGRAPH].ne("")
    lost = int((~placed).sum())
    if lost and lost == len(table):
        raise CoordinatesError(path, "no particle has a position on a micrograph", _REMEDY)
    warnings = list(source.warnings)
    if lost:
        particles = f"{counted(lost, 'particle')} without a position on a micrograph"
        warnings.append(f"{path}: {particles} {plural(lost, 'is', 'are')} left out")
    left_out = {UNREADABLE: lost + source.lost} if lost + source.lost else {}
    table = table[placed].reset_index(drop=True) if lost else table
    sources = [path] if has_uid else []
    return Picks(table, None, left_out, warnings, sources=sources, row_files=_named_by(path, table, left_out, warnings))


def _named_by(
    path: Path, table: pd.DataFrame, left_out: Mapping[str, int], warnings: Sequence[str]
) -> Optional[RowFiles]:
    """Return the .cs file with the positions that a .csg file names; None for a .cs file."""
    slot = read_group(path).slots.get("location") if path.suffix.lower() == ".csg" else None
    if slot is None:
        return None
    file = ReadFile(
        str(slot.file), os.path.realpath(slot.file), os.path.realpath(path), True, left_out, tuple(warnings)
    )
    return RowFiles([file], np.zeros(len(table), dtype=np.int32))
