# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter new coordinates with the stored maps of a run: kept, rejected, and pending where there is no map yet."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Collection, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import PickTable, write_star
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.maps.scoring import pick_threshold
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, PickCounts, PickScore, Summary
from cryoice_scipion.core.results.run_folder import MICROGRAPHS, PENDING, SUMMARY, writing
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.results.throughput import Throughput
from cryoice_scipion.core.screening.cryosparc_files import ParticleFiles
from cryoice_scipion.core.screening.stars import StarFiles, with_pixel_size
from cryoice_scipion.core.screening.tables import MicrographTable, summarise, write_summary
from cryoice_scipion.core.streaming.id_registry import arrived_in

#: Wraps the records of a number of micrographs, for a progress bar.
Progress = Callable[[Iterable[MicrographRecord], int], Iterable[MicrographRecord]]


class Filtered(NamedTuple):
    """Result of a filtering."""

    summary: Summary
    given: PickCounts  # counts of the input coordinates; the pending ones count as matched
    failures: List[str]  # why the screening of micrographs with coordinates failed


def scored(maps: StoredMaps, tasks: Sequence[MicrographTask], config: ScreenConfig) -> Iterator[MicrographRecord]:
    """Yield the result of each micrograph with its coordinates, in order, computed by several threads.

    As in a screening, coordinates on a micrograph whose screening failed are rejected without a goodness.

    Raises
    ------
    CryoIceError
        When a stored map is missing, or a particle diameter is not known.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time is spent in numpy, which runs beside Python
        yield from pool.map(lambda task: _record_of(maps, task, config), tasks)


def _record_of(maps: StoredMaps, task: MicrographTask, config: ScreenConfig) -> MicrographRecord:
    if task.id not in maps.failed:
        return maps.score(task.id, task.picks, config).record
    scores = [PickScore(pick.id, None, FAILED, False) for pick in task.picks]
    return dataclasses.replace(maps.failed[task.id], scores=scores)


def _waiting(maps: StoredMaps, known: Collection[str]) -> List[MicrographTask]:
    """Return the micrographs that a watched run has received and not screened yet.

    Without them, coordinates of ``X_DW`` would be scored on the map of ``X`` until ``X_DW`` is screened.
    """
    summary = read_summary(maps.folder)
    if summary is not None and summary.finished:
        return []
    paths = {stem: (key, path) for key, stem, path in arrived_in(maps.folder)}  # a later line replaces an earlier one
    return [MicrographTask(key, path, stem) for stem, (key, path) in paths.items() if stem not in known]


def filter_coordinates(
    maps: StoredMaps, picks: PickTable, config: ScreenConfig, output: Path, progress: Optional[Progress] = None
) -> Filtered:
    """Score coordinates on stored maps and write kept.star, rejected.star, pending.star and the tables.

    Parameters
    ----------
    maps : StoredMaps
        The maps of a run.
    picks : PickTable
        The coordinates. Its warnings get a line for each ambiguous name.
    config : ScreenConfig
        Settings for the coordinates; see :meth:`StoredMaps.score`.
    output : pathlib.Path
        The folder to write; files of an earlier filtering are replaced.
    progress : callable, optional
        Wraps the records, for a progress bar.

    Raises
    ------
    CryoIceError
        When a stored map is missing, a particle diameter is not known, or the folder cannot be written.
    """
    tasks = [dataclasses.replace(task, picks=[]) for task in maps.tasks.values()]
    tasks += [MicrographTask(one.id, one.path, one.stem) for one in maps.failed.values()]
    waiting = _waiting(maps, {task.stem for task in tasks})
    matches = assign_picks(picks, [*tasks, *waiting])
    picks.warnings += matches.warnings
    with writing(output):
        (output / "coordinates").mkdir(parents=True, exist_ok=True)
    pending = [row for row in picks.unmatched if row not in picks.ambiguous]
    pending = sorted([*pending, *(row for task in waiting for row in matches.rows[task.id])])
    unclear = dataclasses.replace(picks, unmatched=sorted(picks.ambiguous))  # the others are not rejected, but wait
    stars = StarFiles(output, unclear, config)
    sums = RunSums(pick_threshold(config.threshold, maps.model), maps.model)
    table = MicrographTable(output / MICROGRAPHS)
    wanted = [task for task in tasks if task.picks]
    records = scored(maps, wanted, config)
    for record in progress(records, len(wanted)) if progress else records:
        for target in (stars, sums):
            target.add(record)
        table.note(record)
    verdicts = stars.write()
    with writing(output):
        rows = picks.table.iloc[np.asarray(pending, dtype=np.int64)]
        write_star(output / PENDING, with_pixel_size(rows, picks.optics), picks.optics)
    particles = ParticleFiles.of(output, picks)
    if particles is not None:
        particles.write(verdicts._replace(pending=np.isin(np.arange(len(picks)), pending)))
    table.refresh()
    given = picks.counts(0, len(picks.ambiguous))
    summary = summarise(sums, Throughput(), 0, given, maps.reference, finished=not pending)
    write_summary(output / SUMMARY, summary)
    return Filtered(summary, given, [one.reason for one in sums.failed])
