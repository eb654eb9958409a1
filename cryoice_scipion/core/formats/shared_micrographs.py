# SPDX-License-Identifier: GPL-3.0-or-later
"""Find micrographs whose coordinates come from several files, such as those of two pickers."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.formats.coordinates import PickTable, X, Y
from cryoice_scipion.core.formats.picks import RowFiles


def shared_lines(picks: PickTable, rows: Mapping[int, Sequence[int]], stems: Mapping[int, str]) -> List[str]:
    """Return a line about the micrographs whose coordinates come from several files; no line if there are none.

    Parameters
    ----------
    rows : mapping
        Row numbers of each micrograph, by its id.
    stems : mapping
        Stem of each micrograph, by its id.
    """
    files = picks.row_files
    if files is None or len(files.names) < 2:
        return []
    shared: Dict[int, npt.NDArray[np.int64]] = {}  # row numbers, by the micrograph's id
    for key, own in rows.items():
        known = np.array(own, dtype=np.int64)
        known = known[known < len(files.numbers)]
        if len(known) and np.ptp(files.numbers[known]):
            shared[key] = known
    if not shared:
        return []
    key, known = next(iter(shared.items()))
    first, second = (files.names[number] for number in np.unique(files.numbers[known])[:2])
    micrographs, equal = counted(len(shared), "micrograph"), _equal_positions(picks, files, shared)
    return [
        f"the coordinates of {micrographs} are in several files and are joined, such as {first} and {second} of "
        f"{stems[key]}; {equal} of their positions are in more than one file"
    ]


def _equal_positions(picks: PickTable, files: RowFiles, shared: Mapping[int, npt.NDArray[np.int64]]) -> int:
    """Return how many positions on these micrographs are in more than one file."""
    rows = np.concatenate(list(shared.values()))
    table = picks.table[[X, Y]].iloc[rows].reset_index(drop=True)
    table["micrograph"] = np.repeat(list(shared), [len(own) for own in shared.values()])
    once = table[~table.assign(file=files.numbers[rows]).duplicated()]  # a position counts once in each file
    return int(once[once.duplicated()].drop_duplicates().shape[0])
