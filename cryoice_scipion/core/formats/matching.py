# SPDX-License-Identifier: GPL-3.0-or-later
"""Match coordinates to micrographs by name, and name those that belong to none."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, picks_of_rows
from cryoice_scipion.core.formats.shared_micrographs import shared_lines
from cryoice_scipion.core.images.naming import NameIndex, contradicting_names
from cryoice_scipion.core.records import MicrographTask, PickCounts


class Matches(NamedTuple):
    """Result of matching coordinates with micrographs."""

    rows: Dict[int, List[int]]  # row numbers of each micrograph, by its id, in order
    unmatched: Dict[str, int]  # number of rows, by name, of names that fit no micrograph
    ambiguous: Dict[str, int]  # number of rows, by name, of names that fit several
    warnings: List[str]  # a line for each ambiguous name, and one about micrographs with several files

    def counts(self, picks: PickTable) -> PickCounts:
        """Return the counts of the coordinates that were matched."""
        return picks.counts(sum(self.unmatched.values()), sum(self.ambiguous.values()))


def picks_by_micrograph(table: pd.DataFrame, tasks: Sequence[MicrographTask]) -> Matches:
    """Match coordinates with micrographs by name. Several tasks of one id are several names of one micrograph."""
    found = Matches({task.id: [] for task in tasks}, {}, {}, [])
    codes, names = pd.factorize(table[MICROGRAPH].astype(object), use_na_sentinel=False)
    index, ids = NameIndex(task.path for task in tasks), {task.path: task.id for task in tasks}
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    rows: Dict[str, npt.NDArray[np.int64]] = {}
    matched: Dict[str, List[str]] = defaultdict(list)  # names, by the path of the micrograph
    for code, positions in enumerate(np.split(order, ends[:-1]) if len(names) else []):
        name = str(names[code])
        rows[name] = positions if name not in rows else np.concatenate([rows[name], positions])
    for name, positions in rows.items():
        try:
            match = index.find(name)
        except CryoIceError as error:
            found.ambiguous[name] = len(positions)
            found.warnings.append(
                f"{error}; its {counted(len(positions), 'coordinate is', 'coordinates are')} left out"
            )
            continue
        if match is None:
            found.unmatched[name] = len(positions)
        else:
            matched[match].append(name)
    for path, own in matched.items():
        others, doubtful = contradicting_names(own, path)
        found.unmatched.update({name: len(rows[name]) for name in others})
        found.ambiguous.update({name: len(rows[name]) for name in doubtful})
        if doubtful:
            lost = counted(sum(len(rows[name]) for name in doubtful), "coordinate is", "coordinates are")
            found.warnings.append(f"{path}: {', '.join(doubtful[:3])} match it equally well; their {lost} left out")
        kept = [rows[name] for name in own if name not in {*others, *doubtful}]
        found.rows[ids[path]] = sorted(np.concatenate([found.rows[ids[path]], *kept]).astype(int).tolist())
    return found


def match_picks(picks: PickTable, tasks: Sequence[MicrographTask]) -> Matches:
    """Match as :func:`picks_by_micrograph`; warn also of micrographs whose coordinates come from several files."""
    matches = picks_by_micrograph(picks.table, tasks)
    matches.warnings.extend(shared_lines(picks, matches.rows, {task.id: task.stem for task in tasks}))
    return matches


def assign_picks(picks: PickTable, tasks: Sequence[MicrographTask]) -> Matches:
    """Assign the coordinates of a table to their micrographs; store the rows without a micrograph in the table."""
    matches = match_picks(picks, tasks)
    order = np.array([row for task in tasks for row in matches.rows[task.id]], dtype=np.int64)
    found = iter(picks_of_rows(picks.table, order))
    for task in tasks:
        task.picks += itertools.islice(found, len(matches.rows[task.id]))
    picks.unmatched = np.setdiff1d(np.arange(len(picks)), order).tolist()
    left = picks.table[MICROGRAPH].iloc[picks.unmatched].astype(str)
    picks.ambiguous = set(np.array(picks.unmatched)[left.isin(list(matches.ambiguous)).to_numpy()].tolist())
    return matches
