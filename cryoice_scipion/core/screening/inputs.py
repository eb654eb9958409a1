# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the input of a run: keep the ids of earlier sessions, and count the coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Set

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.grid import is_same_pixel_size
from cryoice_scipion.core.images.naming import free_stem
from cryoice_scipion.core.records import MicrographTask, PickCounts
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.screening.run_head import SAME

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
    """Give micrographs of an earlier session their old stem and id, which depend on the others that are given.

    Raises
    ------
    SettingsError
        When a list now gives another pixel size for a micrograph than it was screened with.
    """
    _keep_stems(tasks, run)
    known = run.ids
    taken = set(known.values())  # also those of micrographs that are not given this time
    free = max([*taken, len(tasks)]) + 1
    for task in tasks:
        earlier = known.get(task.stem)
        if earlier is not None:
            task.id = earlier
        elif task.id in taken:
            task.id, free = free, free + 1
    sizes = {one.stem: one.pixel_size for one in run.micrographs()} if run.config.pixel_size is None else {}
    for task in tasks:
        before, now = sizes.get(task.stem), task.pixel_size
        if before and now and not is_same_pixel_size(now, before) and not run.has_changed(task.id, task.path):
            reason = f"was screened at {before:g} Å/px, and is now given with {now:g} Å/px"
            raise SettingsError(task.path, reason, SAME)


def _keep_stems(tasks: List[MicrographTask], run: ScreeningRun) -> None:
    """Give micrographs of an earlier session their old stem; a new one of the same name gets a folder in front."""
    earlier = {one.path: one.stem for one in run.micrographs()}
    taken = {earlier[task.path] for task in tasks if task.path in earlier}
    for task in tasks:
        if task.path in earlier:
            task.stem = earlier[task.path]
        elif task.stem in taken:
            task.stem = free_stem(task.path, taken)
        taken.add(task.stem)
