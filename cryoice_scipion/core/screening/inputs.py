# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the input of a run: keep the ids of earlier sessions, and count the coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Set

from cryoice_scipion.core.records import MicrographTask, PickCounts
from cryoice_scipion.core.screening.run import ScreeningRun

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickTable


def count_input(tasks: List[MicrographTask], picks: PickTable, run: ScreeningRun) -> PickCounts:
    """Count the coordinates of the input. Micrographs that only earlier sessions received count as present."""
    given = {task.stem for task in tasks}
    scored: Set[int] = set()
    for record in run.recorded() if picks.unmatched else ():
        if record.stem not in given:
            scored.update(score.id for score in record.scores)
    left = {row for row in picks.unmatched if row not in scored}
    ambiguous = len(left & picks.ambiguous)
    return picks.counts(len(left) - ambiguous, ambiguous)


def keep_ids(tasks: List[MicrographTask], run: ScreeningRun) -> None:
    """Give micrographs of an earlier session their old id: on the command line, an id is only a position in a list."""
    known = run.ids
    taken = set(known.values())  # also those of micrographs that are not given this time
    free = max([*taken, len(tasks)]) + 1
    for task in tasks:
        earlier = known.get(task.stem)
        if earlier is not None:
            task.id = earlier
        elif task.id in taken:
            task.id, free = free, free + 1
