# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter new coordinates with the stored maps of a run: kept, rejected, and pending where there is no map yet."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Callable, Dict, Iterable, List

import numpy as np

from cryoice_scipion.constants import AMBIGUOUS, VERSION, WAITING
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import PickTable, write_star
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.records import MicrographTask, Summary
from cryoice_scipion.core.results.run_folder import PENDING, RunFolder, writing
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening.stars import StarFiles
from cryoice_scipion.core.screening.tables import MicrographTable, warnings_of, write_summary

Progress = Callable[[Iterable[MicrographTask]], Iterable[MicrographTask]]


def filter_coordinates(
    maps: StoredMaps, picks: PickTable, config: ScreenConfig, output: Path, progress: Progress = iter
) -> Summary:
    """Score coordinates on stored maps and write kept.star, rejected.star, pending.star and the tables.

    Parameters
    ----------
    maps : StoredMaps
        The maps of a run.
    picks : PickTable
        The coordinates.
    config : ScreenConfig
        Settings for the coordinates; see :meth:`StoredMaps.score`.
    output : pathlib.Path
        The folder to write; files of an earlier filtering are replaced.
    progress : callable
        Wraps the micrographs, for a progress bar.

    Raises
    ------
    CryoIceError
        When a stored map is missing, a particle diameter is not known, or the folder cannot be written.
    """
    tasks = list(maps.tasks.values())
    for task in tasks:
        task.picks = []
    assign_picks(picks, tasks)
    folder = RunFolder(output)
    with writing(output):
        (output / "coordinates").mkdir(parents=True, exist_ok=True)
    pending = [row for row in picks.unmatched if row not in picks.ambiguous]
    left_out: Dict[str, int] = {**picks.left_out, WAITING: len(pending), AMBIGUOUS: len(picks.ambiguous)}
    unmatched, picks.unmatched = picks.unmatched, []  # they are not rejected, but wait
    stars, sums = StarFiles(output, picks, config), RunSums(config.threshold, maps.model)
    table = MicrographTable(output / "micrographs.csv")
    for task in progress([task for task in tasks if task.picks]):
        record = maps.score(task.id, task.picks, config).record
        for target in (stars, sums):
            target.add(record)
        table.note(record)
    stars.write()
    picks.unmatched = unmatched
    with writing(output):
        write_star(folder.path / PENDING, picks.table.iloc[np.asarray(pending, dtype=np.int64)], picks.optics)
    table.refresh()
    summary = _summary(sums, picks, {reason: number for reason, number in left_out.items() if number})
    write_summary(output / "summary.json", summary)
    return summary


def _summary(sums: RunSums, picks: PickTable, left_out: Dict[str, int]) -> Summary:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    rows = len(picks) + picks.dropped
    warnings: List[str] = [*picks.warnings, *warnings_of(sums, None)]
    return Summary(
        version=VERSION,
        updated=now,
        finished=True,
        micrographs=len(sums.micrographs),
        picks=sums.picks,
        kept=sums.kept,
        rejected=sums.picks - sums.kept,
        input_picks=rows,
        left_out=left_out,
        files_read=picks.files,
        files_not_read=sorted(picks.not_read),
        adds_up=rows == sums.picks + sum(left_out.values()),
        rejected_by_class=dict(sorted(sums.rejected_by_class.items())),
        warnings=warnings,
    )
