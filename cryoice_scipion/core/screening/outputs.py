# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files of a run that are made from its journal, and decide when each is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.maps.scoring import pick_threshold
from cryoice_scipion.core.records import MicrographRecord, Reference, Summary
from cryoice_scipion.core.results.run_folder import MICROGRAPHS, SUMMARY, writing
from cryoice_scipion.core.results.run_sums import MicrographValues, RunSums
from cryoice_scipion.core.results.throughput import Throughput
from cryoice_scipion.core.screening.checkpoint import Stored, attributes, set_attributes
from cryoice_scipion.core.screening.csv_table import CsvTable
from cryoice_scipion.core.screening.micrograph_lists import MicrographLists
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.region_files import RegionFiles
from cryoice_scipion.core.screening.state import RunState
from cryoice_scipion.core.screening.tables import MicrographTable, failure_of, summarise, write_summary

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickSource
    from cryoice_scipion.core.screening.cryosparc_files import ExposureFiles, ParticleFiles
    from cryoice_scipion.core.screening.stars import StarFiles

EVERY = 60.0  # s between two updates of the report and of the coordinate files
_SHARE = 0.05  # largest share of the time that is spent on these updates


class Outputs:
    """Table, summary, coordinate files and report of a run."""

    def __init__(
        self,
        folder: Path,
        state: RunState,
        config: ScreenConfig,
        options: RunOptions,
        model: ModelConfig,
    ) -> None:
        """Load the records that are already in the journal.

        Parameters
        ----------
        state : RunState
            Gives the records of the journal, and keeps a checkpoint of what is made from them.
        config : ScreenConfig
            Settings of the run; the report shows them.
        model : ModelConfig
            Has the recommended threshold, and the baseline that sessions usually have.
        """
        self.folder, self._state, self.given = folder, state, options.given
        self._config, self._options, self._model = config, options, model
        self._threshold = pick_threshold(config.threshold, model)
        self._settings = {**config.model_dump(), "model_name": model.name, "threshold": self._threshold}
        self._batch, self._throughput = max(1, options.summary_every), Throughput()
        self._due, self._summary_due, self._fresh = time.monotonic() + EVERY, 0.0, 0
        self.reload()

    def reload(self) -> None:
        """Load all records again, from the checkpoint and the journal."""
        self._stars, self._stars_stale = _star_files(self.folder, self._options.picks, self._config), True
        self._particles, self._exposures = _cryosparc_files(self.folder, self._options)
        self._sums = RunSums(self._threshold, self._model)
        self._table = MicrographTable(self.folder / MICROGRAPHS)
        self._regions = RegionFiles(self.folder) if self._config.regions else None
        self._lists = MicrographLists(self.folder, self._options.micrograph_lists)
        kept = self._state.checkpoint
        stored = kept.read({name: one.STORED for name, one in self._collectors().items()}) if kept else None
        if stored is not None:
            self._restore(stored)
        else:
            for record in self._state.records():
                self._count(record)
                for table in self._tables:
                    table.note(record)
        self._state.checkpoint = None
        for table in self._tables:
            table.refresh()

    def _collectors(self) -> Dict[str, Any]:
        """Return the objects whose attributes ``STORED`` a checkpoint keeps, by name."""
        made = {"sums": self._sums, "table": self._table, "regions": self._regions, "lists": self._lists}
        made.update(goodness=self._sums.goodness, region_sums=self._sums.regions, exposures=self._exposures)
        if self._stars is not None:
            made.update(stars=self._stars, relion=self._stars.relion)
        return {name: one for name, one in made.items() if one is not None}

    def _restore(self, stored: Stored) -> None:
        """Take the checkpoint, and add the records that are newer."""
        for name, collector in self._collectors().items():
            set_attributes(collector, collector.STORED, stored[name])
        if self._stars is not None:
            self._stars.relion.look_for_files()
        for earlier, record in self._state.unstored():
            if earlier is not None:
                self._uncount(earlier)
            self._count(record)
            for table in self._tables:
                table.note(record)
        pictured = self._state.pictured
        self._sums.drop_thumbnails(
            [key for key, one in self._sums.micrographs.items() if one.thumbnail and key not in pictured]
        )

    def add(
        self,
        record: MicrographRecord,
        earlier: Optional[MicrographRecord],
        backlog: int,
        reference: Optional[Reference],
        thinned: Sequence[int] = (),
    ) -> None:
        """Add a record that the journal holds.

        Parameters
        ----------
        earlier : MicrographRecord, optional
            The record of the same micrograph that it replaces.
        thinned : sequence of int
            Micrographs whose thumbnail has been removed.
        """
        if earlier is None:
            self._throughput.tick()
        else:
            self._uncount(earlier)
        self._count(record)
        self._sums.drop_thumbnails(thinned)
        for table in self._tables:
            table.add(record)
        self._fresh += 1
        if self._fresh >= self._batch and time.monotonic() >= self._summary_due:
            self._write_summary(self.summary(backlog, reference, False))
        if time.monotonic() >= self._due:
            self._write_slow(self.summary(backlog, reference, False))

    def finish(self, backlog: int, reference: Optional[Reference], finished: bool, everything: bool) -> None:
        """Update the summary; with ``everything``, also the files whose cost grows with the run."""
        if everything and self._regions is not None:
            self._regions.write_coco(sorted(self.micrographs, key=lambda one: one.stem))
        summary = self.summary(backlog, reference, finished)
        self._write_summary(summary)
        if everything or time.monotonic() >= self._due:
            self._write_slow(summary, everything)

    def summary(self, backlog: int, reference: Optional[Reference], finished: bool) -> Summary:
        """Return the state of the run."""
        found = summarise(self._sums, self._throughput, backlog, self.given, reference, finished)
        failure = [self.failure] if self.failure else []
        found.warnings = [*failure, *found.warnings, *(self._regions.warnings if self._regions is not None else [])]
        return found

    @property
    def micrographs(self) -> List[MicrographValues]:
        """Return the values of each screened micrograph, sorted by id."""
        return [self._sums.micrographs[key] for key in sorted(self._sums.micrographs)]

    @property
    def failure(self) -> str:
        """Return why micrographs failed, in one line, when none could be screened; empty otherwise."""
        return failure_of(self._sums)

    @property
    def _tables(self) -> List[CsvTable]:
        return [self._table] if self._regions is None else [self._table, self._regions]

    def _count(self, record: MicrographRecord) -> None:
        self._sums.add(record)
        self._lists.add(record)
        if self._stars is not None:
            self._stars.add(record)
            self._stars_stale = self._stars_stale or bool(record.scores)
        if self._exposures is not None:
            self._exposures.add(record)

    def _uncount(self, record: MicrographRecord) -> None:
        """Remove a record that is now replaced."""
        self._sums.remove(record)
        if self._stars is not None:
            self._stars.remove(record)
            self._stars_stale = self._stars_stale or bool(record.scores)

    def _write_summary(self, summary: Summary) -> None:
        started = time.monotonic()
        write_summary(self.folder / SUMMARY, summary)
        ended = time.monotonic()
        self._summary_due, self._fresh = ended + (ended - started) / _SHARE, 0

    def _write_slow(self, summary: Summary, everything: bool = False) -> None:
        started = time.monotonic()
        for table in self._tables:
            table.refresh()
        self._lists.write()
        verdicts = self._stars.write() if self._stars is not None and (self._stars_stale or everything) else None
        self._stars_stale = False
        if self._options.write_report is not None:
            with writing(self.folder):
                self._options.write_report(self.folder, self._sums, self._settings, self._options.card, summary)
        if everything and verdicts is not None and self._particles is not None:
            self._particles.write(verdicts)
        if everything and self._exposures is not None:
            self._exposures.write()
        collectors = self._collectors()
        stored = {name: attributes(one, one.STORED) for name, one in collectors.items()}
        self._state.store(stored, {name: one.STORED for name, one in collectors.items()})
        ended = time.monotonic()
        self._due = ended + max(EVERY, (ended - started) / _SHARE)


def _star_files(folder: Path, picks: Optional[PickSource], config: ScreenConfig) -> Optional[StarFiles]:
    if picks is None:
        return None
    from cryoice_scipion.core.screening.stars import StarFiles  # loads pandas

    return StarFiles(folder, picks, config)


def _cryosparc_files(folder: Path, options: RunOptions) -> Tuple[Optional[ParticleFiles], Optional[ExposureFiles]]:
    if options.picks is None and not options.exposures:
        return None, None
    from cryoice_scipion.core.screening.cryosparc_files import ExposureFiles, ParticleFiles  # loads pandas

    return ParticleFiles.of(folder, options.picks), ExposureFiles.of(folder, options.exposures)
